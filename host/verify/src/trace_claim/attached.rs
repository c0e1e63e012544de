//! A claim and its attachment: is the evidence good, and is it about this claim?

use claim::Digest;
use claim::attachment::Attachment;
use claim::entry::{Entry, SessionStart};

use super::rules::{View, bare};
use super::same;
use crate::evidence::appraise::{self, Appraisal, Standard};
use crate::evidence::{Check, Mismatch, Report};

/// Judges the attachment, and that the claim is of its key and session.
pub(super) fn appraise(claim: &View<'_>, attachment: &Attachment, standard: &Standard<'_>) -> Appraisal {
    let mut appraisal = appraise::appraise(attachment, standard);
    let mut report = Report::default();
    let key = claim.text(&["trace", "cnf", "jwk", "x"]);
    report.check(Check::ClaimKey, equal(&attachment.boot.public_key, key));
    match attachment.session_start.as_ref().map(Entry::parse) {
        Some(Ok(entry)) => of_session(claim, &entry, &mut report),
        // Said already.
        Some(Err(_)) => {}
        None => {
            let found = "the attachment has no session_start";
            report.check(Check::ClaimRoot, Err::<String, _>(Mismatch::new(claim.root(), found)));
        }
    }
    match (&attachment.session, appraisal.seen.iter().find(|seen| seen.of == "session")) {
        (Some(session), Some(seen)) => {
            same::platform(claim, seen, &mut report);
            same::evidence(claim, session, &mut report);
        }
        // Said already.
        (Some(_), None) => {}
        (None, _) => {
            let missing = "the attachment has none: get GET /session/ID/evidence of this session";
            report.open(Check::SessionEvidence, missing);
        }
    }
    appraisal.add("claim", report);
    appraisal
}

fn of_session(claim: &View<'_>, entry: &Entry, report: &mut Report) {
    report.check(Check::ClaimRoot, equal(&entry.entry_hash.hex(), claim.root()));
    let Some(Ok(start)) = entry.detail.as_ref().map(SessionStart::parse) else { return };
    let stated = ["trace.policy.bundle_hash", "gateway.catalog.hash"].map(|path| {
        let path: Vec<_> = path.split('.').collect();
        bare(claim.text(&path)).to_owned()
    });
    let committed = [start.policy_bundle_hash, start.catalog_hash].map(|hash: Digest| hash.hex());
    report.check(Check::ClaimSettings, equal(&committed.join(" and "), &stated.join(" and ")));
}

fn equal(expected: &str, found: &str) -> Result<String, Mismatch> {
    if expected == found { Ok(found.to_owned()) } else { Err(Mismatch::new(expected, found)) }
}
