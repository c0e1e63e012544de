//! `cmcp-verify CLAIM`: a claim, and what belongs to it.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::time::Timestamp;
use serde_json::{Value, json};

use crate::audit::{BundleOptions, BundleVerdict, Finality, verify_audit_bundle};
use crate::trace_claim::{Approval, Approved, DEFAULT_MAX_AGE_SECONDS, Options, ReferenceValues, verify_trace_claim};
use crate::trust_record::{RecordOptions, RecordReason, RecordVerdict, verify_trust_record};
use crate::verdict::{Check, ClaimReason, Outcome, Status, Verdict};

use super::input::{self, ProfileName};
use super::{CliError, Exit, answers, bundle, table};

/// What to check, and against what.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The claim, as the gateway answered it; - reads standard input
    claim: PathBuf,
    /// Hash of the policy bundle that you approved
    #[arg(long, value_name = "SHA256", value_parser = input::hash)]
    policy_hash: Option<String>,
    /// Hash of the tool catalog that you approved
    #[arg(long, value_name = "SHA256", value_parser = input::hash)]
    catalog_hash: Option<String>,
    /// The gateway's public key, if you know it: 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = input::key)]
    trusted_key: Option<String>,
    /// The session's audit bundle (GET /audit/export): check that the claim counts exactly these calls
    #[arg(long, value_name = "FILE")]
    audit_bundle: Option<PathBuf>,
    /// Signed batches from `store export`, for a bundle that the gateway did not sign
    #[arg(long, value_name = "FILE", requires = "audit_bundle")]
    proof: Option<PathBuf>,
    /// Auditor's private key, which opens sealed records; can be given several times
    #[arg(long, value_name = "FILE", requires = "proof")]
    key: Vec<PathBuf>,
    /// The session's trust record (GET /session/ID/trust-record): check that it says the same
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The challenge that you sent for the trust record
    #[arg(long, value_name = "NONCE", requires = "record")]
    nonce: Option<String>,
    /// Oldest attestation that you accept, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_MAX_AGE_SECONDS,
          value_parser = clap::value_parser!(i64).range(0..))]
    max_age: i64,
    /// Which claims to accept; never both
    #[arg(long, value_enum, default_value = "trace-v0.2")]
    profile: ProfileName,
    /// Judge as of this time instead of now, for archived claims
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    at: Option<Timestamp>,
    /// The claim's attachment (GET /session/ID/evidence): judge the hardware's evidence, and that it is of this session
    #[arg(long, value_name = "FILE")]
    attachment: Option<PathBuf>,
    /// Certificates, CRLs and vendors' statements as JSON, in place of those of the attachment
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// What you approved: images, configurations, bundles, catalogs (docs/reference-values.schema.json); else CMCP_REFERENCE_VALUES, else ./reference-values.json
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Say of every check on evidence what it shows, and what could be done without it
    #[arg(long)]
    explain: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
struct Found {
    claim: Verdict,
    bundle: Option<BundleVerdict>,
    record: Option<RecordVerdict>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let found = judge(args)?;
    if args.json {
        writeln!(out, "{:#}", found.json())?;
    } else {
        found.print(args, out)?;
    }
    Ok(found.status().into())
}

fn judge(args: &Args) -> Result<Found, CliError> {
    let bytes = input::read(&args.claim)?;
    let now = input::now(args.at);
    let approval = |hash: &Option<String>| hash.clone().map_or(Approval::NotGiven, Approval::Hash);
    let approved =
        Approved { policy_bundle_hash: approval(&args.policy_hash), tool_catalog_hash: approval(&args.catalog_hash) };
    let options = Options {
        max_age_seconds: args.max_age,
        trusted_key: args.trusted_key.clone(),
        profile: args.profile.into(),
        reference_values: match input::references(args.reference.as_deref())? {
            Ok(references) => ReferenceValues::Given(Box::new(references)),
            Err(looked) => ReferenceValues::NotGiven(looked),
        },
        attachment: args.attachment.as_deref().map(input::read).transpose()?,
        collateral: args.collateral.as_deref().map(input::collateral).transpose()?,
        ..Options::at(now)
    };
    let bundle = args.audit_bundle.as_deref().map(|path| judge_bundle(path, &bytes, args)).transpose()?;
    let record = args.record.as_deref().map(input::read).transpose()?.map(|record| {
        let options = RecordOptions {
            max_age_seconds: args.max_age,
            nonce: args.nonce.as_deref(),
            trusted_key: args.trusted_key.as_deref(),
            claim: Some(&bytes),
            claim_profile: args.profile.into(),
            ..RecordOptions::at(now)
        };
        verify_trust_record(&record, &options)
    });
    Ok(Found { claim: verify_trace_claim(&bytes, &approved, &options), bundle, record })
}

fn judge_bundle(path: &Path, claim: &[u8], args: &Args) -> Result<BundleVerdict, CliError> {
    let bytes = input::read(path)?;
    let proven = args.proof.as_deref().map(|proof| bundle::proof(proof, &bytes, &args.key)).transpose()?;
    let options = BundleOptions {
        profile: args.profile.into(),
        proven: proven.as_ref(),
        trusted_key: args.trusted_key.as_deref(),
        ..BundleOptions::default()
    };
    Ok(verify_audit_bundle(&bytes, Some(claim), options))
}

impl Found {
    /// The worst of all.
    fn status(&self) -> Status {
        let record_failed = self.record.as_ref().is_some_and(|record| record.status == Status::Unverified);
        if record_failed || self.bundle.as_ref().is_some_and(|bundle| !bundle.verified) {
            return Status::Unverified;
        }
        self.claim.status
    }

    fn reason(&self) -> Option<&'static str> {
        let claim = self.claim.failure_reason.map(ClaimReason::as_str);
        let bundle =
            self.bundle.as_ref().and_then(|bundle| bundle.failures.first()).map(|failure| failure.reason.as_str());
        let record = self.record.as_ref().and_then(|record| record.failure_reason).map(RecordReason::as_str);
        claim.or(bundle).or(record)
    }

    fn checks(&self) -> impl Iterator<Item = (&'static str, &Check)> {
        let bundle = self.bundle.iter().flat_map(|bundle| &bundle.checks).map(|check| ("audit_bundle", check));
        let record = self.record.iter().flat_map(|record| &record.checks).map(|check| ("record", check));
        self.claim.checks.iter().map(|check| ("claim", check)).chain(bundle).chain(record)
    }

    fn print(&self, args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
        table::checks(out, &format!("claim {}", args.claim.display()), &self.claim.checks)?;
        if let (Some(bundle), Some(path)) = (&self.bundle, &args.audit_bundle) {
            table::checks(out, &format!("audit bundle {}", path.display()), &bundle.checks)?;
        }
        if let (Some(record), Some(path)) = (&self.record, &args.record) {
            table::checks(out, &format!("trust record {}", path.display()), &record.checks)?;
        }
        if let Some(appraisal) = &self.claim.appraisal {
            answers::print(out, appraisal, args.explain)?;
        }
        let open: Vec<_> =
            self.checks().filter(|(_, check)| check.outcome == Outcome::Open).map(|(_, check)| check.name).collect();
        table::result(out, self.status(), self.reason(), &open)?;
        if args.trusted_key.is_none() && self.status() != Status::Unverified {
            writeln!(out, "The key was taken from the claim itself; --trusted-key pins one that you know.")?;
        }
        if self.bundle.as_ref().and_then(|bundle| bundle.finality) == Some(Finality::Interim) {
            writeln!(out, "Interim: the session was still open, later calls are not in this claim.")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let checks: Vec<_> = self.checks().map(|(artifact, check)| check_json(artifact, check)).collect();
        let details: serde_json::Map<_, _> =
            self.claim.details.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
        json!({
            "status": self.status().as_str(),
            "failure_reason": self.reason(),
            "verified_fields": self.claim.verified_fields,
            "unverified_fields": self.claim.unverified_fields,
            "details": details,
            "attestation_age_seconds": self.claim.attestation_age_seconds,
            "is_attestation_fresh": self.claim.is_attestation_fresh,
            "claim": {
                "status": self.claim.status.as_str(),
                "failure_reason": self.claim.failure_reason.map(ClaimReason::as_str),
            },
            "audit_bundle": self.bundle.as_ref().map(bundle_json),
            "record": self.record.as_ref().map(record_json),
            "evidence": self.claim.appraisal.as_ref().map(answers::json),
            "checks": checks,
        })
    }
}

pub(super) fn check_json(artifact: &str, check: &Check) -> Value {
    let outcome = match check.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Open => "not_judged",
    };
    json!({"artifact": artifact, "name": check.name, "outcome": outcome, "expected": check.expected, "found": check.actual})
}

pub(super) fn bundle_json(bundle: &BundleVerdict) -> Value {
    let failures: Vec<_> = bundle
        .failures
        .iter()
        .map(|failure| json!({"reason": failure.reason.as_str(), "entry": failure.entry, "message": failure.message}))
        .collect();
    json!({
        "verified": bundle.verified,
        "entry_count": bundle.entry_count,
        "finality": bundle.finality.map(Finality::as_str),
        "failures": failures,
    })
}

fn record_json(record: &RecordVerdict) -> Value {
    json!({"status": record.status.as_str(), "failure_reason": record.failure_reason.map(RecordReason::as_str)})
}
