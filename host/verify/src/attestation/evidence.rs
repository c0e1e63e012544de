//! Evidence by its type. Software evidence is judged here: that it is for a binding, and which program it names. Evidence by
//! hardware is judged as everywhere else: [`crate::evidence::appraise`].

use claim::b64u;
use claim::evidence::{Evidence, SoftwareEvidence};
use claim::json::{Json, from_json};
use claim::key::PublicKey;

use super::report::{Finding, Report};
use super::{Options, Reason};

/// The types that this build can judge, as evidence spells them.
const TYPES: &[&str] = &["software", "azure", "tpm", "sev-snp", "tdx"];

/// Evidence of a type that is known.
pub(super) fn read(json: &Json) -> Result<Evidence, Finding> {
    let found = json.get("type").and_then(Json::as_str);
    if let Some(found) = found.filter(|found| !TYPES.contains(found)) {
        return Err(Finding::new(Reason::EvidenceTypeUnknown, TYPES.join(" or "), found));
    }
    from_json(json).map_err(|error| {
        let expected = format!("evidence of type {}", TYPES.join(" or "));
        Finding::new(Reason::EvidenceMalformed, expected, error.to_string())
    })
}

/// All three pieces, if none is by hardware.
pub(super) fn software<const N: usize>(pieces: [&Evidence; N]) -> Option<[&SoftwareEvidence; N]> {
    let all: Vec<_> = pieces.into_iter().map_while(of_software).collect();
    all.try_into().ok()
}

const fn of_software(evidence: &Evidence) -> Option<&SoftwareEvidence> {
    match evidence {
        Evidence::Software(software) => Some(software),
        _ => None,
    }
}

/// That the evidence is for this binding, and signed by this key.
pub(super) fn holds(
    software: &SoftwareEvidence,
    key: &PublicKey,
    binding: &[u8; 64],
    unbound: Reason,
) -> Result<String, Finding> {
    if b64u::decode_array(&software.binding) != Some(*binding) {
        return Err(Finding::new(unbound, b64u::encode(binding), &software.binding));
    }
    key.verify_software_evidence(binding, &software.signature).map_err(|error| {
        let expected = format!("a signature by {}", key.hex());
        Finding::new(Reason::EvidenceSignatureInvalid, expected, error.to_string())
    })?;
    Ok("software".to_owned())
}

/// Whether software evidence is enough.
pub(super) fn accept(dev: bool, options: &Options<'_>, report: &mut Report) {
    if options.accept_software {
        report.open("hardware", "software evidence: nothing but the process itself vouches for it");
        return;
    }
    report.rule("hardware", Err(Finding::new(Reason::SoftwareEvidence, "evidence by hardware", "software")));
    if dev {
        report.rule("mode", Err(Finding::new(Reason::DevMode, "a gateway outside dev mode", "dev mode")));
    }
}
