//! Inspection: what goes to tool servers and what comes from them, held against the approved definitions and the bundle's
//! patterns; and `@redact`.
//!
//! What to inspect is data in the policy bundle (`inspection` in `manifest.json`), so it is signed and measured with it.
//! Everything here is linear in the message. What a finding means for the call is decided in [`crate::mcp`].

mod patterns;
mod redact;
mod schema;
mod settings;
mod surplus;
mod text;
mod tree;

use claim::json::{self, Json};
use wire::{BootRefusal, Document, RefusalCode};

use crate::catalog::{Catalog, Tool};
use crate::document::refusal;
use crate::labels::Labels;
use crate::mcp::members::Members;
use patterns::Patterns;
use schema::Schema;
use settings::{Arguments, Results, Schemas};
use text::Text;

pub use redact::Fields;
pub(crate) use redact::redact;
pub use schema::Violation;
pub use settings::Settings;

/// What a bundle has inspected, compiled for the tools of one catalog.
#[derive(Debug)]
pub struct Inspection {
    patterns: Patterns,
    schemas: Schemas,
    /// By the tool's index.
    tools: Vec<Definitions>,
}

/// A tool's schemas.
#[derive(Debug)]
struct Definitions {
    arguments: Schema,
    result: Option<Schema>,
}

/// What is in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen<'i> {
    /// Labels that its content has.
    pub labels: Labels,
    /// Names of the detectors that matched.
    pub detectors: Vec<&'i str>,
    /// Names of the injection rules that matched.
    pub injections: Vec<&'i str>,
    /// Whether one of them denies.
    pub denied: bool,
    /// Kinds of content that were not inspected.
    pub unseen: Vec<&'static str>,
}

/// A structured result beside its approved definition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The result without the members that the definition does not have, and how many those were.
    pub without_surplus: Option<(String, u64)>,
    /// How it does not fit.
    pub violation: Option<Violation>,
    /// Whether that refuses it.
    pub refused: bool,
}

impl Inspection {
    /// Compiles everything.
    ///
    /// # Errors
    /// The first pattern or keyword that is wrong, too large or unknown.
    pub(crate) fn load(settings: &Settings, catalog: &Catalog, document: &Document) -> Result<Self, BootRefusal> {
        settings.check(document)?;
        let patterns = Patterns::compile(&settings.detectors, &settings.injection, document)?;
        let tools = catalog.tools().iter().map(Definitions::of).collect::<Result<_, _>>()?;
        Ok(Self { patterns, schemas: settings.schema, tools })
    }

    /// What patterns find in a JSON message, and what they could not see.
    pub fn see(&self, message: &str) -> Seen<'_> {
        let text = Text::of(message);
        if self.patterns.is_empty() {
            return Seen { unseen: text.unseen, ..Seen::default() };
        }
        let found = self.patterns.matches(&text.lines);
        Seen {
            labels: found.labels,
            detectors: found.detectors,
            injections: found.injections,
            denied: found.denied,
            unseen: text.unseen,
        }
    }

    /// Holds the arguments of a call, of this many bytes, against the approved `input_schema`.
    pub fn arguments(&self, tool: &Tool, arguments: &Json, bytes: usize) -> Option<Violation> {
        self.tools.get(tool.index)?.arguments.check(arguments, bytes).err()
    }

    /// Whether arguments that do not fit are refused.
    pub fn refuses_arguments(&self) -> bool {
        self.schemas.arguments == Arguments::Strict
    }

    /// Holds a result against the approved `output_schema`. Nothing is asked of errors and of results that want input.
    pub fn result(&self, tool: &Tool, result: &str) -> Held {
        let Some(schema) = self.tools.get(tool.index).and_then(|tool| tool.result.as_ref()) else {
            return Held::default();
        };
        let unreadable = |without_surplus| Held {
            without_surplus,
            violation: Some(Violation { at: String::new(), keyword: "readable JSON" }),
            refused: self.schemas.results != Results::Log,
        };
        let without_surplus = match self.schemas.results {
            Results::Redact => match surplus::drop_surplus(result, schema) {
                Ok(changed) => changed,
                Err(tree::Unreadable) => return unreadable(None),
            },
            Results::Strict | Results::Log => None,
        };
        let text = without_surplus.as_ref().map_or(result, |(text, _)| text);
        let Ok(members) = Members::parse(text) else { return unreadable(without_surplus) };
        if !is_complete(&members) {
            return Held::default();
        }
        let violation = match members.find("structuredContent").map(|value| json::parse(value.get().as_bytes())) {
            Some(Ok(value)) => schema.check(&value, text.len()).err(),
            Some(Err(_)) => return unreadable(without_surplus),
            None => Some(Violation { at: String::new(), keyword: "structuredContent" }),
        };
        let refused = violation.is_some() && self.schemas.results != Results::Log;
        Held { without_surplus, violation, refused }
    }
}

/// Whether a result is one that the definition speaks of.
fn is_complete(members: &Members<'_>) -> bool {
    let is = |name: &str, value: &str| members.find(name).is_some_and(|found| found.get() == value);
    let wants_input = members.find("resultType").and_then(crate::mcp::members::string);
    !is("isError", "true") && wants_input.as_deref() != Some("input_required")
}

impl Definitions {
    fn of(tool: &Tool) -> Result<Self, BootRefusal> {
        let compile = |name: &str, schema: &Json| {
            Schema::compile(schema).map_err(|wrong| {
                let field = format!("{}.approved_definition.{name}{}", tool.name, wrong.at);
                refusal(RefusalCode::Unsupported, &Document::Catalog, &field, &wrong.found, &wrong.expected)
            })
        };
        let definition = &tool.definition;
        Ok(Self {
            arguments: compile("input_schema", &definition.input_schema)?,
            result: definition.output_schema.as_ref().map(|schema| compile("output_schema", schema)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests;
