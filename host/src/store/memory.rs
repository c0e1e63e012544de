//! A disk in memory that can lose power at any operation, and then keeps what it was told to make durable and, of the
//! rest, as much or as little as a real disk might.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// What happens at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Half of a write arrives; this and every later operation fails.
    PowerLoss,
    /// Half of a write arrives; this operation fails.
    Full,
}

/// What a power loss leaves of operations that were not made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Everything,
    /// Each write or not, as the bits of this number say.
    Some(u64),
}

#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u32, Content>,
    /// What the folder holds durably.
    durable: BTreeMap<u32, Content>,
    torn: BTreeMap<u32, Vec<u8>>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    sync_failed: bool,
}

#[derive(Clone, Default)]
struct Content(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync.
    changes: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    Size(u64),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Size(size) => bytes.resize(usize::try_from(*size).unwrap(), 0),
        Change::Write(offset, new) => {
            let start = usize::try_from(*offset).unwrap();
            bytes.resize(bytes.len().max(start + new.len()), 0);
            bytes[start..start + new.len()].copy_from_slice(new);
        }
    }
}

impl Memory {
    /// The same disk, with this fault at this operation from now.
    pub(super) fn faulty(&self, operation: u64, fault: Fault) -> Self {
        let mut state = self.state();
        state.fault = Some((state.operations + operation, fault));
        drop(state);
        self.clone()
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk after a power loss.
    pub(super) fn after_power_loss(&self, left: Left) -> Self {
        let mut state = self.state();
        let names = if left == Left::Everything { state.files.clone() } else { state.durable.clone() };
        let files: BTreeMap<_, _> = names.iter().map(|(number, content)| (*number, content.after(left))).collect();
        let torn = std::mem::take(&mut state.torn);
        Self(Arc::new(Mutex::new(State { durable: files.clone(), files, torn, ..State::default() })))
    }

    /// Segments as a reader finds them.
    pub(super) fn contents(&self) -> Vec<(u32, Vec<u8>)> {
        self.state().files.iter().map(|(number, content)| (*number, content.bytes().live.clone())).collect()
    }

    pub(super) fn torn(&self) -> usize {
        self.state().torn.len()
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.state().sync_failed
    }

    pub(super) fn put(&self, number: u32, bytes: Vec<u8>) {
        let content = Content(Arc::new(Mutex::new(Bytes { durable: bytes.clone(), live: bytes, changes: Vec::new() })));
        self.state().files.insert(number, content);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts an operation; true if only half of it is to happen, after which it fails.
    fn step(&self) -> io::Result<Option<Fault>> {
        let mut state = self.state();
        state.operations += 1;
        if state.off {
            return Err(io::Error::other("no power"));
        }
        let fault = state.fault.filter(|(at, _)| *at == state.operations).map(|(_, fault)| fault);
        state.off = fault == Some(Fault::PowerLoss);
        Ok(fault)
    }

    fn all_or_nothing(&self) -> io::Result<()> {
        self.step()?.map_or(Ok(()), |fault| Err(error(fault)))
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Full => io::ErrorKind::StorageFull.into(),
        Fault::PowerLoss => io::Error::other("fault"),
    }
}

impl Content {
    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap()
    }

    fn after(&self, left: Left) -> Self {
        let bytes = self.bytes();
        let mut live = bytes.durable.clone();
        for (at, change) in bytes.changes.iter().enumerate() {
            let kept = match left {
                Left::Nothing => false,
                Left::Everything => true,
                Left::Some(bits) => bits >> (at % 64) & 1 == 1,
            };
            if kept {
                apply(&mut live, change);
            }
        }
        Self(Arc::new(Mutex::new(Bytes { durable: live.clone(), live, changes: Vec::new() })))
    }
}

pub(super) struct MemoryFile {
    disk: Memory,
    content: Content,
}

impl MemoryFile {
    fn change(&self, change: Change) {
        let mut bytes = self.content.bytes();
        apply(&mut bytes.live, &change);
        bytes.changes.push(change);
    }
}

impl Disk for Memory {
    type File = MemoryFile;

    fn segments(&self) -> io::Result<Vec<u32>> {
        Ok(self.state().files.keys().copied().collect())
    }

    fn create(&self, number: u32) -> io::Result<MemoryFile> {
        self.all_or_nothing()?;
        let content = Content::default();
        assert!(self.state().files.insert(number, content.clone()).is_none(), "segment {number} exists");
        Ok(MemoryFile { disk: self.clone(), content })
    }

    fn open(&self, number: u32) -> io::Result<MemoryFile> {
        let content = self.state().files.get(&number).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(MemoryFile { disk: self.clone(), content })
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        self.all_or_nothing()?;
        self.state().files.remove(&number).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn keep_torn(&self, number: u32, bytes: &[u8]) -> io::Result<()> {
        self.all_or_nothing()?;
        self.state().torn.insert(number, bytes.to_vec());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.all_or_nothing()?;
        let mut state = self.state();
        state.durable = state.files.clone();
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.bytes().live.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.content.bytes();
        let start = usize::try_from(offset).unwrap();
        let found = bytes.live.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.disk.step()? {
            None => self.change(Change::Write(offset, bytes.to_vec())),
            Some(fault) => {
                self.change(Change::Write(offset, bytes[..bytes.len() / 2].to_vec()));
                return Err(error(fault));
            }
        }
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.disk.all_or_nothing()?;
        self.change(Change::Size(size));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.all_or_nothing().inspect_err(|_| self.disk.state().sync_failed = true)?;
        let mut bytes = self.content.bytes();
        bytes.changes.clear();
        bytes.durable = bytes.live.clone();
        Ok(())
    }
}
