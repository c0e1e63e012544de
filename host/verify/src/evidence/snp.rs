//! AMD SEV-SNP: an attestation report, the certificate of the key that signed it, AMD's root.
//!
//! Layouts and rules are AMD's publications 56860 (SEV-SNP Firmware ABI: the report, the policies, the TCB versions) and
//! 57230 (VCEK certificates and the KDS). What the signature covers are the bytes as they came; nothing is written back.
//!
//! [`appraise`] answers whether the report is genuine and current, and whether it carries the data that it should; whether
//! its MEASUREMENT is approved is [`approved`]'s, because in an Azure VM that is the paravisor's and not ours to approve.

mod attestation_report;
mod certificate_table;
mod endorsed;
mod endorsement;
mod guest;
mod product;

use claim::hex;
use claim::profile::TaggedDigest;

pub use self::attestation_report::{
    AttestationReport, Cpu, Firmware, GuestPolicy, KeyInfo, Mitigations, PlatformInfo, RawTcb, ReportError, SIZE,
    SigningKey,
};
pub use self::certificate_table::{CertificateTable, TableError};
pub use self::product::{Product, Tcb};
use super::{Check, Material, Mismatch, Report};
use crate::references::{Image, SnpPolicy};

/// Judges a report. `report_data` is what its 64 bytes have to be.
///
/// The answer is what the report says, once it can be read; whether that is worth anything is in `report`'s lines.
pub fn appraise(
    bytes: &[u8],
    report_data: Option<&[u8; 64]>,
    material: &Material<'_>,
    policy: &SnpPolicy,
    report: &mut Report,
) -> Option<AttestationReport> {
    let found = read(bytes, report)?;
    let product = endorsed::endorsed(bytes, &found, material, policy.require_crl, report);
    guest::isolated(&found, policy, report);
    match product {
        Some(product) => guest::up_to_date(&found, product, policy, report),
        None => report.open(Check::SnpMinimumTcb, "which numbers a TCB version has depends on the product"),
    }
    guest::shown(&found, report);
    guest::identified(&found, policy, report);
    bound(&found, report_data, report);
    Some(found)
}

/// That the launch digest is one of the approved images'.
pub fn approved(found: &AttestationReport, images: &[Image], report: &mut Report) {
    let measurement = TaggedDigest::Sha384(found.measurement);
    let approved: Vec<_> = images.iter().filter_map(launch_digest).collect();
    let mismatch = || Mismatch::new(one_of(&approved), measurement.to_string());
    let finding = approved.contains(&measurement).then(|| measurement.to_string()).ok_or_else(mismatch);
    report.check(Check::SnpMeasurement, finding);
}

fn launch_digest(image: &Image) -> Option<TaggedDigest> {
    if let Image::SevSnp { measurement } = image { Some(*measurement) } else { None }
}

fn read(bytes: &[u8], report: &mut Report) -> Option<AttestationReport> {
    let found = match AttestationReport::parse(bytes) {
        Ok(found) => found,
        Err(error) => {
            report.check(failed(&error), Err::<String, _>(Mismatch::new(wanted(&error), error.to_string())));
            return None;
        }
    };
    report.check(Check::SnpFormat, Ok(format!("{} bytes", bytes.len())));
    report.check(Check::SnpVersion, Ok(found.version.to_string()));
    report.check(Check::SnpReserved, Ok("zero"));
    Some(found)
}

const fn failed(error: &ReportError) -> Check {
    match error {
        ReportError::Size(_) => Check::SnpFormat,
        ReportError::Version(_) => Check::SnpVersion,
        ReportError::Reserved(_) => Check::SnpReserved,
    }
}

fn wanted(error: &ReportError) -> String {
    match error {
        ReportError::Size(_) => format!("{SIZE} bytes"),
        ReportError::Version(_) => "version 2 to 5".to_owned(),
        ReportError::Reserved(_) => "reserved bytes to be zero".to_owned(),
    }
}

/// All 64 bytes: half a binding binds nothing that the other half was to say.
fn bound(found: &AttestationReport, report_data: Option<&[u8; 64]>, report: &mut Report) {
    let actual = hex::encode(&found.report_data);
    match report_data {
        None => report.open(Check::SnpReportData, format!("{actual}; what it should be was not given")),
        Some(wanted) if *wanted == found.report_data => drop(report.check(Check::SnpReportData, Ok(actual))),
        Some(wanted) => {
            report.check(Check::SnpReportData, Err::<String, _>(Mismatch::new(hex::encode(wanted), actual)));
        }
    }
}

/// Approved values in words.
fn one_of(values: &[TaggedDigest]) -> String {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none is approved".to_owned() } else { texts.join(" or ") }
}
