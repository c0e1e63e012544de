//! What a relying party is handed: no panic, and nothing that was not signed with a known key is ever verified.
//! The first byte chooses the document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use verify::{
    Approval, Approved, BundleOptions, Options, RecordOptions, Status, Timestamp, verify_audit_bundle,
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
        _ => {}
    }
});
