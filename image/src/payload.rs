//! The host of `azure-single`, in a partition of its own: nothing of it is measured, and no file system is between it and PID 1.
//!
//! Eight bytes `CMCPHOST`, the length of the executable, the length of the documents (both 64 bits, little-endian), the executable,
//! the documents as an uncompressed ustar archive. The rest of the partition is zeros.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use crate::elf::{self, ElfError};
use crate::gpt::{self, GptError};

/// Begins the partition.
pub const MAGIC: &[u8; 8] = b"CMCPHOST";
/// Magic and two lengths.
pub const HEADER: usize = 24;

/// Zeros are written in pieces of this.
const PIECE: usize = 1 << 20;

/// Why a disk has no new payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The disk cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No disk with partitions.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// No disk of `azure-single`.
    #[error("found {0} payload partitions, expected one: only disks of the flavour azure-single have it")]
    Partitions(usize),
    /// The partition is not all there.
    #[error("the payload partition ends at byte {expected}, the disk has {found}: it was cut off")]
    Cut {
        /// The disk's length.
        found: u64,
        /// The partition's end.
        expected: u64,
    },
    /// Too much.
    #[error("executable and documents have {found} bytes, the payload partition has room for {expected}")]
    TooLarge {
        /// Bytes of the payload.
        found: u64,
        /// Bytes of the partition.
        expected: u64,
    },
    /// Not an executable that runs where there is no file system.
    #[error("the host: {0}")]
    Executable(#[from] ElfError),
}

/// Writes the payload to a raw disk or a fixed VHD, over the one that is there, and says where it is on the disk.
///
/// # Errors
/// A file that is no disk or has no payload partition, a payload that does not fit, an executable that PID 1 could not start.
pub fn write(disk: &Path, host: &[u8], documents: &[u8]) -> Result<Range<u64>, PayloadError> {
    elf::check_static(host)?;
    let mut file = OpenOptions::new().read(true).write(true).open(disk)?;
    let partition = partition(&mut file)?;
    let payload = encode(host, documents);
    let (found, expected) = (payload.len() as u64, partition.end - partition.start);
    if found > expected {
        return Err(PayloadError::TooLarge { found, expected });
    }
    file.seek(SeekFrom::Start(partition.start))?;
    file.write_all(&payload)?;
    zeros(&mut file, expected - found)?;
    file.sync_all()?;
    Ok(partition)
}

/// The bytes at the partition's beginning.
pub fn encode(host: &[u8], documents: &[u8]) -> Vec<u8> {
    let lengths = [host, documents].map(|part| (part.len() as u64).to_le_bytes());
    [MAGIC, lengths.as_flattened(), host, documents].concat()
}

fn partition(disk: &mut File) -> Result<Range<u64>, PayloadError> {
    let mut table = Vec::new();
    Read::by_ref(disk).take(gpt::TABLE_SECTORS * gpt::SECTOR).read_to_end(&mut table)?;
    let partitions = gpt::partitions(&table)?;
    let found: Vec<_> = partitions.iter().filter(|partition| partition.kind == gpt::PAYLOAD).collect();
    let [partition] = found.as_slice() else { return Err(PayloadError::Partitions(found.len())) };
    let (bytes, length) = (partition.bytes(), disk.metadata()?.len());
    if bytes.end > length {
        return Err(PayloadError::Cut { found: length, expected: bytes.end });
    }
    Ok(bytes)
}

fn zeros(file: &mut File, mut length: u64) -> io::Result<()> {
    let piece = vec![0; PIECE];
    while length > 0 {
        let now = length.min(PIECE as u64);
        file.write_all(piece.get(..usize::try_from(now).unwrap_or(PIECE)).unwrap_or(&piece))?;
        length -= now;
    }
    Ok(())
}
