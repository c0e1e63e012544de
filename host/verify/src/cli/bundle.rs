//! `cmcp-verify bundle`: an audit bundle on its own, or with the signed batches that prove it.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::audit::{BundleOptions, BundleVerdict, Finality, verify_audit_bundle};
use crate::store::{ProvenEntries, read_proof};
use crate::verdict::{Outcome, Status};

use super::claim::{bundle_json, check_json};
use super::{CliError, Exit, auditor, input, table};

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The audit bundle; - reads standard input
    bundle: PathBuf,
    /// The signed batches that `store export` wrote beside it
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Auditor's private key, which opens sealed records; can be given several times
    #[arg(long, value_name = "FILE", requires = "proof")]
    key: Vec<PathBuf>,
    /// The gateway's public key, if you know it: 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = input::key)]
    trusted_key: Option<String>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let bytes = input::read(&args.bundle)?;
    let proven = args.proof.as_deref().map(|path| proof(path, &bytes, &args.key)).transpose()?;
    let options =
        BundleOptions { proven: proven.as_ref(), trusted_key: args.trusted_key.as_deref(), ..BundleOptions::default() };
    let verdict = verify_audit_bundle(&bytes, None, options);
    // The entries vouch for themselves at most: nothing says who the key belongs to, or that the end is the end.
    let status = if verdict.verified { Status::PartiallyVerified } else { Status::Unverified };
    if args.json {
        let checks: Vec<_> = verdict.checks.iter().map(|check| check_json("audit_bundle", check)).collect();
        writeln!(
            out,
            "{:#}",
            json!({"status": status.as_str(), "audit_bundle": bundle_json(&verdict), "checks": checks})
        )?;
    } else {
        print(args, &verdict, status, out)?;
    }
    Ok(status.into())
}

/// Reads the proof of the bundle's session.
pub(super) fn proof(path: &Path, bundle: &[u8], auditors: &[PathBuf]) -> Result<ProvenEntries, CliError> {
    #[derive(Deserialize)]
    struct Outline {
        session_id: String,
        #[serde(rename = "entries")]
        _entries: IgnoredAny,
    }
    let shown = path.display();
    let file = File::open(path).map_err(|error| CliError::Read { path: shown.to_string(), error })?;
    let outline: Outline =
        serde_json::from_slice(bundle).map_err(|error| CliError::Input(format!("not an audit bundle: {error}")))?;
    let proven = read_proof(BufReader::new(file), &outline.session_id, &auditor::secrets(auditors)?);
    proven.map_err(|error| CliError::Input(format!("{shown}: {error}")))
}

fn print(args: &Args, verdict: &BundleVerdict, status: Status, out: &mut dyn Write) -> Result<(), CliError> {
    table::checks(out, &format!("audit bundle {}", args.bundle.display()), &verdict.checks)?;
    let mut open: Vec<_> =
        verdict.checks.iter().filter(|check| check.outcome == Outcome::Open).map(|check| check.name).collect();
    open.push("the claim");
    table::result(out, status, verdict.failures.first().map(|failure| failure.reason.as_str()), &open)?;
    if verdict.finality == Some(Finality::Interim) {
        writeln!(out, "Interim: the session had not ended; later entries may exist that are not here.")?;
    }
    Ok(())
}
