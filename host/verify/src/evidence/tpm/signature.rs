//! TPMT_SIGNATURE (TPM 2.0 Library, part 2, section 11.3.4), and whether it is right.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, Pss};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::attest::SHA256;
use crate::evidence::bytes::{Reader, Truncated};
use crate::evidence::x509::PublicKey;

const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;

/// Largest RSA signature, in bytes.
const MAX_RSA: usize = 512;
/// Bytes of SHA-256.
const HASH: usize = 32;
/// Bytes around hash and salt in an encoded PSS message (RFC 8017, section 9.1.1).
const PSS_FRAME: usize = 2;

/// A signature over SHA-256 of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// RSASSA-PKCS1-v1_5.
    RsaSsa(Vec<u8>),
    /// RSASSA-PSS.
    RsaPss(Vec<u8>),
    /// ECDSA: r and s, big-endian.
    Ecdsa(Vec<u8>, Vec<u8>),
}

/// Bytes that are no signature, or one of an algorithm that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureFormatError {
    /// Too short.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Neither RSASSA, RSAPSS nor ECDSA; or not with SHA-256.
    #[error("signature algorithm {algorithm:#06x} with hash {hash:#06x}")]
    Algorithm {
        /// TPMI_ALG_SIG_SCHEME.
        algorithm: u16,
        /// TPMI_ALG_HASH.
        hash: u16,
    },
    /// Larger than any key that is accepted.
    #[error("a number of {0} bytes")]
    TooLong(usize),
    /// Bytes that are not part of it.
    #[error("{0} bytes after the end")]
    Trailing(usize),
}

impl Signature {
    /// Reads a signature that fills `bytes`.
    ///
    /// # Errors
    /// See [`SignatureFormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureFormatError> {
        let mut reader = Reader::new(bytes);
        let (algorithm, hash) = (reader.u16_be()?, reader.u16_be()?);
        let signature = match (algorithm, hash) {
            (RSASSA, SHA256) => Self::RsaSsa(number(&mut reader)?),
            (RSAPSS, SHA256) => Self::RsaPss(number(&mut reader)?),
            (ECDSA, SHA256) => Self::Ecdsa(number(&mut reader)?, number(&mut reader)?),
            _ => return Err(SignatureFormatError::Algorithm { algorithm, hash }),
        };
        match reader.rest().len() {
            0 => Ok(signature),
            trailing => Err(SignatureFormatError::Trailing(trailing)),
        }
    }

    /// Its algorithm's name.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::RsaSsa(_) => "RSASSA with SHA-256",
            Self::RsaPss(_) => "RSAPSS with SHA-256",
            Self::Ecdsa(..) => "ECDSA with SHA-256",
        }
    }

    /// Whether `key` made it over `message`.
    pub fn verifies(&self, key: &PublicKey, message: &[u8]) -> bool {
        let hash: [u8; HASH] = Sha256::digest(message).into();
        match (self, key) {
            (Self::RsaSsa(signature), PublicKey::Rsa(key)) => {
                key.verify(Pkcs1v15Sign::new::<rsa::sha2::Sha256>(), &hash, signature).is_ok()
            }
            (Self::RsaPss(signature), PublicKey::Rsa(key)) => salt_lengths(key)
                .any(|salt| key.verify(Pss::new_with_salt::<rsa::sha2::Sha256>(salt), &hash, signature).is_ok()),
            (Self::Ecdsa(r, s), PublicKey::P256(key)) => {
                let signature = scalars::<32>(r, s).and_then(|bytes| p256::ecdsa::Signature::from_slice(&bytes).ok());
                signature.is_some_and(|signature| key.verify_prehash(&hash, &signature).is_ok())
            }
            (Self::Ecdsa(r, s), PublicKey::P384(key)) => {
                let signature = scalars::<48>(r, s).and_then(|bytes| p384::ecdsa::Signature::from_slice(&bytes).ok());
                signature.is_some_and(|signature| key.verify_prehash(&hash, &signature).is_ok())
            }
            _ => false,
        }
    }
}

/// TPMs salt with as many bytes as fit, or, in FIPS mode, as the hash has (TPM 2.0 Library, part 1, annex B.7).
fn salt_lengths(key: &rsa::RsaPublicKey) -> impl Iterator<Item = usize> {
    let encoded = key.n().bits().saturating_sub(1).div_ceil(8);
    [HASH, encoded.saturating_sub(HASH + PSS_FRAME)].into_iter()
}

fn number(reader: &mut Reader<'_>) -> Result<Vec<u8>, SignatureFormatError> {
    let size = usize::from(reader.u16_be()?);
    if size > MAX_RSA {
        return Err(SignatureFormatError::TooLong(size));
    }
    Ok(reader.take(size)?.to_vec())
}

/// Both numbers in as many bytes as the curve's: TPMs may leave out zeros in front.
fn scalars<const N: usize>(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    Some([padded::<N>(r)?, padded::<N>(s)?].concat())
}

/// Big-endian in exactly `N` bytes.
pub(super) fn padded<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes.get_mut(N.checked_sub(number.len())?..)?.copy_from_slice(number);
    Some(bytes)
}
