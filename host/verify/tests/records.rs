//! Trust record B: what fits a claim, and the name of every refusal.

mod fixture;

use claim::gateway::SignedClaim;
use claim::json::{Json, parse};
use claim::profile::Profile;
use fixture::spoil::{resigned_jcs, set, spoilt};
use fixture::{CHALLENGE, SEED, key, seconds_later, sign, story};
use proptest::prelude::*;
use verify::{Outcome, RecordOptions, RecordReason, RecordVerdict, Status, verify_trust_record};

fn options(claim: &[u8]) -> RecordOptions<'_> {
    RecordOptions { nonce: Some(CHALLENGE), claim: Some(claim), ..RecordOptions::at(seconds_later(60)) }
}

fn judge(record: &[u8]) -> RecordVerdict {
    verify_trust_record(record, &options(&story().claim))
}

fn judge_resigned(change: impl FnOnce(&mut Json)) -> RecordVerdict {
    judge(&resigned_jcs(&story().record, SEED, change))
}

fn assert_refused(verdict: &RecordVerdict, reason: RecordReason) {
    assert_eq!(verdict.failure_reason, Some(reason), "{:?}", verdict.checks);
    assert_eq!(verdict.status, Status::Unverified);
}

#[test]
fn a_good_record_is_partially_verified() {
    let verdict = judge(&story().record);
    assert_eq!(verdict.failure_reason, None, "{:?}", verdict.checks);
    assert_eq!(verdict.status, Status::PartiallyVerified);
    let open: Vec<_> = verdict.checks.iter().filter(|check| check.outcome == Outcome::Open).collect();
    assert_eq!(open.iter().map(|check| check.name).collect::<Vec<_>>(), ["record.hardware"]);
}

#[test]
fn every_changed_leaf_is_a_named_failure() {
    let story = story();
    let changes = spoilt(&parse(&story.record).unwrap());
    assert!(changes.len() > 150);
    for (change, document) in changes {
        let verdict = verify_trust_record(document.sorted_ascii().as_bytes(), &options(&story.claim));
        assert_eq!(verdict.status, Status::Unverified, "{change}");
        assert!(verdict.failure_reason.is_some(), "{change}");
    }
}

#[test]
fn the_named_refusals() {
    let other = fixture::bundle_hash().prefixed();
    let cases: Vec<(RecordReason, RecordVerdict)> = vec![
        (RecordReason::Malformed, judge(b"[]")),
        (RecordReason::Malformed, judge_resigned(|record| *record = record.without("appraisal"))),
        (RecordReason::Malformed, judge_resigned(|record| set(record, &["subject"], "spiffe://domain-only"))),
        (RecordReason::Malformed, judge_resigned(|record| set(record, &["build_provenance", "slsa_level"], 4_i64))),
        (
            RecordReason::UnknownKey,
            judge_resigned(|record| set(record, &["tool_transcript", "entries"], Json::Array(Vec::new()))),
        ),
        (RecordReason::FloatNotAllowed, judge_resigned(|record| set(record, &["iat"], Json::Float(1.5)))),
        (RecordReason::IntegerOutOfRange, judge_resigned(|record| set(record, &["iat"], 1_i64 << 53))),
        (RecordReason::NullNotAllowed, judge_resigned(|record| set(record, &["transparency"], Json::Null))),
        (
            RecordReason::NonCanonicalBase64,
            judge_resigned(|record| set(record, &["runtime", "nonce"], "AAECAwQFBgcICQoLDA0ODw==")),
        ),
        (RecordReason::PrivateKeyMember, judge_resigned(|record| set(record, &["cnf", "jwk", "d"], "AA"))),
        (
            RecordReason::ProfileNotAccepted,
            judge_resigned(|record| set(record, &["eat_profile"], Profile::TraceV01.as_str())),
        ),
        (RecordReason::DuplicateKey, {
            let text = String::from_utf8(story().record).unwrap();
            judge(text.replacen('{', "{\"iat\":1,", 1).as_bytes())
        }),
        (RecordReason::SignatureInvalid, judge(&resigned_jcs(&story().record, [9; 32], |_| {}))),
        (RecordReason::NonceMismatch, judge_resigned(|record| set(record, &["runtime", "nonce"], "AAAA"))),
        (RecordReason::Contradiction, judge_resigned(|record| set(record, &["appraisal", "status"], "affirming"))),
        (RecordReason::Contradiction, judge_resigned(|record| set(record, &["appraisal", "method"], "re-execution"))),
        (
            RecordReason::Contradiction,
            judge_resigned(|record| {
                set(record, &["runtime", "platform"], "amd-sev-snp");
                set(record, &["origin"], Json::from([("kind", "log-import".into()), ("producer", "x".into())]));
            }),
        ),
        (
            RecordReason::ReferenceMismatch,
            judge_resigned(|record| {
                let reference = Json::from([
                    ("rel", "cmcp-runtime-claim".into()),
                    ("id", "x".into()),
                    ("resolver", "y".into()),
                    ("digest", other.clone().into()),
                ]);
                set(record, &["references"], Json::Array(vec![reference]));
            }),
        ),
        (RecordReason::ReferenceMismatch, judge_resigned(|record| *record = record.without("references"))),
        (
            RecordReason::ClaimMismatch,
            judge_resigned(|record| set(record, &["policy", "bundle_hash"], fixture::config_hash().prefixed())),
        ),
        (
            RecordReason::ClaimMismatch,
            judge_resigned(|record| set(record, &["tool_transcript", "hash"], other.clone())),
        ),
        (RecordReason::ClaimMismatch, judge_resigned(|record| set(record, &["data_class"], "public"))),
    ];
    for (reason, verdict) in &cases {
        assert_refused(verdict, *reason);
    }
}

#[test]
fn a_record_of_another_key_is_refused() {
    let other = claim::key::Key::from_seed([9; 32]).public();
    let record = resigned_jcs(&story().record, [9; 32], |record| {
        set(record, &["cnf", "jwk", "x"], other.x());
        set(record, &["subject"], other.subject());
    });
    assert_refused(&judge(&record), RecordReason::ClaimMismatch);
    let pinned = key().public().hex();
    let alone = RecordOptions { trusted_key: Some(&pinned), ..RecordOptions::at(seconds_later(60)) };
    assert_refused(&verify_trust_record(&record, &alone), RecordReason::PublicKeyNotBound);
    assert_eq!(verify_trust_record(&story().record, &alone).status, Status::PartiallyVerified);
}

#[test]
fn times() {
    let record = story().record;
    let at = |seconds| verify_trust_record(&record, &RecordOptions::at(seconds_later(seconds)));
    assert_refused(&at(-295), RecordReason::TimeInFuture);
    assert_eq!(at(-294).status, Status::PartiallyVerified);
    assert_eq!(at(86_406).status, Status::PartiallyVerified);
    assert_refused(&at(86_407), RecordReason::RecordStale);
}

#[test]
fn another_claim_of_the_same_session_is_not_the_one_that_is_named() {
    let later = sign(claim::gateway::ClaimFacts { issued_at: seconds_later(9), ..story().facts }, Profile::TraceV02);
    let verdict = verify_trust_record(&story().record, &options(&later.bytes()));
    assert_refused(&verdict, RecordReason::ReferenceMismatch);
    let forged = fixture::spoil::resigned(&story().claim, [9; 32], |_| {});
    assert_refused(&verify_trust_record(&story().record, &options(&forged)), RecordReason::ClaimUnverified);
    assert_refused(&verify_trust_record(&story().record, &options(b"{}")), RecordReason::ClaimUnverified);
}

#[test]
fn a_record_about_a_claim_of_profile_v01() {
    let claim = sign(story().facts, Profile::TraceV01);
    let record = fixture::record(&claim, |_| {});
    let bytes = claim.bytes();
    let options = RecordOptions { claim_profile: Profile::TraceV01, ..options(&bytes) };
    assert_eq!(verify_trust_record(&record, &options).failure_reason, None);
}

#[test]
fn non_ascii_text_is_signed_as_it_is() {
    let claim = SignedClaim::parse(&story().claim).unwrap();
    let record = resigned_jcs(&fixture::record(&claim, |_| {}), SEED, |record| {
        set(record, &["model", "model_id"], "mod\u{e8}le \u{1f600}");
    });
    assert_eq!(judge(&record).failure_reason, None);
}

proptest! {
    #[test]
    fn formatting_changes_nothing(seed in any::<u64>()) {
        let record = story().record;
        let other = fixture::format::reformat(&parse(&record).unwrap(), seed);
        prop_assert_eq!(judge(&record), judge(other.as_bytes()));
    }
}
