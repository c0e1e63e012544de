//! What a start finds: the last whole frame, and a tail that a crash tore.

use std::fmt;
use std::io;

use super::StoreError;
use super::disk::{Disk, DiskFile};
use super::frame::{self, FIRST, Found, MAGIC, Place};
use crate::limits;

/// Bytes after the last whole frame of the last segment, cut and put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Number of the segment.
    pub segment: u32,
    /// Where the last whole frame ends.
    pub offset: u64,
    /// Size of what was cut.
    pub bytes: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, bytes } = self;
        write!(
            f,
            "torn tail in segment {segment:08}.log: {bytes} bytes after offset {offset} are no whole batch; \
             cut there and kept in {segment:08}.torn"
        )
    }
}

pub(super) struct Recovered {
    pub(super) next_segment: u32,
    pub(super) last: Option<Place>,
    pub(super) torn: Option<TornTail>,
}

/// Only the last segment can be torn: the one before was made durable first. The last frame can be further back, if
/// nothing was written to the last segment.
pub(super) fn recover(disk: &impl Disk) -> Result<Recovered, StoreError> {
    let mut segments = disk.segments()?;
    if let Some((expected, _)) = (0..).zip(&segments).find(|(expected, found)| expected != *found) {
        return Err(StoreError::Gap(expected));
    }
    let mut recovered = Recovered { next_segment: 0, last: None, torn: None };
    if let Some(number) = segments.last().copied() {
        recovered.torn = cut(disk, number)?;
        segments = disk.segments()?;
    }
    recovered.next_segment = u32::try_from(segments.len()).map_err(io::Error::other)?;
    for number in segments.into_iter().rev() {
        let file = disk.open(number)?;
        if !is_segment(&file)? {
            return Err(StoreError::NotASegment(number));
        }
        recovered.last = walk(&file, number)?.last;
        if recovered.last.is_some() {
            break;
        }
    }
    Ok(recovered)
}

/// Cuts whatever follows the last whole frame of this segment, or removes a segment without any.
fn cut(disk: &impl Disk, number: u32) -> Result<Option<TornTail>, StoreError> {
    let file = disk.open(number)?;
    let size = file.size()?;
    let began = is_segment(&file)?;
    let end = if began { walk(&file, number)?.end } else { 0 };
    let written = written_end(&file, end, size)?;
    let torn = (written > end).then(|| TornTail { segment: number, offset: end, bytes: written - end });
    if torn.is_some() {
        let mut tail = vec![0; usize::try_from(written - end).map_err(io::Error::other)?];
        file.read_exact_at(&mut tail, end)?;
        disk.keep_torn(number, &tail)?;
    }
    if end > FIRST {
        file.set_size(end)?;
        file.sync()?;
    } else {
        disk.remove(number)?;
    }
    disk.sync()?;
    Ok(torn)
}

fn is_segment(file: &impl DiskFile) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    Ok(file.size()? >= FIRST && file.read_exact_at(&mut magic, 0).map(|()| magic == MAGIC)?)
}

struct Walked {
    last: Option<Place>,
    end: u64,
}

fn walk(file: &impl DiskFile, number: u32) -> io::Result<Walked> {
    let size = file.size()?;
    let mut walked = Walked { last: None, end: FIRST };
    let mut buffer = Vec::new();
    while let Found::Frame(place) = frame::read(file, number, walked.end, size, &mut buffer)? {
        walked = Walked { last: Some(place), end: place.end() };
    }
    Ok(walked)
}

/// Where the last byte that is not zero ends.
fn written_end(file: &impl DiskFile, from: u64, size: u64) -> io::Result<u64> {
    let mut chunk = vec![0; limits::EXTEND_CHUNK];
    let mut end = size;
    while end > from {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX).min(chunk.len());
        let Some(part) = chunk.get_mut(..length) else { break };
        let start = end - length as u64;
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}
