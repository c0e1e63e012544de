//! What `connect` and `provision` have in common: whom to verify against what, and the verdict for people.

use std::env::{self, VarError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{CliError, answers, claim, input, table};
use crate::attestation::{Options, Reason, Verdict};
use crate::connect::{Attested, Identity, Token, attest};
use crate::references::References;
use crate::verdict::Outcome;

/// What a gateway is held against.
#[derive(Debug, clap::Args)]
pub(super) struct Approval {
    /// What you approved: JSON with images, config_hashes, bundle_hashes, catalog_hashes (docs/reference-values.schema.json)
    #[arg(long, value_name = "FILE")]
    pub(super) reference: Option<PathBuf>,
    /// Certificates, CRLs and vendors' statements about the gateway's hardware, as JSON (docs/verification.md)
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// Accept a gateway in dev mode: no hardware, so anyone who knows the approved values can say them
    #[arg(long)]
    pub(super) dangerous_accept_software: bool,
}

impl Approval {
    /// Connects and verifies.
    pub(super) fn attest(
        &self,
        url: &str,
        identity: Option<&Identity>,
    ) -> Result<(Verdict, Option<Attested>), CliError> {
        let Some(path) = &self.reference else {
            let text = "--reference FILE is missing: what answers is compared with what you approved";
            return Err(CliError::Usage(text.to_owned()));
        };
        let wrong = |error: String| CliError::Input(format!("{}: {error}", path.display()));
        let references = References::parse(&input::read(path)?).map_err(|error| wrong(error.to_string()))?;
        let collateral = self.collateral.as_deref().map(input::collateral).transpose()?;
        let options = Options {
            accept_software: self.dangerous_accept_software,
            at: input::now(None),
            collateral: collateral.as_ref(),
        };
        attest(url, &references, &options, identity).map_err(|error| CliError::Input(error.to_string()))
    }
}

/// Writes the verdict as a table.
pub(super) fn print(out: &mut dyn Write, url: &str, verdict: &Verdict) -> Result<(), CliError> {
    table::checks(out, &format!("gateway {url}"), &verdict.checks)?;
    if let Some(appraisal) = &verdict.appraisal {
        answers::print(out, appraisal, false)?;
    }
    let open: Vec<_> =
        verdict.checks.iter().filter(|check| check.outcome == Outcome::Open).map(|check| check.name).collect();
    table::result(out, verdict.status, verdict.failure_reason.map(Reason::as_str), &open)?;
    Ok(())
}

/// The verdict for scripts.
pub(super) fn json(verdict: &Verdict) -> Value {
    let checks: Vec<_> = verdict.checks.iter().map(|check| claim::check_json("attestation", check)).collect();
    let boot = verdict.boot.as_ref().map(|boot| {
        json!({
            "boot": serde_json::to_value(&boot.binding).unwrap_or_default(),
            "public_key": boot.key.hex(),
        })
    });
    json!({
        "status": verdict.status.as_str(),
        "failure_reason": verdict.failure_reason.map(Reason::as_str),
        "verified": boot,
        "evidence": verdict.appraisal.as_ref().map(answers::json),
        "checks": checks,
    })
}

/// The token in a file.
pub(super) fn token_in_file(file: &Path) -> Result<Token, CliError> {
    let path = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| CliError::Read { path: path.clone(), error })?;
    Token::parse(text.trim_end()).map_err(|error| CliError::Input(format!("{path}: {error}")))
}

/// The token in a variable, if it is set.
pub(super) fn token_in_environment(variable: &str) -> Result<Option<Token>, CliError> {
    let refuse = |error: String| CliError::Input(format!("{variable}: {error}"));
    match env::var(variable) {
        Err(VarError::NotPresent) => Ok(None),
        Ok(text) => Token::parse(&text).map(Some).map_err(|error| refuse(error.to_string())),
        Err(VarError::NotUnicode(_)) => Err(refuse("not text".to_owned())),
    }
}
