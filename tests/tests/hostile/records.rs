//! A record store that lies: calls fail closed, what was lost is said, and nothing false is signed.

use std::time::Duration;

use serde_json::Value;
use tests::hostile::{Fault, HostileHost};
use tests::setup::{Setup, bearer};
use tests::store::kind;
use tests::upstream::Upstream;
use tests::wait_for;
use wire::{ControlEvent, LogEvent, StoreFailure};

use crate::{call, get, outcome, summary};

/// A booted enclave with a short patience for its store.
fn start(tool: &Upstream, durability: &str) -> HostileHost {
    HostileHost::start(&Setup::quickstart(&tool.url()).durability(durability).limit("store_timeout_ms", 1000))
}

const UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

#[test]
fn a_store_that_does_not_store_stops_calls() {
    let faults = [
        ("refuse", Fault::Refuse),
        ("full", Fault::Fail(StoreFailure::Full)),
        ("disk", Fault::Fail(StoreFailure::Io)),
        ("order", Fault::Fail(StoreFailure::OutOfOrder)),
        ("silent", Fault::Silent),
        ("not-a-frame", Fault::Bytes(b"stored, trust me".to_vec())),
        ("cut-off", Fault::Bytes(b"cMCP\x01\x00\x08\x00\x05\x00\x00\x00\x00".to_vec())),
        ("version", Fault::Bytes(b"cMCP\x07\x00\x08\x00\x02\x00\x00\x00\x00\x01".to_vec())),
        ("oversized", Fault::Bytes(b"cMCP\x01\x00\x08\x00\xff\xff\xff\xff".to_vec())),
    ];
    for (name, fault) in faults {
        let tool = Upstream::plain();
        let host = start(&tool, "strict");
        assert_eq!(call(&host, "before").status(), 200, "{name}");
        host.store.set(fault);
        host.store.drop_streams();
        assert_eq!(outcome(&call(&host, name)), (503, UNAVAILABLE.to_owned()), "{name}");
        assert_eq!(tool.calls().len(), 1, "{name}: strict, no intent, so no call");
        host.event("log event", |event| matches!(event, ControlEvent::Log(LogEvent::StoreUnavailable)).then_some(()));
    }
}

#[test]
fn a_store_that_comes_back_is_used_and_the_gap_is_recorded() {
    let tool = Upstream::plain();
    let host = start(&tool, "strict");
    assert_eq!(call(&host, "gap").status(), 200);
    host.store.set(Fault::Fail(StoreFailure::Full));
    for _ in 0..3 {
        assert_eq!(outcome(&call(&host, "gap")), (503, UNAVAILABLE.to_owned()));
    }
    host.store.set(Fault::None);
    wait_for("recovery", Duration::from_secs(20), || (call(&host, "gap").status() == 200).then_some(()));
    host.event("recovery", |event| matches!(event, ControlEvent::Log(LogEvent::StoreRecovered { .. })).then_some(()));
    let gaps: Vec<Value> = host
        .store
        .records_held()
        .iter()
        .filter(|record| record.kind == kind::GAP)
        .map(tests::store::Record::json)
        .collect();
    assert!(!gaps.is_empty(), "the refused calls are on record");
    assert!(gaps.iter().filter_map(|gap| gap["refused_calls"].as_u64()).sum::<u64>() >= 1, "{gaps:?}");
}

#[test]
fn a_reset_counts_once_and_comes_before_what_it_lets_through() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").limit("store_timeout_ms", 1000).operated();
    let host = HostileHost::start(&setup);
    let authorization = bearer("operator");
    let reset = || {
        let headers = [("authorization", authorization.as_str())];
        host.connect().request("POST", "/sessions/s/reset", &headers, b"").expect("an answer")
    };
    assert_eq!(call(&host, "s").status(), 200);
    assert_eq!(outcome(&call(&host, "s")), (403, "POLICY_DENY".to_owned()));
    host.store.set(Fault::Silent);
    host.store.drop_streams();
    assert_eq!(outcome(&reset()), (503, UNAVAILABLE.to_owned()), "not on record yet");
    assert_eq!(outcome(&reset()), (503, UNAVAILABLE.to_owned()), "nor admitted again");
    assert_eq!(outcome(&call(&host, "s")), (503, UNAVAILABLE.to_owned()));
    assert_eq!(tool.calls().len(), 1);
    host.store.set(Fault::None);
    wait_for("recovery", Duration::from_secs(20), || (call(&host, "s").status() == 200).then_some(()));
    let bundle = get(&host, "/audit/export?session_id=s").json();
    let kinds: Vec<_> =
        bundle["entries"].as_array().expect("entries").iter().map(|entry| &entry["entry_type"]).collect();
    assert_eq!(kinds, ["session_start", "tool_call", "tool_call", "session_reset", "tool_call"]);
}

#[test]
fn in_answer_mode_the_answer_is_withheld() {
    let tool = Upstream::plain();
    let host = start(&tool, "answer");
    assert_eq!(call(&host, "before").status(), 200);
    host.store.set(Fault::Silent);
    let answer = call(&host, "withheld");
    assert_eq!(outcome(&answer), (503, UNAVAILABLE.to_owned()));
    assert!(answer.text().contains("may have run"), "{}", answer.text());
    host.event("counters", |event| match event {
        ControlEvent::Counters(counters) if counters.audit_unavailable > 0 => Some(()),
        _ => None,
    });
}

#[test]
fn what_was_acknowledged_and_not_stored_is_not_vouched_for() {
    let tool = Upstream::plain();
    let host = start(&tool, "strict");
    call(&host, "forgotten");
    host.store.set(Fault::Forget);
    call(&host, "forgotten");
    host.store.set(Fault::None);
    let export = get(&host, "/audit/export?session_id=forgotten");
    assert_eq!(outcome(&export), (502, "AUDIT_MISMATCH".to_owned()), "{}", export.text());
}

#[test]
fn a_store_that_lost_what_it_acknowledged_is_not_written_further() {
    let tool = Upstream::plain();
    let host = start(&tool, "strict");
    for _ in 0..3 {
        assert_eq!(call(&host, "lost").status(), 200);
    }
    host.store.truncate(1);
    host.store.drop_streams();
    let _ = call(&host, "lost");
    host.event("loss", |event| matches!(event, ControlEvent::Log(LogEvent::StoreLost { .. })).then_some(()));
    let reached = tool.calls().len();
    for _ in 0..3 {
        assert_eq!(outcome(&call(&host, "lost")), (503, UNAVAILABLE.to_owned()), "calls stay refused until a new boot");
    }
    assert_eq!(tool.calls().len(), reached);
}

#[test]
fn a_store_that_claims_more_than_it_was_given_is_refused() {
    let tool = Upstream::plain();
    let host = start(&tool, "strict");
    assert_eq!(call(&host, "ahead").status(), 200);
    host.store.set(Fault::Position(1_000_000));
    host.store.drop_streams();
    assert_eq!(outcome(&call(&host, "ahead")), (503, UNAVAILABLE.to_owned()));
}

#[test]
fn acknowledgements_for_other_batches_do_not_count() {
    for fault in [Fault::WrongNumber, Fault::AcknowledgeEarly, Fault::AcknowledgeTwice] {
        let tool = Upstream::plain();
        let host = start(&tool, "strict");
        assert_eq!(call(&host, "numbers").status(), 200);
        host.store.set(fault.clone());
        let _ = call(&host, "numbers");
        let _ = call(&host, "numbers");
        host.store.set(Fault::None);
        wait_for("a working store", Duration::from_secs(20), || (call(&host, "numbers").status() == 200).then_some(()));
        let intents = host.store.records_held().iter().filter(|record| record.kind == kind::INTENT).count();
        assert!(intents >= tool.calls().len(), "{fault:?}: no call reached the tool without a stored intent");
    }
}

#[test]
fn batches_stored_twice_are_not_exported_twice() {
    let tool = Upstream::plain();
    let host = start(&tool, "strict");
    call(&host, "twice");
    host.store.set(Fault::Twice);
    call(&host, "twice");
    let export = get(&host, "/audit/export?session_id=twice");
    if export.status() == 200 {
        let entries = export.json()["entries"].as_array().expect("entries").len();
        assert_eq!(entries, 3, "{}", export.text());
    } else {
        assert_eq!(outcome(&export), (502, "AUDIT_MISMATCH".to_owned()));
    }
}

#[test]
fn recalls_that_lie_are_mismatches() {
    for fault in
        [Fault::RecallAltered, Fault::RecallReversed, Fault::RecallShort, Fault::RecallEndless, Fault::RecallFailed]
    {
        let tool = Upstream::plain();
        let host = start(&tool, "strict");
        for _ in 0..3 {
            call(&host, "recalled");
        }
        host.store.set(fault.clone());
        // The status line may have left before the lie is found: then the answer breaks off.
        let export = host.connect().request("GET", "/audit/export?session_id=recalled", &[], b"");
        if let Ok(export) = export {
            if fault == Fault::RecallEndless && export.status() == 200 {
                assert_eq!(
                    export.json()["entries"].as_array().expect("entries").len(),
                    4,
                    "read only as far as needed"
                );
            } else {
                let named = ["AUDIT_MISMATCH", UNAVAILABLE].contains(&export.error_code().as_str());
                assert!(named, "{fault:?}: {}", export.text());
            }
        }
        assert_eq!(summary(&host, "recalled")["tool_calls_total"], 3, "running counters do not depend on the store");
        host.store.set(Fault::None);
        assert_eq!(get(&host, "/audit/export?session_id=recalled").status(), 200, "after {fault:?}");
    }
}

#[test]
fn batches_are_chained_and_signed() {
    let tool = Upstream::plain();
    let host = start(&tool, "strict");
    for _ in 0..5 {
        call(&host, "chain");
    }
    let key = claim::key::PublicKey::from_bytes(host.report.public_key);
    let mut previous = claim::Digest::from_bytes([0; 32]);
    for (number, append) in host.store.appends().iter().enumerate() {
        let batch = claim::bootlog::Batch::parse(&append.bytes.0).expect("a batch");
        assert_eq!((append.batch, batch.number()), (number as u64, number as u64));
        assert_eq!(batch.prev(), previous, "batch {number}");
        let hash = claim::bootlog::batch_hash(&append.bytes.0);
        assert!(key.verify_batch(hash, &append.signature).is_ok(), "batch {number}");
        assert!(append.sync, "strict asks for durability");
        previous = hash;
    }
}
