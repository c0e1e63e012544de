//! `detail` of the entries whose shape is fixed.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::json::{Json, JsonError, from_json, to_json};
use crate::profile::EnforcementMode;
use crate::terms::terms;

terms! {
    /// `audit.durability`: what must be stored before what.
    Durability {
        /// The intent before an allowed call goes out, its outcome before the answer leaves.
        Strict = "strict",
        /// The outcome before the answer leaves.
        Answer = "answer",
        /// "Stored" means that the host process has written it, not that it would survive power loss.
        Process = "process",
    }
}

/// `detail` of `session_start`. The chain's root commits to it, and evidence commits to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionStart {
    /// [`crate::binding::boot_x`], 64 digits.
    pub boot: String,
    /// Policy bundle in force.
    pub policy_bundle_hash: Digest,
    /// Catalog in force.
    pub catalog_hash: Digest,
    /// Configuration in force.
    pub config_hash: Digest,
    /// What happens to denied calls.
    pub enforcement_mode: EnforcementMode,
    /// What is stored before what.
    pub durability: Durability,
    /// Whose word the time is: `host`.
    pub time_source: String,
    /// The session's number in this boot, from 1.
    pub session_number: u64,
    /// Who chose the session's id: the gateway, or the caller by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id_source: Option<String>,
    /// Whose session it is, if the caller was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// [`crate::key::PublicKey::key_id`] of the key that signed the policy bundle, if a signature was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_signed_by: Option<Digest>,
    /// `epoch` of the operator's controls, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controls_epoch: Option<u64>,
    /// SHA-256 of the operator's controls, if there are any; the boot binding has it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controls_hash: Option<Digest>,
    /// What the caller asked to be bound, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its name.
    pub subject: String,
    /// Who vouches for it; empty if nobody says.
    pub issuer: String,
}

impl SessionStart {
    /// As an entry's `detail`.
    pub fn to_json(&self) -> Result<Json, JsonError> {
        to_json(self)
    }

    /// From an entry's `detail`.
    pub fn parse(detail: &Json) -> Result<Self, JsonError> {
        from_json(detail)
    }
}
