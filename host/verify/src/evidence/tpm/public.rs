//! TPMT_PUBLIC of an attestation key (TPM 2.0 Library, part 2, section 12.2.4).

use rsa::{BigUint, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::attest::SHA256;
use super::signature::padded;
use crate::evidence::bytes::{Reader, Truncated};
use crate::evidence::x509::PublicKey;

const RSA: u16 = 0x0001;
const ECC: u16 = 0x0023;
const NULL: u16 = 0x0010;
const ECDAA: u16 = 0x001a;
const P256: u16 = 0x0003;
const P384: u16 = 0x0004;
/// The public exponent that TPMs write as 0.
const F4: u32 = 65_537;
/// Largest number in it: RSA of 4096 bits.
const MAX_NUMBER: usize = 512;
/// Largest authPolicy: SHA-512.
const MAX_POLICY: usize = 64;

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
/// What makes a signing key an attestation key.
const REQUIRED: [(u32, &str); 5] = [
    (FIXED_TPM, "fixedTPM"),
    (FIXED_PARENT, "fixedParent"),
    (SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
    (RESTRICTED, "restricted"),
    (SIGN, "sign"),
];

/// A key of a TPM with what the TPM lets it do.
#[derive(Clone, Debug)]
pub struct TpmPublic {
    /// TPMA_OBJECT.
    pub attributes: u32,
    /// The key itself.
    pub key: PublicKey,
    /// Its name: the algorithm of the hash, and SHA-256 of the structure.
    pub name: [u8; 34],
}

/// Bytes that are no public part of a key that could sign quotes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TpmPublicError {
    /// Too short.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A value that is not accepted.
    #[error("{field} is {value:#x}")]
    Field {
        /// Which member.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// Numbers that make no key of that algorithm.
    #[error("no {0} key")]
    Key(&'static str),
    /// Bytes that are not part of it.
    #[error("{0} bytes after the end")]
    Trailing(usize),
}

impl TpmPublic {
    /// Reads a key that fills `bytes`.
    ///
    /// # Errors
    /// See [`TpmPublicError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmPublicError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16_be()?;
        expect("nameAlg", reader.u16_be()?, SHA256)?;
        let attributes = reader.u32_be()?;
        sized(&mut reader, MAX_POLICY, "size of authPolicy")?;
        let key = match kind {
            RSA => rsa(&mut reader)?,
            ECC => ecc(&mut reader)?,
            other => return Err(TpmPublicError::Field { field: "type", value: other.into() }),
        };
        match reader.rest().len() {
            0 => Ok(Self { attributes, key, name: name(bytes) }),
            trailing => Err(TpmPublicError::Trailing(trailing)),
        }
    }

    /// The attributes that it lacks, or has too many, to be an attestation key; none if it is one.
    pub fn faults(&self) -> Vec<String> {
        let missing = REQUIRED.iter().filter(|(bit, _)| self.attributes & bit == 0);
        let mut faults: Vec<_> = missing.map(|(_, name)| format!("not {name}")).collect();
        if self.attributes & DECRYPT != 0 {
            faults.push("decrypt".to_owned());
        }
        faults
    }
}

fn name(bytes: &[u8]) -> [u8; 34] {
    let mut name = [0; 34];
    let digest = Sha256::digest(bytes);
    for (to, from) in name.iter_mut().zip(SHA256.to_be_bytes().iter().chain(digest.iter())) {
        *to = *from;
    }
    name
}

fn expect(field: &'static str, value: u16, expected: u16) -> Result<(), TpmPublicError> {
    if value == expected { Ok(()) } else { Err(TpmPublicError::Field { field, value: value.into() }) }
}

fn sized<'a>(reader: &mut Reader<'a>, most: usize, field: &'static str) -> Result<&'a [u8], TpmPublicError> {
    let size = reader.u16_be()?;
    if usize::from(size) > most {
        return Err(TpmPublicError::Field { field, value: size.into() });
    }
    Ok(reader.take(size.into())?)
}

/// A signing key has no symmetric algorithm; a restricted one has a scheme.
fn schemes(reader: &mut Reader<'_>) -> Result<(), TpmPublicError> {
    expect("symmetric algorithm", reader.u16_be()?, NULL)?;
    let scheme = reader.u16_be()?;
    if scheme != NULL {
        expect("hash of the scheme", reader.u16_be()?, SHA256)?;
    }
    if scheme == ECDAA {
        return Err(TpmPublicError::Field { field: "scheme", value: scheme.into() });
    }
    Ok(())
}

fn rsa(reader: &mut Reader<'_>) -> Result<PublicKey, TpmPublicError> {
    schemes(reader)?;
    let (bits, exponent) = (reader.u16_be()?, reader.u32_be()?);
    let modulus = sized(reader, MAX_NUMBER, "size of the modulus")?;
    if modulus.len().checked_mul(8) != Some(bits.into()) {
        return Err(TpmPublicError::Field { field: "keyBits", value: bits.into() });
    }
    rsa_key(modulus, if exponent == 0 { F4 } else { exponent }).ok_or(TpmPublicError::Key("RSA"))
}

/// An RSA key of 2048 to 4096 bits, without zeros in front.
pub(crate) fn rsa_key(modulus: &[u8], exponent: u32) -> Option<PublicKey> {
    let well_sized = (256..=MAX_NUMBER).contains(&modulus.len()) && modulus.first() >= Some(&0x80);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into()).ok();
    key.filter(|_| well_sized && odd).map(PublicKey::Rsa)
}

fn ecc(reader: &mut Reader<'_>) -> Result<PublicKey, TpmPublicError> {
    schemes(reader)?;
    let curve = reader.u16_be()?;
    expect("key derivation", reader.u16_be()?, NULL)?;
    let x = sized(reader, MAX_NUMBER, "size of x")?;
    let y = sized(reader, MAX_NUMBER, "size of y")?;
    let key = match curve {
        P256 => point::<32>(x, y)
            .and_then(|sec1| p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).ok())
            .map(PublicKey::P256),
        P384 => point::<48>(x, y)
            .and_then(|sec1| p384::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).ok())
            .map(PublicKey::P384),
        other => return Err(TpmPublicError::Field { field: "curve", value: other.into() }),
    };
    key.ok_or(TpmPublicError::Key("ECC"))
}

/// Uncompressed, as SEC 1 writes it.
fn point<const N: usize>(x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    Some([&[4][..], &padded::<N>(x)?, &padded::<N>(y)?].concat())
}
