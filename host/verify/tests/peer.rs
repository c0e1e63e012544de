//! Claims and bundles that other people's software made.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod fixture;

use claim::time::Timestamp;
use fixture::peer;
use verify::{
    Approval, Approved, BundleOptions, BundleReason, Options, Outcome, Status, Verdict, verify_audit_bundle,
    verify_trace_claim,
};

fn approved() -> Approved {
    Approved {
        policy_bundle_hash: Approval::Hash(
            "sha256:902eea1e0251bb1f77b72fe6cc753c541796ebb433fbd49081c678e6b8af7e0f".into(),
        ),
        tool_catalog_hash: Approval::Hash("81a318ae06ae4b0c0e36dcf0831fb1ae7238b1f3d03a54f85cdcd839fd5866a2".into()),
    }
}

fn just_after() -> Options {
    Options::at(Timestamp::parse("2026-11-22T07:01:00Z").unwrap())
}

#[test]
fn a_claim_of_the_deployed_gateway_has_the_six_fields() {
    let verdict = verify_trace_claim(&peer("claim_dev.json"), &approved(), &just_after());
    assert_eq!(verdict.status, Status::PartiallyVerified, "{:?}", verdict.details);
    assert_eq!(
        verdict.verified_fields,
        ["schema", "signature", "policy_bundle.hash", "tool_catalog.hash", "attestation_freshness", "audit_chain"]
    );
    assert_eq!(verdict.unverified_fields, ["hardware_attestation"]);
    let details: Vec<_> = verdict.details.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(details, [("hardware_attestation", "software-only mode - not hardware-backed")]);
    assert_eq!(verdict.failure_reason, None);
}

#[test]
fn a_bundle_of_the_deployed_gateway_fits_its_claim() {
    let claim = peer("claim_dev.json");
    let verdict = verify_audit_bundle(&peer("audit_dev.json"), Some(&claim), BundleOptions::default());
    assert!(verdict.verified, "{:?}", verdict.failures);
    assert_eq!(verdict.entry_count, 4);
}

#[test]
fn a_bundle_with_a_member_of_its_own_is_refused() {
    let verdict = verify_audit_bundle(&peer("synthetic_bundle.json"), None, BundleOptions::default());
    assert_eq!(verdict.failures.first().map(|failure| failure.reason), Some(BundleReason::EntryMalformed));
}

/// With the hashes that the claim itself names, so that its evidence alone decides.
fn judged(name: &str) -> Verdict {
    let claim = peer(&format!("synthetic_claim_{name}.json"));
    let json = claim::json::parse(&claim).unwrap();
    let text = |path: [&str; 3]| {
        path.iter().try_fold(&json, |value, key| value.get(key)).unwrap().as_str().unwrap().to_owned()
    };
    let approved = Approved {
        policy_bundle_hash: Approval::Hash(text(["trace", "policy", "bundle_hash"])),
        tool_catalog_hash: Approval::Hash(text(["gateway", "catalog", "hash"])),
    };
    verify_trace_claim(&claim, &approved, &just_after())
}

#[test]
fn evidence_that_no_hardware_made_is_refused() {
    for (name, reason) in
        [("snp", "SNP_POLICY_UNKNOWN"), ("azure", "SNP_POLICY_UNKNOWN"), ("tpm", "TPM_AK_CHAIN_INVALID")]
    {
        let verdict = judged(name);
        assert_eq!(verdict.status, Status::Unverified, "{name}");
        assert!(verdict.verified_fields.contains(&"public_key_binding"), "{name}: {:?}", verdict.details);
        assert!(verdict.verified_fields.contains(&"audit_chain_binding"), "{name}: {:?}", verdict.details);
        assert!(verdict.unverified_fields.contains(&"hardware_attestation"), "{name}");
        let report = verdict.appraisal.as_ref().unwrap().report();
        let failed: Vec<_> = report.lines().iter().filter(|line| line.outcome == Outcome::Fail).collect();
        assert!(failed.iter().any(|line| line.check.reason() == reason), "{name}: {failed:#?}");
        assert!(verdict.details.iter().any(|(name, _)| name == "reference_values"));
    }
}

#[test]
fn evidence_that_nobody_signed_leaves_the_claim_open() {
    let verdict = judged("tdx");
    assert_eq!(verdict.status, Status::PartiallyVerified, "{:?}", verdict.details);
    assert!(verdict.details.iter().any(|(_, text)| text.contains("--attachment")), "{:?}", verdict.details);
}
