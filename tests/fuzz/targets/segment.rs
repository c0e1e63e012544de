//! Segment files and batches as a host may hand them over: no panic, no frame outside the file.
#![no_main]

use claim::bootlog::{Batch, Segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Batch::parse(bytes).map(|batch| batch.records().count());
    if let Ok(segment) = Segment::parse(bytes) {
        for frame in segment.map_while(Result::ok) {
            assert!(frame.offset + frame.batch.len() <= bytes.len());
            let _ = Batch::parse(frame.batch).map(|batch| batch.records().count());
        }
    }
});
