//! The closed shapes of what outsiders hold: claim A of both profiles, trust record B.
//!
//! Sources: the schema that the deployed verifier enforces (every optional member that it allows is allowed here) and
//! the TRACE v0.2 schema. Members that this project does not emit are accepted, never credited.

use claim::profile::Profile;

use crate::shape::{Member, Shape, may, must};

/// No claim or record is older than this, in seconds since the Unix epoch (TRACE v0.2 schema, `iat`).
const EARLIEST_IAT: i64 = claim::profile::EARLIEST_IAT.cast_signed();

/// Claim A, profile v0.2.
pub(crate) const CLAIM_V02: Shape = Shape::Object(&[
    may("cmcp_version", Shape::Text),
    must("trace", Shape::Object(TRACE_V02)),
    must("gateway", Shape::Object(GATEWAY_V02)),
    must("signature", Shape::Bytes(64)),
]);

/// Claim A, profile v0.1: the quickstart's example, and what releases of that time added to it.
pub(crate) const CLAIM_V01: Shape = Shape::Object(&[
    may("cmcp_version", Shape::Text),
    must("trace", Shape::Object(TRACE_V01)),
    must("gateway", Shape::Object(GATEWAY_V01)),
    must("signature", Shape::Bytes(64)),
]);

/// Trust record B (TRACE v0.2 schema, `schema/trace-claim.json`).
pub(crate) const TRUST_RECORD: Shape = Shape::Object(&[
    must("eat_profile", Shape::OneOf(&[Profile::TraceV02.as_str()])),
    must("iat", Shape::Int(EARLIEST_IAT)),
    must("subject", Shape::Identity),
    must("model", MODEL),
    must("runtime", RUNTIME),
    must("policy", POLICY),
    must("data_class", Shape::Text),
    may("tool_transcript", TRANSCRIPT),
    may("delegation", DELEGATION),
    may("origin", ORIGIN),
    may("references", Shape::List(&REFERENCE)),
    may("reproducibility", REPRODUCIBILITY),
    must("build_provenance", BUILD_PROVENANCE),
    must("appraisal", APPRAISAL),
    may("transparency", Shape::Name),
    must("cnf", CNF),
    must("signature", Shape::Bytes(64)),
]);

const TRACE_V02: &[Member] = &trace(PROFILE_V02_ONLY);
const TRACE_V01: &[Member] = &trace(PROFILE_V01_ONLY);
const PROFILE_V02_ONLY: Shape = Shape::OneOf(&[Profile::TraceV02.as_str()]);
const PROFILE_V01_ONLY: Shape = Shape::OneOf(&[Profile::TraceV01.as_str()]);

const fn trace(profile: Shape) -> [Member; 8] {
    [
        must("eat_profile", profile),
        must("iat", Shape::Int(EARLIEST_IAT)),
        must("subject", Shape::Starts("spiffe://")),
        must("runtime", RUNTIME),
        must("policy", POLICY),
        must("data_class", Shape::Text),
        may("tool_transcript", TRANSCRIPT_WITH_ENTRIES),
        must("cnf", CNF),
    ]
}

const GATEWAY_V02: &[Member] = &gateway(true, CHAIN_V02);
const GATEWAY_V01: &[Member] = &gateway(false, CHAIN_V01);

/// `numbered`: whether `gateway_version` and `sequence_number` are required. A sequence number of any size fits: that it
/// is at least 1 is a check of its own, with its own reason.
const fn gateway(numbered: bool, chain: Shape) -> [Member; 17] {
    let (version, sequence) = if numbered {
        (must("gateway_version", Shape::Text), must("sequence_number", Shape::Int(i64::MIN)))
    } else {
        (may("gateway_version", Shape::Text), may("sequence_number", Shape::Int(i64::MIN)))
    };
    [
        must("session_id", Shape::Name),
        version,
        sequence,
        may("prev_claim_hash", Shape::Sha256),
        must("audit_chain", chain),
        must("call_summary", CALL_SUMMARY),
        must("catalog", CATALOG),
        must("attestation_generated_at", Shape::Name),
        must("attestation_validity_seconds", Shape::Int(0)),
        must("attestation_stale", Shape::Bool),
        may("catalog_exceptions", Shape::List(&Shape::Texts)),
        may("call_log_summary", CALL_LOG_SUMMARY),
        may("agent_identity", AGENT_IDENTITY),
        may("kill_switch_triggered", Shape::Bool),
        may("kill_switch", KILL_SWITCH),
        may("attestation_evidence", EVIDENCE),
        may("policy_signing", POLICY_SIGNING),
    ]
}

const RUNTIME: Shape = Shape::Object(&[
    must("platform", Shape::OneOf(PLATFORMS)),
    must("measurement", Shape::Digest),
    may("nonce", Shape::AnyBytes),
    may("firmware_version", Shape::Text),
    may("rim_uri", Shape::Text),
]);

const PLATFORMS: &[&str] = &[
    "intel-tdx",
    "amd-sev-snp",
    "azure-cvm-sev-snp",
    "nvidia-h100",
    "nvidia-blackwell",
    "aws-nitro",
    "arm-cca",
    "google-confidential-space",
    "tpm2",
    "software-only",
];

const POLICY: Shape = Shape::Object(&[
    must("bundle_hash", Shape::Digest),
    must("enforcement_mode", Shape::OneOf(&["enforce", "advisory", "silent", "declared"])),
    may("version", Shape::Text),
    may("policy_uri", Shape::Text),
]);

const CNF: Shape = Shape::Object(&[must("jwk", Shape::Jwk)]);

const TRANSCRIPT: Shape =
    Shape::Object(&[must("hash", Shape::Digest), may("call_count", Shape::Int(0)), may("transcript_uri", Shape::Text)]);

const TRANSCRIPT_WITH_ENTRIES: Shape = Shape::Object(&[
    must("hash", Shape::Digest),
    may("call_count", Shape::Int(0)),
    may("transcript_uri", Shape::Text),
    may("entries", Shape::List(&TRANSCRIPT_ENTRY)),
]);

const TRANSCRIPT_ENTRY: Shape = Shape::Object(&[
    must("tool_name", Shape::Text),
    must("data_class", Shape::Text),
    must("decision", Shape::OneOf(&["allow", "deny", "redact", "advisory_deny", "fault", "n/a"])),
]);

const CHAIN_V02: Shape =
    Shape::Object(&[must("root", Shape::Hex64), must("tip", Shape::Hex64), must("length", Shape::Int(1))]);

const CHAIN_V01: Shape = Shape::Object(&[
    must("root", Shape::Hex64OrSha256),
    must("tip", Shape::Hex64OrSha256),
    must("length", Shape::Int(1)),
]);

const CALL_SUMMARY: Shape = Shape::Object(&[
    must("tool_calls_total", Shape::Int(0)),
    must("tool_calls_allowed", Shape::Int(0)),
    must("tool_calls_denied", Shape::Int(0)),
    must("tool_calls_faulted", Shape::Int(0)),
    must("tools_invoked", Shape::List(&Shape::Text)),
    must("session_max_sensitivity", Shape::Text),
    must(
        "call_graph_summary",
        Shape::Object(&[
            must("compliance_domains_touched", Shape::List(&Shape::Text)),
            must("cross_boundary_events", Shape::List(&Shape::Record)),
            may("edges_represent", Shape::Text),
        ]),
    ),
]);

const CATALOG: Shape = Shape::Object(&[must("hash", Shape::Digest), may("drift_detected", Shape::Bool)]);

const CALL_LOG_SUMMARY: Shape = Shape::Object(&[
    must("total_calls", Shape::Int(0)),
    must("tools_called", Shape::List(&Shape::Text)),
    must("suspicious_sequences_detected", Shape::Int(0)),
]);

const AGENT_IDENTITY: Shape = Shape::Object(&[
    must("manifest_id", Shape::Text),
    must("agent_id", Shape::Starts("spiffe://")),
    must("authenticated_subject", Shape::Starts("spiffe://")),
    must("subject_source", Shape::OneOf(&["config", "svid", "manifest-dev"])),
    must("issuer", Shape::Starts("spiffe://")),
    must("issuer_key_id", Shape::Text),
    must("policy_bundle_hash", Shape::Text),
    must("tool_catalog_hash", Shape::Text),
    may("intent_hash", Shape::Sha256),
    may("agent_key_thumbprint", Shape::Sha256),
    may("enforcement_mode", Shape::Text),
]);

const KILL_SWITCH: Shape = Shape::Object(&[
    must("enabled", Shape::Bool),
    must("window_seconds", Shape::Int(0)),
    must("deny_rate_threshold", Shape::Int(0)),
    must("min_calls", Shape::Int(0)),
    may("trigger", Shape::OneOf(&["deny_rate", "operator"])),
]);

const EVIDENCE: Shape = Shape::Object(&[
    may("raw_evidence", Shape::Evidence),
    may("quote_signature", Shape::Evidence),
    may("cert_chain", Shape::Evidence),
    may("ek_cert_chain", Shape::Evidence),
]);

const POLICY_SIGNING: Shape =
    Shape::Object(&[may("key_id", Shape::Sha256), may("revoked_key_ids", Shape::List(&Shape::Sha256))]);

const MODEL: Shape = Shape::Object(&[
    must("provider", Shape::Text),
    must("model_id", Shape::Text),
    may("version", Shape::Text),
    may("weights_digest", Shape::Digest),
    may("aibom_uri", Shape::Text),
]);

const DELEGATION: Shape =
    Shape::Object(&[must("parent_record_hash", Shape::Digest), must("credential_id", Shape::Name)]);

const ORIGIN: Shape = Shape::Object(&[
    must("kind", Shape::OneOf(&["self", "third-party-control-plane", "log-import"])),
    must("producer", Shape::Name),
    may("source_event_id", Shape::Name),
    may("ingested_at", Shape::Int(EARLIEST_IAT)),
]);

const REFERENCE: Shape = Shape::Object(&[
    must("rel", Shape::Name),
    must("id", Shape::Name),
    must("resolver", Shape::Name),
    may("retention", Shape::Text),
    may("digest", Shape::Digest),
]);

const REPRODUCIBILITY: Shape = Shape::Object(&[
    must("function", Shape::Name),
    must("code_identity", Shape::Digest),
    may("code_resolver", Shape::Name),
    must("input_closure", Shape::List(&CLOSURE_ITEM)),
    must("transcript_digest", Shape::Digest),
]);

const CLOSURE_ITEM: Shape =
    Shape::Object(&[must("id", Shape::Name), must("digest", Shape::Digest), must("resolver", Shape::Name)]);

const BUILD_PROVENANCE: Shape = Shape::Object(&[
    must("slsa_level", Shape::Range(0, 3)),
    must("digest", Shape::Digest),
    may("builder", Shape::Text),
    may("provenance_uri", Shape::Text),
    may("provenance_depth", Shape::OneOf(PROVENANCE_DEPTHS)),
]);

const PROVENANCE_DEPTHS: &[&str] = &["surface", "builder", "transitive"];

const APPRAISAL: Shape = Shape::Object(&[
    must("status", Shape::OneOf(&["affirming", "warning", "contraindicated", "none"])),
    must("verifier", Shape::Name),
    may("policy_ref", Shape::Text),
    may("timestamp", Shape::Int(i64::MIN)),
    may("provenance_depth_verified", Shape::OneOf(PROVENANCE_DEPTHS)),
    may("method", Shape::OneOf(&["re-execution"])),
    may("re_execution", RE_EXECUTION),
]);

const RE_EXECUTION: Shape = Shape::Object(&[
    must("outcome", Shape::OneOf(&["reproduced", "diverged", "not-attempted"])),
    may("observed_digest", Shape::Digest),
    may("reason", Shape::Name),
    may("verifier_code_identity", Shape::Digest),
]);
