//! Reading binary formats of vendors: every read is bounded by what is there, nothing is allocated by a size that a peer
//! claims.

use thiserror::Error;

/// The bytes end before the value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("ends at byte {length}, {wanted} more were expected at byte {at}")]
pub struct Truncated {
    /// Where the value begins.
    pub at: usize,
    /// Its size.
    pub wanted: usize,
    /// Bytes that there are in all.
    pub length: usize,
}

/// A place in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `size` bytes.
    pub(crate) fn take(&mut self, size: usize) -> Result<&'a [u8], Truncated> {
        let truncated = Truncated { at: self.at, wanted: size, length: self.bytes.len() };
        let end = self.at.checked_add(size).ok_or(truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let truncated = Truncated { at: self.at, wanted: N, length: self.bytes.len() };
        self.take(N)?.try_into().map_err(|_| truncated)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes read so far.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Truncated};

    #[test]
    fn reads_end_where_the_bytes_do() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((reader.u16_le(), reader.u16_be(), reader.u8()), (Ok(0x0201), Ok(0x0304), Ok(5)));
        assert_eq!(reader.u32_le(), Err(Truncated { at: 5, wanted: 4, length: 7 }));
        assert_eq!(reader.take(usize::MAX), Err(Truncated { at: 5, wanted: usize::MAX, length: 7 }));
        assert_eq!((reader.position(), reader.rest()), (5, &[6, 7][..]));
    }
}
