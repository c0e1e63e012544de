//! Claim A: is this what a gateway with this key signed, under the policy and catalog that were approved?
//!
//! Every failure makes the claim `unverified`. `partially_verified` means that nothing is wrong and something was not
//! judged. `verified` needs hardware evidence that is genuine, current and ours, which takes the claim's attachment and
//! reference values.

mod attached;
mod own;
mod rules;
mod same;

use std::sync::Arc;

use claim::attachment::{Attachment, Collateral};
use claim::json::Json;
use claim::key::{PublicKey, SignatureError};
use claim::profile::Profile;
use claim::time::Timestamp;

use crate::evidence::appraise::{Appraisal, Standard};
use crate::evidence::x509::Chains;
use crate::evidence::{Answer, Question};
use crate::references::References;
use crate::shape::{self, Fault, Misfit};
use crate::shapes::{CLAIM_V01, CLAIM_V02};
use crate::verdict::{ClaimReason, Finding, Judge, Outcome, Verdict};

pub(crate) use rules::{View, bare};

/// Why a software-only claim is never more than partially verified; the deployed verifier's words.
pub const SOFTWARE_ONLY: &str = "software-only mode - not hardware-backed";

/// How far a clock may be ahead of the verifier's, in seconds (TRACE v0.2, section 3.2.2).
pub const ALLOWED_SKEW_SECONDS: i64 = 300;

/// Default of [`Options::max_age_seconds`]: one day (TRACE v0.2, section 3.2.2).
pub const DEFAULT_MAX_AGE_SECONDS: i64 = 86_400;

/// What the relying party approved, and where it learned it: not from the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// Hash of the approved policy bundle.
    pub policy_bundle_hash: Approval,
    /// Hash of the approved catalog.
    pub tool_catalog_hash: Approval,
}

/// One approved value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// This hash, with or without its `sha256:` prefix.
    Hash(String),
    /// None was given: the field stays unverified, and the verdict says so.
    NotGiven,
}

/// What hardware evidence is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceValues {
    /// What the relying party approved.
    Given(Box<References>),
    /// None, and where they were looked for.
    NotGiven(String),
}

/// Something a caller requires that this build cannot judge. It fails by name instead of being ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A signed agent manifest.
    AgentManifest,
    /// A gateway measurement in the place where session claims carry the chain root.
    GatewayMeasurement,
    /// A policy over the platform state of SEV-SNP.
    SnpPlatformPolicy,
}

impl ReferenceValues {
    fn given(&self) -> Option<&References> {
        match self {
            Self::Given(references) => Some(references),
            Self::NotGiven(_) => None,
        }
    }
}

/// How to judge. Kept for several claims, it remembers which signatures of certificates were right.
#[derive(Clone, Debug)]
pub struct Options {
    /// The verifier's clock.
    pub now: Timestamp,
    /// Oldest acceptable attestation in seconds.
    pub max_age_seconds: i64,
    /// The gateway's public key as 64 hexadecimal digits, learned out of band.
    pub trusted_key: Option<String>,
    /// Which claims are accepted: one profile, never both, or a claim could be read as either.
    pub profile: Profile,
    /// What hardware evidence is compared with, and the hashes that [`Approved`] does not give.
    pub reference_values: ReferenceValues,
    /// The claim's attachment as received: the answer of `GET /session/{id}/evidence`.
    pub attachment: Option<Vec<u8>>,
    /// Certificates and vendors' statements in place of the attachment's.
    pub collateral: Option<Collateral>,
    /// Signatures of certificates that were right before.
    pub chains: Arc<Chains>,
    /// What else the caller requires.
    pub requirements: Vec<Requirement>,
}

impl Options {
    /// Defaults at this time: TRACE v0.2, attestations of at most one day, no pinned key.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            max_age_seconds: DEFAULT_MAX_AGE_SECONDS,
            trusted_key: None,
            profile: Profile::TraceV02,
            reference_values: ReferenceValues::NotGiven("none were given".into()),
            attachment: None,
            collateral: None,
            chains: Arc::default(),
            requirements: Vec::new(),
        }
    }
}

/// Verifies the bytes of a claim. Pure: no clock, no network, no file.
pub fn verify_trace_claim(claim: &[u8], approved: &Approved, options: &Options) -> Verdict {
    match parse(claim, options.profile) {
        Ok(claim) => judge(&View::new(&claim), approved, options),
        Err(misfit) => Judge::new().malformed(misfit),
    }
}

/// Reads a claim of the profile strictly.
pub(crate) fn parse(bytes: &[u8], profile: Profile) -> Result<Json, Misfit> {
    let claim = shape::parse(bytes, "")?;
    require_profile(&claim, profile)?;
    let shape = match profile {
        Profile::TraceV02 => CLAIM_V02,
        Profile::TraceV01 => CLAIM_V01,
    };
    shape::fit(&claim, shape, "")?;
    Ok(claim)
}

/// Asked first, because a claim of the other profile does not fit the shape either, for less helpful reasons.
fn require_profile(claim: &Json, profile: Profile) -> Result<(), Misfit> {
    let found = claim.get("trace").and_then(|trace| trace.get("eat_profile")).and_then(Json::as_str);
    match found {
        Some(uri) if uri != profile.as_str() => Err(Misfit {
            fault: Fault::Profile,
            path: "trace.eat_profile".into(),
            expected: profile.as_str().into(),
            found: shape::quoted(uri),
        }),
        _ => Ok(()),
    }
}

fn judge(claim: &View<'_>, approved: &Approved, options: &Options) -> Verdict {
    let mut judge = Judge::new();
    judge.field("schema", Ok(options.profile.as_str().to_owned()));
    if !judge.field("signature", signature(claim)) {
        // Nothing below the signature was said by the key: it is not reported as verified, whatever it says.
        judge.skip(&["policy_bundle.hash", "tool_catalog.hash", "attestation_freshness", "audit_chain"]);
        judge.skip(&["hardware_attestation"]);
        return judge.verdict();
    }
    keys(&mut judge, claim, options);
    approvals(&mut judge, claim, approved, options);
    requirements(&mut judge, claim, options);
    times(&mut judge, claim, options);
    chain(&mut judge, claim);
    hardware(&mut judge, claim, options);
    judge.verdict()
}

fn signature(claim: &View<'_>) -> Result<String, Finding<ClaimReason>> {
    match check_signature(claim.json()) {
        Ok(key) => Ok(format!("Ed25519, key {}", key.hex())),
        Err(error) => {
            Err(Finding::new(ClaimReason::SignatureInvalid, "a signature by trace.cnf.jwk", error.to_string()))
        }
    }
}

/// Whether the claim is signed by the key that it names; that key.
pub(crate) fn check_signature(claim: &Json) -> Result<PublicKey, SignatureError> {
    let key = PublicKey::from_x(View::new(claim).text(&["trace", "cnf", "jwk", "x"]))?;
    key.verify_claim(claim)?;
    Ok(key)
}

fn keys(judge: &mut Judge, claim: &View<'_>, options: &Options) {
    match claim.binding() {
        Some(binding) if claim.software_only() => {
            // Nothing vouches for it in software-only mode, but a contradiction is one all the same.
            if let Err(finding) = rules::key_binding(claim, Some(binding)) {
                judge.rule("public_key_binding", Err(finding));
            }
        }
        None if claim.software_only() => {}
        binding => {
            judge.field("public_key_binding", rules::key_binding(claim, binding));
        }
    }
    if let Some(trusted) = &options.trusted_key {
        judge.field("trusted_public_key", rules::trusted_key(claim, trusted));
    }
    judge.rule("key_id", rules::key_id(claim));
}

fn approvals(judge: &mut Judge, claim: &View<'_>, approved: &Approved, options: &Options) {
    let references = options.reference_values.given();
    for (name, path, approval, listed, reason) in [
        (
            "policy_bundle.hash",
            ["trace", "policy", "bundle_hash"],
            &approved.policy_bundle_hash,
            references.map(|references| &references.bundle_hashes),
            ClaimReason::PolicyHashMismatch,
        ),
        (
            "tool_catalog.hash",
            ["gateway", "catalog", "hash"],
            &approved.tool_catalog_hash,
            references.map(|references| &references.catalog_hashes),
            ClaimReason::CatalogHashMismatch,
        ),
    ] {
        let stated = claim.text(&path);
        match (approval, listed) {
            (Approval::Hash(expected), _) => {
                judge.field(name, rules::same_hash(stated, expected, reason));
            }
            (Approval::NotGiven, Some(listed)) => {
                judge.field(name, rules::listed_hash(stated, listed, reason));
            }
            (Approval::NotGiven, None) => {
                judge.open(name, &format!("no approved hash was given; the claim says {stated}"));
            }
        }
    }
}

fn requirements(judge: &mut Judge, claim: &View<'_>, options: &Options) {
    if let Some(result) = rules::agent_key(claim) {
        judge.field("agent_identity.agent_key_thumbprint", result);
    }
    for requirement in &options.requirements {
        let (name, reason, why) = match requirement {
            Requirement::AgentManifest => (
                "agent_manifest.binding",
                ClaimReason::AgentManifestMismatch,
                "this build cannot judge agent manifests",
            ),
            Requirement::GatewayMeasurement => (
                "measurement_binding",
                ClaimReason::MeasurementNotBound,
                "a session claim binds its chain root there, never a gateway measurement",
            ),
            Requirement::SnpPlatformPolicy => (
                "platform_state",
                ClaimReason::HardwareAttestationFailed,
                "no authenticated SEV-SNP platform state was established",
            ),
        };
        judge.rule(name, Err(Finding::new(reason, "what the caller requires", why)));
    }
}

fn times(judge: &mut Judge, claim: &View<'_>, options: &Options) {
    judge.rule("issued_at", rules::issued_at(claim, options.now));
    let generated = match claim.generated_at() {
        Ok(generated) => generated,
        Err(finding) => {
            judge.rule("attestation_freshness", Err(finding));
            return;
        }
    };
    let (age, result) = rules::freshness(generated, options);
    judge.age(age, result.is_ok());
    if !judge.field("attestation_freshness", result) {
        judge.detail("attestation_age_seconds", age.to_string());
    }
}

fn chain(judge: &mut Judge, claim: &View<'_>) {
    judge.field("audit_chain", rules::chain(claim));
    match claim.binding() {
        Some(binding) if claim.software_only() => {
            if let Err(finding) = rules::root_binding(claim, Some(binding)) {
                judge.rule("audit_chain_binding", Err(finding));
            }
        }
        None if claim.software_only() => {}
        binding => {
            judge.field("audit_chain_binding", rules::root_binding(claim, binding));
        }
    }
    judge.rule("sequence_number", rules::sequence_number(claim));
    judge.rule("call_summary", rules::summary(claim));
}

fn hardware(judge: &mut Judge, claim: &View<'_>, options: &Options) {
    evidence(judge, claim, options);
    if !claim.software_only()
        && let ReferenceValues::NotGiven(looked) = &options.reference_values
    {
        let text = format!("missing: {looked}; without them no claim of a hardware platform is verified");
        judge.detail("reference_values", text);
    }
}

fn evidence(judge: &mut Judge, claim: &View<'_>, options: &Options) {
    let attachment = match options.attachment.as_deref().map(Attachment::parse).transpose() {
        Ok(attachment) => attachment,
        Err(error) => {
            let expected = "the answer of GET /session/{id}/evidence";
            let finding = Finding::new(ClaimReason::AttachmentMalformed, expected, error.to_string());
            judge.rule("attachment", Err(finding));
            return;
        }
    };
    let standard = Standard {
        references: options.reference_values.given(),
        at: options.now,
        chains: &options.chains,
        software: claim.software_only(),
    };
    let appraisal = match attachment {
        Some(mut attachment) => {
            attachment.collateral = options.collateral.clone().or(attachment.collateral);
            attached::appraise(claim, &attachment, &standard)
        }
        None if claim.software_only() => {
            judge.open("hardware_attestation", SOFTWARE_ONLY);
            return;
        }
        None if !own::is_judged(claim) => {
            judge.rule("hardware_attestation", Err(unsupported(claim)));
            return;
        }
        None => own::appraise(claim, options.collateral.as_ref(), &standard),
    };
    answers(judge, &appraisal);
    judge.appraised(appraisal);
}

fn unsupported(claim: &View<'_>) -> Finding<ClaimReason> {
    let platform = claim.text(&["trace", "runtime", "platform"]);
    let found = format!("evidence of this platform ({platform}) cannot be judged by this build");
    Finding::new(ClaimReason::UnsupportedProvider, "evidence that chains to the vendor's root", found)
}

/// One line for the three answers; each of them with what decides it in the details.
fn answers(judge: &mut Judge, appraisal: &Appraisal) {
    let report = appraisal.report();
    let lines = report.lines();
    if let Some(line) = lines.iter().find(|line| line.outcome == Outcome::Fail) {
        let actual = format!("{}: {}", line.check.id(), line.actual);
        judge
            .rule("hardware_attestation", Err(Finding::new(ClaimReason::Evidence(line.check), &line.expected, actual)));
    } else if appraisal.verified() {
        judge.field("hardware_attestation", Ok("genuine, current and ours".to_owned()));
    } else {
        let open: Vec<_> = lines.iter().filter(|line| line.outcome == Outcome::Open).collect();
        let texts: Vec<_> = open.iter().map(|line| format!("{}: {}", line.check.id(), line.actual)).collect();
        judge.open("hardware_attestation", &texts.join("; "));
    }
    for question in Question::ALL {
        let answer = match report.answer(question) {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Open => "not judged",
        };
        judge.detail(question.as_str(), answer);
    }
    if !report.test_roots().is_empty() {
        judge.detail("test_only_roots", report.test_roots().join(", "));
    }
}
