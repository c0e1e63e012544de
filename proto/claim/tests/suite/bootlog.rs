//! Batches and segment files.

use claim::Digest;
use claim::bootlog::{
    Batch, BatchBuilder, BatchError, BootId, BootRecord, GapRecord, IntentRecord, PreviousBoot, RecordKind,
    SEGMENT_MAGIC, Segment, SegmentError, SegmentStart, TornReason, batch_hash,
};
use claim::json::parse;
use proptest::prelude::*;

use crate::common::session::{START, frame};
use crate::common::{Session, key, other_key};

const KINDS: [RecordKind; 7] = [
    RecordKind::Boot,
    RecordKind::Intent,
    RecordKind::Entry,
    RecordKind::Claim,
    RecordKind::Gap,
    RecordKind::Control,
    RecordKind::Evidence,
];

fn records() -> impl Strategy<Value = Vec<(RecordKind, u64, Vec<u8>)>> {
    let record = (prop::sample::select(&KINDS[..]), 0..4_u64, prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(record, 0..6)
}

proptest! {
    #[test]
    fn batches_read_back(boot in any::<[u8; 16]>(), number in any::<u64>(), prev in any::<[u8; 32]>(), records in records()) {
        let mut builder = BatchBuilder::new(boot);
        for (kind, session, bytes) in &records {
            builder.push(*kind, *session, bytes).unwrap();
        }
        let length = builder.len_bytes();
        let mut sessions: Vec<u64> = records.iter().map(|record| record.1).filter(|session| *session != 0).collect();
        sessions.sort_unstable();
        sessions.dedup();
        prop_assert_eq!(builder.sessions(), sessions);
        let bytes = builder.finish(number, &Digest::from_bytes(prev));
        prop_assert_eq!(bytes.len(), length);
        prop_assert!(builder.is_empty() && builder.sessions().is_empty());

        let batch = Batch::parse(&bytes).unwrap();
        prop_assert_eq!((batch.boot_id(), batch.number(), batch.prev()), (boot, number, Digest::from_bytes(prev)));
        let read: Vec<_> = batch.records().map(|record| (record.kind, record.session, record.bytes.to_vec())).collect();
        prop_assert_eq!(read, records);
        // The builder starts over as if new.
        prop_assert_eq!(builder.finish(0, &Digest::from_bytes([0; 32])), BatchBuilder::new(boot).finish(0, &Digest::from_bytes([0; 32])));
    }

    #[test]
    fn the_readers_are_total(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Batch::parse(&bytes);
        let file = [SEGMENT_MAGIC.as_slice(), &bytes].concat();
        prop_assert!(Segment::parse(&file).unwrap().count() <= file.len());
        let _ = Segment::parse(&bytes);
    }

    /// A file cut anywhere gives a prefix of its frames, and says where it ends.
    #[test]
    fn a_torn_segment_keeps_its_prefix(cut in any::<prop::sample::Index>()) {
        let whole = Session::new(START).segment(16 << 10);
        let cut = &whole[..cut.index(whole.len() + 1)];
        if let Ok(segment) = Segment::parse(cut) {
            let frames: Vec<_> = segment.map_while(Result::ok).collect();
            let expected: Vec<_> = Segment::parse(&whole).unwrap().map(Result::unwrap).take(frames.len()).collect();
            prop_assert_eq!(frames, expected);
        } else {
            prop_assert!(cut.len() < 16);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_batch_is_found() {
    let batch = Session::new(START).batches().remove(1);
    let signature = key().sign_batch(batch_hash(&batch));
    key().public().verify_batch(batch_hash(&batch), &signature).unwrap();
    assert!(other_key().public().verify_batch(batch_hash(&batch), &signature).is_err());
    for bit in 0..batch.len() * 8 {
        let mut changed = batch.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(key().public().verify_batch(batch_hash(&changed), &signature).is_err(), "bit {bit}");
    }
    for bit in 0..signature.len() * 8 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(key().public().verify_batch(batch_hash(&batch), &changed).is_err(), "signature bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_found() {
    let size = 10_240;
    let segment = Session::new(START).segment(size);
    let whole: Vec<_> = Segment::parse(&segment).unwrap().collect();
    assert!(whole.len() == 2 && whole.iter().all(Result::is_ok));
    for bit in (0..size * 8).step_by(7) {
        let mut changed = segment.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let frames = Segment::parse(&changed).map(Iterator::collect::<Vec<_>>);
        assert_ne!(frames.as_ref(), Ok(&whole), "bit {bit}");
        // A changed frame is never handed on as whole.
        let unchanged = frames.into_iter().flatten().flatten().all(|frame| whole.contains(&Ok(frame)));
        assert!(unchanged, "bit {bit}");
    }
}

#[test]
fn damage_is_named_and_placed() {
    let batch = BatchBuilder::new([1; 16]).finish(0, &Digest::from_bytes([0; 32]));
    let one = frame(&[3, 5], &[7; 64], &batch);
    let read = |tail: &[u8]| {
        let file = [SEGMENT_MAGIC.as_slice(), &one, tail].concat();
        let mut segment = Segment::parse(&file).unwrap();
        let first = segment.next().unwrap().unwrap();
        assert_eq!((first.sessions().collect::<Vec<_>>(), first.offset, first.batch), (vec![3, 5], 16, &batch[..]));
        assert_eq!(segment.offset(), 16 + one.len());
        let second = segment.next().map(|item| item.map(|_| ()));
        assert!(second == Some(Ok(())) || segment.next().is_none());
        second
    };
    let torn = |reason| Some(Err(SegmentError { offset: 16 + one.len(), reason }));
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[0; 3]), None);
    assert_eq!(read(&[0; 500]), None);
    assert_eq!(read(&one), Some(Ok(())));
    assert_eq!(read(&one[..one.len() - 1]), torn(TornReason::Truncated));
    assert_eq!(read(&one[..7]), torn(TornReason::Truncated));
    assert_eq!(read(&[0, 0, 0, 0, 0, 0, 1]), torn(TornReason::AfterEnd));
    let mut flipped = one.clone();
    flipped[40] ^= 1;
    assert_eq!(read(&flipped), torn(TornReason::Checksum));
    let mut short = 4_u32.to_le_bytes().to_vec();
    short.extend(&Digest::of([0_u8; 4]).bytes()[..8]);
    short.extend([0; 4]);
    assert_eq!(read(&short), torn(TornReason::Short));
    assert_eq!(Segment::parse(b"cmcp-boot-log-2\n").map(|_| ()), Err(SegmentStart::Magic));
    assert_eq!(Segment::parse(b"").map(|_| ()), Err(SegmentStart::Magic));
}

#[test]
fn malformed_batches_are_named() {
    let mut builder = BatchBuilder::new([1; 16]);
    builder.push(RecordKind::Gap, 0, b"x").unwrap();
    let batch = builder.finish(7, &Digest::of(b"prev"));
    assert_eq!(batch.len(), 68 + 13 + 1);
    let changed = |at: usize, to: u8| {
        let mut bytes = batch.clone();
        bytes[at] = to;
        Batch::parse(&bytes).map(|_| ())
    };
    assert_eq!(changed(0, b'X'), Err(BatchError::Magic));
    assert_eq!(changed(64, 2), Err(BatchError::Truncated));
    assert_eq!(changed(64, 0), Err(BatchError::Trailing(14)));
    assert_eq!(changed(68, 8), Err(BatchError::Kind(8)));
    assert_eq!(changed(77, 0), Err(BatchError::Trailing(1)));
    assert_eq!(changed(80, 0xff), Err(BatchError::Truncated));
    for cut in 0..batch.len() {
        assert_eq!(Batch::parse(&batch[..cut]).map(|_| ()), Err(BatchError::Truncated), "{cut}");
    }
}

#[test]
fn record_bodies_are_canonical_and_read_back() {
    let session = Session::new(START);
    let mut boot = session.boot.clone();
    boot.previous = Some(PreviousBoot { boot_id: BootId([7; 16]), batch: 41, hash: Digest::of(b"last") });
    assert_eq!(BootRecord::parse(&boot.bytes().unwrap()).unwrap(), boot);
    for batch in session.batches() {
        for record in Batch::parse(&batch).unwrap().records() {
            let value = parse(record.bytes).unwrap();
            assert_eq!(value.sorted_ascii().as_bytes(), record.bytes);
            match record.kind {
                RecordKind::Boot => assert_eq!(BootRecord::parse(record.bytes).unwrap(), session.boot),
                RecordKind::Intent => {
                    let intent = IntentRecord::parse(record.bytes).unwrap();
                    assert_eq!(intent.bytes(), record.bytes);
                    assert_eq!(intent.tool_name, "salesforce.contacts");
                }
                RecordKind::Gap => assert_eq!(GapRecord::parse(record.bytes).unwrap().bytes().unwrap(), record.bytes),
                RecordKind::Entry | RecordKind::Claim | RecordKind::Control | RecordKind::Evidence => {}
            }
        }
    }
}

#[test]
fn an_intent_with_an_awkward_tool_name_is_canonical() {
    let session = Session::new(START);
    let batch = session.batches().remove(0);
    let record = Batch::parse(&batch).unwrap().records().find(|record| record.kind == RecordKind::Intent).unwrap();
    let mut intent = IntentRecord::parse(record.bytes).unwrap();
    intent.tool_name = "quote\" back\\slash".to_owned();
    assert_eq!(parse(&intent.bytes()).unwrap().sorted_ascii().into_bytes(), intent.bytes());
    assert_eq!(IntentRecord::parse(&intent.bytes()).unwrap(), intent);
}
