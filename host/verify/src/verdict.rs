//! What a verification answers.

use std::fmt;

use crate::evidence::appraise::Appraisal;
use crate::shape::{Fault, Misfit};

/// The answer in one word. There is no `is_valid`: what a caller may rely on is in the word and in the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Everything was judged, hardware evidence included, and nothing is wrong.
    Verified,
    /// Nothing is wrong, but something could not be judged: [`Verdict::unverified_fields`] says what.
    PartiallyVerified,
    /// Something is wrong: [`Verdict::failure_reason`] says what.
    Unverified,
}

impl Status {
    /// The word as the deployed verifier spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::PartiallyVerified => "partially_verified",
            Self::Unverified => "unverified",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Declares an enum of reasons: each variant with its documentation and the name that leaves this crate. Checks on evidence
/// have reasons of their own, so each enum of whoever judges evidence too wraps them: `or Variant(Check)`.
macro_rules! reasons {
    (
        $(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }
        $(or $(#[$wrap_doc:meta])* $wrap:ident($inner:ty))?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)+
            $($(#[$wrap_doc])* $wrap($inner),)?
        }

        impl $type {
            /// Every reason there is, but for those of checks on evidence.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name, stable across releases.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    $(Self::$wrap(inner) => inner.reason(),)?
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why a claim is unverified. The first thirteen names are those of the deployed verifier.
    ClaimReason {
        /// The platform's evidence cannot be judged by this build.
        UnsupportedProvider = "UNSUPPORTED_PROVIDER",
        /// The signature does not fit the claim and its key.
        SignatureInvalid = "SIGNATURE_INVALID",
        /// The key is not the one that the hardware binding, or the caller, names.
        PublicKeyNotBound = "PUBLIC_KEY_NOT_BOUND",
        /// Another policy bundle than the approved one.
        PolicyHashMismatch = "POLICY_HASH_MISMATCH",
        /// Another catalog than the approved one.
        CatalogHashMismatch = "CATALOG_HASH_MISMATCH",
        /// The attestation is older than allowed.
        AttestationStale = "ATTESTATION_STALE",
        /// Root, tip, length and transcript of the audit chain contradict each other.
        ChainBroken = "CHAIN_BROKEN",
        /// The audit chain is not the one that the hardware binding names.
        ChainRootNotBound = "CHAIN_ROOT_NOT_BOUND",
        /// The caller asked for a gateway measurement, which a session's claim cannot carry.
        MeasurementNotBound = "MEASUREMENT_NOT_BOUND",
        /// Not a claim: syntax, a missing member, a wrong type or value.
        ClaimMalformed = "CLAIM_MALFORMED",
        /// The caller asked for hardware evidence that is not there.
        HardwareAttestationFailed = "HARDWARE_ATTESTATION_FAILED",
        /// The caller asked for an agent manifest, which this build cannot judge.
        AgentManifestMismatch = "AGENT_MANIFEST_MISMATCH",
        /// An agent key is named for a subject that was not authenticated.
        AgentKeyThumbprintUnboundSubject = "AGENT_KEY_THUMBPRINT_UNBOUND_SUBJECT",
        /// One key twice in one object: readers would disagree on what was signed.
        DuplicateKey = "DUPLICATE_KEY",
        /// A member that claims do not have.
        UnknownKey = "UNKNOWN_KEY",
        /// A float: readers write it in different ways.
        FloatNotAllowed = "FLOAT_NOT_ALLOWED",
        /// An integer beyond 2^53-1: readers disagree on it.
        IntegerOutOfRange = "INTEGER_OUT_OF_RANGE",
        /// A `null`, where an absent member is left out.
        NullNotAllowed = "NULL_NOT_ALLOWED",
        /// A second spelling of base64.
        NonCanonicalBase64 = "NON_CANONICAL_BASE64",
        /// The JWK carries a private member.
        PrivateKeyMember = "PRIVATE_KEY_MEMBER",
        /// Another profile than the one asked for.
        ProfileNotAccepted = "PROFILE_NOT_ACCEPTED",
        /// A time more than five minutes in the future.
        TimeInFuture = "TIME_IN_FUTURE",
        /// A sequence number below 1, or a first claim that names a predecessor.
        SequenceNumberInvalid = "SEQUENCE_NUMBER_INVALID",
        /// Key id or subject name another key.
        KeyIdMismatch = "KEY_ID_MISMATCH",
        /// The call summary contradicts itself or the transcript.
        SummaryInconsistent = "SUMMARY_INCONSISTENT",
        /// What came as the claim's attachment is none.
        AttachmentMalformed = "ATTACHMENT_MALFORMED",
    }
    or
    /// A check on evidence failed.
    Evidence(crate::evidence::Check)
}

impl From<Fault> for ClaimReason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::DuplicateKey => Self::DuplicateKey,
            Fault::UnknownKey => Self::UnknownKey,
            Fault::Float => Self::FloatNotAllowed,
            Fault::IntegerRange => Self::IntegerOutOfRange,
            Fault::Null => Self::NullNotAllowed,
            Fault::Base64 => Self::NonCanonicalBase64,
            Fault::PrivateKey => Self::PrivateKeyMember,
            Fault::Profile => Self::ProfileNotAccepted,
            Fault::Syntax | Fault::Missing | Fault::Type | Fault::Value => Self::ClaimMalformed,
        }
    }
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Wrong.
    Fail,
    /// Not judged, and the note says why.
    Open,
}

impl Outcome {
    /// One word for tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "ok",
            Self::Fail => "FAIL",
            Self::Open => "not judged",
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked: a field of the deployed verifier, or a name of ours.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What should be there; empty where there is no one value.
    pub expected: String,
    /// What is there.
    pub actual: String,
}

/// What was found wrong in one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding<R> {
    pub(crate) reason: R,
    pub(crate) expected: String,
    pub(crate) actual: String,
}

impl<R> Finding<R> {
    pub(crate) fn new(reason: R, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { reason, expected: expected.into(), actual: actual.into() }
    }
}

/// The verdict on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer in one word.
    pub status: Status,
    /// What was judged and found right, in the order of the checks.
    pub verified_fields: Vec<&'static str>,
    /// What was not judged, or found wrong.
    pub unverified_fields: Vec<&'static str>,
    /// Explanations by field, in the order in which they arose.
    pub details: Vec<(String, String)>,
    /// Seconds since the attestation was made, or -1 if the claim does not tell.
    pub attestation_age_seconds: i64,
    /// Whether that is within the allowed age.
    pub is_attestation_fresh: bool,
    /// What is wrong; with several things, the first. Present exactly if the status is [`Status::Unverified`].
    pub failure_reason: Option<ClaimReason>,
    /// Every check made, for a report.
    pub checks: Vec<Check>,
    /// The three answers on the evidence of a hardware claim, or of its attachment.
    pub appraisal: Option<Appraisal>,
}

/// Collects checks into a verdict.
pub(crate) struct Judge {
    verdict: Verdict,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self {
            verdict: Verdict {
                status: Status::Verified,
                verified_fields: Vec::new(),
                unverified_fields: Vec::new(),
                details: Vec::new(),
                attestation_age_seconds: -1,
                is_attestation_fresh: false,
                failure_reason: None,
                checks: Vec::new(),
                appraisal: None,
            },
        }
    }

    /// A check that the deployed verifier reports too. `Ok` carries what was found.
    pub(crate) fn field(&mut self, name: &'static str, result: Result<String, Finding<ClaimReason>>) -> bool {
        if result.is_ok() {
            self.verdict.verified_fields.push(name);
        }
        self.rule(name, result)
    }

    /// A check of ours: silent in the field lists unless it fails.
    pub(crate) fn rule(&mut self, name: &'static str, result: Result<String, Finding<ClaimReason>>) -> bool {
        match result {
            Ok(actual) => self.check(name, Outcome::Pass, String::new(), actual),
            Err(finding) => {
                self.verdict.failure_reason.get_or_insert(finding.reason);
                self.verdict.unverified_fields.push(name);
                self.detail(name, format!("expected {}, found {}", finding.expected, finding.actual));
                self.check(name, Outcome::Fail, finding.expected, finding.actual);
                return false;
            }
        }
        true
    }

    /// Something that was not judged: caps the status at partially verified.
    pub(crate) fn open(&mut self, name: &'static str, why: &str) {
        self.verdict.unverified_fields.push(name);
        self.detail(name, why.to_owned());
        self.check(name, Outcome::Open, String::new(), why.to_owned());
    }

    /// Like [`Judge::open`], for what follows from a failure that has its own line already.
    pub(crate) fn skip(&mut self, names: &[&'static str]) {
        self.verdict.unverified_fields.extend_from_slice(names);
    }

    pub(crate) fn detail(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.verdict.details.push((name.into(), text.into()));
    }

    pub(crate) fn appraised(&mut self, appraisal: Appraisal) {
        self.verdict.appraisal = Some(appraisal);
    }

    pub(crate) fn age(&mut self, seconds: i64, fresh: bool) {
        self.verdict.attestation_age_seconds = seconds;
        self.verdict.is_attestation_fresh = fresh;
    }

    /// The whole document does not fit; nothing else is read.
    pub(crate) fn malformed(mut self, misfit: Misfit) -> Verdict {
        let finding = Finding::new(misfit.fault.into(), misfit.expected.clone(), misfit.found.clone());
        self.verdict.failure_reason = Some(finding.reason);
        self.verdict.unverified_fields.push("schema");
        self.detail("schema_error", misfit.to_string());
        self.detail("malformed_field", misfit.path);
        self.check("schema", Outcome::Fail, finding.expected, finding.actual);
        self.verdict()
    }

    pub(crate) fn verdict(mut self) -> Verdict {
        self.verdict.status = match self.verdict.failure_reason {
            Some(_) => Status::Unverified,
            None if self.verdict.unverified_fields.is_empty() => Status::Verified,
            None => Status::PartiallyVerified,
        };
        self.verdict
    }

    fn check(&mut self, name: &'static str, outcome: Outcome, expected: String, actual: String) {
        self.verdict.checks.push(Check { name, outcome, expected, actual });
    }
}
