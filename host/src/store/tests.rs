//! The store over a disk that fails.

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use wire::{Append, Blob, OpenRefusal, StoreFailure};

use super::disk::{Disk, Folder};
use super::memory::{Fault, Left, Memory};
use super::{BeginError, Geometry, Store};

const SMALL: Geometry = Geometry { segment: 4096, extend: 1000, extend_below: 300 };
const BOOT: [u8; 16] = [7; 16];
const NEXT_BOOT: [u8; 16] = [8; 16];
const BATCHES: u64 = 100;

/// A batch as the enclave lays it out, as far as the host knows; sizes and sessions differ from batch to batch.
fn append(boot: [u8; 16], batch: u64) -> Append {
    let mut bytes = b"cMCPbat1".to_vec();
    bytes.extend(boot);
    bytes.extend(batch.to_le_bytes());
    bytes.extend((0..batch * 37 % 450).map(|at| (at ^ batch).to_le_bytes()[0]));
    let sessions = (0..batch % 4).map(|session| session * 1000).collect();
    Append { batch, sync: true, sessions, signature: [batch.to_le_bytes()[0]; 64], bytes: Blob(bytes) }
}

fn open<D: Disk>(disk: D) -> Store<D> {
    Store::open(disk, SMALL).unwrap().0
}

/// Every batch of the files, by a second reading of the format; what follows the last frame of a file must be zero.
fn batches(files: &[(u32, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for (expected, (number, file)) in (0..).zip(files) {
        assert_eq!(expected, *number);
        let mut rest = file.strip_prefix(b"cmcp-boot-log-1\n").expect("magic");
        while rest.len() >= 4 && rest[..4] != [0; 4] {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            let (frame, after) = rest[4..].split_at(8 + length);
            assert_eq!(frame[..8], Sha256::digest(&frame[8..])[..8]);
            let sessions = u32::from_le_bytes(frame[8..12].try_into().unwrap()) as usize;
            batches.push(frame[12 + 8 * sessions + 64..].to_vec());
            rest = after;
        }
        assert!(rest.iter().all(|byte| *byte == 0), "bytes after the end of segment {number}");
    }
    batches
}

/// Appends until a failure; how many were acknowledged.
fn run(disk: &Memory) -> u64 {
    let Ok((store, _)) = Store::open(disk.clone(), SMALL) else { return 0 };
    if store.begin(BOOT, 0).is_err() {
        return 0;
    }
    (0..BATCHES)
        .take_while(|batch| store.append(BOOT, &append(BOOT, *batch)).inspect(|()| store.prepare()).is_ok())
        .count() as u64
}

fn expected(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|batch| append(BOOT, batch).bytes.0).collect()
}

#[test]
fn a_run_is_stored_in_segments() {
    let disk = Memory::default();
    assert_eq!(run(&disk), BATCHES);
    assert!(disk.contents().len() > 5);
    assert_eq!(batches(&disk.contents()), expected(BATCHES));
    let head = open(disk).head().unwrap().unwrap();
    assert_eq!((head.boot_id, head.batch), (BOOT, BATCHES - 1));
    assert_eq!(head.hash, <[u8; 32]>::from(Sha256::digest(append(BOOT, BATCHES - 1).bytes.0)));
}

/// The property the store exists for: whatever the moment of a power loss, and whatever the disk keeps of unsynced writes,
/// every acknowledged batch is there, at most the one in flight besides, and the store goes on from there.
#[test]
fn power_loss_at_every_operation() {
    let whole = Memory::default();
    run(&whole);
    for operation in 1..=whole.operations() {
        for left in [Left::Nothing, Left::Everything, Left::Some(0x5555_5555_5555_5555), Left::Some(!0 << 1)] {
            let disk = Memory::default();
            let acknowledged = run(&disk.faulty(operation, Fault::PowerLoss));
            check_after_power_loss(&disk.after_power_loss(left), acknowledged, &format!("{operation} {left:?}"));
        }
    }
}

fn check_after_power_loss(disk: &Memory, acknowledged: u64, what: &str) {
    let (store, torn) = Store::open(disk.clone(), SMALL).unwrap();
    let stored = batches(&disk.contents());
    let count = stored.len() as u64;
    assert!((acknowledged..=acknowledged + 1).contains(&count), "{what}: {acknowledged} acknowledged, {count} stored");
    assert_eq!(stored, expected(count), "{what}");
    assert_eq!(store.head().unwrap().map(|head| head.batch + 1).unwrap_or_default(), count, "{what}");
    assert_eq!(torn.is_some(), disk.torn() == 1, "{what}");
    store.begin(NEXT_BOOT, 0).unwrap();
    store.append(NEXT_BOOT, &append(NEXT_BOOT, 0)).unwrap();
    let stored = batches(&disk.after_power_loss(Left::Nothing).contents());
    assert_eq!(stored.last().unwrap(), &append(NEXT_BOOT, 0).bytes.0, "{what}");
    assert_eq!(stored.len() as u64, count + 1, "{what}");
}

#[test]
fn power_loss_during_recovery() {
    let whole = Memory::default();
    run(&whole);
    for operation in (1..=whole.operations()).step_by(7) {
        for recovery in 1..8 {
            let disk = Memory::default();
            let acknowledged = run(&disk.faulty(operation, Fault::PowerLoss));
            let disk = disk.after_power_loss(Left::Everything);
            let _ = Store::open(disk.faulty(recovery, Fault::PowerLoss), SMALL);
            let disk = disk.after_power_loss(Left::Nothing);
            let (store, _) = Store::open(disk.clone(), SMALL).unwrap();
            let stored = batches(&disk.contents());
            assert!(stored.len() as u64 >= acknowledged);
            assert_eq!(stored, expected(stored.len() as u64));
            drop(store);
        }
    }
}

/// A write that fails is tried again and leaves nothing behind; a sync that fails is not, because what it should have
/// made durable may be gone already.
#[test]
fn a_full_disk_at_every_operation() {
    let whole = Memory::default();
    run(&whole);
    for operation in 1..=whole.operations() {
        let disk = Memory::default();
        let store = open(disk.faulty(operation, Fault::Full));
        let _ = store.begin(BOOT, 0);
        store.begin(BOOT, 0).unwrap();
        let stored = (0..BATCHES).take_while(|batch| stored_in_the_end(&store, *batch)).count() as u64;
        let found = batches(&disk.contents());
        if stored < BATCHES {
            assert!(disk.sync_failed(), "{operation}");
            assert!((stored..=stored + 1).contains(&(found.len() as u64)));
            assert_eq!(store.append(BOOT, &append(BOOT, stored)), Err(StoreFailure::Io));
        }
        assert_eq!(found, expected(found.len() as u64), "{operation}");
    }
}

fn stored_in_the_end(store: &Store<Memory>, batch: u64) -> bool {
    (0..2).any(|_| store.append(BOOT, &append(BOOT, batch)).inspect(|()| store.prepare()).is_ok())
}

#[test]
fn no_space_is_named() {
    let disk = Memory::default();
    let store = open(disk.faulty(1, Fault::Full));
    assert_eq!(store.begin(BOOT, 0), Err(BeginError::Disk(StoreFailure::Full)));
    store.begin(BOOT, 0).unwrap();
    disk.faulty(1, Fault::Full);
    assert_eq!(store.append(BOOT, &append(BOOT, 0)), Err(StoreFailure::Full));
    assert_eq!(store.append(BOOT, &append(BOOT, 0)), Ok(()));
}

#[test]
fn order_and_repetition() {
    let store = open(Memory::default());
    assert_eq!(store.begin(BOOT, 1), Err(BeginError::UnknownBoot));
    assert_eq!(store.append(BOOT, &append(BOOT, 0)), Err(StoreFailure::OutOfOrder));
    assert_eq!(store.begin(BOOT, 0), Ok(0));
    assert_eq!(store.append(BOOT, &append(BOOT, 1)), Err(StoreFailure::OutOfOrder));
    assert_eq!(store.append(BOOT, &append(BOOT, 0)), Ok(()));
    assert_eq!(store.append(BOOT, &append(BOOT, 0)), Ok(()));
    let mut other = append(BOOT, 0);
    other.bytes.0.push(0);
    assert_eq!(store.append(BOOT, &other), Err(StoreFailure::OutOfOrder));
    assert_eq!(store.append(BOOT, &append(BOOT, 1)), Ok(()));
    assert_eq!(store.append(BOOT, &append(BOOT, 0)), Err(StoreFailure::OutOfOrder));
    assert_eq!(store.begin(BOOT, 0), Ok(2));
    assert_eq!(store.begin(NEXT_BOOT, 0), Ok(0));
    assert_eq!(store.append(BOOT, &append(BOOT, 2)), Err(StoreFailure::OutOfOrder));
    assert_eq!(store.begin(BOOT, 2), Err(BeginError::UnknownBoot));
    assert_eq!(batches(&store.disk.contents()), expected(2));
}

#[test]
fn a_batch_over_a_segment_is_refused() {
    let store = open(Memory::default());
    store.begin(BOOT, 0).unwrap();
    let mut large = append(BOOT, 0);
    large.bytes.0.resize(5000, 1);
    assert_eq!(store.append(BOOT, &large), Err(StoreFailure::Io));
    large.bytes.0.resize(4096 - 16 - 12 - 4 - 64, 1);
    assert_eq!(store.append(BOOT, &large), Ok(()));
}

#[test]
fn what_is_not_a_store_is_not_written_to() {
    let missing = Memory::default();
    missing.put(1, Vec::new());
    assert!(Store::open(missing, SMALL).is_err());
    let other = Memory::default();
    run(&other);
    other.put(2, b"something else entirely".to_vec());
    assert!(Store::open(other.clone(), SMALL).is_ok(), "only segments that are needed are read");
    let alone = Memory::default();
    alone.put(0, vec![9; 100]);
    let (_, torn) = Store::open(alone.clone(), SMALL).unwrap();
    assert_eq!((torn.unwrap().bytes, alone.torn()), (100, 1), "put aside, not destroyed");
}

#[test]
fn recall_reads_one_session_beside_the_appends() {
    let store = open(Memory::default());
    store.begin(NEXT_BOOT, 0).unwrap();
    store.append(NEXT_BOOT, &append(NEXT_BOOT, 0)).unwrap();
    store.begin(BOOT, 0).unwrap();
    (0..50).for_each(|batch| store.append(BOOT, &append(BOOT, batch)).unwrap());
    let mut recall = store.recall(BOOT, 3, u64::MAX, 1000).unwrap();
    let first: Vec<_> = recall.by_ref().take(5).map(Result::unwrap).collect();
    (50..BATCHES).for_each(|batch| store.append(BOOT, &append(BOOT, batch)).unwrap());
    let all: Vec<_> = first.into_iter().chain(recall.map(Result::unwrap)).collect();
    let wanted = |range: std::ops::Range<u64>| -> Vec<_> {
        range.filter(|batch| batch % 4 >= 2).map(|batch| append(BOOT, batch).bytes.0).collect()
    };
    assert_eq!(all, wanted(3..50));
    let recalled = |first, last, session| -> Vec<_> {
        store.recall(BOOT, first, last, session).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(recalled(0, 99, 1000), wanted(0..100));
    assert_eq!(recalled(98, 98, 1000), wanted(98..99));
    assert_eq!(recalled(200, 300, 1000), Vec::<Vec<u8>>::new());
    assert_eq!(recalled(5, 4, 1000), Vec::<Vec<u8>>::new());
    assert_eq!(recalled(0, 99, 4000), Vec::<Vec<u8>>::new());
    assert!(matches!(store.recall(NEXT_BOOT, 0, 0, 0), Err(OpenRefusal::UnknownBoot)));
}

#[test]
fn recall_of_an_empty_boot_is_empty() {
    let store = open(Memory::default());
    store.begin(BOOT, 0).unwrap();
    assert_eq!(store.recall(BOOT, 0, u64::MAX, 0).unwrap().count(), 0);
}

/// The file that `proto/claim` publishes for readers: understood, and written byte for byte.
#[test]
fn the_published_segment() {
    let published = include_bytes!("../../../proto/claim/vectors/segment.bin");
    let disk = Memory::default();
    disk.put(0, published.to_vec());
    let head = open(disk.clone()).head().unwrap().unwrap();
    let whole = disk.contents().remove(0).1;
    assert!(published.starts_with(&whole) && whole.len() > 16);
    let written = Memory::default();
    let (store, _) = Store::open(written.clone(), Geometry::default()).unwrap();
    store.begin(head.boot_id, 0).unwrap();
    for append in &appends(&whole) {
        store.append(head.boot_id, append).unwrap();
    }
    store.close().unwrap();
    assert_eq!(written.contents(), [(0, whole)]);
    assert_eq!(store.head().unwrap(), Some(head));
}

/// The frames of a segment as they were asked for.
fn appends(segment: &[u8]) -> Vec<Append> {
    let (mut appends, mut rest) = (Vec::new(), &segment[16..]);
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().unwrap();
        let (frame, after) = after.split_at(8 + u32::from_le_bytes(*length) as usize);
        let (count, body) = frame[8..].split_first_chunk().unwrap();
        let (sessions, body) = body.split_at(8 * u32::from_le_bytes(*count) as usize);
        let (signature, batch) = body.split_first_chunk().unwrap();
        appends.push(Append {
            batch: appends.len() as u64,
            sync: true,
            sessions: sessions.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect(),
            signature: *signature,
            bytes: Blob(batch.to_vec()),
        });
        rest = after;
    }
    appends
}

#[test]
fn real_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Folder::open(folder.path()).unwrap());
    store.begin(BOOT, 0).unwrap();
    for batch in 0..BATCHES {
        let mut append = append(BOOT, batch);
        append.sync = batch % 10 == 0;
        store.append(BOOT, &append).unwrap();
        store.prepare();
    }
    assert_eq!(store.recall(BOOT, 0, 99, 0).unwrap().count(), 75);
    store.close().unwrap();
    drop(store);
    let files: Vec<_> = (0..)
        .map_while(|number: u32| Some((number, std::fs::read(folder.path().join(format!("{number:08}.log"))).ok()?)))
        .collect();
    assert_eq!(batches(&files), expected(BATCHES));
    let last = folder.path().join(format!("{:08}.log", files.len() - 1));
    std::fs::OpenOptions::new()
        .write(true)
        .open(&last)
        .unwrap()
        .set_len(files.last().unwrap().1.len() as u64 - 1)
        .unwrap();
    let (store, torn) = Store::open(Folder::open(folder.path()).unwrap(), SMALL).unwrap();
    assert_eq!(torn.unwrap().segment as usize, files.len() - 1);
    assert_eq!(store.head().unwrap().unwrap().batch, BATCHES - 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the last segment holds, opening ends at a batch boundary, loses no whole frame and destroys nothing.
    #[test]
    fn any_damage_to_the_tail_is_cut(at in 0_usize..4096, byte in any::<u8>(), cut in any::<bool>()) {
        let disk = Memory::default();
        run(&disk);
        let (number, mut bytes) = disk.contents().pop().unwrap();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        disk.put(number, bytes);
        let (store, _) = Store::open(disk.clone(), SMALL).unwrap();
        let stored = batches(&disk.contents());
        prop_assert_eq!(&stored, &expected(stored.len() as u64));
        prop_assert_eq!(store.head().unwrap().unwrap().batch + 1, stored.len() as u64);
    }
}
