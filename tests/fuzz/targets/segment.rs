//! Segment files and batches as a host may hand them over: no panic, no frame outside the file. Records are read as sealed ones and as
//! boot records too, which is what decides whether they are.
#![no_main]

use claim::bootlog::{Batch, BootRecord, Segment};
use claim::sealing::{OVERHEAD, SealedBody};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Ok(segment) = Segment::parse(bytes) {
        for frame in segment.map_while(Result::ok) {
            assert!(frame.offset + frame.batch.len() <= bytes.len());
            read(frame.batch);
        }
    }
});

fn read(batch: &[u8]) {
    let Ok(batch) = Batch::parse(batch) else { return };
    for record in batch.records() {
        assert_eq!(SealedBody::parse(record.bytes).is_some(), record.bytes.len() >= OVERHEAD);
        if let Ok(boot) = BootRecord::parse(record.bytes) {
            assert!(boot.bytes().is_ok_and(|bytes| BootRecord::parse(&bytes).as_ref() == Ok(&boot)));
        }
    }
}
