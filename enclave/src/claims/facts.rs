//! From a session's running totals to its claim.

use std::rc::Rc;

use claim::Digest;
use claim::binding::{binding, nonce_text, session_x};
use claim::entry::{Chain, Entry};
use claim::gateway::{
    AttestationEvidence, CallGraphSummary, CallSummary, ClaimFacts, CrossBoundaryEvent, SignedClaim, TranscriptEntry,
};
use claim::profile::{EnforcementMode, Profile, Runtime};
use claim::record::{Appraisal, AppraisalStatus, BuildProvenance, Model, RecordContext};

use super::history::History;
use super::{attachment, deployed};
use crate::audit::Ticket;
use crate::config::{self, ClaimProfile};
use crate::error::Code;
use crate::freshness::SessionEvidence;
use crate::gateway::Gateway;
use crate::labels::Labels;
use crate::session::{Issued, Session, Summary};

impl From<config::EnforcementMode> for EnforcementMode {
    fn from(mode: config::EnforcementMode) -> Self {
        match mode {
            config::EnforcementMode::Enforcing => Self::Enforce,
            config::EnforcementMode::Advisory => Self::Advisory,
            config::EnforcementMode::Silent => Self::Silent,
        }
    }
}

/// A session at one instant.
pub(super) struct Snapshot {
    chain: Chain,
    root: Digest,
    tip: Digest,
    labels: Labels,
    killed: bool,
    summary: Summary,
    drift_detected: bool,
    batches: (u64, u64),
    claim: Option<Issued>,
    last: Ticket,
    evidence: Option<Rc<SessionEvidence>>,
    stale: bool,
}

impl Snapshot {
    pub(super) fn of(session: &Session) -> Result<Self, Code> {
        let state = session.state.borrow();
        Ok(Self {
            chain: state.chain,
            root: state.chain.root().ok_or(Code::Internal)?,
            tip: state.chain.tip().ok_or(Code::Internal)?,
            labels: state.shown(),
            killed: state.trips > 0,
            summary: state.summary.clone(),
            drift_detected: !state.drifts.is_empty(),
            batches: state.batches().ok_or(Code::Internal)?,
            claim: state.claim.clone(),
            last: state.last.clone().ok_or(Code::Internal)?,
            evidence: state.standing.evidence.clone(),
            stale: state.standing.stale,
        })
    }

    /// The last claim, if it speaks of everything that there is.
    pub(super) fn current_claim(&self) -> Option<Issued> {
        self.claim.clone().filter(|claim| claim.length == self.chain.length())
    }

    pub(super) fn previous_claim(&self) -> Option<Issued> {
        self.claim.clone()
    }

    fn sequence(&self) -> u64 {
        self.claim.as_ref().map_or(1, |claim| claim.sequence + 1)
    }

    pub(super) fn issued(&self, digest: Digest, ticket: Ticket) -> Issued {
        Issued { sequence: self.sequence(), length: self.chain.length(), digest, ticket }
    }

    pub(super) async fn sign(&self, gateway: &Gateway, session: &Session) -> Result<SignedClaim, Code> {
        let entries = if gateway.config.claim.entries { Some(self.transcript(gateway, session).await?) } else { None };
        let public = gateway.key.public();
        let about = gateway.boot.attestor.about();
        let attested_at = self.evidence.as_ref().map_or_else(|| gateway.attested().at, |evidence| evidence.at);
        let attestation_evidence = self.attestation_evidence(gateway, session).await?;
        let now = gateway.clock.now();
        let age = now.seconds().saturating_sub(attested_at.seconds());
        let validity = gateway.config.attestation.validity_seconds;
        let facts = ClaimFacts {
            issued_at: now,
            runtime: Runtime {
                platform: about.platform,
                measurement: about.measurement,
                nonce: Some(nonce_text(&binding(&public.thumbprint(), &session_x(&self.root)))),
                firmware_version: about.firmware_version.clone(),
                rim_uri: None,
            },
            bundle_hash: session.policy.bundle_hash(),
            enforcement_mode: gateway.config.attestation.enforcement_mode.into(),
            policy_version: Some(session.policy.version().to_owned()),
            session_id: session.id.clone(),
            gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
            sequence_number: self.sequence(),
            prev_claim_hash: self.claim.as_ref().map(|claim| claim.digest),
            root: self.root,
            tip: self.tip,
            length: self.chain.length(),
            call_summary: self.call_summary(gateway),
            entries,
            catalog_hash: gateway.catalog.hash(),
            drift_detected: self.drift_detected,
            kill_switch_triggered: self.killed,
            catalog_exceptions: Vec::new(),
            attestation_generated_at: attested_at,
            attestation_validity_seconds: validity,
            attestation_stale: self.stale || u64::try_from(age).unwrap_or_default() > validity,
            attestation_evidence,
        };
        let profile = match gateway.config.claim_profile {
            ClaimProfile::TraceV02 => Profile::TraceV02,
            ClaimProfile::TraceV01 => Profile::TraceV01,
        };
        gateway.key.sign_claim(&facts.claim(profile, &public)).map_err(|_| Code::Internal)
    }

    /// Over the session's binding, in a layout that deployed verifiers read.
    async fn attestation_evidence(
        &self,
        gateway: &Gateway,
        session: &Session,
    ) -> Result<Option<AttestationEvidence>, Code> {
        let Some(evidence) = &self.evidence else { return Ok(None) };
        let evidence = Box::pin(attachment::read(gateway, session.number, evidence)).await?;
        let collateral = gateway.collateral.borrow().clone();
        Ok(deployed::layout(gateway.boot.attestor.about().platform, &evidence, collateral.as_deref()))
    }

    fn call_summary(&self, gateway: &Gateway) -> CallSummary {
        let tools = gateway.catalog.tools();
        let name = |index: &usize| tools.get(*index).map(|tool| tool.name.clone());
        let crossings = self.summary.boundaries.iter().map(|crossing| CrossBoundaryEvent {
            from_domain: crossing.from.as_str().to_owned(),
            to_domain: crossing.to.as_str().to_owned(),
            call_id: crossing.call_id.clone(),
            tool_name: crossing.tool.clone(),
            sequence_number: crossing.call_number,
        });
        CallSummary {
            tool_calls_total: self.summary.total,
            tool_calls_allowed: self.summary.allowed,
            tool_calls_denied: self.summary.denied,
            tool_calls_faulted: self.summary.faulted,
            tools_invoked: self.summary.tools.iter().filter_map(name).collect(),
            session_max_sensitivity: self.labels.max().as_str().to_owned(),
            call_graph_summary: CallGraphSummary {
                compliance_domains_touched: self
                    .summary
                    .domains
                    .iter()
                    .map(|domain| domain.as_str().to_owned())
                    .collect(),
                cross_boundary_events: crossings.collect(),
                edges_represent: None,
            },
        }
    }

    /// One element per call, read back from the store.
    async fn transcript(&self, gateway: &Gateway, session: &Session) -> Result<Vec<TranscriptEntry>, Code> {
        let _ = self.last.stored().await;
        let mut history = History::open(gateway, session.number, self.batches, self.tip, self.chain.length()).await?;
        let mut entries = Vec::new();
        while let Some((_, entry)) = history.next().await? {
            entries.extend(transcript_entry(entry));
        }
        Ok(entries)
    }
}

fn transcript_entry(entry: Entry) -> Option<TranscriptEntry> {
    let tool_name = entry.tool_name?;
    let data_class = entry.effective_data_class.or(entry.session_sensitivity_after)?;
    Some(TranscriptEntry { tool_name, data_class, decision: entry.policy_decision?.in_transcript() })
}

/// What a trust record says beyond its claim. In dev mode the measurement is a software commitment, X of the boot
/// binding: it names the policy bundle, catalog and configuration, and proves nothing about who runs them.
pub(super) fn record_context(gateway: &Gateway, nonce: Option<&str>) -> RecordContext {
    let about = gateway.boot.attestor.about();
    let model = gateway.config.model.as_ref().map_or_else(Model::unspecified, |model| Model {
        provider: model.provider.clone(),
        model_id: model.model_id.clone(),
        version: None,
        weights_digest: None,
        aibom_uri: None,
    });
    RecordContext {
        issued_at: gateway.clock.now(),
        runtime: Runtime {
            platform: about.platform,
            measurement: if gateway.on_hardware() { about.measurement } else { gateway.boot.x.into() },
            nonce: nonce.map(str::to_owned),
            firmware_version: about.firmware_version.clone(),
            rim_uri: None,
        },
        model,
        build_provenance: BuildProvenance {
            slsa_level: 0,
            digest: about.artifact.into(),
            builder: None,
            provenance_uri: None,
            provenance_depth: None,
        },
        appraisal: Appraisal {
            status: AppraisalStatus::None,
            verifier: gateway.key.public().subject(),
            policy_ref: None,
            timestamp: None,
            provenance_depth_verified: None,
        },
    }
}
