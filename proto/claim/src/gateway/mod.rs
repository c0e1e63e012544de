//! Artifact A: the claim of a session, in the shape that deployed verifiers accept.
//!
//! Objects are closed and absent members are omitted. [`ClaimFacts`] is what the enclave knows; it renders either
//! profile. The claim that others' gateways emit is read with the same types, so a few members here are never written.

mod facts;
mod others;
mod signed;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::digest::{Digest, DigestError};
use crate::entry::PolicyDecision;
use crate::profile::{Confirmation, EARLIEST_IAT, PolicyInfo, Profile, Runtime, TaggedDigest};
use crate::time::WrittenTime;

pub use facts::{ClaimFacts, EDGES_REPRESENT};
pub use others::{AgentIdentity, CallLogSummary, PolicySigning};
pub use signed::{ClaimError, SignedClaim};

/// A claim without its signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayClaim {
    /// Version of the envelope.
    #[serde(default = "cmcp_version")]
    pub cmcp_version: String,
    /// The members that TRACE defines.
    pub trace: Trace,
    /// The gateway's own members.
    pub gateway: Gateway,
}

fn cmcp_version() -> String {
    "1.0".to_owned()
}

/// The members that TRACE defines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Which profile.
    pub eat_profile: Profile,
    /// When it was issued, in seconds since the Unix epoch.
    pub iat: u64,
    /// Who issued it: a SPIFFE id.
    pub subject: String,
    /// Where the code ran.
    pub runtime: Runtime,
    /// Which policy decided.
    pub policy: PolicyInfo,
    /// Highest sensitivity label of the session.
    pub data_class: String,
    /// The calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_transcript: Option<ToolTranscript>,
    /// The key that signs.
    pub cnf: Confirmation,
}

/// The calls, by the hash of their chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolTranscript {
    /// The tip of the audit chain.
    pub hash: TaggedDigest,
    /// Number of `tool_call` entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_count: Option<u64>,
    /// Where the transcript is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript_uri: Option<String>,
    /// The calls themselves, without payloads; optional by configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<TranscriptEntry>>,
}

/// One call of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranscriptEntry {
    /// Which tool.
    pub tool_name: String,
    /// Which label the call touched.
    pub data_class: String,
    /// What was decided: allow, deny, redact, `advisory_deny`, fault or n/a.
    pub decision: PolicyDecision,
}

/// The gateway's own members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Which session.
    pub session_id: String,
    /// Version of the enclave's package; not in v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_version: Option<String>,
    /// Which claim of the session, from 1; not in v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<u64>,
    /// [`SignedClaim::hash`] of the session's claim before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_claim_hash: Option<Digest>,
    /// The audit chain.
    pub audit_chain: AuditChain,
    /// The calls in numbers.
    pub call_summary: CallSummary,
    /// The catalog in force.
    pub catalog: CatalogInfo,
    /// When the evidence was made.
    pub attestation_generated_at: WrittenTime,
    /// How long the evidence counts, in seconds.
    pub attestation_validity_seconds: u64,
    /// Whether it had outlived that.
    pub attestation_stale: bool,
    /// Operator exceptions in force; always there in v0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_exceptions: Option<Vec<std::collections::BTreeMap<String, String>>>,
    /// Signed evidence of the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_evidence: Option<AttestationEvidence>,
    /// Others' claims only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_log_summary: Option<CallLogSummary>,
    /// Others' claims only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_identity: Option<AgentIdentity>,
    /// Whether the kill switch tripped for the session's identity while the session was open; absent from ours if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_switch_triggered: Option<bool>,
    /// Others' claims only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_signing: Option<PolicySigning>,
}

/// The audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditChain {
    /// Hash of the first entry.
    pub root: ChainHash,
    /// Hash of the last entry.
    pub tip: ChainHash,
    /// Number of entries.
    pub length: u64,
}

/// A chain hash, which v0.2 writes bare and v0.1 with `sha256:` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainHash {
    /// 64 digits.
    Bare(Digest),
    /// `sha256:` and 64 digits.
    Prefixed(Digest),
}

impl ChainHash {
    /// As the profile writes it.
    pub const fn new(digest: Digest, profile: Profile) -> Self {
        match profile {
            Profile::TraceV02 => Self::Bare(digest),
            Profile::TraceV01 => Self::Prefixed(digest),
        }
    }

    /// The hash.
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Bare(digest) | Self::Prefixed(digest) => *digest,
        }
    }

    fn parse(text: &str) -> Result<Self, DigestError> {
        Digest::parse_prefixed(text).map(Self::Prefixed).or_else(|_| Digest::parse_hex(text).map(Self::Bare))
    }
}

impl Serialize for ChainHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bare(digest) => serializer.serialize_str(&digest.hex()),
            Self::Prefixed(digest) => serializer.collect_str(digest),
        }
    }
}

impl<'de> Deserialize<'de> for ChainHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The calls in numbers. A reader recomputes each from the entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallSummary {
    /// `tool_call` entries.
    pub tool_calls_total: u64,
    /// Of these, decided `allow`.
    pub tool_calls_allowed: u64,
    /// Of these, decided `deny` or `advisory_deny`.
    pub tool_calls_denied: u64,
    /// Of these, decided `fault`.
    pub tool_calls_faulted: u64,
    /// Names of all tools of these entries, sorted, each once.
    pub tools_invoked: Vec<String>,
    /// Highest label at the end.
    pub session_max_sensitivity: String,
    /// Which compliance domains were touched, and in which order.
    pub call_graph_summary: CallGraphSummary,
}

/// Compliance domains of the calls that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallGraphSummary {
    /// Sorted, each once.
    pub compliance_domains_touched: Vec<String>,
    /// Calls that left a regulated domain.
    pub cross_boundary_events: Vec<CrossBoundaryEvent>,
    /// What following each other means, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges_represent: Option<String>,
}

/// A call in another domain than the regulated one of the call before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossBoundaryEvent {
    /// Domain of the call before.
    pub from_domain: String,
    /// Domain of this call.
    pub to_domain: String,
    /// This call.
    pub call_id: String,
    /// Its tool.
    pub tool_name: String,
    /// Its index among the session's calls, from 0.
    pub sequence_number: u64,
}

/// The catalog in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogInfo {
    /// [`crate::hashes::catalog_hash`].
    pub hash: TaggedDigest,
    /// Whether a tool's live definition differed from the approved one; always there in ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_detected: Option<bool>,
}

/// Signed evidence of the platform, each in base64url.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationEvidence {
    /// The bytes that the platform signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_evidence: Option<String>,
    /// A TPM's TPMT_SIGNATURE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_signature: Option<String>,
    /// PEM, leaf first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_chain: Option<String>,
    /// PEM of the TPM's endorsement key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_cert_chain: Option<String>,
}

/// What a claim says that no claim of its profile can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClaimFault {
    /// `iat` before the standard existed.
    #[error("iat is before {EARLIEST_IAT}")]
    IssuedTooEarly,
    /// Not a SPIFFE id.
    #[error("subject is not a SPIFFE id")]
    Subject,
    /// A decision that transcripts do not have.
    #[error("a transcript entry's decision is none of its six")]
    TranscriptDecision,
    /// `root` and `tip` spelled as in the other profile.
    #[error("audit_chain root and tip are not spelled as the profile spells them")]
    ChainSpelling,
    /// `gateway_version` or `sequence_number` absent in v0.2.
    #[error("gateway_version and sequence_number are required")]
    MissingMember,
    /// `gateway_version`, `sequence_number` or `prev_claim_hash` present in v0.1.
    #[error("trace-v0.1 has no gateway_version, sequence_number or prev_claim_hash")]
    ForeignMember,
}

impl GatewayClaim {
    /// Which profile it follows.
    pub const fn profile(&self) -> Profile {
        self.trace.eat_profile
    }

    /// What the types cannot say about its shape.
    pub fn check(&self) -> Result<(), ClaimFault> {
        let gateway = &self.gateway;
        let numbered = (gateway.gateway_version.is_some(), gateway.sequence_number.is_some());
        let spelled = [gateway.audit_chain.root, gateway.audit_chain.tip]
            .iter()
            .all(|hash| *hash == ChainHash::new(hash.digest(), self.profile()));
        match self.profile() {
            _ if self.trace.iat < EARLIEST_IAT => Err(ClaimFault::IssuedTooEarly),
            _ if !self.trace.subject.starts_with("spiffe://") => Err(ClaimFault::Subject),
            _ if !self.decisions_are_known() => Err(ClaimFault::TranscriptDecision),
            _ if !spelled => Err(ClaimFault::ChainSpelling),
            Profile::TraceV02 if numbered != (true, true) => Err(ClaimFault::MissingMember),
            Profile::TraceV01 if numbered != (false, false) || gateway.prev_claim_hash.is_some() => {
                Err(ClaimFault::ForeignMember)
            }
            _ => Ok(()),
        }
    }

    fn decisions_are_known(&self) -> bool {
        let transcript = self.trace.tool_transcript.as_ref();
        let entries = transcript.and_then(|transcript| transcript.entries.as_deref()).unwrap_or_default();
        entries.iter().all(|entry| !matches!(entry.decision, PolicyDecision::StepUp | PolicyDecision::Defer))
    }
}
