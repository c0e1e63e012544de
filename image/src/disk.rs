//! The disk: a partition table, the EFI system partition, and with `azure-single` an empty partition for the host.

use std::io;

use claim::Digest;

use crate::gpt::{self, Partition, SECTOR};
use crate::{esp, vhd};

/// Bytes of the partition for the host.
pub const PAYLOAD_SIZE: u64 = 64 * MIB;

const MIB: u64 = 1 << 20;
/// Where the first partition begins; as much is behind the last one, for the copy of the table.
const MARGIN: u64 = MIB;

/// A raw disk with the program on its EFI system partition, and a payload partition of that many bytes (whole MiB). Its length is
/// a multiple of 1 MiB.
///
/// # Errors
/// None that a program of less than 4 GiB can bring about.
pub fn raw(program: &[u8], payload: Option<u64>) -> io::Result<Vec<u8>> {
    let esp = esp::file_system(program)?;
    let partitions = layout(esp.len() as u64, payload);
    let end = partitions.last().map_or(MARGIN, |last| last.bytes().end);
    let length = end + MARGIN;
    let tables = gpt::tables(length / SECTOR, &partitions, Digest::of(program));
    let mut disk = tables.primary;
    disk.resize(offset(MARGIN)?, 0);
    disk.extend_from_slice(&esp);
    disk.resize(offset(length)? - tables.backup.len(), 0);
    disk.extend_from_slice(&tables.backup);
    Ok(disk)
}

/// The same disk as a fixed VHD.
pub fn vhd(mut raw: Vec<u8>) -> Vec<u8> {
    let footer = vhd::footer(raw.len() as u64, Digest::of(&raw));
    raw.extend_from_slice(&footer);
    raw
}

fn layout(esp: u64, payload: Option<u64>) -> Vec<Partition> {
    let partition = |kind, name: &str, start: u64, length: u64| Partition {
        kind,
        name: name.to_owned(),
        sectors: start / SECTOR..(start + length) / SECTOR,
    };
    let mut partitions = vec![partition(gpt::ESP, "esp", MARGIN, esp)];
    let after = MARGIN + esp;
    partitions.extend(payload.map(|length| partition(gpt::PAYLOAD, "payload", after, length.next_multiple_of(MIB))));
    partitions
}

fn offset(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}
