//! A confidential VM of Azure: the hardware's report of the paravisor, the paravisor's claims, a quote of its vTPM.
//!
//! The hardware measures Microsoft's paravisor and never our image. What it vouches for is a chain: the hardware's report names
//! the claims, the claims name the attestation key, the key signs the quote, the quote is over the PCRs, and the PCRs say what
//! was booted. The paravisor is in the trust base, so it has to be known by its ID key or its MRTD, or by Microsoft's
//! certificate of the attestation key.

use claim::evidence::AzureEvidence;
use claim::hex;
use claim::json::Json;
use claim::profile::TaggedDigest;

use super::hcl::{self, HardwareReport, HclReport};
use super::snp::{self, AttestationReport};
use super::tdx::{self, Quote};
use super::tpm::{self, Attest, Vouching};
use super::{Check, Material, Mismatch, Report};
use crate::references::{AzurePolicy, Platforms, SnpPolicy};

/// Where MRTD is in a TDREPORT (Intel TDX Module ABI, TDREPORT_STRUCT).
const MRTD: usize = 0x210;

/// Evidence, and what it must be over.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The evidence.
    pub evidence: &'a AzureEvidence,
    /// The boot's binding, which the paravisor's claims carry whatever the quote is over.
    pub boot: Option<&'a [u8; 64]>,
    /// The binding that the quote is over: of the boot, a session or a challenge.
    pub binding: Option<&'a [u8; 64]>,
    /// The quote of the TDREPORT, from the host.
    pub td_quote: Option<&'a [u8]>,
    /// Intel's collateral for it, from the host.
    pub tdx: Option<&'a Json>,
}

/// What evidence says, if its quote is by the key that the paravisor's claims name.
#[derive(Clone, Debug)]
pub struct Appraised {
    /// What the vTPM signed.
    pub attest: Attest,
    /// The paravisor, by the hardware's report.
    pub paravisor: Paravisor,
}

/// A paravisor as it was launched.
#[derive(Clone, Debug)]
pub enum Paravisor {
    /// On AMD's hardware, which signed this report.
    Snp(Box<AttestationReport>),
    /// On Intel's.
    Tdx {
        /// Of the TDREPORT, which is nobody's word without the quote.
        mr_td: [u8; 48],
        /// The quote, if there is one that can be read.
        quote: Option<Box<Quote>>,
    },
}

impl Paravisor {
    /// MEASUREMENT or MRTD: never of our image.
    pub fn launch_digest(&self) -> &[u8; 48] {
        match self {
            Self::Snp(report) => &report.measurement,
            Self::Tdx { mr_td, .. } => mr_td,
        }
    }
}

/// Judges evidence of a confidential VM. What its PCRs must be is a question of its own ([`tpm::pcrs::appraise`]).
pub fn appraise(
    subject: &Subject<'_>,
    material: &Material<'_>,
    platforms: &Platforms,
    report: &mut Report,
) -> Option<Appraised> {
    let (evidence, policy) = (subject.evidence, &platforms.azure);
    let (hcl, claims) = hcl::appraise(&evidence.hcl_report.0, subject.boot, policy, report)?;
    let paravisor = match hcl.hardware {
        HardwareReport::Snp(bytes) => by_snp(bytes, &hcl, material, platforms, report),
        HardwareReport::Tdx(bytes) => by_tdx(bytes, &hcl, subject, material, platforms, report),
    };
    let certificate = evidence.ak_certificate.as_ref().map(|octets| octets.0.as_slice());
    let vouching = Vouching::AzureConfidential;
    tpm::vouched(certificate, policy.require_ak_certificate, &claims.ak, vouching, material, report);
    let qualifying = subject.binding.map(tpm::qualifying_data);
    let qualifying = qualifying.as_ref().map(<[u8; 32]>::as_slice);
    let attest = tpm::appraise(&(&evidence.quote).into(), &claims.ak, qualifying, report)?;
    Some(Appraised { attest, paravisor: paravisor? })
}

fn by_snp(
    bytes: &[u8],
    hcl: &HclReport<'_>,
    material: &Material<'_>,
    platforms: &Platforms,
    report: &mut Report,
) -> Option<Paravisor> {
    // The guest that AMD's report is of is the paravisor: who may be that is Azure's policy, not that of our own guests.
    let of_paravisor = SnpPolicy {
        id_key_digests: Vec::new(),
        author_key_digests: Vec::new(),
        minimum_guest_svn: 0,
        ..platforms.sev_snp.clone()
    };
    let found = snp::appraise(bytes, Some(&hcl.bound()), material, &of_paravisor, report)?;
    report.check(Check::AzureIdKey, id_key(found.id_key_digest, &platforms.azure));
    report.check(Check::AzureGuestSvn, guest_svn(found.guest_svn, platforms.azure.minimum_guest_svn));
    Some(Paravisor::Snp(Box::new(found)))
}

fn by_tdx(
    td_report: &[u8],
    hcl: &HclReport<'_>,
    subject: &Subject<'_>,
    material: &Material<'_>,
    platforms: &Platforms,
    report: &mut Report,
) -> Option<Paravisor> {
    let mr_td = td_report.get(MRTD..).and_then(<[u8]>::first_chunk).copied()?;
    let Some(quote) = subject.td_quote else {
        let missing = "the TD quote: collateral.td_quote, which the host gets from the VM's metadata service";
        report.open(Check::AzureTdReport, missing);
        return Some(Paravisor::Tdx { mr_td, quote: None });
    };
    let quote = tdx::appraise(quote, Some(&hcl.bound()), subject.tdx, true, material, &platforms.tdx, report);
    if let Some(quote) = &quote {
        report.check(Check::AzureTdReport, quoted(td_report, quote));
        tdx::paravisor(quote, &platforms.azure, report);
    }
    Some(Paravisor::Tdx { mr_td, quote: quote.map(Box::new) })
}

fn id_key(digest: [u8; 48], policy: &AzurePolicy) -> Result<String, Mismatch> {
    let found = TaggedDigest::Sha384(digest);
    match (policy.id_key_digests.as_slice(), policy.require_ak_certificate) {
        ([], true) => Ok(format!("{found}, not pinned: Microsoft's certificate of the attestation key vouches for it")),
        ([], false) => {
            let expected =
                "platforms.azure.id_key_digests, or require_ak_certificate: nothing else tells whose paravisor it is";
            Err(Mismatch::new(expected, found.to_string()))
        }
        (pinned, _) if pinned.contains(&found) => Ok(found.to_string()),
        _ => Err(Mismatch::new("one of platforms.azure.id_key_digests", found.to_string())),
    }
}

fn guest_svn(found: u32, minimum: u32) -> Result<String, Mismatch> {
    let mismatch = || Mismatch::new(format!("at least {minimum}"), found.to_string());
    (found >= minimum).then(|| found.to_string()).ok_or_else(mismatch)
}

/// What a TDREPORT has that a quote has too is the same.
fn quoted(td_report: &[u8], quote: &Quote) -> Result<String, Mismatch> {
    let (attributes, xfam) = (quote.td_attributes.to_le_bytes(), quote.xfam.to_le_bytes());
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &quote.rtmr;
    let fields: [(&str, usize, &[u8]); 11] = [
        ("REPORTDATA", 0x80, &quote.report_data),
        ("ATTRIBUTES", 0x200, &attributes),
        ("XFAM", 0x208, &xfam),
        ("MRTD", MRTD, &quote.mr_td),
        ("MRCONFIGID", 0x240, &quote.mr_config_id),
        ("MROWNER", 0x270, &quote.mr_owner),
        ("MROWNERCONFIG", 0x2a0, &quote.mr_owner_config),
        ("RTMR0", 0x2d0, rtmr0),
        ("RTMR1", 0x300, rtmr1),
        ("RTMR2", 0x330, rtmr2),
        ("RTMR3", 0x360, rtmr3),
    ];
    for (name, at, expected) in fields {
        let found = td_report.get(at..).and_then(|rest| rest.get(..expected.len())).unwrap_or_default();
        if found != expected {
            let text = |value: &[u8]| format!("{name} {}", hex::encode(value));
            return Err(Mismatch::new(text(expected), text(found)));
        }
    }
    Ok("equal to the quote".to_owned())
}
