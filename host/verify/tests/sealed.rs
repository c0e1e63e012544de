//! Stores whose records are sealed: what shows without a key, what shows with it, and the name of everything that is wrong.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod fixture;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use claim::Digest;
use claim::bootlog::{BatchBuilder, BootId, BootRecord, RecordKind, batch_hash};
use claim::json::{Json, from_json, parse};
use claim::sealing::{Place, Sealing, TAG};
use fixture::store::{Rec, SECOND_BOOT, Stored, first_boot, json, records, second_boot, segment, write};
use fixture::{SESSION, boot_id, key};
use verify::{
    AuditorSecret, ExportOptions, Head, ProofError, SealedTo, Status, StoreOptions, StoreReason, StoreVerdict,
    export_session, read_proof, verify_store,
};

/// `proto/claim/vectors/sealed.json`: a key pair, and a boot's key sealed to it by another implementation.
fn vector() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/claim/vectors/sealed.json");
    parse(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(value: &Json, name: &str) -> Vec<u8> {
    let text = value.get(name).and_then(Json::as_str).unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn auditor() -> AuditorSecret {
    AuditorSecret::from_bytes(&bytes(&vector(), "auditor_private_key").try_into().unwrap()).unwrap()
}

fn stranger() -> AuditorSecret {
    AuditorSecret::from_bytes(&[9; 32]).unwrap()
}

fn sealing() -> Sealing {
    from_json(vector().get("sealing").unwrap()).unwrap()
}

fn seal(place: &Place, body: &mut [u8]) -> Option<[u8; TAG]> {
    let cipher = Aes256Gcm::new_from_slice(&bytes(&vector(), "boot_key")).unwrap();
    let sealed = cipher.encrypt(&Nonce::from(place.nonce()), Payload { msg: body, aad: &place.aad() }).unwrap();
    let (ciphertext, tag) = sealed.split_at(body.len());
    body.copy_from_slice(ciphertext);
    tag.try_into().ok()
}

/// What becomes of a record on its way into a batch.
enum To {
    /// Sealed with this counter, in place of what and where it is.
    Sealed(u64, Rec),
    /// As it is.
    Clear(Rec),
}

/// The first boot's batches with other records, signed by its key: what only a faulty enclave could write.
fn boot_of(change: impl Fn(u64, Rec) -> To) -> Vec<Stored> {
    let (mut prev, mut counter) = (Digest::from_bytes([0; 32]), 0);
    let mut stored = Vec::new();
    for (number, batch) in first_boot().batches.iter().enumerate() {
        let mut builder = BatchBuilder::new(boot_id().0);
        for record in records(&batch.batch) {
            if record.kind == RecordKind::Boot {
                let boot = BootRecord { sealing: Some(sealing()), ..BootRecord::parse(&record.bytes).unwrap() };
                builder.push(record.kind, 0, &boot.bytes().unwrap()).unwrap();
                continue;
            }
            counter += 1;
            match change(counter, record) {
                To::Clear(Rec { kind, session, bytes }) => builder.push(kind, session, &bytes).unwrap(),
                To::Sealed(counter, Rec { kind, session, bytes }) => {
                    builder.push_sealed(kind, session, counter, &bytes, seal).unwrap();
                }
            }
        }
        let sessions = builder.sessions();
        let batch = builder.finish(number as u64, &prev);
        prev = batch_hash(&batch);
        stored.push(Stored { sessions, signature: key().sign_batch(prev), batch });
    }
    stored
}

fn sealed_boot() -> Vec<Stored> {
    boot_of(To::Sealed)
}

fn judge(segments: &[Vec<u8>], heads: Vec<Head>, auditors: Vec<AuditorSecret>) -> StoreVerdict {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), segments);
    verify_store(folder.path(), StoreOptions { heads, auditors, ..StoreOptions::default() }).unwrap()
}

fn reason(verdict: &StoreVerdict) -> Option<&'static str> {
    verdict.failure.as_ref().map(|failure| failure.reason)
}

#[test]
fn with_the_key_a_sealed_store_is_as_any_other() {
    let sealed = judge(&[segment(&sealed_boot())], Vec::new(), vec![auditor()]);
    assert_eq!(sealed.status(), Status::Verified, "{:?}", sealed.failure);
    let clear = judge(&[segment(&first_boot().batches)], Vec::new(), Vec::new());
    let expected = SealedTo { auditor_key: sealing().auditor_key, opened: true };
    assert_eq!(sealed.boots[0].sealing, Some(expected));
    let mut same = sealed.boots[0].clone();
    (same.sealing, same.head) = (None, clear.boots[0].head);
    assert_eq!(same, clear.boots[0]);
}

#[test]
fn without_the_key_records_are_counted_and_nothing_more_is_said() {
    let verdict = judge(&[segment(&sealed_boot())], Vec::new(), Vec::new());
    assert_eq!((verdict.status(), &verdict.failure), (Status::PartiallyVerified, &None));
    let boot = &verdict.boots[0];
    assert!(!boot.is_read() && !verdict.verified());
    assert_eq!((boot.entries, boot.claims, boot.gaps, boot.sessions), (11, 4, 1, 3));
    assert_eq!((boot.refused_calls, boot.unknown_outcomes.len(), boot.controls.len()), (0, 0, 0));
}

#[test]
fn every_flipped_bit_is_found_without_a_key() {
    let batches = sealed_boot();
    for (index, batch) in batches.iter().enumerate() {
        for bit in (0..batch.batch.len() * 8).step_by(101) {
            let mut changed = batches.clone();
            changed[index].batch[bit / 8] ^= 1 << (bit % 8);
            let verdict = judge(&[segment(&changed)], Vec::new(), Vec::new());
            assert_eq!(verdict.status(), Status::Unverified, "batch {index}, bit {bit}");
        }
    }
}

#[test]
fn another_key_is_named() {
    let both = || vec![stranger(), auditor()];
    let store = segment(&sealed_boot());
    let wrong = judge(std::slice::from_ref(&store), Vec::new(), vec![stranger()]);
    assert_eq!(reason(&wrong), Some(StoreReason::AuditorKeyWrong.as_str()));
    assert_eq!(judge(std::slice::from_ref(&store), Vec::new(), both()).status(), Status::Verified);
    // Boots of several auditors: each key opens its own, and a boot for somebody else is counted.
    let first = first_boot();
    let mut second = second_boot(&first);
    let mut record = BootRecord::parse(&records(&second.batches[0].batch)[0].bytes).unwrap();
    record.sealing = Some(sealing());
    record.previous.as_mut().unwrap().hash = first.head().2;
    second = fixture::store::Writer::new(fixture::store::SECOND_SEED, SECOND_BOOT, first.head().2);
    second.batch(&[Rec { kind: RecordKind::Boot, session: 0, bytes: record.bytes().unwrap() }]);
    let files = [segment(&first.batches), segment(&second.batches)];
    let unread = judge(&files, Vec::new(), Vec::new());
    assert_eq!((unread.status(), unread.boots[0].is_read()), (Status::PartiallyVerified, true));
    // Its wrapped key is that of another boot.
    let swapped = judge(&files, Vec::new(), vec![auditor()]);
    assert_eq!(reason(&swapped), Some(StoreReason::BootRecordInvalid.as_str()), "wrapped for one boot only");
}

#[test]
fn a_wrapped_key_that_was_altered_is_named() {
    for change in ["enc", "wrapped"] {
        let mut batches = sealed_boot();
        let mut first = records(&batches[0].batch);
        let document = json(&first[0]);
        let sealing = document.get("sealing").unwrap().clone();
        let mut text = sealing.get(change).and_then(Json::as_str).unwrap().to_owned();
        let other = if text.starts_with('A') { "B" } else { "A" };
        text.replace_range(..1, other);
        first[0].bytes = document.with("sealing", sealing.with(change, text.into())).sorted_ascii().into_bytes();
        let mut builder = BatchBuilder::new(boot_id().0);
        builder.push(RecordKind::Boot, 0, &first[0].bytes).unwrap();
        batches[0].batch = builder.finish(0, &Digest::from_bytes([0; 32]));
        batches[0].signature = key().sign_batch(batch_hash(&batches[0].batch));
        batches.truncate(1);
        let verdict = judge(&[segment(&batches)], Vec::new(), vec![auditor()]);
        assert_eq!(reason(&verdict), Some(StoreReason::BootRecordInvalid.as_str()), "{change}");
    }
}

/// A way to spoil a boot's records.
type Change = fn(u64, Rec) -> To;

#[test]
fn what_does_not_open_in_its_place_is_named() {
    let swapped = |counter, record: Rec| match counter {
        3 => To::Sealed(counter, Rec { kind: RecordKind::Claim, ..record }),
        _ => To::Sealed(counter, record),
    };
    let relabelled = boot_of(swapped);
    // Signed as a claim and sealed as one: it opens, and is no claim.
    assert_ne!(judge(&[segment(&relabelled)], Vec::new(), vec![auditor()]).status(), Status::Verified);
    let cases: [(&str, Change, bool); 5] = [
        (
            "in the clear",
            |counter, record| if counter == 4 { To::Clear(record) } else { To::Sealed(counter, record) },
            false,
        ),
        ("a counter twice", |counter, record| To::Sealed(counter.min(4), record), true),
        ("a counter of 0", |counter, record| To::Sealed(counter - 1, record), true),
        ("a falling counter", |counter, record| To::Sealed(1000 - counter, record), true),
        ("too short", |_, record| To::Clear(Rec { bytes: vec![1; 23], ..record }), true),
    ];
    for (what, change, without_key) in cases {
        let store = segment(&boot_of(change));
        let opened = judge(std::slice::from_ref(&store), Vec::new(), vec![auditor()]);
        assert_eq!(reason(&opened), Some(StoreReason::SealedRecordInvalid.as_str()), "{what}");
        let verdict = judge(&[store], Vec::new(), Vec::new());
        let found = reason(&verdict) == Some(StoreReason::SealedRecordInvalid.as_str());
        assert!(found || !without_key, "{what}: {:?}", verdict.failure);
    }
}

#[test]
fn a_sealed_record_says_where_it_belongs_without_a_key() {
    for (kind, session) in [
        (RecordKind::Entry, 0),
        (RecordKind::Intent, 0),
        (RecordKind::Gap, 1),
        (RecordKind::Control, 2),
        (RecordKind::Boot, 0),
    ] {
        let batches = boot_of(|counter, record| {
            if counter == 2 {
                To::Sealed(counter, Rec { kind, session, ..record })
            } else {
                To::Sealed(counter, record)
            }
        });
        let verdict = judge(&[segment(&batches)], Vec::new(), Vec::new());
        assert_eq!(reason(&verdict), Some(StoreReason::RecordOutOfPlace.as_str()), "{kind:?} of {session}");
    }
}

#[test]
fn heads_are_reached_without_a_key_and_found_with_it() {
    let batches = sealed_boot();
    let entry =
        records(&first_boot().batches[1].batch).into_iter().find(|record| record.kind == RecordKind::Entry).unwrap();
    let hash = json(&entry).get("entry_hash").and_then(Json::as_str).map(|hash| Digest::parse(hash).unwrap()).unwrap();
    let head = |boot_id: BootId, batch, entry_hash| Head { boot_id, batch, entry_hash };
    let judged = |head: Head, auditors| judge(&[segment(&batches)], vec![head], auditors);
    let good = judged(head(boot_id(), 1, hash), vec![auditor()]);
    assert_eq!((good.status(), good.heads[0].looked_for), (Status::Verified, true));
    let unread = judged(head(boot_id(), 1, hash), Vec::new());
    assert_eq!((unread.status(), unread.heads[0].looked_for), (Status::PartiallyVerified, false));
    for (what, wrong, shown_without) in [
        ("no such entry", head(boot_id(), 1, Digest::of("none")), false),
        ("another batch", head(boot_id(), 2, hash), false),
        ("beyond the end", head(boot_id(), 1000, hash), true),
        ("another boot", head(SECOND_BOOT, 1, hash), true),
    ] {
        assert_eq!(judged(wrong.clone(), vec![auditor()]).status(), Status::Unverified, "{what}");
        let expected = if shown_without { Status::Unverified } else { Status::PartiallyVerified };
        assert_eq!(judged(wrong, Vec::new()).status(), expected, "{what}, without a key");
    }
}

#[test]
fn a_session_is_exported_and_proven_with_the_key_alone() {
    let (store, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(store.path(), &[segment(&sealed_boot())]);
    let export = |auditors| {
        let options = ExportOptions { session_id: SESSION, out: out.path() };
        export_session(store.path(), options, StoreOptions { auditors, ..StoreOptions::default() }).unwrap()
    };
    let (verdict, exported) = export(Vec::new());
    assert_eq!((verdict.status(), exported.len()), (Status::PartiallyVerified, 0));
    let (verdict, exported) = export(vec![auditor()]);
    assert_eq!((verdict.status(), exported.len(), exported[0].entries), (Status::Verified, 1, 5));
    let proof = std::fs::read(&exported[0].proof).unwrap();
    assert!(!proof.windows(SESSION.len()).any(|window| window == SESSION.as_bytes()), "the proof stays sealed");
    assert!(matches!(read_proof(proof.as_slice(), SESSION, &[]), Err(ProofError::Sealed(_))));
    assert!(matches!(read_proof(proof.as_slice(), SESSION, &[stranger()]), Err(ProofError::Sealed(_))));
    let proven = read_proof(proof.as_slice(), SESSION, &[auditor()]).unwrap();
    let clear = {
        let (store, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(store.path(), &[segment(&first_boot().batches)]);
        let options = ExportOptions { session_id: SESSION, out: out.path() };
        let (_, exported) = export_session(store.path(), options, StoreOptions::default()).unwrap();
        read_proof(std::fs::read(&exported[0].proof).unwrap().as_slice(), SESSION, &[]).unwrap()
    };
    assert_eq!(proven, clear, "the same entries, by the same key");
}
