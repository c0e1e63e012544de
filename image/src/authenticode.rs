//! The hash by which firmware knows a program: what it measures into PCR 4.
//!
//! Microsoft, "Windows Authenticode Portable Executable Signature Format", "Calculating the PE Image Hash"; TCG PC Client Platform
//! Firmware Profile, 3.3.4.5 (PCR 4) asks for this hash.

use claim::Digest;
use sha2::{Digest as _, Sha256};

use crate::pe::{self, PeError, optional};

/// SHA-256 over everything but the checksum, the directory entry of certificates, and the certificates.
///
/// The specification hashes headers, then sections by offset, then what follows. In the files that this accepts they follow
/// each other without a gap, so that it is the order of the file, and no two implementations can differ.
///
/// # Errors
/// No program for x86-64, or one with gaps or overlaps, or with certificates elsewhere than at its end.
pub fn hash(program: &[u8]) -> Result<Digest, PeError> {
    let pe = pe::parse(program)?;
    let end = pe.tiled_end()?;
    let certificates = pe.certificates()?.unwrap_or((program.len(), 0));
    let expected = end.max(program.len() - certificates.1);
    if certificates.0 != expected {
        let (found, expected) = (certificates.0 as u64, expected as u64);
        return Err(PeError::Unexpected { what: "the certificates' offset", found, expected });
    }
    let (checksum, directory) = (pe.optional_at(optional::CHECKSUM), pe.certificate_directory()?);
    let mut hash = Sha256::new();
    for range in [0..checksum, checksum + 4..directory, directory + 8..certificates.0] {
        hash.update(program.get(range).unwrap_or_default());
    }
    Ok(Digest::from_bytes(hash.finalize().into()))
}
