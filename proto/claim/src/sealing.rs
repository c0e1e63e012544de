//! Sealed records: the format of what the host stores of a boot whose configuration names an auditor. `SPEC.md`, section 8.
//!
//! Here is what is encrypted where, and nothing that encrypts: the enclave and the verifier each bring their own
//! cryptography, so that one checks the other.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::b64u;
use crate::bootlog::RecordKind;

/// Length of an AES-256-GCM tag in bytes.
pub const TAG: usize = 16;
/// Length of the counter in front of the ciphertext in bytes.
const COUNTER: usize = 8;
/// Bytes by which a sealed body is longer than the body.
pub const OVERHEAD: usize = COUNTER + TAG;

const INFO_LABEL: &[u8; 13] = b"cmcp-seal-v1|";

/// `info` of the HPKE that wraps a boot's key: `cmcp-seal-v1|` + the 16 bytes of the boot id. `aad` is empty.
pub fn info(boot_id: &[u8; 16]) -> Vec<u8> {
    [INFO_LABEL.as_slice(), boot_id].concat()
}

/// `sealing` of a boot record: whose eyes the boot's other records are for, and the key that opens them, wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealing {
    /// `audit.auditor_key` of the configuration.
    pub auditor_key: AuditorKey,
    /// HPKE's encapsulated key.
    pub enc: Base64<32>,
    /// The boot's AES-256-GCM key, sealed.
    pub wrapped: Base64<48>,
}

/// Bytes that are base64url in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base64<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Base64<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&b64u::encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Base64<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = b64u::decode_array(&text).map(Self);
        bytes.ok_or_else(|| de::Error::custom(format!("not {N} bytes in canonical base64url")))
    }
}

/// An auditor's X25519 public key. Its private half opens every record of the boots that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuditorKey([u8; 32]);

/// Why a text is no auditor's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuditorKeyError {
    /// Not 32 bytes in canonical base64url.
    #[error("not 32 bytes in canonical base64url")]
    Encoding,
    /// A second spelling of another key. X25519 would take it, but HPKE hashes the spelling into what it derives, and
    /// the auditor hashes the first one: nothing sealed to it could be opened.
    #[error("not the canonical encoding of an X25519 public key")]
    Spelling,
}

impl AuditorKey {
    /// Reads base64url. Keys of low order are not found here: no HPKE seals to them.
    pub fn parse(text: &str) -> Result<Self, AuditorKeyError> {
        let bytes = b64u::decode_array(text).ok_or(AuditorKeyError::Encoding)?;
        Self::from_bytes(bytes)
    }

    /// From its 32 bytes, RFC 7748.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, AuditorKeyError> {
        if is_reduced(&bytes) { Ok(Self(bytes)) } else { Err(AuditorKeyError::Spelling) }
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// base64url, as in the configuration.
    pub fn text(&self) -> String {
        b64u::encode(&self.0)
    }
}

/// Whether a little-endian number is below 2^255 - 19.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = bytes;
    *highest < 0x7f || (*highest == 0x7f && (*lowest < 0xed || middle.iter().any(|byte| *byte != 0xff)))
}

impl Serialize for AuditorKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for AuditorKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Where a sealed record belongs. What was sealed for one place opens in no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its boot.
    pub boot_id: [u8; 16],
    /// From 1, higher than that of every record before it in the boot: no two records share a nonce.
    pub counter: u64,
    /// What it is; the host reads that too.
    pub kind: RecordKind,
    /// The session's number in this boot, 0 for none; the host reads that too.
    pub session: u64,
}

impl Place {
    /// AES-GCM's nonce: the counter as 96 bits, little-endian.
    pub fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        fill(&mut nonce, &[&self.counter.to_le_bytes()]);
        nonce
    }

    /// AES-GCM's associated data: boot id, counter, kind, session number.
    pub fn aad(&self) -> [u8; 33] {
        let mut aad = [0; 33];
        let Self { boot_id, counter, kind, session } = self;
        fill(&mut aad, &[boot_id, &counter.to_le_bytes(), &[*kind as u8], &session.to_le_bytes()]);
        aad
    }
}

fn fill(out: &mut [u8], parts: &[&[u8]]) {
    for (place, byte) in out.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = *byte;
    }
}

/// A sealed body: counter, ciphertext, tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBody<'a> {
    /// See [`Place::counter`].
    pub counter: u64,
    /// The ciphertext, as long as the body was, and the tag.
    pub ciphertext_and_tag: &'a [u8],
}

impl<'a> SealedBody<'a> {
    /// Reads a record's body; `None` if it is too short to be sealed.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (counter, ciphertext_and_tag) = body.split_first_chunk()?;
        let counter = u64::from_le_bytes(*counter);
        (ciphertext_and_tag.len() >= TAG).then_some(Self { counter, ciphertext_and_tag })
    }
}
