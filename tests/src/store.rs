//! The record store as a reader sees it who knows only the file format: no signature is checked here, that is
//! `cmcp-verify store verify`'s part.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::bin;

/// First bytes of a segment file.
pub const SEGMENT_HEADER: &[u8; 16] = b"cmcp-boot-log-1\n";
/// Record kinds, as numbered in the boot log.
pub mod kind {
    /// A boot.
    pub const BOOT: u8 = 1;
    /// An intent: a call that is about to be forwarded.
    pub const INTENT: u8 = 2;
    /// An entry of a session chain.
    pub const ENTRY: u8 = 3;
    /// An issued claim.
    pub const CLAIM: u8 = 4;
    /// Calls that were refused while the store was away.
    pub const GAP: u8 = 5;
    /// A change of what is in force.
    pub const CONTROL: u8 = 6;
    /// Evidence of the boot or of a session.
    pub const EVIDENCE: u8 = 7;
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// The boot it belongs to.
    pub boot_id: [u8; 16],
    /// The batch it came in.
    pub batch: u64,
    /// See [`kind`].
    pub kind: u8,
    /// Session number in its boot.
    pub session: u64,
    /// The record's body.
    pub bytes: Vec<u8>,
}

impl Record {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("a record's body is JSON")
    }
}

/// Segment files in order.
pub fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store).expect("a store");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

/// Byte range of every whole frame of a segment, header excluded.
pub fn frames(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    assert_eq!(&segment[..SEGMENT_HEADER.len()], SEGMENT_HEADER);
    let mut frames = Vec::new();
    let mut at = SEGMENT_HEADER.len();
    while let Some(length) = segment.get(at..at + 4).map(u32_at) {
        let end = at + 4 + 8 + length;
        if length == 0 || end > segment.len() {
            break;
        }
        frames.push(at..end);
        at = end;
    }
    frames
}

/// Every record of a store, in order.
pub fn records(store: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    for path in segments(store) {
        let bytes = std::fs::read(&path).expect("a segment");
        for frame in frames(&bytes) {
            records.extend(batch_records(batch_of_frame(&bytes[frame])));
        }
    }
    records
}

/// The batch inside a frame: after length, checksum, session numbers and signature.
pub fn batch_of_frame(frame: &[u8]) -> &[u8] {
    let sessions = u32_at(&frame[12..16]);
    &frame[16 + 8 * sessions + 64..]
}

/// The records of one batch.
pub fn batch_records(batch: &[u8]) -> Vec<Record> {
    assert_eq!(&batch[..8], b"cMCPbat1");
    let boot_id = batch[8..24].try_into().expect("16 bytes");
    let number = u64_at(&batch[24..32]);
    let count = u32_at(&batch[64..68]);
    let mut at = 68;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u32_at(&batch[at + 9..at + 13]);
        let bytes = batch[at + 13..at + 13 + length].to_vec();
        records.push(Record {
            boot_id,
            batch: number,
            kind: batch[at],
            session: u64_at(&batch[at + 1..at + 9]),
            bytes,
        });
        at += 13 + length;
    }
    assert_eq!(at, batch.len(), "a batch ends with its last record");
    records
}

/// Every session-chain entry of a store as JSON.
pub fn entries(store: &Path) -> Vec<Value> {
    records(store).iter().filter(|record| record.kind == kind::ENTRY).map(Record::json).collect()
}

/// Every intent of a store as JSON.
pub fn intents(store: &Path) -> Vec<Value> {
    records(store).iter().filter(|record| record.kind == kind::INTENT).map(Record::json).collect()
}

/// Whoever may read sealed records: a key made with `cmcp-verify auditor new-key`.
pub struct Auditor {
    folder: TempDir,
    /// What the configuration names.
    pub key: String,
}

impl Auditor {
    /// Makes a key.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = cmcp_verify(&["auditor", "new-key", "--out", &folder.path().join("key").to_string_lossy()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let key = text.trim_end().strip_prefix("audit.auditor_key: ").unwrap_or_else(|| panic!("{output:?}"));
        Self { key: key.to_owned(), folder }
    }

    /// The file with the private key.
    pub fn file(&self) -> String {
        self.folder.path().join("key").to_string_lossy().into_owned()
    }
}

impl Default for Auditor {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `cmcp-verify`.
pub fn cmcp_verify(args: &[&str]) -> Output {
    Command::new(bin::path("cmcp-verify")).args(args).output().expect("cmcp-verify runs")
}

/// Runs `cmcp-verify store verify` and expects success.
pub fn assert_verifies(store: &Path) -> String {
    let output = cmcp_verify(&["store", "verify", &store.to_string_lossy()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn u32_at(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes.try_into().expect("4 bytes")) as usize
}

fn u64_at(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}
