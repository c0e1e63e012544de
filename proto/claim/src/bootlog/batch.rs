//! Batches: the unit that is hashed, signed and stored.

use thiserror::Error;

use crate::digest::Digest;
use crate::sealing::{OVERHEAD, Place, TAG};

/// First bytes of every batch.
const MAGIC: &[u8; 8] = b"cMCPbat1";
/// Magic, boot id, number, previous hash, record count.
const HEAD: usize = 8 + 16 + 8 + 32 + 4;
/// Kind, session number, length.
const RECORD_HEAD: usize = 1 + 8 + 4;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// [`super::BootRecord`]: first record of a boot.
    Boot = 1,
    /// [`super::IntentRecord`]: a call is about to be forwarded.
    Intent = 2,
    /// [`crate::entry::SealedEntry::bytes`].
    Entry = 3,
    /// A signed claim's sorted-ASCII bytes.
    Claim = 4,
    /// [`super::GapRecord`]: calls were refused because nothing could be stored.
    Gap = 5,
    /// [`super::ControlRecord`]: an operator, or a rule of theirs, changed what is in force.
    Control = 6,
    /// SA of [`crate::evidence::BootEvidence`], of no session, or of [`crate::evidence::Evidence`] over a session's binding. A session's
    /// `attestation_refresh` names both by digest.
    Evidence = 7,
}

impl RecordKind {
    /// The kind with this number.
    pub const fn parse(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Boot),
            2 => Some(Self::Intent),
            3 => Some(Self::Entry),
            4 => Some(Self::Claim),
            5 => Some(Self::Gap),
            6 => Some(Self::Control),
            7 => Some(Self::Evidence),
            _ => None,
        }
    }
}

/// SHA-256 of a batch's bytes: what is signed, and what the next batch names.
pub fn batch_hash(batch: &[u8]) -> Digest {
    Digest::of(batch)
}

/// Collects records until a batch is due. Empty after [`Self::finish`], with its memory kept.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    boot_id: [u8; 16],
    bytes: Vec<u8>,
    sessions: Vec<u64>,
    count: u32,
}

impl BatchBuilder {
    /// For the batches of one boot.
    pub fn new(boot_id: [u8; 16]) -> Self {
        Self { boot_id, bytes: vec![0; HEAD], sessions: Vec::new(), count: 0 }
    }

    /// Adds a record. `session` is the session's number in this boot, 0 for none.
    ///
    /// A record longer than `u32::MAX` bytes cannot be written; nothing in this crate makes one.
    pub fn push(&mut self, kind: RecordKind, session: u64, bytes: &[u8]) -> Result<(), BatchError> {
        self.head(kind, session, bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds a record that is sealed where it lies: `seal` encrypts the body in place and gives the tag. If it does not, nothing
    /// is added. `counter` is [`Place::counter`].
    pub fn push_sealed(
        &mut self,
        kind: RecordKind,
        session: u64,
        counter: u64,
        bytes: &[u8],
        seal: impl FnOnce(&Place, &mut [u8]) -> Option<[u8; TAG]>,
    ) -> Result<(), BatchError> {
        let before = self.bytes.len();
        self.head(kind, session, bytes.len().checked_add(OVERHEAD).ok_or(BatchError::TooLarge)?)?;
        self.bytes.extend_from_slice(&counter.to_le_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let place = Place { boot_id: self.boot_id, counter, kind, session };
        if let Some(tag) = self.bytes.get_mut(start..).and_then(|body| seal(&place, body)) {
            self.bytes.extend_from_slice(&tag);
            return Ok(());
        }
        self.bytes.truncate(before);
        self.count = self.count.saturating_sub(1);
        if session != 0 {
            self.sessions.pop();
        }
        Err(BatchError::NotSealed)
    }

    fn head(&mut self, kind: RecordKind, session: u64, length: usize) -> Result<(), BatchError> {
        let length = u32::try_from(length).map_err(|_| BatchError::TooLarge)?;
        self.count = self.count.checked_add(1).ok_or(BatchError::TooLarge)?;
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&session.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        if session != 0 {
            self.sessions.push(session);
        }
        Ok(())
    }

    /// Whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of records.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the batch so far.
    pub const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The session numbers of the records, ascending, each once.
    pub fn sessions(&self) -> Vec<u64> {
        let mut sessions = self.sessions.clone();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// The batch's bytes. `number` counts from 0 in each boot; `prev` is the hash of the batch before, for batch 0 the
    /// head of the store before this boot or zeros.
    pub fn finish(&mut self, number: u64, prev: &Digest) -> Vec<u8> {
        let empty = Vec::with_capacity(self.bytes.len());
        let mut bytes = std::mem::replace(&mut self.bytes, empty);
        self.bytes.resize(HEAD, 0);
        let head = Head { boot_id: self.boot_id, number, prev: *prev, count: self.count };
        if let Some(place) = bytes.first_chunk_mut() {
            *place = head.write();
        }
        self.sessions.clear();
        self.count = 0;
        bytes
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    boot_id: [u8; 16],
    number: u64,
    prev: Digest,
    count: u32,
}

impl Head {
    fn write(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let parts = MAGIC
            .iter()
            .copied()
            .chain(self.boot_id)
            .chain(self.number.to_le_bytes())
            .chain(*self.prev.bytes())
            .chain(self.count.to_le_bytes());
        for (place, byte) in bytes.iter_mut().zip(parts) {
            *place = byte;
        }
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        if reader.array::<8>()? != MAGIC {
            return Err(BatchError::Magic);
        }
        Ok(Self {
            boot_id: *reader.array()?,
            number: u64::from_le_bytes(*reader.array()?),
            prev: Digest::from_bytes(*reader.array()?),
            count: u32::from_le_bytes(*reader.array()?),
        })
    }
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Not a batch of this format.
    #[error("a batch starts with cMCPbat1")]
    Magic,
    /// Ends inside a field or a record.
    #[error("the batch ends inside a record")]
    Truncated,
    /// Bytes after the last record.
    #[error("{0} bytes after the last record")]
    Trailing(usize),
    /// A record kind that this version does not know.
    #[error("unknown record kind {0}")]
    Kind(u8),
    /// More than the length fields can say.
    #[error("a record or batch too large for its length field")]
    TooLarge,
    /// Whoever seals records could not.
    #[error("the record could not be sealed")]
    NotSealed,
}

/// A batch that was read: complete, of known record kinds. Not yet believed: check the signature and `prev`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    head: Head,
    body: &'a [u8],
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// The session's number in this boot; 0 for none.
    pub session: u64,
    /// Its body.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a batch that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let mut reader = Reader(bytes);
        let head = Head::read(&mut reader)?;
        let body = reader.0;
        for _ in 0..head.count {
            Record::read(&mut reader)?;
        }
        if reader.0.is_empty() { Ok(Self { head, body }) } else { Err(BatchError::Trailing(reader.0.len())) }
    }

    /// Which boot.
    pub const fn boot_id(&self) -> [u8; 16] {
        self.head.boot_id
    }

    /// From 0 in each boot.
    pub const fn number(&self) -> u64 {
        self.head.number
    }

    /// Hash of the batch before.
    pub const fn prev(&self) -> Digest {
        self.head.prev
    }

    /// Number of records.
    pub const fn count(&self) -> u32 {
        self.head.count
    }

    /// The records, in the order they were written.
    pub const fn records(&self) -> Records<'a> {
        Records(Reader(self.body))
    }
}

impl<'a> Record<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, BatchError> {
        let [kind] = *reader.array()?;
        let kind = RecordKind::parse(kind).ok_or(BatchError::Kind(kind))?;
        let session = u64::from_le_bytes(*reader.array()?);
        let length = u32::from_le_bytes(*reader.array()?);
        let bytes = reader.take(usize::try_from(length).map_err(|_| BatchError::TooLarge)?)?;
        Ok(Self { kind, session, bytes })
    }
}

/// The records of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Records<'a>(Reader<'a>);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        // Batch::parse has read the same bytes without error.
        Record::read(&mut self.0).ok()
    }
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], BatchError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(BatchError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BatchError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(BatchError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }
}

const _: () = assert!(HEAD == 68 && RECORD_HEAD == 13, "the layout of SPEC.md");
