//! Bytes of a segment file.
//!
//! A segment starts with [`MAGIC`]. Frames follow: length (u32 LE, of everything after the checksum), checksum (first 8
//! bytes of SHA-256 over everything after it), count of sessions (u32 LE), that many session numbers (u64 LE), signature
//! (64), batch. A length of zero, or the end of the file, ends the written area; what comes after it is zero.

use std::io;

use sha2::{Digest, Sha256};
use wire::{Append, StoreHead};

use super::disk::DiskFile;
use crate::limits;

/// First bytes of a segment file.
pub(super) const MAGIC: [u8; 16] = *b"cmcp-boot-log-1\n";
/// Where the first frame starts.
pub(super) const FIRST: u64 = MAGIC.len() as u64;

const LENGTH: usize = 4;
const CHECKSUM: usize = 8;
const PREFIX: usize = LENGTH + CHECKSUM;
const COUNT: usize = 4;
const SIGNATURE: usize = 64;
/// Of a batch, what the host reads: magic, boot, number (`proto/claim/SPEC.md`).
const BATCH_HEAD: usize = 32;

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u64,
    /// Of the whole frame.
    pub(super) length: u64,
}

impl Place {
    pub(super) fn end(self) -> u64 {
        self.offset + self.length
    }
}

/// Writes the frame of this batch into `buffer`, replacing what it held. False if it does not fit a segment.
pub(super) fn write(buffer: &mut Vec<u8>, append: &Append, segment: u64) -> bool {
    let rest = COUNT + 8 * append.sessions.len() + SIGNATURE + append.bytes.0.len();
    let (Ok(length), Ok(count)) = (u32::try_from(rest), u32::try_from(append.sessions.len())) else { return false };
    if FIRST + (PREFIX + rest) as u64 > segment || append.sessions.len() > limits::BATCH_SESSIONS {
        return false;
    }
    buffer.clear();
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[0; CHECKSUM]);
    buffer.extend_from_slice(&count.to_le_bytes());
    append.sessions.iter().for_each(|session| buffer.extend_from_slice(&session.to_le_bytes()));
    buffer.extend_from_slice(&append.signature);
    buffer.extend_from_slice(&append.bytes.0);
    let (prefix, body) = buffer.split_at_mut(PREFIX);
    let (_, checksum) = prefix.split_at_mut(LENGTH);
    checksum.copy_from_slice(&checksum_of(body));
    true
}

fn checksum_of(body: &[u8]) -> [u8; CHECKSUM] {
    let mut checksum = [0; CHECKSUM];
    checksum.iter_mut().zip(Sha256::digest(body)).for_each(|(byte, of_digest)| *byte = of_digest);
    checksum
}

/// What stands at a place where a frame may start.
pub(super) enum Found {
    /// A whole frame; the buffer holds it.
    Frame(Place),
    /// The written area ends here.
    End,
    /// Something else.
    Torn,
}

/// Reads and checks what stands at `offset` of a file of `size` bytes.
pub(super) fn read(
    file: &impl DiskFile,
    segment: u32,
    offset: u64,
    size: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Found> {
    let mut prefix = [0; PREFIX];
    let room = size.saturating_sub(offset);
    if room < PREFIX as u64 {
        let Some(tail) = usize::try_from(room).ok().and_then(|room| prefix.get_mut(..room)) else {
            return Ok(Found::Torn);
        };
        file.read_exact_at(tail, offset)?;
        return Ok(if tail.iter().all(|byte| *byte == 0) { Found::End } else { Found::Torn });
    }
    file.read_exact_at(&mut prefix, offset)?;
    let [a, b, c, d, checksum @ ..] = prefix;
    let rest = u32::from_le_bytes([a, b, c, d]);
    if rest == 0 {
        return Ok(if checksum == [0; CHECKSUM] { Found::End } else { Found::Torn });
    }
    let length = PREFIX as u64 + u64::from(rest);
    if length > room || usize::try_from(rest).is_ok_and(|rest| rest < COUNT + SIGNATURE) {
        return Ok(Found::Torn);
    }
    buffer.clear();
    buffer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
    file.read_exact_at(buffer, offset)?;
    let whole = buffer.get(PREFIX..).is_some_and(|body| checksum_of(body) == checksum);
    Ok(if whole { Found::Frame(Place { segment, offset, length }) } else { Found::Torn })
}

/// The batch inside a whole frame.
pub(super) fn batch(frame: &[u8]) -> Option<&[u8]> {
    let count = u32::from_le_bytes(frame.get(PREFIX..PREFIX + COUNT)?.try_into().ok()?);
    frame.get(batch_offset(count)?..)
}

/// Where the batch starts in a frame that names `count` sessions.
fn batch_offset(count: u32) -> Option<usize> {
    usize::try_from(count).ok()?.checked_mul(8)?.checked_add(PREFIX + COUNT + SIGNATURE)
}

/// Who a batch says it is.
pub(super) fn head(batch: &[u8]) -> Option<StoreHead> {
    let head: &[u8; BATCH_HEAD] = batch.first_chunk()?;
    let boot_id = head.get(8..24)?.try_into().ok()?;
    let number = u64::from_le_bytes(head.get(24..32)?.try_into().ok()?);
    Some(StoreHead { boot_id, batch: number, hash: Sha256::digest(batch).into() })
}

/// The start of a frame: enough to know its length and, for most frames, its sessions.
const PEEK: usize = 512;

/// A frame's outline, read without its batch.
pub(super) struct Outline {
    pub(super) place: Place,
    batch_offset: u64,
    sessions: Vec<u8>,
}

impl Outline {
    /// Reads the outline of the frame that is known to start at `offset` and to end by `end`.
    pub(super) fn read(file: &impl DiskFile, segment: u32, offset: u64, end: u64) -> io::Result<Self> {
        let broken = || io::Error::other("segment does not hold the frames that were written to it");
        let room = usize::try_from(end.saturating_sub(offset)).map_err(io::Error::other)?;
        let mut peek = [0; PEEK];
        let peek = peek.get_mut(..room.min(PEEK)).ok_or_else(broken)?;
        file.read_exact_at(peek, offset)?;
        let number = |at: usize| peek.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let (rest, count) = number(0).zip(number(PREFIX)).ok_or_else(broken)?;
        let length = PREFIX as u64 + u64::from(rest);
        let batch_offset =
            batch_offset(count).filter(|at| *at as u64 <= length && length <= room as u64).ok_or_else(broken)?;
        let first = PREFIX + COUNT;
        let mut sessions = vec![0; batch_offset - SIGNATURE - first];
        match peek.get(first..batch_offset - SIGNATURE) {
            Some(bytes) => sessions.copy_from_slice(bytes),
            None => file.read_exact_at(&mut sessions, offset + first as u64)?,
        }
        Ok(Self { place: Place { segment, offset, length }, batch_offset: batch_offset as u64, sessions })
    }

    /// Whether the frame names this session.
    pub(super) fn names(&self, session: u64) -> bool {
        self.sessions.chunks_exact(8).any(|bytes| bytes == session.to_le_bytes())
    }

    /// Reads the batch.
    pub(super) fn batch(&self, file: &impl DiskFile) -> io::Result<Vec<u8>> {
        let length = self.place.length.saturating_sub(self.batch_offset);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, self.place.offset + self.batch_offset)?;
        Ok(bytes)
    }
}
