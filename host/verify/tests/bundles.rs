//! Audit bundles: what fits a claim, and the name of every way not to.
#![expect(clippy::indexing_slicing, reason = "a broken fixture ends the test")]

mod fixture;

use claim::entry::{Draft, EntryType};
use claim::json::{Json, parse};
use fixture::spoil::{resigned, set, spoilt};
use fixture::{SEED, Story, bundle, seconds_later, story, story_of};
use proptest::prelude::*;
use verify::{BundleOptions, BundleReason, BundleVerdict, Finality, Outcome, verify_audit_bundle};

fn judge(bundle: &[u8], claim: &[u8]) -> BundleVerdict {
    verify_audit_bundle(bundle, Some(claim), BundleOptions::default())
}

fn judge_story(story: &Story) -> BundleVerdict {
    judge(&story.bundle, &story.claim)
}

fn assert_refused(verdict: &BundleVerdict, reason: BundleReason) {
    assert!(!verdict.verified);
    assert_eq!(verdict.failures.first().map(|failure| failure.reason), Some(reason), "{:?}", verdict.failures);
}

/// The story's bundle against its claim, changed and signed again.
fn judge_claim(change: impl FnOnce(&mut Json)) -> BundleVerdict {
    let story = story();
    judge(&story.bundle, &resigned(&story.claim, SEED, change))
}

#[test]
fn a_good_bundle_is_verified_and_final() {
    let verdict = judge_story(&story());
    assert!(verdict.verified, "{:?}", verdict.failures);
    assert_eq!((verdict.entry_count, verdict.finality), (5, Some(Finality::Final)));
    assert!(verdict.checks.iter().all(|check| check.outcome == Outcome::Pass), "{:?}", verdict.checks);
}

#[test]
fn a_session_that_goes_on_is_interim() {
    let verdict = judge_story(&story_of(|mut drafts| {
        drafts.pop();
        drafts
    }));
    assert!(verdict.verified, "{:?}", verdict.failures);
    assert_eq!(verdict.finality, Some(Finality::Interim));
}

#[test]
fn every_changed_leaf_is_a_named_failure() {
    let story = story();
    let changes = spoilt(&parse(&story.bundle).unwrap());
    assert!(changes.len() > 400);
    for (change, document) in changes {
        let verdict = judge(document.sorted_ascii().as_bytes(), &story.claim);
        assert!(!verdict.verified && !verdict.failures.is_empty(), "{change}");
    }
}

#[test]
fn every_changed_leaf_of_the_claim_is_a_named_failure() {
    let story = story();
    for (change, document) in spoilt(&parse(&story.claim).unwrap()) {
        let verdict = judge(&story.bundle, document.sorted_ascii().as_bytes());
        assert_refused(&verdict, BundleReason::ClaimUnverified);
        assert!(!verdict.verified, "{change}");
    }
}

#[test]
fn entries_taken_out_swapped_or_added() {
    let story = story();
    let with = |change: &dyn Fn(&mut Vec<Json>)| {
        let mut entries = story.entries.clone();
        change(&mut entries);
        judge(&bundle(&entries), &story.claim)
    };
    assert_refused(&with(&|entries| drop(entries.remove(2))), BundleReason::SequenceGap);
    assert_refused(&with(&|entries| entries.swap(1, 2)), BundleReason::SequenceGap);
    assert_refused(&with(&|entries| entries.insert(1, entries[1].clone())), BundleReason::SequenceGap);
    assert_refused(&with(&|entries| drop(entries.pop())), BundleReason::TipMismatch);
    assert_refused(&with(&|entries| drop(entries.remove(0))), BundleReason::OutOfPlace);
    assert_refused(&with(&Vec::clear), BundleReason::Empty);
}

/// The story with one draft changed; claim and signatures follow, so that only the change is wrong.
fn judge_draft(index: usize, change: impl FnOnce(&mut Draft<'_>)) -> BundleVerdict {
    judge_story(&story_of(|mut drafts| {
        change(&mut drafts[index]);
        drafts
    }))
}

#[test]
fn entries_that_contradict_each_other() {
    assert_refused(&judge_draft(2, |draft| draft.timestamp_utc = seconds_later(0)), BundleReason::TimeReversed);
    assert_refused(&judge_draft(2, |draft| draft.session_id = "other"), BundleReason::SessionChanged);
    assert_refused(
        &judge_draft(2, |draft| draft.session_sensitivity_after = Some("public")),
        BundleReason::LabelDropped,
    );
    assert_refused(
        &judge_draft(4, |draft| {
            draft.session_sensitivity_before = Some("public");
            draft.session_sensitivity_after = Some("public");
        }),
        BundleReason::LabelDropped,
    );
    assert_refused(&judge_draft(1, |draft| draft.entry_type = EntryType::SessionStart), BundleReason::OutOfPlace);
    assert_refused(&judge_draft(0, |draft| draft.entry_type = EntryType::PolicyLoad), BundleReason::OutOfPlace);
    assert_refused(&judge_draft(3, |draft| draft.entry_type = EntryType::SessionEnd), BundleReason::OutOfPlace);
    assert_refused(
        &judge_draft(1, |draft| draft.effective_data_class = Some("mnpi")),
        BundleReason::TranscriptEntriesDiffer,
    );
    assert_refused(&judge_draft(3, |draft| draft.session_sensitivity_after = Some("mnpi")), BundleReason::LabelDropped);
}

#[test]
fn labels_may_fall_at_a_reset_and_claims_do_not_fall_with_them() {
    let story = story_of(|mut drafts| {
        drafts[3] = Draft {
            entry_id: "reset",
            timestamp_utc: seconds_later(3),
            session_id: drafts[3].session_id,
            entry_type: EntryType::SessionReset,
            session_sensitivity_before: Some("mnpi"),
            session_sensitivity_after: Some("public"),
            ..Draft::default()
        };
        drafts
    });
    assert!(judge_story(&story).verified, "{:?}", judge_story(&story).failures);
    for path in [["gateway", "call_summary", "session_max_sensitivity"].as_slice(), &["trace", "data_class"]] {
        let lowered = resigned(&story.claim, SEED, |claim| set(claim, path, "public"));
        assert_refused(&judge(&story.bundle, &lowered), BundleReason::SensitivityMismatch);
    }
}

#[test]
fn a_reset_can_hand_over_to_another_session_by_name() {
    let named = Json::from([
        ("closed_session_id", fixture::SESSION.into()),
        ("successor_session_id", "demo-session-002".into()),
    ]);
    let other = Json::from([("closed_session_id", "x".into()), ("successor_session_id", "demo-session-002".into())]);
    for (detail, ok) in [(named, true), (other, false)] {
        let mut chain = claim::entry::Chain::new();
        let start = fixture::session_start(1, "00");
        let mut drafts = fixture::drafts(&start, fixture::SESSION);
        drafts[3] = Draft {
            entry_type: EntryType::SessionReset,
            detail: Some(&detail),
            call_id: None,
            tool_name: None,
            policy_decision: None,
            ..drafts[3]
        };
        drafts[4].session_id = "demo-session-002";
        let entries: Vec<_> = drafts.iter().map(|draft| parse(&chain.seal(draft).bytes).unwrap()).collect();
        let verdict = verify_audit_bundle(&bundle(&entries), None, BundleOptions::default());
        assert_eq!(
            !verdict.failures.iter().any(|f| f.reason == BundleReason::SessionChanged),
            ok,
            "{:?}",
            verdict.failures
        );
    }
}

#[test]
fn a_claim_that_contradicts_its_entries() {
    let cases: [(BundleReason, BundleVerdict); 15] = [
        (BundleReason::SessionMismatch, judge_claim(|claim| set(claim, &["gateway", "session_id"], "other"))),
        (
            BundleReason::RootMismatch,
            judge_claim(|claim| set(claim, &["gateway", "audit_chain", "root"], fixture::bundle_hash().hex())),
        ),
        (
            BundleReason::TipMismatch,
            judge_claim(|claim| set(claim, &["gateway", "audit_chain", "tip"], fixture::bundle_hash().hex())),
        ),
        (BundleReason::LengthMismatch, judge_claim(|claim| set(claim, &["gateway", "audit_chain", "length"], 4_i64))),
        (
            BundleReason::TranscriptHashMismatch,
            judge_claim(|claim| set(claim, &["trace", "tool_transcript", "hash"], fixture::bundle_hash().prefixed())),
        ),
        (
            BundleReason::CallCountMismatch,
            judge_claim(|claim| set(claim, &["trace", "tool_transcript", "call_count"], 2_i64)),
        ),
        (
            BundleReason::SummaryMismatch,
            judge_claim(|claim| set(claim, &["gateway", "call_summary", "tool_calls_denied"], 0_i64)),
        ),
        (
            BundleReason::SummaryMismatch,
            judge_claim(|claim| {
                set(claim, &["gateway", "call_summary", "tools_invoked"], Json::Array(vec!["echo".into()]));
            }),
        ),
        (
            BundleReason::SensitivityMismatch,
            judge_claim(|claim| set(claim, &["gateway", "call_summary", "session_max_sensitivity"], "public")),
        ),
        (BundleReason::SensitivityMismatch, judge_claim(|claim| set(claim, &["trace", "data_class"], "public"))),
        (
            BundleReason::DriftContradicted,
            judge_claim(|claim| set(claim, &["gateway", "catalog", "drift_detected"], true)),
        ),
        (BundleReason::StaleContradicted, judge_claim(|claim| set(claim, &["gateway", "attestation_stale"], true))),
        (
            BundleReason::CommitmentMismatch,
            judge_claim(|claim| set(claim, &["trace", "policy", "bundle_hash"], fixture::catalog_hash().prefixed())),
        ),
        (
            BundleReason::CommitmentMismatch,
            judge_claim(|claim| set(claim, &["trace", "policy", "enforcement_mode"], "advisory")),
        ),
        (BundleReason::ClaimOlderThanEntries, {
            judge_claim(|claim| set(claim, &["trace", "iat"], seconds_later(2).seconds()))
        }),
    ];
    for (reason, verdict) in &cases {
        assert_refused(verdict, *reason);
    }
}

#[test]
fn flags_follow_the_entries() {
    for (entry_type, path, reason) in [
        (EntryType::CatalogDrift, ["gateway", "catalog", "drift_detected"].as_slice(), BundleReason::DriftContradicted),
        (EntryType::AttestationStale, &["gateway", "attestation_stale"], BundleReason::StaleContradicted),
    ] {
        let story = story_of(|mut drafts| {
            let mut entry = Draft { entry_type, policy_decision: None, call_id: None, ..drafts[3] };
            entry.timestamp_utc = seconds_later(2);
            drafts.insert(3, entry);
            drafts
        });
        assert_refused(&judge_story(&story), reason);
        let honest = resigned(&story.claim, SEED, |claim| set(claim, path, true));
        let verdict = judge(&story.bundle, &honest);
        assert!(verdict.verified, "{:?}", verdict.failures);
    }
}

#[test]
fn the_kill_switch_flag_follows_its_entry_alone() {
    let flag = |claim: &mut Json| set(&mut *claim, &["gateway", "kill_switch_triggered"], true);
    let trip = Json::from([("control", "kill_switch".into()), ("trigger", "deny_rate".into())]);
    let other = Json::from([("control", "sequence".into())]);
    for (detail, triggered) in [(trip, true), (other, false)] {
        let detail: &'static Json = Box::leak(Box::new(detail));
        let story = story_of(|mut drafts| {
            let entry_type = EntryType::SuspiciousCallSequence;
            let mut entry =
                Draft { entry_type, policy_decision: None, call_id: None, detail: Some(detail), ..drafts[3] };
            entry.timestamp_utc = seconds_later(2);
            drafts.insert(3, entry);
            drafts
        });
        let (silent, flagged) = (judge_story(&story), judge(&story.bundle, &resigned(&story.claim, SEED, flag)));
        let (honest, lie) = if triggered { (flagged, silent) } else { (silent, flagged) };
        assert!(honest.verified, "{:?}", honest.failures);
        assert_refused(&lie, BundleReason::KillSwitchContradicted);
    }
}

#[test]
fn an_attestation_that_outlived_its_validity_is_stale_without_an_entry() {
    let short = |claim: &mut Json, stale: bool| {
        set(claim, &["gateway", "attestation_validity_seconds"], 4_i64);
        set(claim, &["gateway", "attestation_stale"], stale);
    };
    let verdict = judge_claim(|claim| short(claim, true));
    assert!(verdict.verified, "{:?}", verdict.failures);
    assert_refused(&judge_claim(|claim| short(claim, false)), BundleReason::StaleContradicted);
}

#[test]
fn a_call_of_an_unknown_tool_is_counted_and_not_listed() {
    let story = story_of(|mut drafts| {
        drafts[2].tool_name = None;
        drafts
    });
    let verdict = judge_story(&story);
    assert!(verdict.verified, "{:?}", verdict.failures);
}

#[test]
fn transcript_entries_are_those_of_the_bundle() {
    let listed = |decision: &str| {
        Json::from([("tool_name", "echo".into()), ("data_class", "pii".into()), ("decision", decision.into())])
    };
    let verdict = judge_claim(|claim| {
        set(
            claim,
            &["trace", "tool_transcript", "entries"],
            Json::Array(vec![listed("allow"), listed("deny"), listed("fault")]),
        );
    });
    assert_refused(&verdict, BundleReason::TranscriptEntriesDiffer);
    let verdict = judge_claim(|claim| {
        set(claim, &["trace", "tool_transcript", "entries"], Json::Array(Vec::new()));
    });
    assert_refused(&verdict, BundleReason::TranscriptEntriesDiffer);
    let verdict = judge_claim(|claim| {
        if let Json::Object(members) = claim
            && let Some(Json::Object(trace)) = members.get_mut("trace")
            && let Some(Json::Object(transcript)) = trace.get_mut("tool_transcript")
        {
            transcript.remove("entries");
        }
    });
    assert!(verdict.verified, "entries are optional: {:?}", verdict.failures);
}

#[test]
fn the_form_of_a_bundle() {
    let story = story();
    let text = String::from_utf8(story.bundle.clone()).unwrap();
    let cases = [
        (BundleReason::Malformed, "[]".to_owned()),
        (BundleReason::Malformed, format!("{text} x")),
        (BundleReason::Malformed, text.replace("\"session_id\":\"demo-session-001\"}", "\"session_id\":1}")),
        (BundleReason::Malformed, "{\"session_id\":\"demo-session-001\"}".to_owned()),
        (BundleReason::Malformed, parse(&story.bundle).unwrap().without("session_id").sorted_ascii()),
        (BundleReason::Malformed, format!("{{\"session_id\":\"x\",\"entries\":[{}", "[".repeat(1 << 20))),
        (BundleReason::Malformed, {
            let (open, close) = ("[".repeat(1 << 18), "]".repeat(1 << 18));
            format!("{{\"session_id\":\"x\",\"entries\":[{open}{close}]}}")
        }),
        (BundleReason::UnknownKey, text.replacen('{', "{\"more\":1,", 1)),
        (BundleReason::DuplicateKey, text.replacen('{', "{\"session_id\":\"demo-session-001\",", 1)),
        (BundleReason::DuplicateKey, text.replacen("\"call_id\":", "\"call_id\":null,\"call_id\":", 1)),
        (BundleReason::FloatNotAllowed, text.replacen("\"latency_us\":4711", "\"latency_us\":4711.0", 1)),
        (BundleReason::IntegerOutOfRange, text.replacen("4711", "9007199254740993", 1)),
        (BundleReason::EntryMalformed, text.replacen("\"call_id\":null,", "", 1)),
        (BundleReason::EntryMalformed, text.replacen("\"call_id\":null", "\"call_idd\":null", 1)),
    ];
    for (reason, text) in cases {
        assert_refused(&judge(text.as_bytes(), &story.claim), reason);
    }
}

#[test]
fn signatures() {
    let story = story();
    let bundle = parse(&story.bundle).unwrap();
    let unsigned = bundle.without("bundle_signature").sorted_ascii();
    assert_refused(&judge(unsigned.as_bytes(), &story.claim), BundleReason::SignatureMissing);
    let other = claim::key::Key::from_seed([9; 32]).sign_bundle_digest(claim::Digest::of("x"));
    let other = bundle.clone().with("bundle_signature", other.into()).sorted_ascii();
    assert_refused(&judge(other.as_bytes(), &story.claim), BundleReason::SignatureInvalid);
    let padded = format!("{}==", bundle.get("bundle_signature").unwrap().as_str().unwrap());
    let padded = bundle.with("bundle_signature", padded.into());
    assert_refused(&judge(padded.sorted_ascii().as_bytes(), &story.claim), BundleReason::SignatureInvalid);
    let alone = verify_audit_bundle(&story.bundle, None, BundleOptions::default());
    assert!(alone.verified);
    assert!(alone.checks.iter().any(|check| check.name == "bundle_signature" && check.outcome == Outcome::Open));
}

#[test]
fn a_claim_that_nobody_signed_proves_nothing() {
    let story = story();
    let forged = resigned(&story.claim, [9; 32], |_| {});
    assert_refused(&judge(&story.bundle, &forged), BundleReason::ClaimUnverified);
}

#[test]
fn receipts_of_tool_servers_fail_where_they_are_required() {
    let receipt = Json::from([("issuer", "x".into())]);
    let story = {
        let detail = fixture::session_start(1, "00");
        let mut drafts = fixture::drafts(&detail, fixture::SESSION);
        drafts[1].external_execution_evidence = Some(&receipt);
        let mut chain = claim::entry::Chain::new();
        let entries: Vec<_> = drafts.iter().map(|draft| parse(&chain.seal(draft).bytes).unwrap()).collect();
        bundle(&entries)
    };
    assert!(verify_audit_bundle(&story, None, BundleOptions::default()).verified);
    let required = BundleOptions { require_external_evidence: true, ..BundleOptions::default() };
    assert_refused(&verify_audit_bundle(&story, None, required), BundleReason::ExternalEvidence);
}

#[test]
fn a_failed_call_is_counted() {
    let story = story();
    assert_eq!(story.facts.call_summary.tool_calls_faulted, 1);
    assert_refused(
        &judge_claim(|claim| set(claim, &["gateway", "call_summary", "tool_calls_faulted"], 0_i64)),
        BundleReason::SummaryMismatch,
    );
}

proptest! {
    #[test]
    fn formatting_changes_nothing(seed in any::<u64>()) {
        let story = story();
        let other = fixture::format::reformat(&parse(&story.bundle).unwrap(), seed);
        prop_assert_eq!(judge_story(&story), judge(other.as_bytes(), &story.claim));
    }

    #[test]
    fn a_flipped_byte_is_never_accepted(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let story = story();
        let mut bundle = story.bundle.clone();
        let at = at.index(bundle.len());
        bundle[at] ^= 1 << bit;
        let changed = parse(&bundle).ok() != parse(&story.bundle).ok();
        prop_assert_eq!(judge(&bundle, &story.claim).verified, !changed);
    }
}
