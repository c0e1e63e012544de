//! `host schema`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Outcome, bundle};
use crate::documents::read;
use crate::enclave::{self, Enclave};
use crate::limits;

const EXAMPLES: &str = "\
Example:
  host schema --catalog catalog.json > policies/schema.cedarschema

A rule can then look at arguments, and Cedar checks it before the gateway serves:
  forbid (principal, action == cMCP::Action::\"payments.transfer\", resource)
  when { context.input.amount > 1000 };

A rule about all tool calls says: action in cMCP::Action::\"call_tool\"";

/// Write a Cedar schema for the tools of a catalog, with their arguments typed from input_schema
///
/// The schema has one action for each tool. Comments say which arguments Cedar cannot see, and why.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {
    /// Catalog file
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
}

impl Schema {
    pub(super) async fn execute(self) -> Outcome {
        let catalog = read(&self.catalog, limits::CATALOG_FILE, None)?;
        let mut enclave = Enclave::start(&enclave::sibling()?).await?;
        let text = enclave.control.schema(catalog).await;
        let text = text.map_err(|error| bundle::explain(error, None, &self.catalog))?;
        Ok(std::io::stdout().write_all(&text)?)
    }
}
