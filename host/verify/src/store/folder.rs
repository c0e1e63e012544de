//! A store as a folder of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use claim::key::PublicKey;

use super::{AuditorSecret, Head, Seen, StoreReason, StoreVerdict, StoreWalk};

/// A segment is closed at 64 MiB; a file much larger than that is none.
const MAX_SEGMENT: u64 = 128 << 20;

/// How to read a store.
#[derive(Default)]
pub struct StoreOptions<'a> {
    /// What must be in it.
    pub heads: Vec<Head>,
    /// Keys that boots may have, learned out of band; any key if there are none.
    pub trusted_keys: Vec<PublicKey>,
    /// Private keys of auditors: without them, records that are sealed are counted and not read.
    pub auditors: Vec<AuditorSecret>,
    /// Told after each segment.
    pub progress: Option<&'a mut dyn FnMut(Progress)>,
}

/// How far a long run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of all segments when the run began.
    pub total: u64,
    /// Batches verified.
    pub batches: u64,
}

/// Why a store could not be read. What is wrong inside it is a verdict, not an error.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {error}", path.display())]
pub struct StoreError {
    /// Which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// Verifies a folder of segment files. It is only read.
pub fn verify_store(folder: &Path, options: StoreOptions<'_>) -> Result<StoreVerdict, StoreError> {
    walk(folder, options, &mut ())
}

/// The same, showing what has been verified.
pub(super) fn walk(folder: &Path, options: StoreOptions<'_>, seen: &mut dyn Seen) -> Result<StoreVerdict, StoreError> {
    let Listing { segments, kept_torn } = list(folder)?;
    let mut walk = StoreWalk::new(options.heads, options.trusted_keys, options.auditors);
    let mut progress = options.progress;
    let total = segments.iter().fold(0_u64, |sum, segment| sum.saturating_add(segment.size));
    let mut bytes = Vec::new();
    let mut done = 0_u64;
    for (expected, segment) in (0_u64..).zip(&segments) {
        if segment.number != expected {
            walk.fail(StoreReason::SegmentMissing, format!("{expected:08}.log is missing"));
            break;
        }
        read(segment, &mut bytes)?;
        let last = expected.checked_add(1) == u64::try_from(segments.len()).ok();
        if !walk.segment(segment.number, &bytes, last, seen) {
            break;
        }
        done = done.saturating_add(segment.size);
        if let Some(report) = &mut progress {
            report(Progress { bytes: done, total, batches: walk.batches() });
        }
    }
    let mut verdict = walk.finish();
    verdict.kept_torn = kept_torn;
    Ok(verdict)
}

struct Listing {
    segments: Vec<SegmentFile>,
    kept_torn: Vec<String>,
}

struct SegmentFile {
    number: u64,
    path: PathBuf,
    size: u64,
}

fn list(folder: &Path) -> Result<Listing, StoreError> {
    let refuse = |error| StoreError { path: folder.to_owned(), error };
    let mut listing = Listing { segments: Vec::new(), kept_torn: Vec::new() };
    for entry in std::fs::read_dir(folder).map_err(refuse)? {
        let entry = entry.map_err(refuse)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(number) = name.strip_suffix(".log").and_then(segment_number) {
            let size = entry.metadata().map_err(refuse)?.len();
            listing.segments.push(SegmentFile { number, path: entry.path(), size });
        } else if name.strip_suffix(".torn").and_then(segment_number).is_some() {
            listing.kept_torn.push(name.to_owned());
        }
    }
    listing.segments.sort_by_key(|segment| segment.number);
    listing.kept_torn.sort();
    Ok(listing)
}

fn segment_number(digits: &str) -> Option<u64> {
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn read(segment: &SegmentFile, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
    let refuse = |error| StoreError { path: segment.path.clone(), error };
    if segment.size > MAX_SEGMENT {
        return Err(refuse(io::Error::other(format!("{} bytes are more than a segment has", segment.size))));
    }
    bytes.clear();
    let file = File::open(&segment.path).map_err(refuse)?;
    file.take(MAX_SEGMENT).read_to_end(bytes).map_err(refuse)?;
    Ok(())
}
