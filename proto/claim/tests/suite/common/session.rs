//! One session: five entries, its claim in both profiles, its trust record and its boot log.

use claim::binding::{binding, boot_x, nonce_text, session_x};
use claim::bootlog::{BatchBuilder, BootId, BootRecord, GapRecord, IntentRecord, Isolation, RecordKind, batch_hash};
use claim::entry::{Chain, Draft, Durability, EntryType, PolicyDecision, SealedEntry, SessionStart};
use claim::gateway::{CallGraphSummary, CallSummary, ClaimFacts, CrossBoundaryEvent, SignedClaim, TranscriptEntry};
use claim::hashes::{EntriesHasher, request_payload_hash};
use claim::json::{Json, parse};
use claim::profile::{EnforcementMode, Profile, Runtime};
use claim::record::{Appraisal, AppraisalStatus, BuildProvenance, Model, RecordContext, SignedRecord, TrustRecord};
use claim::time::Timestamp;
use claim::{Digest, names};

use super::key;

/// 2026-06-05T00:00:00Z, the day of the quickstart.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_780_617_600);

pub(crate) struct Session {
    pub(crate) start: Timestamp,
    pub(crate) boot: BootRecord,
    pub(crate) entries: Vec<SealedEntry>,
    pub(crate) chain: Chain,
}

impl Session {
    pub(crate) fn new(start: Timestamp) -> Self {
        let boot = boot_record(start);
        let detail = start_detail(&boot).to_json().unwrap();
        let mut chain = Chain::new();
        let entries = drafts(start, &detail).iter().map(|draft| chain.seal(draft)).collect();
        Self { start, boot, entries, chain }
    }

    /// `GET /audit/export`.
    pub(crate) fn bundle(&self) -> Json {
        let mut hasher = EntriesHasher::new();
        for entry in &self.entries {
            hasher.push(&entry.bytes);
        }
        let entries = self.entries.iter().map(|entry| parse(&entry.bytes).unwrap()).collect();
        Json::from([
            ("session_id", SESSION.into()),
            ("entries", Json::Array(entries)),
            ("bundle_signature", key().sign_bundle_digest(hasher.finish()).into()),
        ])
    }

    pub(crate) fn facts(&self) -> ClaimFacts {
        let root = self.chain.root().unwrap();
        let nonce = nonce_text(&binding(&key().public().thumbprint(), &session_x(&root)));
        ClaimFacts {
            issued_at: after(self.start, 9_000),
            runtime: Runtime::software_only(Some(nonce)),
            bundle_hash: self.boot.bundle_hash,
            enforcement_mode: EnforcementMode::Enforce,
            policy_version: Some("0.1.0".to_owned()),
            session_id: SESSION.to_owned(),
            gateway_version: "0.1.0".to_owned(),
            sequence_number: 1,
            prev_claim_hash: None,
            root,
            tip: self.chain.tip().unwrap(),
            length: self.chain.length(),
            call_summary: call_summary(),
            entries: Some(vec![
                transcript("salesforce.contacts", "pii", PolicyDecision::Allow),
                transcript("echo", "public", PolicyDecision::Fault),
                transcript("salesforce.contacts", "pii", PolicyDecision::Deny),
            ]),
            catalog_hash: self.boot.catalog_hash,
            drift_detected: false,
            kill_switch_triggered: false,
            catalog_exceptions: Vec::new(),
            attestation_generated_at: self.start,
            attestation_validity_seconds: 86_400,
            attestation_stale: false,
            attestation_evidence: None,
        }
    }

    pub(crate) fn claim(&self, profile: Profile) -> SignedClaim {
        key().sign_claim(&self.facts().claim(profile, &key().public())).unwrap()
    }

    pub(crate) fn record(&self, nonce: Option<String>) -> SignedRecord {
        key()
            .sign_record(&TrustRecord::about(
                &self.claim(Profile::TraceV02),
                RecordContext {
                    issued_at: after(self.start, 9_500),
                    runtime: Runtime {
                        measurement: Digest::of(b"software commitment").into(),
                        ..Runtime::software_only(nonce)
                    },
                    model: Model::unspecified(),
                    build_provenance: BuildProvenance {
                        slsa_level: 0,
                        digest: Digest::of(b"enclave binary").into(),
                        builder: Some("unspecified".to_owned()),
                        provenance_uri: None,
                        provenance_depth: None,
                    },
                    appraisal: Appraisal {
                        status: AppraisalStatus::None,
                        verifier: "urn:cmcp:none".to_owned(),
                        policy_ref: None,
                        timestamp: None,
                        provenance_depth_verified: None,
                    },
                },
                &key().public(),
            ))
            .unwrap()
    }

    /// Two batches of one boot, with the session's records.
    pub(crate) fn batches(&self) -> Vec<Vec<u8>> {
        let mut builder = BatchBuilder::new(self.boot.boot_id.0);
        builder.push(RecordKind::Boot, 0, &self.boot.bytes().unwrap()).unwrap();
        builder.push(RecordKind::Entry, 1, &self.entries[0].bytes).unwrap();
        builder.push(RecordKind::Intent, 1, &intent(self.start).bytes()).unwrap();
        let first = builder.finish(0, &Digest::from_bytes([0; 32]));
        for entry in &self.entries[1..] {
            builder.push(RecordKind::Entry, 1, &entry.bytes).unwrap();
        }
        builder.push(RecordKind::Gap, 0, &gap(self.start).bytes().unwrap()).unwrap();
        builder.push(RecordKind::Claim, 1, &self.claim(Profile::TraceV02).bytes()).unwrap();
        let second = builder.finish(1, &batch_hash(&first));
        vec![first, second]
    }

    /// Those batches as a host stores them, in a file of `size` bytes.
    pub(crate) fn segment(&self, size: usize) -> Vec<u8> {
        let mut file = claim::bootlog::SEGMENT_MAGIC.to_vec();
        for batch in self.batches() {
            file.extend(frame(&[1], &key().sign_batch(batch_hash(&batch)), &batch));
        }
        assert!(file.len() <= size);
        file.resize(size, 0);
        file
    }
}

pub(crate) const SESSION: &str = "demo-session-001";
pub(crate) const WORKFLOW: &str = "demo-agent";

/// A frame of a segment file (SPEC.md, section 7).
pub(crate) fn frame(sessions: &[u64], signature: &[u8; 64], batch: &[u8]) -> Vec<u8> {
    let mut payload = u32::try_from(sessions.len()).unwrap().to_le_bytes().to_vec();
    payload.extend(sessions.iter().flat_map(|session| session.to_le_bytes()));
    payload.extend(signature);
    payload.extend(batch);
    let mut frame = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(&Digest::of(&payload).bytes()[..8]);
    frame.extend(payload);
    frame
}

pub(crate) fn after(start: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_micros(start.micros() + millis * 1_000)
}

fn boot_record(start: Timestamp) -> BootRecord {
    BootRecord {
        boot_id: BootId(*b"boot-of-a-vector"),
        public_key: key().public().x(),
        isolation: Isolation::Process,
        dev: true,
        tls_spki: Vec::new(),
        bundle_hash: Digest::of(b"bundle"),
        catalog_hash: Digest::of(b"catalog"),
        config_hash: Digest::of(b"config"),
        controls_hash: Digest::of(b"controls"),
        time_source: "host".to_owned(),
        started_at: start,
        gateway_version: "0.1.0".to_owned(),
        previous: None,
        sealing: None,
    }
}

fn start_detail(boot: &BootRecord) -> SessionStart {
    SessionStart {
        boot: boot_x(&boot.binding()).unwrap().hex(),
        policy_bundle_hash: boot.bundle_hash,
        catalog_hash: boot.catalog_hash,
        config_hash: boot.config_hash,
        enforcement_mode: EnforcementMode::Enforce,
        durability: Durability::Strict,
        time_source: boot.time_source.clone(),
        session_number: 1,
        session_id_source: None,
        identity: None,
        policy_signed_by: None,
        controls_epoch: None,
        controls_hash: None,
        challenge: None,
    }
}

fn drafts(start: Timestamp, detail: &Json) -> [Draft<'_>; 5] {
    names::check_id(SESSION).unwrap();
    let base = Draft { session_id: SESSION, ..Draft::default() };
    let call = Draft {
        entry_type: EntryType::ToolCall,
        tool_name: Some("salesforce.contacts"),
        server_identity: Some("http://localhost:9001/mcp"),
        workflow_id: Some(WORKFLOW),
        request_payload_hash: Some(request_payload_hash(&arguments())),
        session_sensitivity_before: Some("public"),
        session_sensitivity_after: Some("pii"),
        effective_data_class: Some("pii"),
        ..base
    };
    [
        Draft {
            entry_id: "00000000-0000-4000-8000-000000000000",
            timestamp_utc: start,
            entry_type: EntryType::SessionStart,
            policy_decision: Some(PolicyDecision::NotApplicable),
            response_inspection_result: Some("n/a"),
            session_sensitivity_after: Some("public"),
            detail: Some(detail),
            ..base
        },
        Draft {
            entry_id: "00000000-0000-4000-8000-000000000001",
            timestamp_utc: after(start, 1_500),
            call_id: Some("10000000-0000-4000-8000-000000000001"),
            policy_decision: Some(PolicyDecision::Allow),
            policy_rule_matched: Some("policy0, policy2"),
            latency_us: Some(81_791),
            response_payload_hash: Some(Digest::of(br#"{"content":[]}"#)),
            ..call
        },
        Draft {
            entry_id: "00000000-0000-4000-8000-000000000002",
            timestamp_utc: after(start, 2_000),
            call_id: Some("10000000-0000-4000-8000-000000000002"),
            tool_name: Some("echo"),
            policy_decision: Some(PolicyDecision::Fault),
            policy_rule_matched: Some("UPSTREAM_UNAVAILABLE"),
            session_sensitivity_before: Some("pii"),
            effective_data_class: Some("public"),
            ..call
        },
        Draft {
            entry_id: "00000000-0000-4000-8000-000000000003",
            timestamp_utc: after(start, 3_000),
            call_id: Some("10000000-0000-4000-8000-000000000003"),
            policy_decision: Some(PolicyDecision::Deny),
            policy_rule_matched: Some("policy1"),
            session_sensitivity_before: Some("pii"),
            ..call
        },
        Draft {
            entry_id: "00000000-0000-4000-8000-000000000004",
            timestamp_utc: after(start, 4_000),
            entry_type: EntryType::SessionEnd,
            policy_decision: Some(PolicyDecision::NotApplicable),
            session_sensitivity_before: Some("pii"),
            session_sensitivity_after: Some("pii"),
            ..base
        },
    ]
}

pub(crate) fn arguments() -> Json {
    parse(br#"{"query": "Acme Corp", "max_records": 10}"#).unwrap()
}

fn intent(start: Timestamp) -> IntentRecord {
    IntentRecord {
        session_id: SESSION.to_owned(),
        session_number: 1,
        call_id: "10000000-0000-4000-8000-000000000001".to_owned(),
        tool_name: "salesforce.contacts".to_owned(),
        request_payload_hash: request_payload_hash(&arguments()),
        decision: PolicyDecision::Allow,
        entry_count_before: 1,
        at: after(start, 1_400),
    }
}

fn gap(start: Timestamp) -> GapRecord {
    GapRecord {
        since: after(start, 5_000),
        until: after(start, 6_000),
        refused_calls: 3,
        reason: "the store did not answer".to_owned(),
    }
}

fn call_summary() -> CallSummary {
    CallSummary {
        tool_calls_total: 3,
        tool_calls_allowed: 1,
        tool_calls_denied: 1,
        tool_calls_faulted: 1,
        tools_invoked: vec!["echo".to_owned(), "salesforce.contacts".to_owned()],
        session_max_sensitivity: "pii".to_owned(),
        call_graph_summary: CallGraphSummary {
            compliance_domains_touched: vec!["pii".to_owned(), "public".to_owned()],
            cross_boundary_events: vec![CrossBoundaryEvent {
                from_domain: "pii".to_owned(),
                to_domain: "public".to_owned(),
                call_id: "10000000-0000-4000-8000-000000000002".to_owned(),
                tool_name: "echo".to_owned(),
                sequence_number: 1,
            }],
            edges_represent: None,
        },
    }
}

fn transcript(tool: &str, class: &str, decision: PolicyDecision) -> TranscriptEntry {
    TranscriptEntry { tool_name: tool.to_owned(), data_class: class.to_owned(), decision }
}
