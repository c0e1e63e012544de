//! Certificates as the host hands them to a guest beside a report (GHCB specification, AMD publication 56421, section
//! 4.1.8.1): the kernel's `auxblob`.

use crate::evidence::bytes::{Reader, Truncated};

/// 92f81bc3-5811-4d3d-97ff-d19f88dc67ea, as a GUID is laid out in memory: a revocation list.
const CRL: [u8; 16] = [0xC3, 0x1B, 0xF8, 0x92, 0x11, 0x58, 0x3D, 0x4D, 0x97, 0xFF, 0xD1, 0x9F, 0x88, 0xDC, 0x67, 0xEA];

/// Entries of a table at most: a chain has three certificates.
const MAX_ENTRIES: usize = 16;

/// Why bytes are no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The table does not end.
    #[error("the table ends within an entry, at byte {0}")]
    Endless(usize),
    /// An entry reaches beyond the table.
    #[error("an entry of {length} bytes at byte {offset} reaches beyond the table")]
    Entry {
        /// Where it begins.
        offset: u32,
        /// Its size.
        length: u32,
    },
    /// Entries may overlap, so their number bounds what reading them costs.
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
}

impl From<Truncated> for TableError {
    fn from(truncated: Truncated) -> Self {
        Self::Endless(truncated.length)
    }
}

/// DER of a table's entries, in their order. What an entry's GUID says of a certificate is not needed: each is found by its
/// names and believed for its signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateTable<'a> {
    /// VCEK or VLEK, ASK or ASVK, ARK, and whatever else was put there.
    pub certificates: Vec<&'a [u8]>,
    /// Revocation lists.
    pub crls: Vec<&'a [u8]>,
}

impl<'a> CertificateTable<'a> {
    /// Reads a table; no bytes at all are an empty one.
    ///
    /// # Errors
    /// [`TableError`] says what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TableError> {
        let mut table = Self::default();
        if bytes.is_empty() {
            return Ok(table);
        }
        let mut reader = Reader::new(bytes);
        for _ in 0..=MAX_ENTRIES {
            let guid: [u8; 16] = reader.array()?;
            let (offset, length) = (reader.u32_le()?, reader.u32_le()?);
            if guid == [0; 16] {
                return Ok(table);
            }
            let entry = slice(bytes, offset, length).ok_or(TableError::Entry { offset, length })?;
            let list = if guid == CRL { &mut table.crls } else { &mut table.certificates };
            list.push(entry);
        }
        Err(TableError::TooMany)
    }
}

fn slice(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[([u8; 16], u32, u32)], data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (guid, offset, length) in entries {
            bytes.extend_from_slice(guid);
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn entries_end_at_the_zero_guid() {
        let end = ([0; 16], 0, 0);
        let bytes = table(&[([7; 16], 72, 2), (CRL, 74, 3), end], b"abcde");
        let read = CertificateTable::parse(&bytes).unwrap();
        assert_eq!(read.certificates, [b"ab"]);
        assert_eq!(read.crls, [b"cde"]);
        assert_eq!(CertificateTable::parse(&[]).unwrap(), CertificateTable::default());
    }

    #[test]
    fn an_entry_stays_within_its_table() {
        let end = ([0; 16], 0, 0);
        for (offset, length) in [(48, 6), (54, 0), (u32::MAX, u32::MAX), (0, u32::MAX)] {
            let bytes = table(&[([7; 16], offset, length), end], b"abcde");
            assert_eq!(CertificateTable::parse(&bytes), Err(TableError::Entry { offset, length }));
        }
        let endless = CertificateTable::parse(&table(&[([7; 16], 0, 0)], b"")).unwrap_err();
        assert_eq!(endless, TableError::Endless(24));
        let many = table(&[([7; 16], 0, 0); MAX_ENTRIES + 1], &[0; 24]);
        assert_eq!(CertificateTable::parse(&many), Err(TableError::TooMany));
        assert!(CertificateTable::parse(&many[24..]).is_ok());
    }
}
