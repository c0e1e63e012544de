//! Evidence by its type: read it, hold it against a binding, name the image that it is of.
//!
//! A new type is a variant of [`Evidence`], one of [`Image`] (and of the references' schema), and an arm in each function
//! here.

use claim::b64u;
use claim::evidence::Evidence;
use claim::json::{Json, from_json};
use claim::key::PublicKey;

use super::report::{Finding, Report};
use super::{Options, Reason};
use crate::references::Image;

/// The types that this build can judge, as evidence spells them.
const TYPES: &[&str] = &["software"];

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

/// That the evidence is for this binding, and genuine as far as its type goes.
pub(super) fn holds(
    evidence: &Evidence,
    key: &PublicKey,
    binding: &[u8; 64],
    unbound: Reason,
) -> Result<String, Finding> {
    match evidence {
        Evidence::Software(software) => {
            if b64u::decode_array(&software.binding) != Some(*binding) {
                return Err(Finding::new(unbound, b64u::encode(binding), &software.binding));
            }
            key.verify_software_evidence(binding, &software.signature).map_err(|error| {
                let expected = format!("a signature by {}", key.hex());
                Finding::new(Reason::EvidenceSignatureInvalid, expected, error.to_string())
            })?;
            Ok("software".to_owned())
        }
        _ => Err(not_judged()),
    }
}

/// Whether that type is enough.
pub(super) fn accept(evidence: &Evidence, dev: bool, options: Options, report: &mut Report) {
    let software = matches!(evidence, Evidence::Software(_));
    if software && options.accept_software {
        report.open("hardware", "software evidence: nothing but the process itself vouches for it");
        return;
    }
    report.rule("hardware", Err(Finding::new(Reason::SoftwareEvidence, "evidence by hardware", "software")));
    if dev {
        report.rule("mode", Err(Finding::new(Reason::DevMode, "a gateway outside dev mode", "dev mode")));
    }
}

/// What the evidence says is running.
pub(super) fn image(evidence: &Evidence) -> Option<Image> {
    match evidence {
        Evidence::Software(software) => Some(Image::Software { artifact: software.artifact }),
        _ => None,
    }
}

fn not_judged() -> Finding {
    Finding::new(Reason::EvidenceTypeUnknown, TYPES.join(" or "), "evidence of hardware")
}
