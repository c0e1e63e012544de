//! Members of claims that other gateways emit and ours does not.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// `call_log_summary`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "another implementation's members, unread by us")]
pub struct CallLogSummary {
    pub total_calls: u64,
    pub tools_called: Vec<String>,
    pub suspicious_sequences_detected: u64,
}

/// `agent_identity`: an agent manifest's binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "another implementation's members, unread by us")]
pub struct AgentIdentity {
    pub manifest_id: String,
    pub agent_id: String,
    pub authenticated_subject: String,
    pub subject_source: String,
    pub issuer: String,
    pub issuer_key_id: String,
    pub policy_bundle_hash: String,
    pub tool_catalog_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_hash: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_key_thumbprint: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement_mode: Option<String>,
}

/// `policy_signing`: which keys signed and which are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "another implementation's members, unread by us")]
pub struct PolicySigning {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Digest>,
    #[serde(default)]
    pub revoked_key_ids: Vec<Digest>,
}
