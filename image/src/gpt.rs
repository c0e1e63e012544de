//! GUID partition tables (UEFI Specification 2.10, chapter 5), of disks with sectors of 512 bytes.

use std::ops::Range;

use claim::Digest;

/// Length of a sector.
pub const SECTOR: u64 = SECTOR_SIZE as u64;
const SECTOR_SIZE: usize = 512;
/// Type of an EFI system partition: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
pub const ESP: Guid = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Type of the partition that holds the host, of the project's own: 8F2A6C3E-51D7-4B09-9E4D-3C7A0B6F1D25.
pub const PAYLOAD: Guid =
    [0x3e, 0x6c, 0x2a, 0x8f, 0xd7, 0x51, 0x09, 0x4b, 0x9e, 0x4d, 0x3c, 0x7a, 0x0b, 0x6f, 0x1d, 0x25];
/// Sectors before the first partition that hold the table: the protective MBR, header and entries.
pub const TABLE_SECTORS: u64 = 2 + ENTRY_SECTORS;

/// A GUID as tables hold it: the first three fields little-endian.
pub type Guid = [u8; 16];

const SIGNATURE: &[u8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER: usize = 92;
/// Where the header's own checksum is.
const HEADER_CHECKSUM: usize = 16;
const ENTRIES: u8 = 128;
const ENTRY: u8 = 128;
const ENTRIES_SIZE: usize = ENTRIES as usize * ENTRY as usize;
const ENTRY_SECTORS: u64 = (ENTRIES_SIZE / SECTOR_SIZE) as u64;
/// Where an entry has its name: 36 UTF-16 units.
const NAME: usize = 56;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// Its name, at most 36 characters.
    pub name: String,
    /// Its sectors, without the last.
    pub sectors: Range<u64>,
}

impl Partition {
    /// Where it is on the disk, in bytes.
    pub const fn bytes(&self) -> Range<u64> {
        self.sectors.start * SECTOR..self.sectors.end * SECTOR
    }
}

/// An identity from a hash and a name: version 8 of RFC 9562, "vendor-specific".
pub fn guid(content: Digest, name: &str) -> Guid {
    let digest = Digest::of([content.bytes().as_slice(), name.as_bytes()].concat());
    let mut guid = [0; 16];
    for (byte, from) in guid.iter_mut().zip(digest.bytes()) {
        *byte = *from;
    }
    let [.., time_high, variant, _, _, _, _, _, _, _] = &mut guid;
    *time_high = *time_high & 0x0f | 0x80;
    *variant = *variant & 0x3f | 0x80;
    guid
}

/// The table at a disk's beginning and the copy at its end. Identities come from `content`.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Protective MBR, header and entries: sectors 0 to 33.
    pub primary: Vec<u8>,
    /// Entries and header: the last 33 sectors.
    pub backup: Vec<u8>,
}

/// The tables of a disk of that many sectors.
pub fn tables(sectors: u64, partitions: &[Partition], content: Digest) -> Tables {
    let mut entries: Vec<u8> = partitions.iter().flat_map(|partition| entry(partition, content)).collect();
    entries.resize(ENTRIES_SIZE, 0);
    let last = sectors.saturating_sub(1);
    let header = |own: u64, other: u64, entries_at: u64| {
        let usable = TABLE_SECTORS..last - ENTRY_SECTORS;
        let mut header = SIGNATURE.to_vec();
        for number in [REVISION, 92, 0, 0] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for number in [own, other, usable.start, usable.end - 1] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&guid(content, "disk"));
        header.extend_from_slice(&entries_at.to_le_bytes());
        for number in [ENTRIES.into(), ENTRY.into(), crc32(&entries)] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32(&header).to_le_bytes();
        header.splice(HEADER_CHECKSUM..HEADER_CHECKSUM + 4, checksum);
        header.resize(SECTOR_SIZE, 0);
        header
    };
    Tables {
        primary: [protective_mbr(sectors), header(1, last, 2), entries.clone()].concat(),
        backup: [entries.clone(), header(last, 1, last - ENTRY_SECTORS)].concat(),
    }
}

/// One partition over the whole disk, so that programs that know no GPT leave it alone (5.2.3).
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; 446];
    mbr.extend_from_slice(&[0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    mbr.extend_from_slice(&1_u32.to_le_bytes());
    mbr.extend_from_slice(&u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    mbr.resize(510, 0);
    mbr.extend_from_slice(&[0x55, 0xaa]);
    mbr
}

fn entry(partition: &Partition, content: Digest) -> Vec<u8> {
    let mut entry = partition.kind.to_vec();
    entry.extend_from_slice(&guid(content, &partition.name));
    entry.extend_from_slice(&partition.sectors.start.to_le_bytes());
    entry.extend_from_slice(&(partition.sectors.end - 1).to_le_bytes());
    entry.extend_from_slice(&0_u64.to_le_bytes());
    entry.extend(partition.name.encode_utf16().flat_map(u16::to_le_bytes));
    entry.resize(ENTRY.into(), 0);
    entry
}

/// Bytes that hold no table as this module writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no GUID partition table: {0}")]
pub struct GptError(String);

/// The partitions of a disk, from its first [`TABLE_SECTORS`].
///
/// # Errors
/// Too few bytes, another signature or shape of entries, a checksum that is not that of the bytes, a partition that ends before
/// it begins.
pub fn partitions(disk: &[u8]) -> Result<Vec<Partition>, GptError> {
    let slice = |start: usize, length: usize| {
        let bytes = disk.get(start..start + length);
        bytes.ok_or_else(|| GptError(format!("found {} bytes, expected {}", disk.len(), TABLE_SECTORS * SECTOR)))
    };
    let header = slice(SECTOR_SIZE, HEADER)?;
    if !header.starts_with(SIGNATURE) {
        return Err(GptError(format!(
            "found {:?} in sector 1, expected \"EFI PART\"",
            header.get(..8).unwrap_or_default().escape_ascii().to_string()
        )));
    }
    let mut unsigned = header.to_vec();
    unsigned.splice(HEADER_CHECKSUM..HEADER_CHECKSUM + 4, [0; 4]);
    check("the header's checksum", number(header, HEADER_CHECKSUM, 4), crc32(&unsigned).into())?;
    check("the header's length", number(header, 12, 4), HEADER as u64)?;
    check("the first sector of entries", number(header, 72, 8), 2)?;
    check("the number of entries", number(header, 80, 4), ENTRIES.into())?;
    check("an entry's length", number(header, 84, 4), ENTRY.into())?;
    let entries = slice(2 * SECTOR_SIZE, ENTRIES_SIZE)?;
    check("the entries' checksum", number(header, 88, 4), crc32(entries).into())?;
    entries.chunks(ENTRY.into()).filter(|entry| number(entry, 0, 8) != 0).map(read_entry).collect()
}

fn read_entry(entry: &[u8]) -> Result<Partition, GptError> {
    let name: Vec<u16> =
        entry.get(NAME..).unwrap_or_default().as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let name = String::from_utf16_lossy(name.split(|unit| *unit == 0).next().unwrap_or_default());
    let (first, last) = (number(entry, 32, 8), number(entry, 40, 8));
    if last < first || last > u64::MAX / SECTOR - 1 {
        return Err(GptError(format!("partition {name}: found sectors {first} to {last}")));
    }
    let kind = entry.first_chunk().copied().unwrap_or_default();
    Ok(Partition { kind, name, sectors: first..last + 1 })
}

fn check(what: &str, found: u64, expected: u64) -> Result<(), GptError> {
    if found == expected { Ok(()) } else { Err(GptError(format!("{what}: found {found:#x}, expected {expected:#x}"))) }
}

/// A little-endian number; 0 outside the bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let field = bytes.get(at..at + length).unwrap_or_default();
    field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// CRC-32 as in ISO/IEC 3309, which the specification names (5.3.2).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn identities_are_of_version_8_and_their_own() {
        let identities = [guid(Digest::of("a"), "disk"), guid(Digest::of("a"), "esp"), guid(Digest::of("b"), "disk")];
        for identity in identities {
            // The third field is little-endian: its version is in the last of its bytes.
            assert_eq!((identity[7] >> 4, identity[8] >> 6), (8, 0b10));
        }
        assert!(identities[0] != identities[1] && identities[0] != identities[2]);
    }

    #[test]
    fn partitions_that_end_before_they_begin_or_behind_every_disk_are_refused() {
        let read = |first: u64, last: u64| {
            let mut bytes = entry(&Partition { kind: ESP, name: "esp".to_owned(), sectors: 0..1 }, Digest::of("a"));
            bytes[32..40].copy_from_slice(&first.to_le_bytes());
            bytes[40..48].copy_from_slice(&last.to_le_bytes());
            read_entry(&bytes).map(|partition| partition.bytes())
        };
        let largest = u64::MAX / SECTOR - 1;
        assert_eq!(read(2, 2), Ok(1024..1536));
        assert_eq!(read(2, largest), Ok(1024..u64::MAX - 511));
        for (first, last) in [(2, 1), (2, largest + 1), (0, u64::MAX)] {
            let refused = GptError(format!("partition esp: found sectors {first} to {last}"));
            assert_eq!(read(first, last), Err(refused));
        }
    }
}
