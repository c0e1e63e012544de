//! Where the parts of an HCL report are, the report of Azure's paravisor: a header, the hardware's report in a fixed room, sizes
//! and kinds, runtime claims. What is in them is for verifiers.

pub(crate) const HARDWARE: usize = 0x20;
#[cfg(feature = "tpm")]
const KIND: usize = 0x4c8;
pub(crate) const CLAIMS_SIZE: usize = 0x4d0;
pub(crate) const CLAIMS: usize = 0x4d4;

/// The hardware's report, and everything behind it.
pub(crate) fn hardware(report: &[u8]) -> Option<&[u8]> {
    report.get(HARDWARE..)
}

/// Of which hardware that is.
#[cfg(feature = "tpm")]
pub(super) fn kind(report: &[u8]) -> Option<u32> {
    number(report, KIND)
}

/// The runtime claims.
pub(crate) fn claims(report: &[u8]) -> Option<&[u8]> {
    report.get(CLAIMS..)?.get(..usize::try_from(number(report, CLAIMS_SIZE)?).ok()?)
}

fn number(report: &[u8], at: usize) -> Option<u32> {
    report.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
