//! That a claim says of its evidence what the evidence says.

use claim::evidence::{AzureEvidence, Evidence, SnpEvidence, TpmEvidence};
use claim::hex;
use claim::profile::TaggedDigest;

use super::own::Envelope;
use super::rules::View;
use crate::evidence::appraise::Seen;
use crate::evidence::hcl::HclReport;
use crate::evidence::snp::AttestationReport;
use crate::evidence::tpm::Attest;
use crate::evidence::{Check, Mismatch, Report};

/// Platform and measurement.
pub(super) fn platform(claim: &View<'_>, seen: &Seen, report: &mut Report) {
    let stated = claim.text(&["trace", "runtime", "platform"]);
    let platform = seen.platform.as_str();
    // The quickstart's profile calls software `tpm2`, and says so in the firmware's version.
    let same = stated == platform || (claim.software_only() && platform == "software-only");
    report.check(Check::ClaimPlatform, compared(same, platform, stated));
    let stated = claim.text(&["trace", "runtime", "measurement"]);
    let same = TaggedDigest::parse(stated).is_ok_and(|stated| stated == seen.measurement);
    report.check(Check::ClaimMeasurement, compared(same, &seen.measurement.to_string(), stated));
}

/// The evidence in the claim, if there is any: not the same bytes, since both may have been made anew, but about the same.
pub(super) fn evidence(claim: &View<'_>, session: &Evidence, report: &mut Report) {
    let Some(raw) = claim.evidence("raw_evidence") else { return };
    let pairs = match session {
        Evidence::SevSnp(snp) => of_snp(&raw, snp),
        Evidence::Tpm(tpm) => of_tpm(&raw, tpm),
        Evidence::Azure(azure) => of_azure(&raw, azure),
        Evidence::Tdx(_) | Evidence::Software(_) => return,
    };
    let finding = match pairs {
        Ok([(name, expected, found), others @ ..]) => std::iter::once((name, expected, found))
            .chain(others)
            .find(|(_, expected, found)| expected != found)
            .map_or(Ok("about the same"), |(name, expected, found)| {
                Err(Mismatch::new(format!("{name} {}", hex::encode(&expected)), hex::encode(&found)))
            }),
        Err(error) => Err(Mismatch::new("evidence as in the attachment", error)),
    };
    report.check(Check::ClaimEvidence, finding);
}

/// What is compared: its name, the attachment's and the claim's.
type Pairs = Result<[(&'static str, Vec<u8>, Vec<u8>); 2], String>;

fn of_snp(raw: &[u8], session: &SnpEvidence) -> Pairs {
    let read = |bytes: &[u8]| AttestationReport::parse(bytes).map_err(|error| error.to_string());
    let (expected, found) = (read(&session.report.0)?, read(raw)?);
    Ok([
        ("report data", expected.report_data.to_vec(), found.report_data.to_vec()),
        ("measurement", expected.measurement.to_vec(), found.measurement.to_vec()),
    ])
}

fn of_tpm(raw: &[u8], session: &TpmEvidence) -> Pairs {
    let read = |bytes: &[u8]| Attest::parse(bytes).map_err(|error| error.to_string());
    let (expected, found) = (read(&session.key_quote.message.0)?, read(raw)?);
    Ok([
        ("qualifyingData", expected.extra_data, found.extra_data),
        ("PCR digest", expected.pcr_digest, found.pcr_digest),
    ])
}

fn of_azure(raw: &[u8], session: &AzureEvidence) -> Pairs {
    let envelope = Envelope::parse(raw)?;
    let hcl = HclReport::parse(&session.hcl_report.0).map_err(|error| error.to_string())?;
    let read = |bytes: &[u8]| Attest::parse(bytes).map_err(|error| error.to_string());
    let (expected, found) = (read(&session.quote.message.0)?, read(&envelope.quote_msg)?);
    Ok([
        ("qualifyingData", expected.extra_data, found.extra_data),
        ("runtime claims", hcl.claims.to_vec(), envelope.runtime_data),
    ])
}

fn compared(same: bool, expected: &str, found: &str) -> Result<String, Mismatch> {
    if same { Ok(found.to_owned()) } else { Err(Mismatch::new(expected, found)) }
}
