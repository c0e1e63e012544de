//! What an operator signs and an enclave obeys: `controls.json`, policy bundles, and orders to take a tool's secret.
//!
//! The operator's key is not in the enclave: [`OperatorKey`] is for the tool that signs.

use std::cmp::Ordering;
use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

use crate::b64u;
use crate::bootlog::BootId;
use crate::digest::Digest;
use crate::json::Json;
use crate::key::{PublicKey, SignatureError, policy_message, read_signature};

const CONTROLS_LABEL: &[u8] = b"cmcp-controls-v1|";
const PROVISION_LABEL: &[u8] = b"cmcp-provision-v1|";

/// Ed25519 key of an operator or of a policy's author. It cannot be copied or shown, and its memory is cleared.
pub struct OperatorKey(SigningKey);

impl OperatorKey {
    /// From 32 random bytes. The caller clears its own copy.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = Self(SigningKey::from_bytes(&seed));
        seed.zeroize();
        key
    }

    /// The public half: `operator.public_key` of a configuration.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a policy bundle by its [`crate::hashes::bundle_hash`]: the text of `signature` in `manifest.json`.
    pub fn sign_policy(&self, bundle_hash: Digest) -> String {
        b64u::encode(&self.0.sign(&policy_message(bundle_hash)).to_bytes())
    }

    /// Signs controls: the text of their `signature`, which may be absent from or stale in `controls`.
    pub fn sign_controls(&self, controls: &Json) -> String {
        b64u::encode(&self.0.sign(&controls_message(controls)).to_bytes())
    }

    /// Signs an order to take a secret: the text of its `signature`.
    pub fn sign_provision(&self, order: &ProvisionOrder) -> String {
        b64u::encode(&self.0.sign(&provision_message(order)).to_bytes())
    }
}

impl PublicKey {
    /// Verifies the `signature` in controls.
    ///
    /// # Errors
    /// [`SignatureError::Kind`] when they have none.
    pub fn verify_controls(&self, controls: &Json) -> Result<(), SignatureError> {
        let signature = controls.get("signature").and_then(Json::as_str).ok_or(SignatureError::Kind)?;
        self.verify(&controls_message(controls), &read_signature(signature)?)
    }
}

impl PublicKey {
    /// Verifies the signature of an order to take a secret.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify_provision(&self, order: &ProvisionOrder, signature: &str) -> Result<(), SignatureError> {
        self.verify(&provision_message(order), &read_signature(signature)?)
    }
}

/// An order to one boot to take a secret, and to use it for one tool server alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionOrder {
    /// The boot: to the next one the order means nothing.
    pub boot_id: BootId,
    /// What the catalog calls the secret.
    pub name: String,
    /// SHA-256 of the secret's bytes, which the order itself does not hold.
    pub value_sha256: Digest,
    /// The tool server's URL, as the catalog spells it.
    pub server: String,
    /// Its pin, as the catalog spells it: `SHA256:` and base64; empty without one.
    pub pin: String,
}

/// The label, then SA of the order's members.
fn provision_message(order: &ProvisionOrder) -> Vec<u8> {
    let mut message = PROVISION_LABEL.to_vec();
    Json::from([
        ("boot_id", order.boot_id.to_string().into()),
        ("name", order.name.as_str().into()),
        ("value_sha256", order.value_sha256.prefixed().into()),
        ("server", order.server.as_str().into()),
        ("pin", order.pin.as_str().into()),
    ])
    .write_sorted_ascii(&mut message);
    message
}

fn controls_message(controls: &Json) -> Vec<u8> {
    let mut message = CONTROLS_LABEL.to_vec();
    controls.without("signature").write_sorted_ascii(&mut message);
    message
}

/// `controls.json`: what an operator wants to outlive restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    /// Counts up with each new version, from 1. Which is the newest, an enclave cannot know.
    pub epoch: u64,
    /// Identities whose calls are all refused.
    #[serde(default)]
    pub blocked: Vec<Blocked>,
    /// [`PublicKey::key_id`] of keys whose policy signatures no longer count.
    #[serde(default)]
    pub revoked_keys: Vec<Digest>,
    /// No policy bundle of an earlier version is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_policy_version: Option<Version>,
    /// By the operator's key: Ed25519 over `cmcp-controls-v1|` and SA(controls without `signature`), base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// An identity whose calls are all refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// Its name at its issuer; `anonymous` without authentication.
    pub subject: String,
    /// Who vouches for it; whoever does, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// Numbers with dots between them, such as `1.10.0`. Compared number by number; what is missing at the end counts as 0.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
}

impl Version {
    /// Reads decimal numbers of 64 bits without leading zeros, separated by dots.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            part.parse().ok().filter(|_| digits)
        };
        let mut numbers = text.split('.').map(number).collect::<Option<Vec<u64>>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self { text: text.to_owned(), numbers })
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("numbers with dots between them, such as 1.10.0"))
    }
}
