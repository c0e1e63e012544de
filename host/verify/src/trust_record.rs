//! Trust record B: does the TRACE record say what the session's claim says, signed by the same key?

use claim::Digest;
use claim::json::Json;
use claim::key::PublicKey;
use claim::profile::Profile;
use claim::record::REL_CLAIM;
use claim::time::Timestamp;

use crate::shape::{self, Fault, Misfit};
use crate::shapes::TRUST_RECORD;
use crate::trace_claim::{self, ALLOWED_SKEW_SECONDS, View, bare};
use crate::verdict::{Check, Outcome, Status, reasons};

reasons! {
    /// Why a trust record is unverified.
    RecordReason {
        /// Not a trust record: syntax, a missing member, a wrong type or value.
        Malformed = "RECORD_MALFORMED",
        /// One key twice in one object.
        DuplicateKey = "DUPLICATE_KEY",
        /// A member that the closed schema does not have.
        UnknownKey = "UNKNOWN_KEY",
        /// A float.
        FloatNotAllowed = "FLOAT_NOT_ALLOWED",
        /// An integer beyond 2^53-1.
        IntegerOutOfRange = "INTEGER_OUT_OF_RANGE",
        /// A `null`.
        NullNotAllowed = "NULL_NOT_ALLOWED",
        /// A second spelling of base64.
        NonCanonicalBase64 = "NON_CANONICAL_BASE64",
        /// The JWK carries a private member.
        PrivateKeyMember = "PRIVATE_KEY_MEMBER",
        /// Another profile than TRACE v0.2.
        ProfileNotAccepted = "PROFILE_NOT_ACCEPTED",
        /// The signature does not fit the record and its key.
        SignatureInvalid = "SIGNATURE_INVALID",
        /// The key is not the one that the caller names.
        PublicKeyNotBound = "PUBLIC_KEY_NOT_BOUND",
        /// Issued more than five minutes in the future.
        TimeInFuture = "TIME_IN_FUTURE",
        /// Older than allowed.
        RecordStale = "RECORD_STALE",
        /// The challenge is missing, or another one.
        NonceMismatch = "NONCE_MISMATCH",
        /// The record contradicts itself: a status or an origin that its platform cannot have.
        Contradiction = "RECORD_CONTRADICTION",
        /// The claim that the record should be about is not verified itself.
        ClaimUnverified = "CLAIM_UNVERIFIED",
        /// The record names no claim, or another one.
        ReferenceMismatch = "REFERENCE_MISMATCH",
        /// The record and the claim that it names say different things.
        ClaimMismatch = "CLAIM_MISMATCH",
    }
}

impl From<Fault> for RecordReason {
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
            Fault::Syntax | Fault::Missing | Fault::Type | Fault::Value => Self::Malformed,
        }
    }
}

/// How to judge a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions<'a> {
    /// The verifier's clock.
    pub now: Timestamp,
    /// Oldest acceptable record in seconds.
    pub max_age_seconds: i64,
    /// The challenge that the record must echo, as it was sent.
    pub nonce: Option<&'a str>,
    /// The gateway's public key as 64 hexadecimal digits, learned out of band.
    pub trusted_key: Option<&'a str>,
    /// The bytes of the claim that the record must be about.
    pub claim: Option<&'a [u8]>,
    /// Which profile that claim has.
    pub claim_profile: Profile,
}

impl RecordOptions<'_> {
    /// Defaults at this time: at most one day old, nothing pinned.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            max_age_seconds: trace_claim::DEFAULT_MAX_AGE_SECONDS,
            nonce: None,
            trusted_key: None,
            claim: None,
            claim_profile: Profile::TraceV02,
        }
    }
}

/// The verdict on a trust record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordVerdict {
    /// The answer in one word. Without judged hardware evidence never [`Status::Verified`].
    pub status: Status,
    /// What is wrong; with several things, the first.
    pub failure_reason: Option<RecordReason>,
    /// Every check made.
    pub checks: Vec<Check>,
}

/// Verifies the bytes of a trust record.
pub fn verify_trust_record(record: &[u8], options: &RecordOptions<'_>) -> RecordVerdict {
    let mut report = Report::default();
    match parse(record) {
        Ok(record) => judge(&View::new(&record), options, &mut report),
        Err(misfit) => report.misfit("record", &misfit),
    }
    report.verdict()
}

fn parse(bytes: &[u8]) -> Result<Json, Misfit> {
    let record = shape::parse(bytes, "")?;
    if let Some(profile) = record.get("eat_profile").and_then(Json::as_str)
        && profile != Profile::TraceV02.as_str()
    {
        return Err(Misfit {
            fault: Fault::Profile,
            path: "eat_profile".into(),
            expected: Profile::TraceV02.as_str().into(),
            found: shape::quoted(profile),
        });
    }
    shape::fit(&record, TRUST_RECORD, "")?;
    Ok(record)
}

fn judge(record: &View<'_>, options: &RecordOptions<'_>, report: &mut Report) {
    report.pass("record", Profile::TraceV02.as_str());
    let key = match signature(record) {
        Ok(key) => key,
        Err(error) => {
            return report.fail("record.signature", RecordReason::SignatureInvalid, "a signature by cnf.jwk", error);
        }
    };
    report.pass("record.signature", format!("Ed25519, key {}", key.hex()));
    if let Some(trusted) = options.trusted_key {
        let ok = key.hex().eq_ignore_ascii_case(trusted.trim());
        report.require("record.trusted_key", RecordReason::PublicKeyNotBound, ok, shape::quoted(trusted), key.hex());
    }
    times(record, options, report);
    nonce(record, options.nonce, report);
    contradictions(record, report);
    match options.claim {
        Some(claim) => about(record, claim, options.claim_profile, report),
        None => report.open("record.claim", "no claim was given to compare with"),
    }
    report.open("record.hardware", appraisal(record));
}

fn signature(record: &View<'_>) -> Result<PublicKey, String> {
    let key = PublicKey::from_x(record.text(&["cnf", "jwk", "x"])).map_err(|error| error.to_string())?;
    key.verify_record(record.json()).map_err(|error| error.to_string())?;
    Ok(key)
}

fn times(record: &View<'_>, options: &RecordOptions<'_>, report: &mut Report) {
    let iat = record.int(&["iat"]).unwrap_or_default();
    let age = options.now.seconds().saturating_sub(iat);
    let found = format!("{} ({age} s ago)", Timestamp::from_seconds(iat));
    if age < -ALLOWED_SKEW_SECONDS {
        let expected = format!("no later than {ALLOWED_SKEW_SECONDS} seconds after now");
        return report.fail("record.issued_at", RecordReason::TimeInFuture, expected, found);
    }
    let expected = format!("at most {} s ago", options.max_age_seconds);
    report.require("record.issued_at", RecordReason::RecordStale, age <= options.max_age_seconds, expected, found);
}

fn nonce(record: &View<'_>, expected: Option<&str>, report: &mut Report) {
    let found = record.at(&["runtime", "nonce"]).and_then(Json::as_str);
    match expected {
        Some(expected) => {
            let shown = found.map_or_else(|| "none".to_owned(), shape::quoted);
            let ok = found == Some(expected);
            report.require("record.nonce", RecordReason::NonceMismatch, ok, shape::quoted(expected), shown);
        }
        None => report.open("record.nonce", "no challenge was given"),
    }
}

/// What the schema's cross-field rules forbid (TRACE v0.2, sections 3.1.1 and 3.1.4), and a verdict on evidence that a
/// software-only platform does not have.
fn contradictions(record: &View<'_>, report: &mut Report) {
    let software_only = record.text(&["runtime", "platform"]) == "software-only";
    let foreign = !matches!(record.text(&["origin", "kind"]), "" | "self");
    let appraisal = |name| record.at(&["appraisal", name]).is_some();
    let outcome = record.text(&["appraisal", "re_execution", "outcome"]);
    let re_execution = |name| record.at(&["appraisal", "re_execution", name]).is_some();
    let fault = match () {
        () if foreign && !software_only => "evidence of another producer on a hardware platform",
        () if software_only && record.text(&["appraisal", "status"]) == "affirming" => {
            "appraisal affirming, on a platform without evidence"
        }
        () if appraisal("method") != appraisal("re_execution") => {
            "appraisal.method without re_execution, or the reverse"
        }
        () if outcome == "diverged" && !re_execution("observed_digest") => "diverged without the observed digest",
        () if outcome == "not-attempted" && !re_execution("reason") => "not attempted without a reason",
        () => return,
    };
    report.fail("record.consistency", RecordReason::Contradiction, "members that fit each other", fault);
}

fn appraisal(record: &View<'_>) -> String {
    match record.text(&["appraisal", "status"]) {
        "none" => "nobody appraised evidence".to_owned(),
        status => format!("appraisal {status} is the gateway's transcription, not judged here"),
    }
}

/// The record names the claim by digest, and repeats of it what both artifacts have.
fn about(record: &View<'_>, bytes: &[u8], profile: Profile, report: &mut Report) {
    let claim = match trace_claim::parse(bytes, profile) {
        Ok(claim) => claim,
        Err(misfit) => {
            return report.fail("record.claim", RecordReason::ClaimUnverified, "a claim", misfit.to_string());
        }
    };
    if let Err(error) = trace_claim::check_signature(&claim) {
        return report.fail("record.claim", RecordReason::ClaimUnverified, "a signed claim", error.to_string());
    }
    let digest = Digest::of(claim.sorted_ascii()).prefixed();
    let named = referenced(record);
    let shown = named.clone().unwrap_or_else(|| "no reference".into());
    report.require(
        "record.reference",
        RecordReason::ReferenceMismatch,
        named.as_ref() == Some(&digest),
        &digest,
        shown,
    );
    same(record, &View::new(&claim), report);
}

fn referenced(record: &View<'_>) -> Option<String> {
    let references = record.list(&["references"])?;
    let about = references.iter().find(|item| item.get("rel").and_then(Json::as_str) == Some(REL_CLAIM))?;
    about.get("digest").and_then(Json::as_str).map(str::to_owned)
}

fn same(record: &View<'_>, claim: &View<'_>, report: &mut Report) {
    for (theirs, ours) in [
        (["cnf", "jwk", "x"].as_slice(), ["trace", "cnf", "jwk", "x"].as_slice()),
        (&["subject"], &["trace", "subject"]),
        (&["policy", "bundle_hash"], &["trace", "policy", "bundle_hash"]),
        (&["policy", "enforcement_mode"], &["trace", "policy", "enforcement_mode"]),
        (&["data_class"], &["trace", "data_class"]),
        (&["tool_transcript", "hash"], &["trace", "tool_transcript", "hash"]),
    ] {
        let (found, expected) = (record.text(theirs), claim.text(ours));
        if bare(found) != bare(expected) {
            let name = theirs.join(".");
            let expected = format!("{name} {}", shape::quoted(expected));
            return report.fail("record.claim", RecordReason::ClaimMismatch, expected, shape::quoted(found));
        }
    }
    report.pass("record.claim", "key, subject, policy, data class and transcript as in the claim");
}

#[derive(Default)]
struct Report {
    failure: Option<RecordReason>,
    checks: Vec<Check>,
}

impl Report {
    fn require(
        &mut self,
        name: &'static str,
        reason: RecordReason,
        ok: bool,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        if ok { self.pass(name, found) } else { self.fail(name, reason, expected, found) }
    }

    fn pass(&mut self, name: &'static str, found: impl Into<String>) {
        self.checks.push(Check { name, outcome: Outcome::Pass, expected: String::new(), actual: found.into() });
    }

    fn open(&mut self, name: &'static str, why: impl Into<String>) {
        self.checks.push(Check { name, outcome: Outcome::Open, expected: String::new(), actual: why.into() });
    }

    fn fail(
        &mut self,
        name: &'static str,
        reason: RecordReason,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.failure.get_or_insert(reason);
        let (expected, actual) = (expected.into(), format!("{reason}: {}", found.into()));
        self.checks.push(Check { name, outcome: Outcome::Fail, expected, actual });
    }

    fn misfit(&mut self, name: &'static str, misfit: &Misfit) {
        self.fail(name, misfit.fault.into(), misfit.expected.clone(), format!("{}: {}", misfit.path, misfit.found));
    }

    fn verdict(self) -> RecordVerdict {
        let status = if self.failure.is_some() { Status::Unverified } else { Status::PartiallyVerified };
        RecordVerdict { status, failure_reason: self.failure, checks: self.checks }
    }
}
