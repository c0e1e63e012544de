//! The signing key, and what it signs: one method per kind, no `sign(&[u8])`.
//!
//! | kind | message under Ed25519 |
//! |---|---|
//! | claim | SA(claim without `signature`) |
//! | trust record | JCS(record without `signature`) |
//! | audit bundle | SHA256(SA(entries)) |
//! | boot log batch | `cmcp-boot-log-v1|` + SHA256(batch) |
//! | software evidence ([`crate::evidence`]) | `cmcp-software-evidence-v1|` + the 64 bytes of a binding |
//! | policy bundle (operators sign, enclaves verify: [`crate::operator`]) | `cmcp-policy-bundle-v1|` + `sha256:` + hex |
//! | controls (operators sign, enclaves verify) | `cmcp-controls-v1|` + SA(controls without `signature`) |
//! | order to take a secret (operators sign, enclaves verify) | `cmcp-provision-v1|` + SA(order) |
//!
//! No message of one kind can be one of another: a claim starts with `{"cmcp_version"` or `{"gateway"`, a record with
//! `{"appraisal"`, a bundle's digest has 32 bytes, and the rest start with their own label.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroize;

use crate::digest::Digest;
use crate::{b64u, hex};

const BATCH_LABEL: &[u8] = b"cmcp-boot-log-v1|";
const POLICY_LABEL: &[u8] = b"cmcp-policy-bundle-v1|";

/// The enclave's Ed25519 key. It cannot be copied, shown or stored, and its memory is cleared.
pub struct Key(SigningKey);

impl Key {
    /// From 32 random bytes. The caller clears its own copy.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = Self(SigningKey::from_bytes(&seed));
        seed.zeroize();
        key
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs an audit bundle: `digest` is SHA256(SA(entries)). The text of `bundle_signature`.
    pub fn sign_bundle_digest(&self, digest: Digest) -> String {
        b64u::encode(&self.sign(digest.bytes()))
    }

    /// Signs a boot log batch by its [`crate::bootlog::batch_hash`].
    pub fn sign_batch(&self, batch: Digest) -> [u8; 64] {
        self.sign(&batch_message(&batch))
    }

    /// For this crate's typed methods only.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// A signature that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Not 32 bytes in canonical base64url, or not a point of the curve.
    #[error("not an Ed25519 public key")]
    Key,
    /// Not 64 bytes in canonical base64url.
    #[error("not an Ed25519 signature in canonical base64url")]
    Encoding,
    /// A document of another kind, or without a signature.
    #[error("not a signed document of this kind")]
    Kind,
    /// A document that has no canonical form.
    #[error("the document has no canonical form")]
    Canonical,
    /// Made by another key, or over something else.
    #[error("the signature does not verify")]
    Mismatch,
}

impl PublicKey {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From the `x` of a JWK.
    pub fn from_x(x: &str) -> Result<Self, SignatureError> {
        b64u::decode_array(x).map(Self).ok_or(SignatureError::Key)
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, SignatureError> {
        hex::decode(text).map(Self).ok_or(SignatureError::Key)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case digits.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// The `x` of its JWK.
    pub fn x(&self) -> String {
        b64u::encode(&self.0)
    }

    /// `cmcp-` and the first 8 digits.
    pub fn kid(&self) -> String {
        format!("cmcp-{}", self.hex().chars().take(8).collect::<String>())
    }

    /// `spiffe://cmcp.gateway/tee/` and the first 16 digits.
    pub fn subject(&self) -> String {
        format!("spiffe://cmcp.gateway/tee/{}", self.hex().chars().take(16).collect::<String>())
    }

    /// RFC 7638 thumbprint: the T of every binding.
    pub fn thumbprint(&self) -> Digest {
        Digest::of(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x()))
    }

    /// SHA-256 of the 32 bytes: how policy signing keys are named.
    pub fn key_id(&self) -> Digest {
        Digest::of(self.0)
    }

    /// Verifies an audit bundle's `bundle_signature`.
    pub fn verify_bundle(&self, digest: Digest, signature: &str) -> Result<(), SignatureError> {
        self.verify(digest.bytes(), &read_signature(signature)?)
    }

    /// Verifies a boot log batch's signature.
    pub fn verify_batch(&self, batch: Digest, signature: &[u8; 64]) -> Result<(), SignatureError> {
        self.verify(&batch_message(&batch), signature)
    }

    /// Verifies the signature in a policy bundle's manifest.
    pub fn verify_policy(&self, bundle_hash: Digest, signature: &str) -> Result<(), SignatureError> {
        self.verify(&policy_message(bundle_hash), &read_signature(signature)?)
    }

    /// RFC 8032 without its leeway: no small-order keys, no second spelling of a signature.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError::Key)?;
        key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| SignatureError::Mismatch)
    }
}

/// The 64 bytes of a signature's text.
pub(crate) fn read_signature(text: &str) -> Result<[u8; 64], SignatureError> {
    b64u::decode_array(text).ok_or(SignatureError::Encoding)
}

/// What is signed of a policy bundle.
pub(crate) fn policy_message(bundle_hash: Digest) -> Vec<u8> {
    [POLICY_LABEL, bundle_hash.prefixed().as_bytes()].concat()
}

fn batch_message(batch: &Digest) -> Vec<u8> {
    [BATCH_LABEL, batch.bytes()].concat()
}
