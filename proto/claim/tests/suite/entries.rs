//! Audit entries and their chain.

use claim::Digest;
use claim::entry::{Chain, Draft, Entry, EntryError, EntryType, GENESIS, LinkError, PolicyDecision};
use claim::json::{Json, parse};
use claim::time::Timestamp;
use proptest::prelude::*;

use crate::common::session::START;
use crate::common::{Session, values};

fn maybe_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(values::text())
}

/// The strings, numbers and values of a draft, owned.
#[derive(Clone, Debug)]
struct Parts {
    texts: Vec<Option<String>>,
    entry_type: EntryType,
    decision: Option<PolicyDecision>,
    latency: Option<u64>,
    hashes: [Option<[u8; 32]>; 2],
    values: [Option<Json>; 2],
    micros: i64,
}

impl Parts {
    fn draft(&self) -> Draft<'_> {
        let text = |index: usize| self.texts[index].as_deref();
        let value = |index: usize| self.values[index].as_ref().filter(|value| !value.is_null());
        Draft {
            entry_id: text(0).unwrap_or_default(),
            timestamp_utc: Timestamp::from_micros(self.micros),
            session_id: text(1).unwrap_or_default(),
            call_id: text(2),
            entry_type: self.entry_type,
            tool_name: text(3),
            server_identity: text(4),
            policy_decision: self.decision,
            policy_rule_matched: text(5),
            latency_us: self.latency,
            request_payload_hash: self.hashes[0].map(Digest::from_bytes),
            response_payload_hash: self.hashes[1].map(Digest::from_bytes),
            response_inspection_result: text(6),
            session_sensitivity_before: text(7),
            session_sensitivity_after: text(8),
            detail: value(0),
            workflow_id: text(9),
            evidence_class: text(10),
            external_execution_evidence: value(1),
            effective_data_class: text(11),
            execution_id: text(12),
        }
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        prop::collection::vec(maybe_text(), 13),
        prop::sample::select(EntryType::ALL),
        prop::option::of(prop::sample::select(PolicyDecision::ALL)),
        any::<Option<u64>>(),
        any::<[Option<[u8; 32]>; 2]>(),
        [prop::option::of(values::value()), prop::option::of(values::value())],
        0..4_102_444_800_000_000_i64,
    )
        .prop_map(|(texts, entry_type, decision, latency, hashes, values, micros)| Parts {
            texts,
            entry_type,
            decision,
            latency,
            hashes,
            values,
            micros,
        })
}

proptest! {
    /// The streaming writer, the tree writer and the reader agree, whatever the entry holds.
    #[test]
    fn what_is_sealed_is_canonical_and_reads_back(drafts in prop::collection::vec(parts(), 1..4)) {
        let mut written = Chain::new();
        let mut read = Chain::new();
        for (number, parts) in drafts.iter().enumerate() {
            let draft = parts.draft();
            let sealed = written.seal(&draft);
            let value = parse(&sealed.bytes).unwrap();
            prop_assert_eq!(value.sorted_ascii().into_bytes(), &sealed.bytes[..]);
            let body = value.without("entry_hash");
            prop_assert_eq!(Digest::of(body.sorted_ascii()), sealed.hash);
            prop_assert_eq!(sealed.sequence_number, number as u64);
            let entry = Entry::parse(&value).unwrap();
            prop_assert_eq!(&entry.entry_id, draft.entry_id);
            prop_assert_eq!(entry.timestamp_utc.at(), draft.timestamp_utc);
            prop_assert_eq!(entry.entry_type, draft.entry_type);
            prop_assert_eq!(entry.policy_decision, draft.policy_decision);
            prop_assert_eq!(entry.tool_name.as_deref(), draft.tool_name);
            prop_assert_eq!(entry.execution_id.as_deref(), draft.execution_id);
            prop_assert_eq!(entry.detail.as_ref(), draft.detail);
            prop_assert_eq!(entry.latency_us, draft.latency_us);
            prop_assert_eq!(entry.response_payload_hash, draft.response_payload_hash);
            read.accept(&entry).unwrap();
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn the_reader_is_total(value in values::value()) {
        prop_assert!(Entry::parse(&value).is_err());
    }
}

fn read(bytes: &[u8]) -> Option<Entry> {
    Entry::parse(&parse(bytes).ok()?).ok()
}

#[test]
fn every_flipped_bit_of_an_entry_is_found() {
    let session = Session::new(START);
    for entry in &session.entries[..2] {
        for bit in 0..entry.bytes.len() * 8 {
            let mut bytes = entry.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_none(), "bit {bit}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_missing_or_surplus_member_is_found_even_under_a_right_hash() {
    let sealed = &Session::new(START).entries[1];
    let value = parse(&sealed.bytes).unwrap();
    let rehash = |value: Json| {
        let hash = Digest::of(value.without("entry_hash").sorted_ascii());
        value.with("entry_hash", hash.hex().into())
    };
    assert!(Entry::parse(&rehash(value.clone())).is_ok());
    for key in value.as_object().unwrap().keys() {
        assert!(
            matches!(Entry::parse(&rehash(value.without(key))), Err(EntryError::Shape(_))) || key == "entry_hash",
            "{key}"
        );
    }
    assert!(matches!(Entry::parse(&rehash(value.clone().with("extra", Json::Null))), Err(EntryError::Shape(_))));
    assert!(matches!(
        Entry::parse(&rehash(value.clone().with("latency_us", Json::Float(1.0)))),
        Err(EntryError::Shape(_))
    ));
    assert!(matches!(
        Entry::parse(&rehash(value.clone().with("entry_type", "tool_calls".into()))),
        Err(EntryError::Shape(_))
    ));
    assert!(matches!(Entry::parse(&value.with("tool_name", "other".into())), Err(EntryError::Hash { .. })));
}

#[test]
fn links_are_checked() {
    let session = Session::new(START);
    let entries: Vec<Entry> = session.entries.iter().map(|entry| read(&entry.bytes).unwrap()).collect();
    assert_eq!(entries[0].prev_entry_hash, GENESIS);

    let mut chain = Chain::new();
    for entry in &entries {
        chain.accept(entry).unwrap();
    }
    assert_eq!(chain, session.chain);
    assert_eq!(chain.root(), Some(entries[0].entry_hash));
    assert_eq!(chain.tip(), Some(entries[4].entry_hash));

    let mut dropped = Chain::new();
    dropped.accept(&entries[0]).unwrap();
    assert_eq!(dropped.accept(&entries[2]), Err(LinkError::Sequence { found: 2, expected: 1 }));
    assert_eq!(dropped.accept(&entries[0]), Err(LinkError::Sequence { found: 0, expected: 1 }));

    let mut elsewhere = Chain::new();
    elsewhere.seal(&Draft::default());
    assert!(matches!(elsewhere.accept(&entries[1]), Err(LinkError::Previous { .. })));
}
