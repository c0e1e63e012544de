//! `tools/list`: the approved definitions, never the tool servers' live ones.

use crate::catalog::Catalog;

/// The result of `tools/list`.
pub fn list(catalog: &Catalog) -> String {
    let tools: Vec<&str> = catalog.tools().iter().map(|tool| tool.definition.listing.as_str()).collect();
    format!("{{\"tools\":[{}]}}", tools.join(","))
}
