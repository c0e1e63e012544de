//! Reads what a TPM says: big-endian numbers, lengths that are believed only as far as there are bytes.

use super::SHA256;
use crate::evidence::AttestFailure;

/// Bytes that are left, and the failure if there are too few or others than they should be.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    failure: AttestFailure,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], failure: AttestFailure) -> Self {
        Self { bytes, failure }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], AttestFailure> {
        let (taken, left) = self.bytes.split_at_checked(count).ok_or(self.failure)?;
        self.bytes = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AttestFailure> {
        let (taken, left) = self.bytes.split_first_chunk().ok_or(self.failure)?;
        self.bytes = left;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, AttestFailure> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, AttestFailure> {
        self.array().map(u32::from_be_bytes)
    }

    /// TPM2B.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], AttestFailure> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// The parameters of an answer with sessions. What authorizes the answer comes after them and authorizes nothing with
    /// an empty password.
    pub(super) fn parameters(&mut self) -> Result<Self, AttestFailure> {
        let length = self.u32()?;
        let bytes = self.take(usize::try_from(length).map_err(|_| self.failure)?)?;
        Ok(Self { bytes, failure: self.failure })
    }

    /// TPML_PCR_SELECTION of one bank, SHA-256, with a mask of three bytes.
    pub(super) fn selection(&mut self) -> Result<u32, AttestFailure> {
        let (count, bank) = (self.u32()?, self.u16()?);
        let [size, a, b, c] = self.array()?;
        if (count, bank, size) == (1, SHA256, 3) { Ok(u32::from_le_bytes([a, b, c, 0])) } else { Err(self.failure) }
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), AttestFailure> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.failure) }
    }
}
