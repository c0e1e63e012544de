//! SHA-256 digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::hex;

/// A SHA-256 digest. Displayed and serialised as `sha256:` and 64 lower-case digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest of the expected spelling.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a digest: {0:?}")]
pub struct DigestError(String);

impl DigestError {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.chars().take(128).collect())
    }
}

const PREFIX: &str = "sha256:";

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case digits.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// `sha256:` and 64 lower-case digits.
    pub fn prefixed(&self) -> String {
        self.to_string()
    }

    /// Reads either spelling: bare digits, or with `sha256:` before them.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        Self::parse_hex(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| DigestError::new(text))
    }

    /// Reads bare digits.
    pub fn parse_hex(text: &str) -> Result<Self, DigestError> {
        hex::decode(text).map(Self).ok_or_else(|| DigestError::new(text))
    }

    /// Reads digits with `sha256:` before them.
    pub fn parse_prefixed(text: &str) -> Result<Self, DigestError> {
        text.strip_prefix(PREFIX).and_then(hex::decode).map(Self).ok_or_else(|| DigestError::new(text))
    }

    /// Appends the 64 digits.
    pub(crate) fn write_hex(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&hex::digits(&self.0));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse_prefixed(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// SHA-256 of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
