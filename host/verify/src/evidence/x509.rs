//! Certificates of vendors, paths to pinned roots, lists of revoked certificates.
//!
//! RFC 5280 as far as these chains use it: names, signatures, basic constraints, key usage and path lengths decide whether
//! there is a path; dates are a question of their own ([`Path::dates`]), because evidence is judged at a time that the
//! caller names. Critical extensions that are not known here end a path.

mod crl;
mod path;
mod signature;

use std::sync::Arc;

use claim::Digest;
use claim::time::Timestamp;
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{AnyRef, Decode, Encode, Sequence};
use thiserror::Error;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

pub use crl::Crl;
pub use path::{Anchor, Anchors, Chains, Path, RootKind, build_path};
pub use signature::PublicKey;

use super::Mismatch;

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Critical extensions that may be there: besides the two above subjectAltName, extKeyUsage and certificatePolicies, which
/// only narrow what a certificate is for.
const KNOWN: [ObjectIdentifier; 5] = [
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
];
/// Longest certificate or list of revoked certificates that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Why a certificate, a path or a list is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum X509Error {
    /// Not DER of what it should be.
    #[error("not DER of {what}: {why}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What the decoder says.
        why: String,
    },
    /// A key or signature algorithm that these chains do not use.
    #[error("{0} is not an algorithm of these chains")]
    Algorithm(String),
    /// The signature is not by that key.
    #[error("the signature is not by {0}")]
    Signature(String),
    /// A critical extension that is not known here.
    #[error("critical extension {0}")]
    Critical(String),
    /// No path to a pinned root.
    #[error("no path from {leaf} to {roots}: {why}")]
    NoPath {
        /// Subject of the certificate.
        leaf: String,
        /// The pinned roots.
        roots: String,
        /// How far it goes.
        why: String,
    },
    /// More certificates than any chain has.
    #[error("{0} certificates, and at most 64 are read")]
    TooMany(usize),
}

impl X509Error {
    fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed { what, why: format!("{why}") }
    }
}

/// What is signed, as it was received: a decoder's re-encoding would be another message.
#[derive(Sequence)]
struct Outer<'a> {
    body: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// The signed parts of a certificate or list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signed {
    body: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn from_der(der: &[u8], what: &'static str) -> Result<Self, X509Error> {
        let malformed = |why: der::Error| X509Error::malformed(what, why);
        if der.len() > LONGEST {
            return Err(X509Error::malformed(what, format!("{} bytes", der.len())));
        }
        let outer = Outer::from_der(der).map_err(malformed)?;
        Ok(Self {
            body: outer.body.to_der().map_err(malformed)?,
            algorithm: outer.algorithm.to_der().map_err(malformed)?,
            signature: outer.signature.as_bytes().unwrap_or_default().to_vec(),
        })
    }
}

/// An X.509 certificate. Its parts are shared: pools and paths hold the same ones many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Arc<[u8]>,
    signed: Arc<Signed>,
    parsed: Arc<x509_cert::Certificate>,
}

impl Certificate {
    /// Reads DER, all of it.
    ///
    /// # Errors
    /// [`X509Error::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let what = "a certificate";
        let signed = Signed::from_der(der, what)?;
        let parsed = x509_cert::Certificate::from_der(der).map_err(|error| X509Error::malformed(what, error))?;
        Ok(Self { der: der.into(), signed: Arc::new(signed), parsed: Arc::new(parsed) })
    }

    /// Reads one certificate with whatever follows it, as TPMs keep them: padded with zeros.
    ///
    /// # Errors
    /// [`X509Error::Malformed`]; also if anything but zeros follows.
    pub fn from_padded_der(bytes: &[u8]) -> Result<Self, X509Error> {
        let malformed = |why: der::Error| X509Error::malformed("a certificate", why);
        let (_, rest) = AnyRef::from_der_partial(bytes).map_err(malformed)?;
        let (der, rest) = bytes.split_at(bytes.len().saturating_sub(rest.len()));
        if rest.iter().any(|byte| *byte != 0) {
            return Err(X509Error::malformed("a certificate", "bytes after it that are not zero"));
        }
        Self::from_der(der)
    }

    /// Reads the certificates of a PEM file, or one of DER.
    ///
    /// # Errors
    /// [`X509Error::Malformed`], [`X509Error::TooMany`].
    pub fn from_file(bytes: &[u8]) -> Result<Vec<Self>, X509Error> {
        if !bytes.starts_with(b"-----") {
            return Ok(vec![Self::from_der(bytes)?]);
        }
        pem_blocks(bytes)?.iter().map(|der| Self::from_der(der)).collect()
    }

    /// The bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the bytes.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }

    /// The value of an extension, if it is there once.
    pub fn extension(&self, id: &ObjectIdentifier) -> Option<&[u8]> {
        let mut found = self.extensions().iter().filter(|extension| extension.extn_id == *id);
        let value = found.next().map(|extension| extension.extn_value.as_bytes());
        if found.next().is_some() { None } else { value }
    }

    /// The subject's key.
    ///
    /// # Errors
    /// A key that these chains do not use.
    pub fn key(&self) -> Result<PublicKey, X509Error> {
        PublicKey::from_spki(&self.spki()?)
    }

    /// The subject in RFC 4514's text.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// The issuer in RFC 4514's text.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_certificate().issuer().to_string()
    }

    /// The subject's common name, if it has exactly one.
    pub fn common_name(&self) -> Option<String> {
        let mut names = self.parsed.tbs_certificate().subject().iter().filter(|attribute| attribute.oid == COMMON_NAME);
        let value = names.next().and_then(|attribute| std::str::from_utf8(attribute.value.value()).ok());
        if names.next().is_some() { None } else { value.map(str::to_owned) }
    }

    /// The serial number, big endian.
    pub fn serial(&self) -> &[u8] {
        self.parsed.tbs_certificate().serial_number().as_bytes()
    }

    /// First and last second at which it is valid.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        let validity = self.parsed.tbs_certificate().validity();
        (timestamp(validity.not_before), timestamp(validity.not_after))
    }

    /// That it is valid at a time.
    ///
    /// # Errors
    /// Its dates, and the time.
    pub fn valid_at(&self, at: Timestamp) -> Result<(), Mismatch> {
        let (from, until) = self.validity();
        if from <= at && at <= until {
            return Ok(());
        }
        Err(Mismatch::new(format!("{} valid at {at}", self.subject()), format!("valid from {from} until {until}")))
    }

    fn spki(&self) -> Result<Vec<u8>, X509Error> {
        let key = self.parsed.tbs_certificate().subject_public_key_info();
        key.to_der().map_err(|error| X509Error::malformed("a public key", error))
    }

    fn extensions(&self) -> &[x509_cert::ext::Extension] {
        self.parsed.tbs_certificate().extensions().map_or(&[], Vec::as_slice)
    }

    /// What may not be there in any certificate of a path.
    fn check_extensions(&self) -> Result<(), X509Error> {
        let unknown =
            |extension: &&x509_cert::ext::Extension| extension.critical && !KNOWN.contains(&extension.extn_id);
        match self.extensions().iter().find(unknown) {
            Some(extension) => Err(X509Error::Critical(extension.extn_id.to_string())),
            None => Ok(()),
        }
    }

    /// Whether it may sign certificates with so many intermediate ones between it and the leaf.
    fn may_issue(&self, below: usize) -> Result<(), String> {
        let read = self.extension(&BASIC_CONSTRAINTS).map(BasicConstraints::from_der);
        let Some(Ok(constraints)) = read else { return Err("it has no basic constraints".into()) };
        if !constraints.ca {
            return Err("it is not a CA's".into());
        }
        if constraints.path_len_constraint.is_some_and(|most| usize::from(most) < below) {
            return Err(format!("it allows fewer than {below} CAs below it"));
        }
        match self.extension(&KEY_USAGE).map(KeyUsage::from_der) {
            Some(Ok(usage)) if !usage.key_cert_sign() => Err("its key may not sign certificates".into()),
            Some(Err(error)) => Err(format!("its key usage: {error}")),
            _ => Ok(()),
        }
    }

    /// Verifies the signature with the issuer's key.
    fn signed_by(&self, issuer: &Self) -> Result<(), X509Error> {
        let signed = &self.signed;
        let by = || X509Error::Signature(issuer.subject());
        let inner = self.parsed.tbs_certificate().signature().to_der().map_err(|_| by())?;
        if inner != signed.algorithm {
            return Err(X509Error::malformed("a certificate", "two different signature algorithms"));
        }
        let right = issuer.key()?.verify_x509(&signed.algorithm, &signed.body, &signed.signature)?;
        if right { Ok(()) } else { Err(by()) }
    }
}

fn timestamp(time: x509_cert::time::Time) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX / 1_000_000))
}

/// The DER of every `BEGIN CERTIFICATE` block.
fn pem_blocks(bytes: &[u8]) -> Result<Vec<Vec<u8>>, X509Error> {
    use base64ct::{Base64, Encoding};
    let malformed = |why: &str| X509Error::malformed("PEM certificates", why);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("not text"))?;
    let mut blocks = Vec::new();
    for block in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let (body, _) =
            block.split_once("-----END CERTIFICATE-----").ok_or_else(|| malformed("a block without end"))?;
        let digits: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        blocks.push(Base64::decode_vec(&digits).map_err(|_| malformed("a block that is not base64"))?);
    }
    match blocks.len() {
        0 => Err(malformed("no certificate")),
        1..=path::MOST => Ok(blocks),
        more => Err(X509Error::TooMany(more)),
    }
}
