//! Audit bundles: is this the whole, unaltered history that the claim speaks of?
//!
//! The entries are read one at a time from the bundle's bytes, so a bundle costs its own size in memory and little
//! more. The walk stops at the first entry that does not fit: what follows a broken link proves nothing.

mod compare;
mod reader;
mod reasons;
mod signed;
mod walk;

use claim::json::Json;
use claim::profile::Profile;

use crate::store::ProvenEntries;
use crate::trace_claim::{self, View};
use crate::verdict::{Check, Outcome};

use compare::Calls;
pub use reasons::BundleReason;
use walk::rank;
pub(crate) use walk::{EntryFault, Walk};

/// Whether a history can still grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// The last entry is `session_end`: nothing can follow.
    Final,
    /// The session was open: later entries may exist that this history does not show.
    Interim,
}

impl Finality {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Interim => "interim",
        }
    }
}

/// Something wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFailure {
    /// What kind of fault.
    pub reason: BundleReason,
    /// Which entry, from 0, if it is about one.
    pub entry: Option<u64>,
    /// What was expected and what was found.
    pub message: String,
}

impl std::fmt::Display for BundleFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.entry {
            Some(entry) => write!(formatter, "entry {entry}: {}: {}", self.reason, self.message),
            None => write!(formatter, "{}: {}", self.reason, self.message),
        }
    }
}

/// The verdict on an audit bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleVerdict {
    /// Whether nothing is wrong. Without a claim that says only that the entries form a chain: see
    /// [`BundleVerdict::checks`].
    pub verified: bool,
    /// Entries in the bundle.
    pub entry_count: u64,
    /// What is wrong.
    pub failures: Vec<BundleFailure>,
    /// Whether the session was over; nothing if the entries do not form a chain.
    pub finality: Option<Finality>,
    /// Every check made, for a report.
    pub checks: Vec<Check>,
}

/// How to judge a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleOptions<'a> {
    /// Which profile the claim must have.
    pub profile: Profile,
    /// The caller requires receipts of tool servers to be judged. This build cannot, so each one fails by name.
    pub require_external_evidence: bool,
    /// What signed batches of the store prove, for a bundle that the gateway could not sign.
    pub proven: Option<&'a ProvenEntries>,
    /// The gateway's public key as 64 hexadecimal digits, learned out of band.
    pub trusted_key: Option<&'a str>,
}

impl Default for BundleOptions<'_> {
    /// TRACE v0.2, receipts of tool servers not asked for.
    fn default() -> Self {
        Self { profile: Profile::TraceV02, require_external_evidence: false, proven: None, trusted_key: None }
    }
}

/// Verifies an audit bundle and, given the bytes of its claim, that both speak of the same history and were signed by
/// the same key. The claim's own signature is checked too: comparing with a claim that nobody signed proves nothing.
pub fn verify_audit_bundle(bundle: &[u8], claim: Option<&[u8]>, options: BundleOptions<'_>) -> BundleVerdict {
    let mut report = Report::default();
    let claim = claim.map(|bytes| signed_claim(bytes, options.profile));
    let calls = Calls::listed_by(claim.as_ref().and_then(|claim| claim.as_ref().ok()));
    let read = reader::read(bundle, calls, options, &mut report);
    match &claim {
        Some(Ok(claim)) => compare::compare(&read, claim, &mut report),
        Some(Err(message)) => report.fail("claim", BundleReason::ClaimUnverified, None, message),
        None => {}
    }
    signed::check(&read, claim.as_ref().and_then(|claim| claim.as_ref().ok()), options, &mut report);
    report.verdict(&read)
}

fn signed_claim(bytes: &[u8], profile: Profile) -> Result<Json, String> {
    let claim = trace_claim::parse(bytes, profile).map_err(|misfit| misfit.to_string())?;
    trace_claim::check_signature(&claim).map_err(|error| error.to_string())?;
    Ok(claim)
}

/// What contradicts, if anything, between a history read elsewhere and a claim on its tip.
pub(crate) fn claim_contradiction(walk: &Walk, claim: &View<'_>) -> Option<BundleFailure> {
    let mut report = Report::default();
    compare::with_walk(walk, claim, &mut report);
    report.failures.into_iter().next()
}

/// Failures and checks as they come.
#[derive(Default)]
pub(crate) struct Report {
    failures: Vec<BundleFailure>,
    checks: Vec<Check>,
}

impl Report {
    fn fail(&mut self, name: &'static str, reason: BundleReason, entry: Option<u64>, message: impl Into<String>) {
        let failure = BundleFailure { reason, entry, message: message.into() };
        let actual = failure.to_string();
        self.failures.push(failure);
        self.checks.push(Check { name, outcome: Outcome::Fail, expected: String::new(), actual });
    }

    fn pass(&mut self, name: &'static str, actual: impl Into<String>) {
        self.checks.push(Check { name, outcome: Outcome::Pass, expected: String::new(), actual: actual.into() });
    }

    fn open(&mut self, name: &'static str, why: impl Into<String>) {
        self.checks.push(Check { name, outcome: Outcome::Open, expected: String::new(), actual: why.into() });
    }

    fn verdict(self, read: &reader::Bundle<'_>) -> BundleVerdict {
        BundleVerdict {
            verified: self.failures.is_empty(),
            entry_count: read.entry_count,
            finality: read.walk.as_ref().map(Walk::finality),
            failures: self.failures,
            checks: self.checks,
        }
    }
}
