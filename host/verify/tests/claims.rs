//! Claim A: what is accepted, and the name of every refusal.

mod fixture;

use claim::json::{Json, parse};
use claim::profile::{Platform, Profile, SOFTWARE_FIRMWARE};
use fixture::spoil::{resigned, set, spoilt};
use fixture::{SEED, approved, key, options, seconds_later, sign, story};
use proptest::prelude::*;
use verify::{Approval, Approved, ClaimReason, Options, Requirement, Status, Verdict, verify_trace_claim};

const SIX: [&str; 6] =
    ["schema", "signature", "policy_bundle.hash", "tool_catalog.hash", "attestation_freshness", "audit_chain"];

fn judge(claim: &[u8]) -> Verdict {
    verify_trace_claim(claim, &approved(), &options())
}

/// The verdict on the story's claim, changed and signed again by its own key.
fn judge_resigned(change: impl FnOnce(&mut Json)) -> Verdict {
    judge(&resigned(&story().claim, SEED, change))
}

fn assert_refused(verdict: &Verdict, reason: ClaimReason) {
    assert_eq!(verdict.failure_reason, Some(reason), "{:?}", verdict.details);
    assert_eq!(verdict.status, Status::Unverified);
    assert!(!verdict.unverified_fields.is_empty());
}

#[test]
fn a_good_claim_is_partially_verified_with_the_six_fields() {
    let verdict = judge(&story().claim);
    assert_eq!(verdict.status, Status::PartiallyVerified, "{:?}", verdict.details);
    assert_eq!(verdict.verified_fields, SIX);
    assert_eq!(verdict.unverified_fields, ["hardware_attestation"]);
    let expected = [("hardware_attestation".to_owned(), "software-only mode - not hardware-backed".to_owned())];
    assert_eq!(verdict.details, expected);
    assert_eq!((verdict.attestation_age_seconds, verdict.is_attestation_fresh), (60, true));
    assert_eq!(verdict.failure_reason, None);
}

#[test]
fn every_changed_leaf_is_a_named_failure() {
    let document = parse(&story().claim).unwrap();
    let changes = spoilt(&document);
    assert!(changes.len() > 200);
    for (change, document) in changes {
        let verdict = judge(document.sorted_ascii().as_bytes());
        assert_eq!(verdict.status, Status::Unverified, "{change}");
        assert!(verdict.failure_reason.is_some(), "{change}");
    }
}

#[test]
fn the_named_refusals() {
    let cases: Vec<(ClaimReason, Verdict)> = vec![
        (ClaimReason::DuplicateKey, {
            let claim = String::from_utf8(story().claim).unwrap();
            judge(claim.replacen("{\"cmcp_version\"", "{\"cmcp_version\":\"1.0\",\"\\u0063mcp_version\"", 1).as_bytes())
        }),
        (ClaimReason::ClaimMalformed, judge(b"{")),
        (ClaimReason::ClaimMalformed, judge(b"\xff")),
        (ClaimReason::ClaimMalformed, judge_resigned(|claim| set(claim, &["trace", "iat"], "1"))),
        (ClaimReason::ClaimMalformed, judge_resigned(|claim| set(claim, &["trace", "iat"], 1_i64))),
        (ClaimReason::ClaimMalformed, judge_resigned(|claim| set(claim, &["trace", "runtime", "platform"], "abacus"))),
        (
            ClaimReason::ClaimMalformed,
            judge_resigned(|claim| *claim = claim.without("gateway").with("gateway", "x".into())),
        ),
        (
            ClaimReason::ClaimMalformed,
            judge_resigned(|claim| set(claim, &["gateway", "attestation_generated_at"], "2026-11-22T08:00:00")),
        ),
        (ClaimReason::UnknownKey, judge_resigned(|claim| set(claim, &["trace", "appraisal"], "affirming"))),
        (ClaimReason::UnknownKey, judge_resigned(|claim| set(claim, &["extra"], 1_i64))),
        (
            ClaimReason::FloatNotAllowed,
            judge_resigned(|claim| set(claim, &["gateway", "audit_chain", "length"], Json::Float(5.0))),
        ),
        (
            ClaimReason::FloatNotAllowed,
            judge_resigned(|claim| set(claim, &["trace", "cnf", "jwk", "extra"], Json::Float(0.5))),
        ),
        (ClaimReason::IntegerOutOfRange, judge_resigned(|claim| set(claim, &["trace", "iat"], 1_i64 << 53))),
        (ClaimReason::IntegerOutOfRange, judge_resigned(|claim| set(claim, &["trace", "iat"], u64::MAX))),
        (ClaimReason::NullNotAllowed, judge_resigned(|claim| set(claim, &["gateway", "prev_claim_hash"], Json::Null))),
        (ClaimReason::PrivateKeyMember, judge_resigned(|claim| set(claim, &["trace", "cnf", "jwk", "d"], "AA"))),
        (
            ClaimReason::ProfileNotAccepted,
            judge_resigned(|claim| set(claim, &["trace", "eat_profile"], Profile::TraceV01.as_str())),
        ),
        (ClaimReason::ProfileNotAccepted, judge_resigned(|claim| set(claim, &["trace", "eat_profile"], "tag:other"))),
        (
            ClaimReason::SequenceNumberInvalid,
            judge_resigned(|claim| set(claim, &["gateway", "sequence_number"], 0_i64)),
        ),
        (
            ClaimReason::SequenceNumberInvalid,
            judge_resigned(|claim| set(claim, &["gateway", "sequence_number"], -5_i64)),
        ),
        (
            ClaimReason::SequenceNumberInvalid,
            judge_resigned(|claim| set(claim, &["gateway", "prev_claim_hash"], fixture::bundle_hash().prefixed())),
        ),
        (
            ClaimReason::KeyIdMismatch,
            judge_resigned(|claim| set(claim, &["trace", "cnf", "jwk", "kid"], "cmcp-00000000")),
        ),
        (
            ClaimReason::KeyIdMismatch,
            judge_resigned(|claim| set(claim, &["trace", "subject"], "spiffe://cmcp.gateway/tee/0000000000000000")),
        ),
        (ClaimReason::ChainBroken, judge_resigned(|claim| set(claim, &["gateway", "audit_chain", "length"], 1_i64))),
        (
            ClaimReason::ChainBroken,
            judge_resigned(|claim| {
                set(claim, &["trace", "tool_transcript", "hash"], fixture::bundle_hash().prefixed());
            }),
        ),
        (
            ClaimReason::ChainRootNotBound,
            judge_resigned(|claim| set(claim, &["gateway", "audit_chain", "root"], fixture::bundle_hash().hex())),
        ),
        (
            ClaimReason::SummaryInconsistent,
            judge_resigned(|claim| set(claim, &["gateway", "call_summary", "tool_calls_allowed"], 9_i64)),
        ),
        (
            ClaimReason::SummaryInconsistent,
            judge_resigned(|claim| set(claim, &["trace", "tool_transcript", "call_count"], 2_i64)),
        ),
        (
            ClaimReason::SummaryInconsistent,
            judge_resigned(|claim| {
                let call =
                    Json::from([("tool_name", "t".into()), ("data_class", "pii".into()), ("decision", "deny".into())]);
                set(claim, &["trace", "tool_transcript", "entries"], Json::Array(vec![call; 4]));
            }),
        ),
        (
            ClaimReason::AgentKeyThumbprintUnboundSubject,
            judge_resigned(|claim| set(claim, &["gateway", "agent_identity"], agent_identity("config"))),
        ),
    ];
    for (reason, verdict) in &cases {
        assert_refused(verdict, *reason);
    }
}

fn agent_identity(source: &str) -> Json {
    Json::from([
        ("manifest_id", "m".into()),
        ("agent_id", "spiffe://example/agent".into()),
        ("authenticated_subject", "spiffe://example/agent".into()),
        ("subject_source", source.into()),
        ("issuer", "spiffe://example/issuer".into()),
        ("issuer_key_id", "k".into()),
        ("policy_bundle_hash", "p".into()),
        ("tool_catalog_hash", "c".into()),
        ("agent_key_thumbprint", fixture::bundle_hash().prefixed().into()),
    ])
}

#[test]
fn a_second_spelling_of_base64_is_refused() {
    for (path, padded) in
        [(["trace", "cnf", "jwk", "x"].as_slice(), "="), (&["trace", "runtime", "nonce"], "=="), (&["signature"], "==")]
    {
        let mut claim = parse(&story().claim).unwrap();
        let text = path.iter().fold(&claim, |value, key| value.get(key).unwrap()).as_str().unwrap().to_owned();
        // 32 and 64 bytes end in a character with spare bits: another letter is the same bytes to a lenient reader.
        let last = text.chars().last().unwrap();
        let spare = char::from_u32(u32::from(last) + 1).filter(char::is_ascii_alphanumeric).unwrap_or('B');
        let stray = format!("{}{spare}", &text[..text.len() - 1]);
        for other in [format!("{text}{padded}"), stray, text.replace(['-', '_'], "+") + "+"] {
            set(&mut claim, path, other.as_str());
            let verdict = judge(claim.sorted_ascii().as_bytes());
            assert_refused(&verdict, ClaimReason::NonCanonicalBase64);
        }
    }
}

#[test]
fn the_optional_members_of_the_deployed_schema_are_allowed() {
    let verdict = judge_resigned(|claim| {
        set(claim, &["gateway", "agent_identity"], agent_identity("svid"));
        set(claim, &["gateway", "kill_switch_triggered"], false);
        set(
            claim,
            &["gateway", "kill_switch"],
            Json::from([
                ("enabled", true.into()),
                ("window_seconds", 300_i64.into()),
                ("deny_rate_threshold", 1_i64.into()),
                ("min_calls", 10_i64.into()),
            ]),
        );
        set(claim, &["gateway", "policy_signing"], Json::from([("revoked_key_ids", Json::Array(Vec::new()))]));
        set(claim, &["trace", "cnf", "jwk", "use"], "sig");
    });
    assert_eq!(verdict.status, Status::PartiallyVerified, "{:?}", verdict.details);
    assert!(verdict.verified_fields.contains(&"agent_identity.agent_key_thumbprint"));
}

#[test]
fn times() {
    let claim = story().claim;
    let at = |seconds| verify_trace_claim(&claim, &approved(), &Options::at(seconds_later(seconds)));
    // Issued at 5 s, attested at 0 s.
    assert_refused(&at(-301), ClaimReason::TimeInFuture);
    assert_refused(&at(-296), ClaimReason::TimeInFuture);
    assert_eq!(at(-295).status, Status::PartiallyVerified);
    assert_eq!(at(-295).attestation_age_seconds, 0);
    assert_eq!(at(86_400).status, Status::PartiallyVerified);
    assert_refused(&at(86_401), ClaimReason::AttestationStale);
    let future = judge_resigned(|claim| {
        set(claim, &["gateway", "attestation_generated_at"], "2099-01-01T00:00:00Z");
    });
    assert_refused(&future, ClaimReason::TimeInFuture);
    let lenient = Options { max_age_seconds: 1, ..options() };
    assert_refused(&verify_trace_claim(&claim, &approved(), &lenient), ClaimReason::AttestationStale);
}

#[test]
fn approved_hashes() {
    let claim = story().claim;
    let zeros = Approval::Hash(format!("sha256:{}", "0".repeat(64)));
    let other_policy = Approved { policy_bundle_hash: zeros.clone(), ..approved() };
    assert_refused(&verify_trace_claim(&claim, &other_policy, &options()), ClaimReason::PolicyHashMismatch);
    let other_catalog = Approved { tool_catalog_hash: zeros, ..approved() };
    assert_refused(&verify_trace_claim(&claim, &other_catalog, &options()), ClaimReason::CatalogHashMismatch);
    let bare = Approved {
        policy_bundle_hash: Approval::Hash(fixture::bundle_hash().hex().to_uppercase()),
        tool_catalog_hash: Approval::NotGiven,
    };
    let verdict = verify_trace_claim(&claim, &bare, &options());
    assert_eq!(verdict.status, Status::PartiallyVerified);
    assert_eq!(verdict.unverified_fields, ["tool_catalog.hash", "hardware_attestation"]);
}

#[test]
fn a_pinned_key() {
    let claim = story().claim;
    let with =
        |trusted: String| verify_trace_claim(&claim, &approved(), &Options { trusted_key: Some(trusted), ..options() });
    let good = with(key().public().hex().to_uppercase());
    assert_eq!(good.status, Status::PartiallyVerified);
    assert!(good.verified_fields.contains(&"trusted_public_key"));
    assert_refused(&with("00".repeat(32)), ClaimReason::PublicKeyNotBound);
    assert_refused(&with("nonsense".into()), ClaimReason::PublicKeyNotBound);
}

#[test]
fn nothing_is_verified_below_a_bad_signature() {
    let verdict = judge(&resigned(&story().claim, [9; 32], |_| {}));
    assert_refused(&verdict, ClaimReason::SignatureInvalid);
    assert_eq!(verdict.verified_fields, ["schema"]);
}

#[test]
fn a_claim_of_another_key_with_the_binding_of_this_one_is_refused() {
    let other = claim::key::Key::from_seed([9; 32]).public();
    let verdict = judge(&resigned(&story().claim, [9; 32], |claim| {
        set(claim, &["trace", "cnf", "jwk", "x"], other.x());
        set(claim, &["trace", "cnf", "jwk", "kid"], other.kid());
        set(claim, &["trace", "subject"], other.subject());
    }));
    assert_refused(&verdict, ClaimReason::PublicKeyNotBound);
}

#[test]
fn profile_v01_only_when_asked_for() {
    let claim = sign(story().facts, Profile::TraceV01).bytes();
    assert_refused(&judge(&claim), ClaimReason::ProfileNotAccepted);
    let v01 = Options { profile: Profile::TraceV01, ..options() };
    let verdict = verify_trace_claim(&claim, &approved(), &v01);
    assert_eq!(verdict.status, Status::PartiallyVerified, "{:?}", verdict.details);
    assert_eq!(verdict.verified_fields, SIX);
    assert_refused(&verify_trace_claim(&story().claim, &approved(), &v01), ClaimReason::ProfileNotAccepted);
}

#[test]
fn a_tpm_with_the_dev_sentinel_is_software_only() {
    let verdict = judge_resigned(|claim| set(claim, &["trace", "runtime", "platform"], "tpm2"));
    assert_eq!(verdict.status, Status::PartiallyVerified);
    assert_eq!(verdict.verified_fields, SIX);
    let verdict = judge_resigned(|claim| {
        set(claim, &["trace", "runtime", "platform"], "tpm2");
        set(claim, &["trace", "runtime", "firmware_version"], "1.2");
    });
    assert!(verdict.verified_fields.contains(&"public_key_binding"), "{:?}", verdict.verified_fields);
    assert_eq!(SOFTWARE_FIRMWARE, "software-only-dev-mode");
}

#[test]
fn no_hardware_claim_is_verified_without_evidence() {
    let judged = [Platform::IntelTdx, Platform::AmdSevSnp, Platform::AzureCvmSevSnp, Platform::Tpm2];
    for platform in Platform::ALL.iter().filter(|platform| **platform != Platform::SoftwareOnly) {
        let verdict = judge_resigned(|claim| {
            set(claim, &["trace", "runtime", "platform"], platform.as_str());
            set(claim, &["trace", "runtime", "firmware_version"], "1.2");
        });
        if judged.contains(platform) {
            assert_eq!(verdict.status, Status::PartiallyVerified, "{platform}: {:?}", verdict.details);
            let open = verdict
                .details
                .iter()
                .any(|(name, text)| name == "hardware_attestation" && text.contains("--attachment"));
            assert!(open, "{:?}", verdict.details);
        } else {
            assert_refused(&verdict, ClaimReason::UnsupportedProvider);
        }
        assert!(verdict.verified_fields.contains(&"public_key_binding"));
        assert!(verdict.verified_fields.contains(&"audit_chain_binding"));
        let missing =
            verdict.details.iter().any(|(name, text)| name == "reference_values" && text.starts_with("missing"));
        assert!(missing, "{:?}", verdict.details);
    }
    let unbound = judge_resigned(|claim| {
        set(claim, &["trace", "runtime", "platform"], "amd-sev-snp");
        if let Json::Object(members) = claim
            && let Some(Json::Object(trace)) = members.get_mut("trace")
            && let Some(Json::Object(runtime)) = trace.get_mut("runtime")
        {
            runtime.remove("nonce");
        }
    });
    assert_refused(&unbound, ClaimReason::PublicKeyNotBound);
}

#[test]
fn what_this_build_cannot_judge_fails_by_name() {
    for (requirement, reason) in [
        (Requirement::AgentManifest, ClaimReason::AgentManifestMismatch),
        (Requirement::GatewayMeasurement, ClaimReason::MeasurementNotBound),
        (Requirement::SnpPlatformPolicy, ClaimReason::HardwareAttestationFailed),
    ] {
        let options = Options { requirements: vec![requirement], ..options() };
        assert_refused(&verify_trace_claim(&story().claim, &approved(), &options), reason);
    }
}

#[test]
fn reasons_have_distinct_names() {
    let names: std::collections::BTreeSet<_> = ClaimReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), ClaimReason::ALL.len());
}

proptest! {
    /// Key order, white space and escapes are not part of what is signed.
    #[test]
    fn formatting_changes_nothing(seed in any::<u64>()) {
        let claim = story().claim;
        let other = fixture::format::reformat(&parse(&claim).unwrap(), seed);
        prop_assert_eq!(judge(&claim), judge(other.as_bytes()));
    }

    /// No input makes the verifier panic, and nothing but the claim is accepted.
    #[test]
    fn a_flipped_byte_is_never_accepted(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut claim = story().claim;
        let at = at.index(claim.len());
        claim[at] ^= 1 << bit;
        let changed = parse(&claim).ok() != parse(&story().claim).ok();
        let verdict = judge(&claim);
        prop_assert_eq!(verdict.status == Status::Unverified, changed);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(judge(&bytes).status, Status::Unverified);
    }
}
