//! What a TD was allowed at launch: its attributes (Intel TDX Module ABI Specification 348551-008, table 3.23).

use super::quote::Quote;
use crate::evidence::{Check, Mismatch, Report};

const SEPT_VE_DISABLE: u64 = 1 << 28;
/// Attributes that take nothing away from the TD: ICSSD and LASS defend it; PKS and PERFMON are for its own use.
const HARMLESS: u64 = 1 << 16 | 1 << 27 | 1 << 30 | 1 << 63;

/// Attributes for each of which there is a check, by the check: mask, and names of the bits.
const UNDER_DEBUG: &[(u32, &str)] = &[
    (0, "DEBUG"),
    (1, "TUD bit 1"),
    (2, "TUD bit 2"),
    (3, "TUD bit 3"),
    (4, "HGS_PLUS_PROF"),
    (5, "PERF_PROF"),
    (6, "PMT_PROF"),
    (7, "TUD bit 7"),
];
const MOVABLE: &[(u32, &str)] = &[(17, "SERVTD_EXT"), (29, "MIGRATABLE")];

/// Judges the TD's attributes, its service TDs and the TDX module's signer. `azure`: it is the paravisor's TD.
pub(super) fn judge(quote: &Quote, azure: bool, report: &mut Report) {
    report.check(Check::TdxSeam, seam(quote));
    report.check(Check::TdxDebug, none_of(quote.td_attributes, UNDER_DEBUG, "not under debug or profiling"));
    report.check(Check::TdxAttributes, known(quote.td_attributes));
    report.check(Check::TdxMigration, none_of(quote.td_attributes, MOVABLE, "not migratable"));
    report.check(Check::TdxServiceTd, no_service_td(quote));
    report.check(Check::TdxSeptVe, sept_ve(quote.td_attributes, azure));
}

fn seam(quote: &Quote) -> Result<String, Mismatch> {
    let (signer, attributes) = (quote.mr_signer_seam, quote.seam_attributes);
    if signer == [0; 48] && attributes == [0; 8] {
        return Ok(format!("Intel's module {}", short(&quote.mr_seam)));
    }
    let actual = format!("MRSIGNERSEAM {}, SEAMATTRIBUTES {}", hex(&signer), hex(&attributes));
    Err(Mismatch::new("a TDX module that Intel signed, not debugged: both zero", actual))
}

fn none_of(attributes: u64, bits: &[(u32, &str)], found: &str) -> Result<String, Mismatch> {
    let set: Vec<_> = bits.iter().filter(|(bit, _)| attributes >> bit & 1 == 1).map(|(_, name)| *name).collect();
    if set.is_empty() { Ok(found.to_owned()) } else { Err(Mismatch::new(found, set.join(", "))) }
}

/// What is not known to be harmless may not be set: reserved bits, Key Locker (reserved since 348551-008), the
/// provisioning agent of TDX Connect, and whatever a later module defines.
fn known(attributes: u64) -> Result<String, Mismatch> {
    let judged = UNDER_DEBUG.iter().chain(MOVABLE).fold(0, |mask, (bit, _)| mask | 1 << bit);
    match attributes & !(HARMLESS | SEPT_VE_DISABLE | judged) {
        0 => Ok(format!("{attributes:#018x}")),
        unknown => {
            let expected = "at most ICSSD, LASS, SEPT_VE_DISABLE, PKS, PERFMON";
            Err(Mismatch::new(expected, format!("{attributes:#018x}, of which {unknown:#018x} is reserved or refused")))
        }
    }
}

fn no_service_td(quote: &Quote) -> Result<String, Mismatch> {
    let Some(later) = &quote.tdx_1_5 else { return Ok("TDX 1.0 reports name none".to_owned()) };
    let mut all = later.service_td_hashes.iter().flatten().chain([&later.mr_service_td]);
    match all.find(|hash| **hash != [0; 48]) {
        None => Ok("none".to_owned()),
        Some(hash) => Err(Mismatch::new("no service TD", hex(hash))),
    }
}

fn sept_ve(attributes: u64, azure: bool) -> Result<String, Mismatch> {
    match (attributes & SEPT_VE_DISABLE != 0, azure) {
        (true, _) => Ok("disabled".to_owned()),
        (false, true) => Ok("enabled; Azure's paravisor handles it".to_owned()),
        (false, false) => Err(Mismatch::new("SEPT_VE_DISABLE", "not set")),
    }
}

fn short(bytes: &[u8]) -> String {
    hex(bytes.get(..8).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    claim::hex::encode(bytes)
}
