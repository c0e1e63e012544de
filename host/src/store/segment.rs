//! The segment that is being written.

use std::io;

use super::Geometry;
use super::disk::{Disk, DiskFile};
use super::frame::{FIRST, MAGIC, Place};
use crate::limits;

/// An open segment, its end and how far ahead of it there are zeros.
pub(super) struct Segment<F> {
    number: u32,
    file: F,
    geometry: Geometry,
    end: u64,
    zeroed: u64,
    /// A write failed and may have left bytes after the end.
    littered: bool,
}

impl<F: DiskFile> Segment<F> {
    /// A new segment, durable.
    pub(super) fn create<D: Disk<File = F>>(disk: &D, number: u32, geometry: Geometry) -> io::Result<Self> {
        let file = disk.create(number)?;
        let mut segment = Self { number, file, geometry, end: FIRST, zeroed: FIRST, littered: false };
        let prepared = segment.file.write_all_at(&MAGIC, 0).and_then(|()| {
            segment.extend(FIRST);
            segment.file.sync()?;
            disk.sync()
        });
        if let Err(error) = prepared {
            // A file that is not a segment would stand in the way of the next attempt.
            let _ = disk.remove(number);
            return Err(error);
        }
        Ok(segment)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == FIRST
    }

    pub(super) fn has_room(&self, frame: &[u8]) -> bool {
        self.end + frame.len() as u64 <= self.geometry.segment
    }

    /// Writes a frame at the end. After an error the end is where it was.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<Place> {
        self.clean()?;
        let place = Place { segment: self.number, offset: self.end, length: frame.len() as u64 };
        if place.end() > self.zeroed {
            self.extend(place.end());
        }
        self.littered = true;
        self.file.write_all_at(frame, place.offset)?;
        self.littered = false;
        self.end = place.end();
        self.zeroed = self.zeroed.max(self.end);
        Ok(place)
    }

    /// Makes every frame so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Writes zeros ahead, if few are left.
    pub(super) fn prepare(&mut self) {
        if self.zeroed < self.geometry.segment && self.zeroed - self.end < self.geometry.extend_below && !self.littered
        {
            self.extend(self.end);
        }
    }

    /// Ends the segment: all of it durable, and no more zeros than needed after the last frame.
    pub(super) fn close(&mut self) -> io::Result<()> {
        match self.file.set_size(self.end) {
            Ok(()) => (self.zeroed, self.littered) = (self.end, false),
            Err(error) if self.littered => return Err(error),
            Err(_) => {}
        }
        self.file.sync()
    }

    pub(super) fn read(&self, place: Place, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        buffer.resize(usize::try_from(place.length).map_err(io::Error::other)?, 0);
        self.file.read_exact_at(buffer, place.offset)
    }

    /// Zeros from where they end to one step past `end`. Failing is no error: a frame can be written without them, and if
    /// there is no space for it either, that write says so.
    fn extend(&mut self, end: u64) {
        static ZEROS: [u8; limits::EXTEND_CHUNK] = [0; limits::EXTEND_CHUNK];
        let target = (end + self.geometry.extend).min(self.geometry.segment).max(end);
        while self.zeroed < target {
            let chunk = usize::try_from(target - self.zeroed).unwrap_or(usize::MAX).min(ZEROS.len());
            let Some(zeros) = ZEROS.get(..chunk).filter(|zeros| self.file.write_all_at(zeros, self.zeroed).is_ok())
            else {
                return;
            };
            self.zeroed += zeros.len() as u64;
        }
    }

    /// Removes what a failed write left.
    fn clean(&mut self) -> io::Result<()> {
        if self.littered {
            self.file.set_size(self.end)?;
            self.zeroed = self.end;
            self.littered = false;
        }
        Ok(())
    }
}
