//! Reading back: walks the frames of one boot beside the appends.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::disk::Disk;
use super::frame::{FIRST, Outline};
use super::index::Point;

/// Batches of one boot that name one session, in order. Reads only what was written when it was made.
pub struct Recall<D: Disk> {
    disk: Arc<D>,
    at: Option<Point>,
    /// Where the segments end, from that of the starting point.
    ends: std::vec::IntoIter<u64>,
    open: Option<(D::File, u64)>,
    range: RangeInclusive<u64>,
    session: u64,
}

impl<D: Disk> Recall<D> {
    pub(super) fn new(
        disk: Arc<D>,
        from: Option<Point>,
        ends: Vec<u64>,
        range: RangeInclusive<u64>,
        session: u64,
    ) -> Self {
        Self { disk, at: from, ends: ends.into_iter(), open: None, range, session }
    }

    fn next_batch(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(point) = self.at.filter(|point| point.batch <= *self.range.end()) {
            if self.open.is_none() && !self.open_segment(point.segment)? {
                break;
            }
            let Some((file, end)) = self.open.as_ref() else { break };
            if point.offset >= *end {
                self.open = None;
                self.at = Some(Point { segment: point.segment + 1, offset: FIRST, ..point });
                continue;
            }
            let outline = Outline::read(file, point.segment, point.offset, *end)?;
            self.at = Some(Point { batch: point.batch + 1, offset: outline.place.end(), ..point });
            if self.range.contains(&point.batch) && outline.names(self.session) {
                return outline.batch(file).map(Some);
            }
        }
        self.at = None;
        Ok(None)
    }

    fn open_segment(&mut self, number: u32) -> io::Result<bool> {
        let Some(end) = self.ends.next() else { return Ok(false) };
        self.open = Some((self.disk.open(number)?, end));
        Ok(true)
    }
}

impl<D: Disk> Iterator for Recall<D> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().inspect_err(|_| self.at = None).transpose()
    }
}
