//! What a relying party is handed: no panic, and nothing that was not signed with a known key is ever verified.
//! The first byte chooses the document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use verify::attestation::{Options as Accepted, Shown, tls_key, verify_attestation};
use verify::evidence::appraise::{Shown as Evidence, Standard, appraise_shown};
use verify::evidence::x509::Chains;
use verify::references::References;
use verify::{
    Approval, Approved, BundleOptions, Options, Outcome, RecordOptions, Status, Timestamp, verify_audit_bundle,
    verify_trace_claim, verify_trust_record,
};

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_seconds(1_795_000_000);
    match bytes.split_first() {
        Some((b'c', claim)) => {
            let approved = Approved { policy_bundle_hash: Approval::NotGiven, tool_catalog_hash: Approval::NotGiven };
            let verdict = verify_trace_claim(claim, &approved, &Options::at(now));
            assert_ne!(verdict.status, Status::Verified, "without hardware evidence and approvals nothing is");
            assert_eq!(verdict.status == Status::Unverified, verdict.failure_reason.is_some());
        }
        Some((b'b', bundle)) => {
            let verdict = verify_audit_bundle(bundle, None, BundleOptions::default());
            assert_eq!(verdict.verified, verdict.failures.is_empty());
        }
        Some((b'r', record)) => {
            let verdict = verify_trust_record(record, &RecordOptions::at(now));
            assert_ne!(verdict.status, Status::Verified);
        }
        Some((b'e', evidence)) => {
            let Ok(shown) = Evidence::read(evidence, None) else { return };
            let standard =
                Standard { references: Some(&references()), at: now, chains: &Chains::default(), software: true };
            assert!(!appraise_shown(&shown, &standard).verified(), "no vendor has signed it");
        }
        Some((b'g', gateway)) => judge_gateway(gateway),
        _ => {}
    }
});

/// The certificate's length in two bytes, the certificate, the answer: not one of them can have known the challenge.
fn judge_gateway(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let Some((leaf, answer)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    let shown = Shown { leaf, answer, nonce: b"nobody was asked" };
    let accepted = Accepted { accept_software: true, at: Timestamp::from_seconds(1_795_330_500), collateral: None };
    let verdict = verify_attestation(&shown, &references(), &accepted);
    assert_eq!(verdict.status, Status::Unverified);
    assert!(verdict.failure_reason.is_some() && verdict.boot.is_none());
    let readable = verdict.checks.first().is_some_and(|check| check.outcome == Outcome::Pass);
    assert!(!readable || tls_key(leaf).is_some());
}

/// Approves nothing that there is.
fn references() -> References {
    let zeros = format!("sha256:{:064}", 0);
    let image = format!(r#"{{"type":"software","artifact":"{zeros}"}}"#);
    let lists = ["config_hashes", "bundle_hashes", "catalog_hashes"].map(|name| format!(r#","{name}":["{zeros}"]"#));
    let text = format!(r#"{{"version":1,"images":[{image}]{}}}"#, lists.concat());
    References::parse(text.as_bytes()).expect("reference values")
}
