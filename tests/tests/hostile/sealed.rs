//! A record store that lies about sealed records: what does not open as what and where it was sealed is a mismatch, and what
//! opens still has to fit the session's chain.

use claim::Digest;
use claim::bootlog::{Batch, BatchBuilder, RecordKind};
use tests::hostile::{Fault, HostileHost};
use tests::setup::{CONTACTS, Setup};
use tests::store::{Auditor, Record, kind};
use tests::upstream::Upstream;

use crate::{call, get, outcome, summary};

/// A record on its way back into the enclave.
type Given = (RecordKind, u64, Vec<u8>);

/// An enclave with two sessions of three calls each, and a claim of the first.
fn start(auditor: &Auditor) -> HostileHost {
    let tool = Upstream::plain();
    let setup =
        Setup::quickstart(&tool.url()).durability("strict").limit("store_timeout_ms", 1000).sealed_to(&auditor.key);
    let host = HostileHost::start(&setup);
    for session in ["mine", "other", "mine", "other", "mine", "other"] {
        assert_eq!(call(&host, session).status(), 200);
    }
    for session in ["mine", "other"] {
        assert_eq!(get(&host, &format!("/session/{session}/claim")).status(), 200);
    }
    host
}

/// The batches of the store with other records in them.
fn with(host: &HostileHost, change: impl Fn(&mut Vec<Given>)) -> Fault {
    let batches = host.store.appends().into_iter().map(|append| {
        let batch = Batch::parse(&append.bytes.0).expect("a batch");
        let mut records: Vec<Given> =
            batch.records().map(|record| (record.kind, record.session, record.bytes.to_vec())).collect();
        change(&mut records);
        let mut builder = BatchBuilder::new(batch.boot_id());
        for (kind, session, bytes) in &records {
            builder.push(*kind, *session, bytes).expect("a record");
        }
        builder.finish(batch.number(), &batch.prev())
    });
    Fault::RecallThese(batches.collect())
}

/// Every record's body, changed.
fn bodies(host: &HostileHost, change: impl Fn(&mut Vec<u8>)) -> Fault {
    with(host, |records| {
        for (_, _, body) in records.iter_mut().filter(|(kind, ..)| *kind != RecordKind::Boot) {
            change(body);
        }
    })
}

/// The body of the last record of this kind and session.
fn last(host: &HostileHost, wanted: RecordKind, session: u64) -> Vec<u8> {
    let held: Vec<Record> = host.store.records_held();
    let found = held.iter().rev().find(|record| record.kind == wanted as u8 && record.session == session);
    found.expect("a record").bytes.clone()
}

#[test]
fn sealed_records_that_lie_are_mismatches() {
    let auditor = Auditor::new();
    let (host, elsewhere) = (start(&auditor), start(&auditor));
    let of = |wanted: RecordKind, record: &Given| record.0 == wanted && record.1 == 1;
    let put = |wanted: RecordKind, body: Vec<u8>| {
        with(&host, move |records| {
            records.iter_mut().filter(|record| of(wanted, record)).for_each(|record| record.2.clone_from(&body));
        })
    };
    let lies = [
        ("a bit of the ciphertext", bodies(&host, |body| body[8] ^= 1)),
        ("a bit of the tag", bodies(&host, |body| *body.last_mut().expect("a tag") ^= 0x80)),
        ("a bit of the counter", bodies(&host, |body| body[0] ^= 1)),
        ("a byte less", bodies(&host, |body| body.truncate(body.len() - 1))),
        ("a byte more", bodies(&host, |body| body.push(0))),
        ("nothing", bodies(&host, Vec::clear)),
        ("no ciphertext", bodies(&host, |body| body.truncate(24))),
        ("another session's entries", put(RecordKind::Entry, last(&host, RecordKind::Entry, 2))),
        ("another session's claim", put(RecordKind::Claim, last(&host, RecordKind::Claim, 2))),
        ("a claim for each entry", put(RecordKind::Entry, last(&host, RecordKind::Claim, 1))),
        ("an entry for each claim", put(RecordKind::Claim, last(&host, RecordKind::Entry, 1))),
        ("another boot's entries", put(RecordKind::Entry, last(&elsewhere, RecordKind::Entry, 1))),
        ("another boot's claim", put(RecordKind::Claim, last(&elsewhere, RecordKind::Claim, 1))),
        ("the last entry for each", put(RecordKind::Entry, last(&host, RecordKind::Entry, 1))),
        ("something readable", put(RecordKind::Entry, br#"{"an":"entry in the clear"}"#.to_vec())),
    ];
    let summary_before = summary(&host, "mine");
    assert_eq!(summary_before["tool_calls_total"], 3);
    let claim = get(&host, "/session/mine/claim").body;
    let attachment = get(&host, "/session/mine/evidence").body;
    let mut refused = [0, 0, 0];
    for (what, lie) in lies {
        host.store.set(lie);
        for (at, path) in
            ["/audit/export?session_id=mine", "/session/mine/claim", "/session/mine/evidence"].iter().enumerate()
        {
            let answer = get(&host, path);
            if answer.status() == 200 {
                // The lie was about records of the other kind.
                assert!(
                    answer.body == claim
                        || answer.body == attachment
                        || answer.json()["entries"].as_array().is_some_and(|all| all.len() == 4),
                    "{what}"
                );
            } else {
                assert_eq!(outcome(&answer), (502, "AUDIT_MISMATCH".to_owned()), "{what}: {}", answer.text());
                refused[at] += 1;
            }
        }
        host.store.set(Fault::None);
        assert_eq!(get(&host, "/audit/export?session_id=mine").status(), 200, "after {what}");
        assert_eq!(get(&host, "/session/mine/claim").body, claim, "after {what}");
    }
    assert_eq!(refused, [12, 10, 12], "what each lie is about");
    assert_eq!(call(&host, "mine").status(), 200);
    assert_eq!(summary(&host, "mine")["tool_calls_total"], 4, "running counters do not depend on the store");
}

/// Two entries that change places open, since they bring their counters; the session's chain tells.
#[test]
fn sealed_entries_in_another_order_are_a_mismatch() {
    let host = start(&Auditor::new());
    let entries: Vec<Vec<u8>> = host
        .store
        .records_held()
        .into_iter()
        .filter(|record| record.kind == kind::ENTRY && record.session == 1)
        .map(|record| record.bytes)
        .collect();
    assert_eq!(entries.len(), 4);
    let swapped = with(&host, |records| {
        for (_, _, body) in records {
            match entries.iter().position(|entry| entry == body) {
                Some(1) => body.clone_from(&entries[2]),
                Some(2) => body.clone_from(&entries[1]),
                _ => {}
            }
        }
    });
    host.store.set(swapped);
    let export = get(&host, "/audit/export?session_id=mine");
    assert_eq!(outcome(&export), (502, "AUDIT_MISMATCH".to_owned()), "{}", export.text());
    host.store.set(Fault::None);
    assert_eq!(get(&host, "/audit/export?session_id=mine").json()["entries"].as_array().expect("entries").len(), 4);
}

/// What the host is given: the boot record, and of everything else kind, session number and size.
#[test]
fn the_host_is_given_no_body_but_that_of_the_boot_record() {
    let host = start(&Auditor::new());
    let held = host.store.records_held();
    assert!([kind::INTENT, kind::ENTRY, kind::CLAIM].iter().all(|kind| held.iter().any(|record| record.kind == *kind)));
    for record in &held {
        let is_json = serde_json::from_slice::<serde_json::Value>(&record.bytes).is_ok();
        assert_eq!(is_json, record.kind == kind::BOOT, "kind {}", record.kind);
    }
    let all = host.store.appends().into_iter().flat_map(|append| append.bytes.0).collect::<Vec<u8>>();
    for word in ["mine", "session", "tool_call", "policy_decision", CONTACTS, "demo-agent"] {
        let found = all.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!found, "{word} is in the store");
    }
}

/// A batch that was not acknowledged is sent again as it was: sealing it again would be another batch.
#[test]
fn a_batch_that_is_sent_again_has_the_same_bytes() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).limit("store_timeout_ms", 1000).sealed_to(&Auditor::new().key);
    let host = HostileHost::start(&setup);
    assert_eq!(call(&host, "again").status(), 200);
    host.store.set(Fault::WrongNumber);
    let _ = call(&host, "again");
    host.store.set(Fault::None);
    tests::wait_for("recovery", std::time::Duration::from_secs(20), || {
        (call(&host, "again").status() == 200).then_some(())
    });
    let mut previous = Digest::from_bytes([0; 32]);
    let mut last = 0;
    for append in host.store.appends() {
        assert_eq!(Batch::parse(&append.bytes.0).expect("a batch").prev(), previous);
        previous = Digest::of(&append.bytes.0);
    }
    for record in host.store.records_held().iter().filter(|record| record.kind != kind::BOOT) {
        let counter = u64::from_le_bytes(record.bytes[..8].try_into().expect("8 bytes"));
        assert!(counter > last, "counter {counter} after {last}");
        last = counter;
    }
    assert_eq!(get(&host, "/audit/export?session_id=again").status(), 200);
}
