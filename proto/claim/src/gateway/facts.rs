//! From what the enclave knows to a claim in either profile.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::key::PublicKey;
use crate::profile::{Confirmation, EnforcementMode, Platform, PolicyInfo, Profile, Runtime};
use crate::time::{Timestamp, WrittenTime};

use super::{
    AttestationEvidence, AuditChain, CallSummary, CatalogInfo, ChainHash, Gateway, GatewayClaim, ToolTranscript, Trace,
    TranscriptEntry,
};

/// `edges_represent` of our claims.
pub const EDGES_REPRESENT: &str = "order of calls in time within the session, not flow of data";

/// What the enclave knows about a session when it issues a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimFacts {
    /// When the claim is issued.
    pub issued_at: Timestamp,
    /// Where the code runs; `nonce` is the session's binding.
    pub runtime: Runtime,
    /// Policy bundle in force.
    pub bundle_hash: Digest,
    /// What happened to denied calls.
    pub enforcement_mode: EnforcementMode,
    /// `version` of the bundle's manifest.
    pub policy_version: Option<String>,
    /// Which session.
    pub session_id: String,
    /// Version of the enclave's package.
    pub gateway_version: String,
    /// Which claim of the session, from 1.
    pub sequence_number: u64,
    /// The session's claim before.
    pub prev_claim_hash: Option<Digest>,
    /// Hash of the chain's first entry.
    pub root: Digest,
    /// Hash of the chain's last entry.
    pub tip: Digest,
    /// Number of entries.
    pub length: u64,
    /// The calls in numbers; `session_max_sensitivity` is also `trace.data_class`, `tool_calls_total` also `call_count`.
    pub call_summary: CallSummary,
    /// The calls themselves, if the configuration asks for them.
    pub entries: Option<Vec<TranscriptEntry>>,
    /// Catalog in force.
    pub catalog_hash: Digest,
    /// Whether a tool's live definition differed from the approved one.
    pub drift_detected: bool,
    /// Whether the kill switch tripped for the session's identity while the session was open.
    pub kill_switch_triggered: bool,
    /// Operator exceptions in force.
    pub catalog_exceptions: Vec<BTreeMap<String, String>>,
    /// When the evidence was made.
    pub attestation_generated_at: Timestamp,
    /// How long it counts, in seconds.
    pub attestation_validity_seconds: u64,
    /// Whether it has outlived that.
    pub attestation_stale: bool,
    /// Signed evidence of the platform; none in dev mode.
    pub attestation_evidence: Option<AttestationEvidence>,
}

impl ClaimFacts {
    /// The claim that `key` is to sign.
    pub fn claim(self, profile: Profile, key: &PublicKey) -> GatewayClaim {
        let facts = match profile {
            Profile::TraceV02 => self,
            Profile::TraceV01 => self.into_v01(),
        };
        GatewayClaim {
            cmcp_version: super::cmcp_version(),
            trace: facts.trace(profile, key),
            gateway: facts.gateway(profile),
        }
    }

    /// The superseded profile has no value for "no hardware" and writes a TPM with the dev sentinel; its dev claims
    /// have no nonce.
    fn into_v01(mut self) -> Self {
        if self.runtime.platform == Platform::SoftwareOnly {
            self.runtime.platform = Platform::Tpm2;
            self.runtime.nonce = None;
        }
        self
    }

    fn trace(&self, profile: Profile, key: &PublicKey) -> Trace {
        Trace {
            eat_profile: profile,
            iat: u64::try_from(self.issued_at.seconds()).unwrap_or_default(),
            subject: key.subject(),
            runtime: self.runtime.clone(),
            policy: PolicyInfo {
                bundle_hash: self.bundle_hash.into(),
                enforcement_mode: self.enforcement_mode,
                version: self.policy_version.clone(),
                policy_uri: None,
            },
            data_class: self.call_summary.session_max_sensitivity.clone(),
            tool_transcript: Some(ToolTranscript {
                hash: self.tip.into(),
                call_count: Some(self.call_summary.tool_calls_total),
                transcript_uri: None,
                entries: self.entries.clone(),
            }),
            cnf: Confirmation::new(key),
        }
    }

    fn gateway(self, profile: Profile) -> Gateway {
        let current = profile == Profile::TraceV02;
        let mut call_summary = self.call_summary;
        call_summary.call_graph_summary.edges_represent = current.then(|| EDGES_REPRESENT.to_owned());
        Gateway {
            session_id: self.session_id,
            gateway_version: current.then_some(self.gateway_version),
            sequence_number: current.then_some(self.sequence_number),
            prev_claim_hash: self.prev_claim_hash.filter(|_| current),
            audit_chain: AuditChain {
                root: ChainHash::new(self.root, profile),
                tip: ChainHash::new(self.tip, profile),
                length: self.length,
            },
            call_summary,
            catalog: CatalogInfo { hash: self.catalog_hash.into(), drift_detected: Some(self.drift_detected) },
            attestation_generated_at: written(self.attestation_generated_at, profile),
            attestation_validity_seconds: self.attestation_validity_seconds,
            attestation_stale: self.attestation_stale,
            catalog_exceptions: current.then_some(self.catalog_exceptions),
            attestation_evidence: self.attestation_evidence,
            call_log_summary: None,
            agent_identity: None,
            kill_switch_triggered: self.kill_switch_triggered.then_some(true),
            policy_signing: None,
        }
    }
}

fn written(at: Timestamp, profile: Profile) -> WrittenTime {
    match profile {
        Profile::TraceV02 => WrittenTime::from(at),
        Profile::TraceV01 => WrittenTime::seconds_z(at),
    }
}
