//! The record store: is everything that the enclave signed still there, unaltered and in order?
//!
//! Segment files are read one at a time, so memory grows with the sessions that are open at once, not with the store.
//! The walk stops at the first thing that is wrong: what follows a broken link proves nothing. What the end of the log
//! was is the host's word, unless a later head is given: see [`Head`].

mod boot;
mod export;
mod folder;
mod heads;
mod proof;
mod reasons;
mod sealing;
mod session;
mod torn;
mod walk;

use claim::Digest;
use claim::bootlog::{BootId, ControlRecord};
use claim::sealing::AuditorKey;
use claim::time::Timestamp;

use crate::verdict::Status;

pub use export::{ExportError, ExportOptions, Exported, export_session};
pub use folder::{Progress, StoreError, StoreOptions, verify_store};
pub use heads::{Head, HeadError, HeadVerdict};
pub use proof::{ProofError, ProvenEntries, read_proof};
pub use reasons::StoreReason;
pub use sealing::{AuditorSecret, NotASecret};
pub(crate) use walk::{Seen, StoreWalk};

/// The verdict on a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreVerdict {
    /// Segment files read, and their size in bytes.
    pub segments: u64,
    /// Size of these files in bytes.
    pub bytes: u64,
    /// Every boot, in order.
    pub boots: Vec<BootReport>,
    /// What is wrong, if anything; the walk stopped there.
    pub failure: Option<StoreFailure>,
    /// Where the log was cut off in the middle of a batch. A crash does that; so does a host that hides one batch.
    pub torn: Option<TornTail>,
    /// Files with what a restart of the host cut off and kept.
    pub kept_torn: Vec<String>,
    /// What became of the heads that were asked for.
    pub heads: Vec<HeadVerdict>,
}

impl StoreVerdict {
    /// Verified: every batch before the tail is whole, signed and in order, what is in it fits together, and every head was
    /// reached. Partially: the same, but records of some boot are sealed to an auditor whose key was not given, and nothing is
    /// known of what is in them.
    pub fn status(&self) -> Status {
        let wrong = self.failure.is_some() || self.heads.iter().any(|head| head.failure.is_some());
        match () {
            () if wrong => Status::Unverified,
            () if self.boots.iter().all(BootReport::is_read) => Status::Verified,
            () => Status::PartiallyVerified,
        }
    }

    /// Whether it is [`Status::Verified`].
    pub fn verified(&self) -> bool {
        self.status() == Status::Verified
    }
}

impl BootReport {
    /// Whether the records were read; if not, they were counted, and nothing else is known of them.
    pub fn is_read(&self) -> bool {
        self.sealing.is_none_or(|sealing| sealing.opened)
    }
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFailure {
    /// A [`StoreReason`] or a [`crate::BundleReason`], by name.
    pub reason: &'static str,
    /// What was expected and what was found.
    pub message: String,
    /// Where.
    pub place: Place,
}

/// Where in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment file.
    pub segment: u64,
    /// Offset of the frame in it, in bytes.
    pub offset: usize,
    /// Boot and number of the batch, if they could be read.
    pub batch: Option<(BootId, u64)>,
    /// Index of the record in its batch, if it is about one.
    pub record: Option<usize>,
}

impl std::fmt::Display for StoreFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { segment, offset, batch, record } = &self.place;
        write!(formatter, "{}: {} ({segment:08}.log, byte {offset}", self.reason, self.message)?;
        if let Some((boot, batch)) = batch {
            write!(formatter, ", boot {boot}, batch {batch}")?;
        }
        if let Some(record) = record {
            write!(formatter, ", record {record}")?;
        }
        formatter.write_str(")")
    }
}

/// The end of a log that does not end with a whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Number of the segment file.
    pub segment: u64,
    /// Where the last whole batch ends, in bytes: what follows is not part of the log.
    pub offset: usize,
    /// What was found there.
    pub found: String,
}

/// Whom the records of a boot are sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedTo {
    /// The auditor's public key.
    pub auditor_key: AuditorKey,
    /// Whether the auditor's private key was given: without it, records are counted and not read.
    pub opened: bool,
}

/// What one boot of the enclave left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootReport {
    /// Its name.
    pub boot_id: BootId,
    /// The key that signed its batches, 64 hexadecimal digits: the boot's own word.
    pub public_key: String,
    /// Whom its records are sealed to, if they are. Unless opened, what follows `gaps` is unknown, and so is `open_sessions`.
    pub sealing: Option<SealedTo>,
    /// Development mode.
    pub dev: bool,
    /// When it started, by the host's word.
    pub started_at: Timestamp,
    /// Batches.
    pub batches: u64,
    /// Hash of the last batch: the head to keep outside.
    pub head: Digest,
    /// Records of all kinds.
    pub records: u64,
    /// Entries of session chains.
    pub entries: u64,
    /// Claims.
    pub claims: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Sessions that did not end.
    pub open_sessions: u64,
    /// Times in which nothing could be stored.
    pub gaps: u64,
    /// Calls refused meanwhile.
    pub refused_calls: u64,
    /// What operators, and rules of theirs, changed while it ran.
    pub controls: Vec<ControlRecord>,
    /// Calls that were about to be forwarded when the log ended: they may or may not have run.
    pub unknown_outcomes: Vec<UnknownOutcome>,
}

/// An intent without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOutcome {
    /// Which session.
    pub session_id: String,
    /// Which call.
    pub call_id: String,
    /// Which tool.
    pub tool_name: String,
    /// When it was decided.
    pub at: Timestamp,
}
