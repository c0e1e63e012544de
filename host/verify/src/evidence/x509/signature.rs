//! Public keys, and the signature algorithms that vendors' chains use.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode, Sequence};
use p256::ecdsa::signature::Verifier;
use rsa::pkcs8::DecodePublicKey;
use rsa::sha2::{Sha256, Sha384, Sha512};

use super::X509Error;

const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// Bytes of the salt in AMD's signatures: as long as the hash.
const PSS_SALT: u8 = 48;

/// A key that signs certificates or evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, at most 4096 bits.
    Rsa(rsa::RsaPublicKey),
    /// ECDSA on P-256.
    P256(p256::ecdsa::VerifyingKey),
    /// ECDSA on P-384.
    P384(p384::ecdsa::VerifyingKey),
}

#[derive(Sequence)]
struct Algorithm<'a> {
    id: ObjectIdentifier,
    parameters: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Spki<'a> {
    algorithm: Algorithm<'a>,
    key: BitStringRef<'a>,
}

/// RSASSA-PSS-params (RFC 4055, section 3.1).
#[derive(Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0")]
    hash: Algorithm<'a>,
    #[asn1(context_specific = "1")]
    mask: Algorithm<'a>,
    #[asn1(context_specific = "2")]
    salt: u8,
    // AMD writes the default out, which DER forbids; it is read all the same.
    #[asn1(context_specific = "3", optional = "true")]
    trailer: Option<u8>,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// Not DER, or an algorithm that these chains do not use.
    pub fn from_spki(der: &[u8]) -> Result<Self, X509Error> {
        let malformed = |why: String| X509Error::malformed("a public key", why);
        let spki = Spki::from_der(der).map_err(|error| malformed(error.to_string()))?;
        let point = spki.key.as_bytes().unwrap_or_default();
        match spki.algorithm.id {
            RSA => {
                let key = rsa::RsaPublicKey::from_public_key_der(der);
                key.map(Self::Rsa).map_err(|error| malformed(error.to_string()))
            }
            EC => {
                let curve = spki.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
                match curve {
                    Some(P256) => p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                        .map(Self::P256)
                        .map_err(|error| malformed(error.to_string())),
                    Some(P384) => p384::ecdsa::VerifyingKey::from_sec1_bytes(point)
                        .map(Self::P384)
                        .map_err(|error| malformed(error.to_string())),
                    other => Err(X509Error::Algorithm(other.map_or("no curve".into(), |curve| curve.to_string()))),
                }
            }
            other => Err(X509Error::Algorithm(other.to_string())),
        }
    }

    /// In words.
    pub fn shown(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::P256(_) => "ECDSA P-256",
            Self::P384(_) => "ECDSA P-384",
        }
    }

    /// Whether the signature of a certificate or list is by this key.
    pub(super) fn verify_x509(&self, algorithm: &[u8], body: &[u8], signature: &[u8]) -> Result<bool, X509Error> {
        let malformed = |error: der::Error| X509Error::malformed("a signature algorithm", error);
        let algorithm = Algorithm::from_der(algorithm).map_err(malformed)?;
        Ok(match (self, algorithm.id) {
            (Self::Rsa(key), RSA_PSS) => {
                amd_pss(algorithm.parameters)?;
                let salt = usize::from(PSS_SALT);
                let key = rsa::pss::VerifyingKey::<Sha384>::new_with_salt_len(key.clone(), salt);
                rsa::pss::Signature::try_from(signature).is_ok_and(|signature| key.verify(body, &signature))
            }
            (Self::Rsa(key), RSA_SHA256) => {
                let key = rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key.clone());
                rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| key.verify(body, &signature))
            }
            (Self::Rsa(key), RSA_SHA384) => {
                let key = rsa::pkcs1v15::VerifyingKey::<Sha384>::new(key.clone());
                rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| key.verify(body, &signature))
            }
            (Self::Rsa(key), RSA_SHA512) => {
                let key = rsa::pkcs1v15::VerifyingKey::<Sha512>::new(key.clone());
                rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| key.verify(body, &signature))
            }
            (Self::P256(key), ECDSA_SHA256) => {
                p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(body, &signature).is_ok())
            }
            (Self::P384(key), ECDSA_SHA384) => {
                p384::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(body, &signature).is_ok())
            }
            (key, id) => return Err(X509Error::Algorithm(format!("{id} with a key for {}", key.shown()))),
        })
    }
}

/// RSA's crate is of another generation of the signature traits.
trait Verifies<S> {
    fn verify(&self, message: &[u8], signature: &S) -> bool;
}

impl<S, V: rsa::signature::Verifier<S>> Verifies<S> for V {
    fn verify(&self, message: &[u8], signature: &S) -> bool {
        rsa::signature::Verifier::verify(self, message, signature).is_ok()
    }
}

/// SHA-384, MGF1 with SHA-384, 48 bytes of salt: what AMD signs with, and nothing else.
fn amd_pss(parameters: Option<AnyRef<'_>>) -> Result<(), X509Error> {
    let other = || X509Error::Algorithm("RSASSA-PSS with other parameters than AMD's".into());
    let parameters: PssParameters<'_> = parameters.ok_or_else(other)?.decode_as().map_err(|_| other())?;
    let mask: Algorithm<'_> = parameters.mask.parameters.ok_or_else(other)?.decode_as().map_err(|_| other())?;
    let right = parameters.hash.id == SHA384
        && parameters.mask.id == MGF1
        && mask.id == SHA384
        && parameters.salt == PSS_SALT
        && parameters.trailer.is_none_or(|trailer| trailer == 1);
    if right { Ok(()) } else { Err(other()) }
}
