//! Bodies of the records that are JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::binding::BootBinding;
use crate::digest::Digest;
use crate::entry::PolicyDecision;
use crate::hex;
use crate::json::{Json, JsonError, read, to_json};
use crate::members::Members;
use crate::sealing::Sealing;
use crate::time::Timestamp;

/// Random name of one boot; 32 lower-case digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Reads 32 lower-case digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("not a boot id"))
    }
}

/// What keeps the enclave apart from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A virtual machine that holds nothing else.
    Vm,
    /// A process, with the host on the same kernel.
    Process,
}

impl fmt::Display for Isolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Vm => "vm",
            Self::Process => "process",
        })
    }
}

/// Where the store stood when this boot began, as the host said; believed for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousBoot {
    /// Whose log.
    pub boot_id: BootId,
    /// Number of its last batch.
    pub batch: u64,
    /// Hash of its last batch.
    pub hash: Digest,
}

/// First record of a boot: who signs, and what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootRecord {
    /// This boot.
    pub boot_id: BootId,
    /// The key that signs the batches; [`crate::key::PublicKey::x`].
    pub public_key: String,
    /// What keeps the enclave apart.
    pub isolation: Isolation,
    /// Dev mode.
    pub dev: bool,
    /// SHA-256 of each inbound TLS key's SubjectPublicKeyInfo; empty without TLS.
    pub tls_spki: Vec<Digest>,
    /// Policy bundle in force.
    pub bundle_hash: Digest,
    /// Catalog in force.
    pub catalog_hash: Digest,
    /// Configuration in force.
    pub config_hash: Digest,
    /// Operator controls in force.
    pub controls_hash: Digest,
    /// Whose word the time is: `host`.
    pub time_source: String,
    /// When, by that word.
    pub started_at: Timestamp,
    /// Version of the enclave's package.
    pub gateway_version: String,
    /// The store's head before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousBoot>,
    /// Whom the records after this one are sealed to; without it they are in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<Sealing>,
}

impl BootRecord {
    /// Sorted ASCII.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        to_bytes(self)
    }

    /// Reads a record's body.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        read(bytes)
    }

    /// What evidence of this boot binds.
    pub fn binding(&self) -> BootBinding {
        BootBinding {
            boot_id: self.boot_id,
            tls_spki: self.tls_spki.clone(),
            bundle_hash: self.bundle_hash,
            catalog_hash: self.catalog_hash,
            config_hash: self.config_hash,
            controls_hash: self.controls_hash,
            isolation: self.isolation,
            dev: self.dev,
            time_source: self.time_source.clone(),
        }
    }
}

/// A call that was decided and is about to be forwarded. Not an entry of the session chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentRecord {
    /// Which session.
    pub session_id: String,
    /// Its number in this boot, from 1.
    pub session_number: u64,
    /// The call.
    pub call_id: String,
    /// Its tool.
    pub tool_name: String,
    /// [`crate::hashes::request_payload_hash`].
    pub request_payload_hash: Digest,
    /// What policy said.
    pub decision: PolicyDecision,
    /// Length of the session chain when the call was decided.
    pub entry_count_before: u64,
    /// When.
    pub at: Timestamp,
}

impl IntentRecord {
    /// Sorted ASCII.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        let mut members = Members::open(&mut out);
        members.time("at", self.at);
        members.text("call_id", &self.call_id);
        members.text("decision", self.decision.as_str());
        members.number("entry_count_before", self.entry_count_before);
        members.digest("request_payload_hash", &self.request_payload_hash);
        members.text("session_id", &self.session_id);
        members.number("session_number", self.session_number);
        members.text("tool_name", &self.tool_name);
        members.close();
        out
    }

    /// Reads a record's body.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        read(bytes)
    }
}

/// A time in which calls were refused because nothing could be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapRecord {
    /// Begin.
    pub since: Timestamp,
    /// End.
    pub until: Timestamp,
    /// Calls refused meanwhile.
    pub refused_calls: u64,
    /// What the store answered.
    pub reason: String,
}

impl GapRecord {
    /// Sorted ASCII.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        to_bytes(self)
    }

    /// Reads a record's body.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        read(bytes)
    }
}

/// A change, after the boot, of what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRecord {
    /// Sessions that begin after this record are decided by this policy bundle; earlier ones keep theirs.
    PolicyLoad {
        /// When.
        at: Timestamp,
        /// The bundle.
        bundle_hash: Digest,
        /// Its manifest's `version`, higher than that of the bundle before.
        version: String,
        /// [`crate::key::PublicKey::key_id`] of the key that signed it.
        signed_by: Digest,
    },
    /// All calls of this identity are refused from here on.
    KillSwitchTrip {
        /// When.
        at: Timestamp,
        /// Its name at its issuer; `anonymous` without authentication.
        subject: String,
        /// Who vouches for it; every issuer, if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// `operator` or `deny_rate`.
        trigger: String,
        /// The operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Calls of this identity are decided again.
    KillSwitchUnblock {
        /// When.
        at: Timestamp,
        /// As in the record of the trip.
        subject: String,
        /// As in the record of the trip.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// The operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A tool server is shown a secret from here on, in place of an earlier one. Of the secret the record has nothing, for from a hash a
    /// weak one could be guessed.
    SecretProvisioned {
        /// When.
        at: Timestamp,
        /// The secret's name in the catalog.
        name: String,
        /// The tool server's url.
        server: String,
    },
}

impl ControlRecord {
    /// Sorted ASCII.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        to_bytes(self)
    }

    /// Reads a record's body.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        read(bytes)
    }
}

fn to_bytes(record: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    let value: Json = to_json(record)?;
    value.write_sorted_ascii(&mut out);
    Ok(out)
}
