//! `host check`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use wire::BootReport;

use super::Outcome;
use crate::control::ControlError;
use crate::documents::{Documents, Finding, Mode};
use crate::enclave::{self, Enclave};
use crate::events::{all_warnings, enforcement, provider};
use crate::report::{sha256, unix_ms};

const EXAMPLES: &str = "\
Examples:
  host check --config cmcp-config.yaml
  host check --config cmcp-config.yaml --json | jq -r .policy_bundle_hash

Exit code: 0 if the gateway would start with this configuration, 1 if not. Warnings do not change it; among them are \
tool servers over stdio whose program is missing here, or whose entrypoint is not the one that the catalog pins.";

/// Validate a configuration, its policies and its catalog without serving, and print their hashes
///
/// The answer is the enclave's own: it is started in dev mode, asked and stopped.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write one JSON object to stdout, also if something is wrong
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) async fn execute(self) -> Outcome {
        match self.check().await? {
            Ok((report, warnings)) => {
                let text =
                    if self.json { as_json(&report, &warnings).to_string() } else { as_text(&report, &warnings) };
                Ok(writeln!(std::io::stdout(), "{text}")?)
            }
            Err(finding) => {
                if self.json {
                    writeln!(std::io::stdout(), "{}", refusal(&finding))?;
                }
                Err(finding.into())
            }
        }
    }

    async fn check(&self) -> Result<Result<(BootReport, Vec<String>), Finding>, Box<dyn std::error::Error>> {
        let documents = match Documents::load(&self.config) {
            Ok(documents) => documents,
            Err(finding) => return Ok(Err(finding)),
        };
        let mut enclave = Enclave::start(&enclave::sibling()?).await?;
        match enclave.control.check(documents.bundle(Mode::DEV, unix_ms(), None)).await {
            Ok(report) => {
                let warnings = all_warnings(&report, &documents);
                Ok(Ok((report, warnings)))
            }
            Err(ControlError::Refused(refusal)) => Ok(Err(documents.finding(&refusal))),
            Err(error) => Err(error.into()),
        }
    }
}

fn as_text(report: &BootReport, warnings: &[String]) -> String {
    let mut text = format!(
        "ok\nprovider             {}\nenforcement_mode     {}\npolicy bundle        {} ({} policies)\ncatalog              {} ({} tools)\nconfig               {}",
        provider(report.provider),
        enforcement(report.enforcement),
        sha256(report.bundle_hash),
        report.policies,
        sha256(report.catalog_hash),
        report.tools,
        sha256(report.config_hash),
    );
    let signed = report.policy_signed_by.map_or_else(|| "unsigned (operator.public_key is not set)".to_owned(), sha256);
    text.extend(["\npolicy signed by     ", &signed]);
    if let Some(epoch) = report.controls_epoch {
        text.extend(["\noperator controls    epoch ", &epoch.to_string()]);
    }
    if report.halted {
        text.push_str(
            "\nwarning: it would start halted and refuse every call: kill_switch.enabled needs a file in controls_path",
        );
    }
    for warning in warnings {
        text.push_str("\nwarning: ");
        text.push_str(warning);
    }
    text
}

fn as_json(report: &BootReport, warnings: &[String]) -> Value {
    json!({
        "ok": true,
        "provider": provider(report.provider),
        "enforcement_mode": enforcement(report.enforcement),
        "policy_bundle_hash": sha256(report.bundle_hash),
        "policies": report.policies,
        "tool_catalog_hash": sha256(report.catalog_hash),
        "tools": report.tools,
        "config_hash": sha256(report.config_hash),
        "policy_signed_by": report.policy_signed_by.map(sha256),
        "controls_epoch": report.controls_epoch,
        "halted": report.halted,
        "warnings": warnings,
    })
}

fn refusal(finding: &Finding) -> Value {
    json!({
        "ok": false,
        "file": finding.file,
        "field": finding.field,
        "found": finding.found,
        "expected": finding.expected,
    })
}
