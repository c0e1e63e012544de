//! The append-only record store: segment files that survive a crash up to the last acknowledged batch.
//!
//! The store knows the framing of its files and nothing of what is in a batch, except who it says it is. That nothing
//! was dropped or altered is for `cmcp-verify store` to find out; here the point is not to lose anything.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use wire::{Append, OpenRefusal, StoreFailure, StoreHead};

pub mod disk;
mod frame;
mod index;
#[cfg(test)]
mod memory;
mod recall;
mod recover;
mod segment;
mod serve;
#[cfg(test)]
mod tests;

use crate::limits;
use disk::{Disk, DiskFile};
use frame::Place;
use index::Index;
pub use recall::Recall;
pub use recover::TornTail;
use segment::Segment;
pub use serve::serve_recall;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Segments are numbered from 0 without a gap.
    #[error("segment {0:08}.log is missing")]
    Gap(u32),
    /// A segment that is not the last must start as one.
    #[error("segment {0:08}.log does not start with the store's magic bytes")]
    NotASegment(u32),
}

/// Why a boot cannot be recorded.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BeginError {
    /// It says that it has stored batches, and it has not.
    #[error("this boot is not the one being recorded")]
    UnknownBoot,
    /// There is no new segment for it.
    #[error("no segment can be made: {0:?}")]
    Disk(StoreFailure),
}

/// Sizes of segment files in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// A segment is not written beyond this.
    pub segment: u64,
    /// Zeros are written ahead in steps of this size.
    pub extend: u64,
    /// Zeros are written between appends when fewer are left.
    pub extend_below: u64,
}

impl Default for Geometry {
    fn default() -> Self {
        Self { segment: limits::SEGMENT, extend: limits::EXTEND, extend_below: limits::EXTEND_BELOW }
    }
}

/// A store, open for one host.
pub struct Store<D: Disk> {
    disk: Arc<D>,
    writer: Mutex<Writer<D::File>>,
}

/// What is being written.
struct Writer<F> {
    geometry: Geometry,
    /// Number of the next segment file.
    next_segment: u32,
    current: Option<Segment<F>>,
    /// The last whole frame of the store.
    last: Option<Place>,
    boot: Option<Boot>,
    /// The disk did not confirm a write: nothing more is promised until the next start.
    broken: bool,
    buffer: Vec<u8>,
    compare: Vec<u8>,
}

/// The boot that is being recorded.
struct Boot {
    id: [u8; 16],
    next: u64,
    index: Index,
    /// First segment of the boot, and where each but the last ends.
    first_segment: u32,
    ends: Vec<u64>,
}

impl<D: Disk> Store<D> {
    /// Opens the store and cuts a torn tail, which the caller reports.
    ///
    /// # Errors
    /// The disk fails, or holds something that is not a store.
    pub fn open(disk: D, geometry: Geometry) -> Result<(Self, Option<TornTail>), StoreError> {
        let recovered = recover::recover(&disk)?;
        let writer = Writer {
            geometry,
            next_segment: recovered.next_segment,
            current: None,
            last: recovered.last,
            boot: None,
            broken: false,
            buffer: Vec::new(),
            compare: Vec::new(),
        };
        Ok((Self { disk: Arc::new(disk), writer: Mutex::new(writer) }, recovered.torn))
    }

    /// The last batch stored.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn head(&self) -> io::Result<Option<StoreHead>> {
        let last = self.writer().last;
        let Some(place) = last else { return Ok(None) };
        let file = self.disk.open(place.segment)?;
        let mut buffer = Vec::new();
        match frame::read(&file, place.segment, place.offset, place.end(), &mut buffer)? {
            frame::Found::Frame(_) => Ok(frame::batch(&buffer).and_then(frame::head)),
            _ => Err(io::Error::other("the last batch changed on disk")),
        }
    }

    /// Number of the next batch of this boot, which starts now if it is new.
    ///
    /// # Errors
    /// The boot is not the current one but says that it has stored batches; or the disk fails.
    pub fn begin(&self, boot_id: [u8; 16], next: u64) -> Result<u64, BeginError> {
        let mut writer = self.writer();
        if let Some(boot) = writer.boot.as_ref().filter(|boot| boot.id == boot_id) {
            return Ok(boot.next);
        }
        if next > 0 {
            return Err(BeginError::UnknownBoot);
        }
        writer.start_boot(&*self.disk, boot_id).map_err(|error| BeginError::Disk(failure(&error)))?;
        Ok(0)
    }

    /// Stores one batch of this boot, durably if it asks for that. The last batch again, byte for byte, is stored already.
    ///
    /// # Errors
    /// It is not stored, and why.
    pub fn append(&self, boot_id: [u8; 16], append: &Append) -> Result<(), StoreFailure> {
        self.writer().append(&*self.disk, boot_id, append)
    }

    /// Work that can be done while no batch waits.
    pub fn prepare(&self) {
        if let Some(segment) = &mut self.writer().current {
            segment.prepare();
        }
    }

    /// Reads back what a session needs, beside the appends.
    ///
    /// # Errors
    /// The boot is not the current one.
    pub fn recall(&self, boot_id: [u8; 16], first: u64, last: u64, session: u64) -> Result<Recall<D>, OpenRefusal> {
        let writer = self.writer();
        let boot = writer.boot.as_ref().filter(|boot| boot.id == boot_id).ok_or(OpenRefusal::UnknownBoot)?;
        let from = boot.index.before(first.min(boot.next.saturating_sub(1)));
        let ends = from.map(|point| writer.ends_from(boot, point.segment)).unwrap_or_default();
        Ok(Recall::new(Arc::clone(&self.disk), from, ends, first..=last, session))
    }

    /// Makes everything durable and gives unused space back.
    ///
    /// # Errors
    /// It may not be durable.
    pub fn close(&self) -> io::Result<()> {
        self.writer().current.as_mut().map_or(Ok(()), Segment::close)
    }

    /// A panic between two appends leaves nothing half done: the end moves only after the write.
    fn writer(&self) -> MutexGuard<'_, Writer<D::File>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: DiskFile> Writer<F> {
    fn start_boot(&mut self, disk: &impl Disk<File = F>, id: [u8; 16]) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|segment| !segment.is_empty()) {
            self.roll(disk)?;
        }
        let first_segment = self.current.as_ref().map_or(self.next_segment, Segment::number);
        self.boot = Some(Boot { id, next: 0, index: Index::new(), first_segment, ends: Vec::new() });
        Ok(())
    }

    /// Ends the current segment and starts the next. The old one is durable before the new one exists, so only the last
    /// segment of a store can have a torn tail.
    fn roll(&mut self, disk: &impl Disk<File = F>) -> io::Result<()> {
        if let Some(segment) = &mut self.current {
            segment.close().inspect_err(|_| self.broken = true)?;
        }
        let segment = Segment::create(disk, self.next_segment, self.geometry)?;
        if let (Some(old), Some(boot)) = (self.current.replace(segment), &mut self.boot) {
            boot.ends.push(old.end());
        }
        self.next_segment += 1;
        Ok(())
    }

    fn append(&mut self, disk: &impl Disk<File = F>, id: [u8; 16], append: &Append) -> Result<(), StoreFailure> {
        let boot = self.boot.as_ref().filter(|boot| boot.id == id).ok_or(StoreFailure::OutOfOrder)?;
        let next = boot.next;
        if self.broken || !frame::write(&mut self.buffer, append, self.geometry.segment) {
            return Err(StoreFailure::Io);
        }
        match append.batch {
            batch if batch == next => self.write(disk, append.sync)?,
            batch if batch.checked_add(1) == Some(next) && self.is_last() => self.sync(append.sync)?,
            _ => return Err(StoreFailure::OutOfOrder),
        }
        Ok(())
    }

    fn write(&mut self, disk: &impl Disk<File = F>, sync: bool) -> Result<(), StoreFailure> {
        if !self.current.as_ref().is_some_and(|segment| segment.has_room(&self.buffer)) {
            self.roll(disk).map_err(|error| failure(&error))?;
        }
        let (Some(segment), Some(boot)) = (&mut self.current, &mut self.boot) else { return Err(StoreFailure::Io) };
        let place = segment.append(&self.buffer).map_err(|error| failure(&error))?;
        boot.index.note(boot.next, place);
        boot.next += 1;
        self.last = Some(place);
        self.sync(sync)
    }

    /// After a failed sync the kernel may have dropped the pages and report success next time, so there is no next time.
    fn sync(&mut self, sync: bool) -> Result<(), StoreFailure> {
        match &self.current {
            Some(segment) if sync => segment.sync().map_err(|error| {
                self.broken = true;
                failure(&error)
            }),
            _ => Ok(()),
        }
    }

    /// Whether the frame in the buffer is the one stored last.
    fn is_last(&mut self) -> bool {
        let (Some(segment), Some(last)) = (&self.current, self.last) else { return false };
        segment.number() == last.segment && segment.read(last, &mut self.compare).is_ok() && self.compare == self.buffer
    }

    /// Ends of the boot's segments from this one to the current.
    fn ends_from(&self, boot: &Boot, segment: u32) -> Vec<u64> {
        let skip = usize::try_from(segment.saturating_sub(boot.first_segment)).unwrap_or(usize::MAX);
        let current = self.current.as_ref().map(Segment::end);
        boot.ends.iter().copied().chain(current).skip(skip).collect()
    }
}

fn failure(error: &io::Error) -> StoreFailure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => StoreFailure::Full,
        _ => StoreFailure::Io,
    }
}
