//! The boot log: what one enclave boot stores, in signed batches that name each other by hash.
//!
//! Byte formats: `SPEC.md`, section 6. A batch's signature is [`crate::key::Key::sign_batch`].

mod batch;
mod records;
mod segment;

pub use batch::{Batch, BatchBuilder, BatchError, Record, RecordKind, Records, batch_hash};
pub use records::{BootId, BootRecord, ControlRecord, GapRecord, IntentRecord, Isolation, PreviousBoot};
pub use segment::{FRAME_HEAD, Frame, SEGMENT_MAGIC, Segment, SegmentError, SegmentStart, TornReason};
