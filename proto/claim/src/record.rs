//! Artifact B: the trust record of a session, TRACE v0.2 (`schema/trace-claim.json` of agentrust-trace 0.11.0).
//!
//! Objects are closed. The members that this gateway has no use for (`delegation`, `origin`, `reproducibility`,
//! `appraisal.re_execution`) are not in these types; [`PublicKey::verify_record`] verifies any record.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::b64u;
use crate::gateway::{SignedClaim, ToolTranscript};
use crate::json::{Json, JsonError, from_json, parse, to_json};
use crate::key::{Key, PublicKey, SignatureError, read_signature};
use crate::profile::{Confirmation, EARLIEST_IAT, PolicyInfo, Profile, Runtime, TaggedDigest};
use crate::terms::terms;
use crate::time::Timestamp;

/// `rel` of the reference to artifact A.
pub const REL_CLAIM: &str = "cmcp-runtime-claim";

/// A trust record without its signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRecord {
    /// Always v0.2.
    pub eat_profile: Profile,
    /// When it was issued, in seconds since the Unix epoch.
    pub iat: u64,
    /// Who issued it.
    pub subject: String,
    /// The model behind the agent, as far as anyone said.
    pub model: Model,
    /// Where the code ran; `nonce` echoes the caller's challenge.
    pub runtime: Runtime,
    /// Which policy decided.
    pub policy: PolicyInfo,
    /// Highest sensitivity label of the session.
    pub data_class: String,
    /// The calls, never with `entries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_transcript: Option<ToolTranscript>,
    /// How the enclave was built.
    pub build_provenance: BuildProvenance,
    /// What a verifier said of the evidence.
    pub appraisal: Appraisal,
    /// What the record points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<Vec<Reference>>,
    /// Where it is anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transparency: Option<String>,
    /// The key that signs.
    pub cnf: Confirmation,
}

/// The model behind the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Who runs it, or `unspecified`.
    pub provider: String,
    /// Its id there, or `unspecified`.
    pub model_id: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_digest: Option<TaggedDigest>,
    /// Its bill of materials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aibom_uri: Option<String>,
}

impl Model {
    /// Nobody said which model it is.
    pub fn unspecified() -> Self {
        let unknown = || "unspecified".to_owned();
        Self { provider: unknown(), model_id: unknown(), version: None, weights_digest: None, aibom_uri: None }
    }
}

/// How the enclave was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildProvenance {
    /// SLSA build level, 0 to 3.
    pub slsa_level: u8,
    /// Digest of the artifact.
    pub digest: TaggedDigest,
    /// Who built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Where the provenance is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance_uri: Option<String>,
    /// How deep the provenance goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance_depth: Option<ProvenanceDepth>,
}

terms! {
    /// How deep provenance goes.
    ProvenanceDepth {
        /// The artifact.
        Surface = "surface",
        /// And its builder.
        Builder = "builder",
        /// And everything it was built from.
        Transitive = "transitive",
    }
}

/// What a verifier said of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appraisal {
    /// The verdict; `none` in dev mode.
    pub status: AppraisalStatus,
    /// URI of who appraised, or would have.
    pub verifier: String,
    /// URI of the appraisal policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<String>,
    /// When, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// How deep provenance was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance_depth_verified: Option<ProvenanceDepth>,
}

terms! {
    /// A verifier's verdict on evidence (RFC 9334, attestation results).
    AppraisalStatus {
        /// Meets the reference values.
        Affirming = "affirming",
        /// Meets them with reservations.
        Warning = "warning",
        /// Does not meet them.
        Contraindicated = "contraindicated",
        /// Nobody appraised it.
        None = "none",
    }
}

/// A fact outside the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// What it is to the record.
    pub rel: String,
    /// Its name where it is kept.
    pub id: String,
    /// Who keeps it.
    pub resolver: String,
    /// How long, as an ISO 8601 duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// Its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<TaggedDigest>,
}

/// What a record says beyond the claim it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordContext {
    /// When the record is issued.
    pub issued_at: Timestamp,
    /// Where the code runs, honestly (v0.1 claims cannot say `software-only`); `nonce` is the caller's challenge.
    pub runtime: Runtime,
    /// The model behind the agent.
    pub model: Model,
    /// How the enclave was built.
    pub build_provenance: BuildProvenance,
    /// What a verifier said.
    pub appraisal: Appraisal,
}

/// Why a record cannot be signed or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Not JSON of the kind that is signed.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Something that no trust record says.
    #[error("not a trust record: {0}")]
    Fault(&'static str),
    /// `cnf` names another key than the one that is to sign.
    #[error("cnf names another key")]
    OtherKey,
    /// There is no `signature`, or it is no text.
    #[error("the record is not signed")]
    Unsigned,
}

impl TrustRecord {
    /// The record about a session, which names the session's claim by digest.
    pub fn about(claim: &SignedClaim, context: RecordContext, key: &PublicKey) -> Self {
        let trace = &claim.claim().trace;
        let transcript = trace.tool_transcript.clone();
        Self {
            eat_profile: Profile::TraceV02,
            iat: u64::try_from(context.issued_at.seconds()).unwrap_or_default(),
            subject: key.subject(),
            model: context.model,
            runtime: context.runtime,
            policy: trace.policy.clone(),
            data_class: trace.data_class.clone(),
            tool_transcript: transcript.map(|transcript| ToolTranscript { entries: None, ..transcript }),
            build_provenance: context.build_provenance,
            appraisal: context.appraisal,
            references: Some(vec![Reference {
                rel: REL_CLAIM.to_owned(),
                id: claim.claim().gateway.session_id.clone(),
                resolver: key.subject(),
                retention: None,
                digest: Some(claim.hash().into()),
            }]),
            transparency: None,
            cnf: Confirmation::new(key),
        }
    }

    /// What the types cannot say about its shape.
    pub fn check(&self) -> Result<(), RecordError> {
        let transcript = self.tool_transcript.as_ref();
        match () {
            () if self.eat_profile != Profile::TraceV02 => Err(RecordError::Fault("eat_profile is not trace-v0.2")),
            () if self.iat < EARLIEST_IAT => Err(RecordError::Fault("iat is before the standard")),
            () if !is_subject(&self.subject) => Err(RecordError::Fault("subject is neither a SPIFFE id nor a DID")),
            () if self.build_provenance.slsa_level > 3 => Err(RecordError::Fault("slsa_level is above 3")),
            () if transcript.is_some_and(|transcript| transcript.entries.is_some()) => {
                Err(RecordError::Fault("tool_transcript has entries"))
            }
            () => Ok(()),
        }
    }
}

/// `spiffe://DOMAIN/PATH` or `did:METHOD:ID`.
fn is_subject(text: &str) -> bool {
    let is_method = |method: &str| {
        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let spiffe = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    let did = text.strip_prefix("did:").and_then(|rest| rest.split_once(':'));
    spiffe.is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty())
        || did.is_some_and(|(method, id)| is_method(method) && !id.is_empty())
}

/// A trust record with its signature, kept as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedRecord {
    document: Json,
    record: TrustRecord,
}

impl SignedRecord {
    /// Reads a record; does not verify its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::from_json(parse(bytes)?)
    }

    /// The same from JSON.
    pub fn from_json(document: Json) -> Result<Self, RecordError> {
        document.require_signable()?;
        if document.get("signature").and_then(Json::as_str).is_none() {
            return Err(RecordError::Unsigned);
        }
        let record: TrustRecord = from_json(&document.without("signature"))?;
        record.check()?;
        Ok(Self { document, record })
    }

    /// What it says.
    pub const fn record(&self) -> &TrustRecord {
        &self.record
    }

    /// The whole document, `signature` included.
    pub const fn document(&self) -> &Json {
        &self.document
    }

    /// JCS of the whole document: what is served.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        self.document.jcs().map(String::into_bytes)
    }

    /// Verifies the signature under the key that the record itself names.
    pub fn verify_self(&self) -> Result<(), SignatureError> {
        self.record.cnf.jwk.key().verify_record(&self.document)
    }
}

impl Key {
    /// Signs a trust record.
    pub fn sign_record(&self, record: &TrustRecord) -> Result<SignedRecord, RecordError> {
        record.check()?;
        if record.cnf.jwk.key() != &self.public() {
            return Err(RecordError::OtherKey);
        }
        let document = to_json(record)?;
        document.require_signable()?;
        document.require_printable()?;
        let signature = b64u::encode(&self.sign(document.jcs()?.as_bytes()));
        Ok(SignedRecord { document: document.with("signature", signature.into()), record: record.clone() })
    }
}

impl PublicKey {
    /// Verifies the `signature` of a trust record, whoever made it.
    pub fn verify_record(&self, document: &Json) -> Result<(), SignatureError> {
        let is_record = document.get("eat_profile").is_some() && document.get("gateway").is_none();
        let signature = document.get("signature").and_then(Json::as_str).filter(|_| is_record);
        let signature = read_signature(signature.ok_or(SignatureError::Kind)?)?;
        let message = document.without("signature").jcs().map_err(|_| SignatureError::Canonical)?;
        self.verify(message.as_bytes(), &signature)
    }
}
