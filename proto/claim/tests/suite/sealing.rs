//! Sealed records: the layout, as the vector of another implementation (`vectors/sealed.py`) has it. That it is AES-256-GCM
//! and HPKE is checked by those who bring them: the enclave and the verifier.

use claim::Digest;
use claim::bootlog::{Batch, BatchBuilder, BatchError, BootRecord, RecordKind};
use claim::hex;
use claim::json::{Json, from_json, parse, to_json};
use claim::sealing::{AuditorKey, AuditorKeyError, OVERHEAD, Place, SealedBody, Sealing, TAG, info};
use proptest::prelude::*;

use crate::common::session::START;
use crate::common::{Session, vector};

fn sealed() -> Json {
    parse(&std::fs::read(vector("sealed.json")).unwrap()).unwrap()
}

fn text<'a>(value: &'a Json, name: &str) -> &'a str {
    value.get(name).and_then(Json::as_str).unwrap()
}

fn bytes(value: &Json, name: &str) -> Vec<u8> {
    let text = text(value, name);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_layout_is_that_of_the_vector() {
    let vector = sealed();
    let boot_id: [u8; 16] = hex::decode(text(&vector, "boot_id")).unwrap();
    assert_eq!(info(&boot_id), bytes(&vector, "info"));
    let sealing: Sealing = from_json(vector.get("sealing").unwrap()).unwrap();
    assert_eq!(&to_json(&sealing).unwrap(), vector.get("sealing").unwrap());
    let Some(Json::Array(records)) = vector.get("records") else { panic!("records") };
    assert_eq!(records.len(), 3);
    for record in records {
        let number = |name| record.get(name).and_then(Json::as_u64).unwrap();
        let kind = RecordKind::parse(number("kind").try_into().unwrap()).unwrap();
        let place = Place { boot_id, counter: number("counter"), kind, session: number("session") };
        assert_eq!(place.nonce().to_vec(), bytes(record, "nonce"));
        assert_eq!(place.aad().to_vec(), bytes(record, "aad"));
        let (body, plaintext) = (bytes(record, "body"), bytes(record, "plaintext"));
        assert_eq!(body.len(), plaintext.len() + OVERHEAD);
        let read = SealedBody::parse(&body).unwrap();
        assert_eq!((read.counter, read.ciphertext_and_tag), (place.counter, &body[8..]));
        // A builder whose sealer gives the vector's ciphertext writes the vector's body.
        let mut builder = BatchBuilder::new(boot_id);
        let seal = |at: &Place, written: &mut [u8]| {
            assert_eq!((at, &*written), (&place, &plaintext[..]));
            let (ciphertext, tag) = body[8..].split_at(plaintext.len());
            written.copy_from_slice(ciphertext);
            tag.try_into().ok()
        };
        builder.push_sealed(kind, place.session, place.counter, &plaintext, seal).unwrap();
        let batch = builder.finish(0, &Digest::from_bytes([0; 32]));
        let record = Batch::parse(&batch).unwrap().records().next().unwrap();
        assert_eq!((record.kind, record.session, record.bytes), (kind, place.session, &body[..]));
    }
}

#[test]
fn a_record_that_cannot_be_sealed_leaves_nothing_behind() {
    let mut builder = BatchBuilder::new([1; 16]);
    builder.push(RecordKind::Gap, 0, b"before").unwrap();
    let failed = builder.push_sealed(RecordKind::Entry, 9, 1, b"a secret", |_, _| None);
    assert_eq!(failed, Err(BatchError::NotSealed));
    assert_eq!((builder.count(), builder.sessions()), (1, vec![]));
    let batch = builder.finish(0, &Digest::from_bytes([0; 32]));
    assert!(!batch.windows(8).any(|window| window == b"a secret"));
    assert_eq!(Batch::parse(&batch).unwrap().records().count(), 1);
}

#[test]
fn a_key_has_one_spelling() {
    let sealing: Sealing = from_json(sealed().get("sealing").unwrap()).unwrap();
    assert_eq!(AuditorKey::parse(&sealing.auditor_key.text()), Ok(sealing.auditor_key));
    let changed = |at: usize, to: u8, rest: u8| {
        let mut bytes = [rest; 32];
        (bytes[31], bytes[at]) = (0x7f, to);
        AuditorKey::from_bytes(bytes).map(drop)
    };
    assert_eq!(changed(0, 0xec, 0xff), Ok(()), "2^255 - 20");
    assert_eq!(changed(0, 0xed, 0xff), Err(AuditorKeyError::Spelling), "2^255 - 19 is 0");
    assert_eq!(changed(0, 0xff, 0xff), Err(AuditorKeyError::Spelling));
    assert_eq!(changed(5, 0xfe, 0xff), Ok(()));
    assert_eq!(changed(31, 0x80, 0), Err(AuditorKeyError::Spelling), "the highest bit");
    for text in ["", "AAAA", "not base64!", &"A".repeat(44), &format!("{}=", "A".repeat(43)), &"B".repeat(43)] {
        assert_eq!(AuditorKey::parse(text), Err(AuditorKeyError::Encoding), "{text}");
    }
}

#[test]
fn a_boot_record_names_its_auditor_or_nobody() {
    let mut record = Session::new(START).boot;
    assert!(!record.bytes().unwrap().windows(7).any(|window| window == b"sealing"));
    record.sealing = Some(from_json(sealed().get("sealing").unwrap()).unwrap());
    let bytes = record.bytes().unwrap();
    assert_eq!(BootRecord::parse(&bytes).unwrap(), record);
    assert_eq!(parse(&bytes).unwrap().get("sealing"), sealed().get("sealing"));
    for (change, to) in [("enc", "AAAA"), ("wrapped", "AAAA"), ("auditor_key", "AAAA"), ("more", "AAAA")] {
        let sealing = sealed().get("sealing").unwrap().clone().with(change, to.into());
        let changed = parse(&bytes).unwrap().with("sealing", sealing);
        assert!(BootRecord::parse(changed.sorted_ascii().as_bytes()).is_err(), "{change}");
    }
}

proptest! {
    #[test]
    fn bodies_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..60)) {
        let read = SealedBody::parse(&body);
        prop_assert_eq!(read.is_some(), body.len() >= OVERHEAD);
        if let Some(read) = read {
            prop_assert_eq!([&read.counter.to_le_bytes()[..], read.ciphertext_and_tag].concat(), body.clone());
            prop_assert!(read.ciphertext_and_tag.len() >= TAG);
        }
    }

    /// No two places share what AES-GCM is given.
    #[test]
    fn places_are_told_apart(
        a in (0..2_u8, 0..2_u64, 1..4_u8, 0..2_u64),
        b in (0..2_u8, 0..2_u64, 1..4_u8, 0..2_u64),
    ) {
        let place = |(boot, counter, kind, session)| {
            Place { boot_id: [boot; 16], counter, kind: RecordKind::parse(kind).unwrap(), session }
        };
        let (left, right) = (place(a), place(b));
        prop_assert_eq!(left == right, left.aad() == right.aad());
        prop_assert_eq!(left.counter == right.counter, left.nonce() == right.nonce());
    }
}
