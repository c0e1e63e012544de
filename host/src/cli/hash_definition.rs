//! `host hash-definition`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::control::ControlError;
use crate::documents::{Finding, read};
use crate::enclave::{self, Enclave};
use crate::limits;
use crate::report::sha256;

const EXAMPLES: &str = "\
Example:
  jq '.[0].approved_definition' catalog.json > approved_definition.json
  host hash-definition approved_definition.json";

/// Print the definition_hash of an approved_definition
///
/// The hash is SHA-256 of the JSON in canonical form: sorted keys, no whitespace, ASCII only. How the file is formatted
/// makes no difference.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HashDefinition {
    /// JSON file with the value of approved_definition
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl HashDefinition {
    pub(super) async fn execute(self) -> Outcome {
        let document = read(&self.file, limits::DEFINITION_FILE, None)?;
        let mut enclave = Enclave::start(&enclave::sibling()?).await?;
        let hash = enclave.control.hash_definition(document).await.map_err(|error| self.explain(error))?;
        Ok(writeln!(std::io::stdout(), "{}", sha256(hash))?)
    }

    fn explain(&self, error: ControlError) -> Box<dyn std::error::Error> {
        let ControlError::Refused(refusal) = error else { return error.into() };
        let finding = Finding {
            file: self.file.display().to_string(),
            field: Some(refusal.field.0).filter(|field| !field.is_empty()),
            found: refusal.found.0,
            expected: refusal.expected.0,
        };
        finding.into()
    }
}
