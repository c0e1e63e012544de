//! Reads what the host stores: segment files of framed batches. The framing is the host's; it finds torn writes, and
//! proves nothing. What proves something is the signature in each frame.

use thiserror::Error;

use crate::digest::Digest;

/// First 16 bytes of a segment file.
pub const SEGMENT_MAGIC: &[u8; 16] = b"cmcp-boot-log-1\n";
/// Length and checksum before each frame.
pub const FRAME_HEAD: usize = 4 + 8;

/// One stored batch with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Offset of the frame in the file, in bytes.
    pub offset: usize,
    /// The 64 bytes of the signature.
    pub signature: &'a [u8; 64],
    /// The batch's bytes.
    pub batch: &'a [u8],
    sessions: &'a [[u8; 8]],
}

impl Frame<'_> {
    /// The session numbers that the host filed the batch under.
    pub fn sessions(&self) -> impl Iterator<Item = u64> + '_ {
        self.sessions.iter().map(|number| u64::from_le_bytes(*number))
    }
}

/// Why a file is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SegmentStart {
    /// The file does not start with [`SEGMENT_MAGIC`].
    #[error("a segment file starts with cmcp-boot-log-1")]
    Magic,
}

/// Where a segment stops being readable. What comes before is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("frame at byte {offset}: {reason}")]
pub struct SegmentError {
    /// Offset of the frame that cannot be read.
    pub offset: usize,
    /// What is wrong with it.
    pub reason: TornReason,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TornReason {
    /// The file ends inside the frame.
    #[error("the file ends inside it")]
    Truncated,
    /// The checksum differs.
    #[error("checksum mismatch")]
    Checksum,
    /// The length leaves no room for what a frame holds.
    #[error("too short for its fields")]
    Short,
    /// Something after the end of the written area.
    #[error("bytes after the end of the log")]
    AfterEnd,
}

/// The frames of one segment file, in order. Ends at the end of the written area, or with one error.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    offset: usize,
    ended: bool,
}

impl<'a> Segment<'a> {
    /// Over a file's content.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SegmentStart> {
        if !bytes.starts_with(SEGMENT_MAGIC) {
            return Err(SegmentStart::Magic);
        }
        Ok(Self { bytes, offset: SEGMENT_MAGIC.len(), ended: false })
    }

    /// Offset behind the last frame that was read, in bytes: where a torn tail is cut.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    fn step(&mut self) -> Result<Option<Frame<'a>>, TornReason> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.iter().take(4).all(|byte| *byte == 0) {
            return at_end(rest);
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or(TornReason::Truncated)?;
        let (checksum, after) = after.split_first_chunk::<8>().ok_or(TornReason::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| TornReason::Truncated)?;
        let payload = after.get(..length).ok_or(TornReason::Truncated)?;
        if !Digest::of(payload).bytes().starts_with(checksum) {
            return Err(TornReason::Checksum);
        }
        let frame = read_payload(self.offset, payload).ok_or(TornReason::Short)?;
        self.offset = self.offset.saturating_add(FRAME_HEAD).saturating_add(length);
        Ok(Some(frame))
    }
}

/// The written area ends with a zero length, and zeros follow.
fn at_end<'a>(rest: &[u8]) -> Result<Option<Frame<'a>>, TornReason> {
    if rest.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(TornReason::AfterEnd) }
}

fn read_payload(offset: usize, payload: &[u8]) -> Option<Frame<'_>> {
    let (count, rest) = payload.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
    let (numbers, rest) = rest.split_at_checked(length)?;
    let (sessions, _) = numbers.as_chunks::<8>();
    let (signature, batch) = rest.split_first_chunk::<64>()?;
    Some(Frame { offset, signature, batch, sessions })
}

impl<'a> Iterator for Segment<'a> {
    type Item = Result<Frame<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.step().map_err(|reason| SegmentError { offset: self.offset, reason }).transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}
