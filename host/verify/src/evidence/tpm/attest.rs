//! TPMS_ATTEST of a quote: what the TPM signed (TPM 2.0 Library, part 2, section 10.12.12).

use thiserror::Error;

use crate::evidence::bytes::{Reader, Truncated};

/// TPM_GENERATED_VALUE: the TPM made these bytes itself. A restricted key signs nothing else that begins so.
const GENERATED: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const QUOTE: u16 = 0x8018;
/// TPM_ALG_SHA256.
pub(super) const SHA256: u16 = 0x000b;
/// A selection of PCR 0 to 23, one bit each.
const ALL_PCRS: [u8; 3] = [0xff; 3];

/// Largest TPM2B_NAME: TPMU_NAME in C.
const MAX_NAME: usize = 68;
/// Largest TPM2B_DATA: TPMT_HA.
const MAX_DATA: usize = 66;
/// Largest TPM2B_DIGEST: SHA-512.
const MAX_DIGEST: usize = 64;
/// Most banks of PCRs (HASH_COUNT).
const MAX_BANKS: u32 = 16;
/// Most bytes of a selection's bitmap (PCR_SELECT_MAX).
const MAX_SELECT: u8 = 4;

/// A quote, as the TPM signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// Name of the signing key below its parents' (TPM2B_NAME).
    pub qualified_signer: Vec<u8>,
    /// qualifyingData of the command: what the quote is for.
    pub extra_data: Vec<u8>,
    /// The TPM's clock.
    pub clock: Clock,
    /// Vendor-specific number of the TPM's firmware.
    pub firmware_version: u64,
    /// Which PCRs it is over.
    pub selections: Vec<Selection>,
    /// Over their values, in the order of the selections.
    pub pcr_digest: Vec<u8>,
}

/// TPMS_CLOCK_INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds during which the TPM had power since it was last cleared.
    pub milliseconds: u64,
    /// Resets of the TPM since it was last cleared: one more at each boot.
    pub reset_count: u32,
    /// Times the TPM was suspended and resumed since the last reset.
    pub restart_count: u32,
    /// No larger clock value was ever told before.
    pub safe: bool,
}

/// TPMS_PCR_SELECTION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// TPM_ALG_ID of the bank.
    pub hash: u16,
    /// One bit for each PCR, PCR 0 in the lowest bit of the first byte.
    pub bitmap: Vec<u8>,
}

/// Bytes that are no quote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttestError {
    /// Something that the TPM did not make.
    #[error("magic {0:#010x}")]
    NotGenerated(u32),
    /// The TPM made it, but it is no quote.
    #[error("type {0:#06x}")]
    NotAQuote(u16),
    /// Too short.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A size or a value that the structure does not allow.
    #[error("{field} is {value}")]
    Field {
        /// Which member.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// Bytes that the TPM did not write.
    #[error("{0} bytes after the end")]
    Trailing(usize),
}

impl Attest {
    /// Reads a quote that fills `bytes`.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AttestError> {
        let mut reader = Reader::new(bytes);
        match (reader.u32_be()?, reader.u16_be()?) {
            (GENERATED, QUOTE) => {}
            (GENERATED, other) => return Err(AttestError::NotAQuote(other)),
            (other, _) => return Err(AttestError::NotGenerated(other)),
        }
        let attest = Self {
            qualified_signer: sized(&mut reader, MAX_NAME, "size of qualifiedSigner")?,
            extra_data: sized(&mut reader, MAX_DATA, "size of extraData")?,
            clock: clock(&mut reader)?,
            firmware_version: reader.u64_be()?,
            selections: selections(&mut reader)?,
            pcr_digest: sized(&mut reader, MAX_DIGEST, "size of pcrDigest")?,
        };
        match reader.rest().len() {
            0 => Ok(attest),
            trailing => Err(AttestError::Trailing(trailing)),
        }
    }

    /// Whether it is over PCR 0 to 23 of the SHA-256 bank, each of them once, and over nothing else. A value's place in a
    /// list says which PCR it is of only then.
    pub fn selects_all(&self) -> bool {
        matches!(self.selections.as_slice(), [only] if only.hash == SHA256 && only.bitmap == ALL_PCRS)
    }

    /// Whether it is over PCR 0 to 7 of the SHA-256 bank, as deployed verifiers ask for.
    pub fn selects_firmware(&self) -> bool {
        matches!(self.selections.as_slice(), [only] if only.hash == SHA256 && only.bitmap == [0xff, 0, 0])
    }

    /// Which boot of which TPM it is of: equal for two quotes by one key exactly if the TPM was neither reset nor resumed
    /// between them, nor had other firmware. Of which one was first it says nothing: a boot's quote may be made again.
    pub fn boot(&self) -> String {
        let Clock { reset_count, restart_count, .. } = self.clock;
        let firmware = self.firmware_version;
        let signer = claim::hex::encode(&self.qualified_signer);
        format!("resetCount {reset_count}, restartCount {restart_count}, firmware {firmware:#018x}, key {signer}")
    }

    /// The selections in words, such as `sha256:ffffff`.
    pub fn selection(&self) -> String {
        let texts: Vec<_> = self.selections.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "nothing".to_owned() } else { texts.join(" + ") }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bitmap = claim::hex::encode(&self.bitmap);
        match self.hash {
            SHA256 => write!(formatter, "sha256:{bitmap}"),
            other => write!(formatter, "algorithm {other:#06x}:{bitmap}"),
        }
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { milliseconds, reset_count, restart_count, safe } = self;
        let unsafe_ = if *safe { "" } else { ", not safe" };
        write!(formatter, "resetCount {reset_count}, restartCount {restart_count}, clock {milliseconds} ms{unsafe_}")
    }
}

/// TPM2B: a size and as many bytes.
fn sized(reader: &mut Reader<'_>, most: usize, field: &'static str) -> Result<Vec<u8>, AttestError> {
    let size = reader.u16_be()?;
    if usize::from(size) > most {
        return Err(AttestError::Field { field, value: size.into() });
    }
    Ok(reader.take(size.into())?.to_vec())
}

fn clock(reader: &mut Reader<'_>) -> Result<Clock, AttestError> {
    let (milliseconds, reset_count, restart_count) = (reader.u64_be()?, reader.u32_be()?, reader.u32_be()?);
    let safe = match reader.u8()? {
        0 => false,
        1 => true,
        value => return Err(AttestError::Field { field: "clockInfo.safe", value: value.into() }),
    };
    Ok(Clock { milliseconds, reset_count, restart_count, safe })
}

fn selections(reader: &mut Reader<'_>) -> Result<Vec<Selection>, AttestError> {
    let count = reader.u32_be()?;
    if count > MAX_BANKS {
        return Err(AttestError::Field { field: "count of selections", value: count.into() });
    }
    (0..count).map(|_| selection(reader)).collect()
}

fn selection(reader: &mut Reader<'_>) -> Result<Selection, AttestError> {
    let (hash, size) = (reader.u16_be()?, reader.u8()?);
    if size > MAX_SELECT {
        return Err(AttestError::Field { field: "sizeofSelect", value: size.into() });
    }
    Ok(Selection { hash, bitmap: reader.take(size.into())?.to_vec() })
}
