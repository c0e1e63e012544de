//! Drift: a tool's definition, as its server lists it now, against the approved one.

use std::collections::BTreeMap;

use claim::json::{self, Json, MAX_SAFE_INTEGER};
use claim::{Digest, hashes};

use super::Tool;

/// What is approved of a definition, in MCP's names. Whatever else a server lists of a tool, no agent is shown.
const MEMBERS: [&str; 5] = ["annotations", "description", "inputSchema", "outputSchema", "title"];

/// How a definition differs from the approved one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The members that differ, in MCP's names; none if the tool is not listed, or its definition cannot be read.
    pub differs: Vec<&'static str>,
    /// [`hashes::drift_digest`] of the approved definition.
    pub approved: Digest,
    /// The same of the listed one, or SHA-256 of a text that cannot be read; none if the tool is not listed.
    pub found: Option<Digest>,
}

/// A server's list of tools against the approved ones, while it is being read.
pub struct Comparison<'a> {
    approved: BTreeMap<&'a str, &'a Tool>,
    found: BTreeMap<usize, Option<Drift>>,
}

impl<'a> Comparison<'a> {
    /// With the tools that should be on the list. Nothing is on it yet.
    pub fn new(tools: impl Iterator<Item = &'a Tool>) -> Self {
        Self { approved: tools.map(|tool| (tool.name.as_str(), tool)).collect(), found: BTreeMap::new() }
    }

    /// The next element of the list: its name, and its text as received. A tool that is listed twice has drifted if either
    /// definition has; one that nobody approved is nobody's.
    pub fn listed(&mut self, name: &str, text: &str) {
        let Some(tool) = self.approved.get(name) else { return };
        let drift = Drift::between(tool, text);
        let place = self.found.entry(tool.index).or_default();
        *place = drift.or(place.take());
    }

    /// The list is at its end: the tools that have drifted, by their place in the catalog.
    pub fn drifts(mut self) -> BTreeMap<usize, Drift> {
        let mut drift = |tool: &Tool| match self.found.remove(&tool.index) {
            Some(listed) => listed,
            None => Some(Drift::missing(tool)),
        };
        self.approved.values().filter_map(|tool| Some((tool.index, drift(tool)?))).collect()
    }
}

impl Drift {
    /// What is wrong, in words of ours.
    pub fn reason(&self) -> String {
        match (self.found, self.differs.as_slice()) {
            (None, _) => "tool server does not list the tool".to_owned(),
            (Some(_), []) => "tool server lists a definition that is not acceptable JSON".to_owned(),
            (Some(_), members) => format!("tool server lists another {}", members.join(", ")),
        }
    }

    fn between(tool: &Tool, text: &str) -> Option<Self> {
        let approved = approved(tool);
        let drift = |differs, found| Self { differs, approved: hashes::drift_digest(&approved), found: Some(found) };
        let Ok(listed) = json::parse(text.as_bytes()) else { return Some(drift(Vec::new(), Digest::of(text))) };
        let differs = |name: &&str| !same(given(&approved, name), given(&listed, name));
        let differs: Vec<_> = MEMBERS.into_iter().filter(differs).collect();
        (!differs.is_empty()).then(|| drift(differs, hashes::drift_digest(&listed)))
    }

    fn missing(tool: &Tool) -> Self {
        Self { differs: Vec::new(), approved: hashes::drift_digest(&approved(tool)), found: None }
    }
}

/// The approved definition as an element of `tools/list`.
fn approved(tool: &Tool) -> Json {
    json::parse(tool.definition.listing.as_bytes()).unwrap_or_default()
}

/// A member; what says nothing counts as absent, because servers and catalogs leave it out in different ways.
fn given<'a>(tool: &'a Json, name: &str) -> Option<&'a Json> {
    let says_nothing = |value: &Json| match name {
        "description" => value.as_str() == Some(""),
        "inputSchema" => value.as_object().is_some_and(BTreeMap::is_empty),
        _ => false,
    };
    tool.get(name).filter(|value| !value.is_null() && !says_nothing(value))
}

/// Equal as JSON Schema has it: keys in any order, and 1.0 is 1.
fn same(left: Option<&Json>, right: Option<&Json>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => equal(left, right),
        (None, None) => true,
        _ => false,
    }
}

fn equal(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            let member = |((name, left), (other, right)): ((&String, &Json), (&String, &Json))| {
                name == other && equal(left, right)
            };
            left.len() == right.len() && left.iter().zip(right).all(member)
        }
        (Json::Float(float), Json::Int(integer)) | (Json::Int(integer), Json::Float(float)) => {
            whole(*float) == Some(*integer)
        }
        _ => left == right,
    }
}

/// The integer that a float is, as far as every float there is one integer.
fn whole(float: f64) -> Option<i64> {
    let text = format!("{float:.0}");
    let integer = text.parse::<i64>().ok().filter(|integer| integer.abs() <= MAX_SAFE_INTEGER)?;
    (float.fract() == 0.0).then_some(integer)
}

#[cfg(test)]
mod tests {
    use claim::json;
    use serde_json::{Value, json};

    use super::{Comparison, Drift};
    use crate::catalog::Catalog;

    /// A catalog of one tool with every member.
    fn catalog() -> Catalog {
        let definition = json!({
            "description": "Finds it.", "title": "Finder", "annotations": {"readOnlyHint": true},
            "input_schema": {"type": "object", "properties": {"limit": {"type": "integer", "maximum": 50}}},
            "output_schema": {"type": "object"},
        });
        let hash = claim::hashes::definition_hash(&json::parse(definition.to_string().as_bytes()).unwrap());
        let entry = json!({
            "tool_name": "find", "approved_definition": definition, "definition_hash": hash.prefixed(),
            "server": {"display_name": "S", "url": "http://localhost:1/mcp", "transport": "streamable-http"},
            "compliance_domain": "public", "sensitivity_level": "public",
            "added_at": "2026-06-05T00:00:00Z", "approved_by": "a@example.com",
        });
        Catalog::parse(json!([entry]).to_string().as_bytes()).unwrap()
    }

    fn listed() -> Value {
        json!({
            "name": "find", "description": "Finds it.", "title": "Finder", "annotations": {"readOnlyHint": true},
            "inputSchema": {"type": "object", "properties": {"limit": {"type": "integer", "maximum": 50}}},
            "outputSchema": {"type": "object"}, "_meta": {"x": 1}, "icons": [],
        })
    }

    fn drift(texts: &[&str]) -> Option<Drift> {
        let catalog = catalog();
        let mut comparison = Comparison::new(catalog.tools().iter());
        for text in texts {
            comparison.listed("find", text);
        }
        comparison.listed("other", "{}");
        comparison.drifts().remove(&0)
    }

    fn with(name: &str, value: Value) -> String {
        let mut tool = listed();
        tool[name] = value;
        tool.to_string()
    }

    #[test]
    fn spelling_is_no_drift() {
        assert_eq!(drift(&[&listed().to_string()]), None);
        let spelled = r#" {"title":"\u0046inder","outputSchema":{"type":"object"},"inputSchema":{"properties":{"limit":
            {"maximum":5.0E1,"type":"integer"}},"type":"object"},"description":"Finds it.","name":"find",
            "annotations":{"readOnlyHint":true}}"#;
        assert_eq!(drift(&[spelled]), None);
        assert_eq!(drift(&[&listed().to_string(), spelled]), None, "twice the same is the same");
    }

    #[test]
    fn each_member_is_compared_by_name() {
        for (name, value) in [
            ("annotations", json!({"readOnlyHint": false})),
            ("annotations", Value::Null),
            ("description", json!("Finds it. ")),
            ("description", json!("Finds\u{200b} it.")),
            ("description", json!("Finds\u{a0}it.")),
            ("description", Value::Null),
            ("inputSchema", json!({})),
            ("inputSchema", json!({"type": "object", "properties": {"limit": {"type": "integer", "maximum": 51}}})),
            ("inputSchema", json!({"type": "object", "properties": {"limit": {"type": "integer", "maximum": "50"}}})),
            ("outputSchema", Value::Null),
            ("outputSchema", json!({"type": "object", "x": null})),
            ("title", json!("finder")),
            ("title", json!(7)),
        ] {
            let text = with(name, value);
            let found = drift(&[&text]).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found.differs, [name], "{text}");
            assert!(found.found.is_some_and(|found| found != found_digest()) && found.approved == found_digest());
            assert_eq!(drift(&[&text, &listed().to_string()]), Some(found.clone()), "listed twice");
            assert_eq!(drift(&[&listed().to_string(), &text]), Some(found), "listed twice");
        }
    }

    fn found_digest() -> claim::Digest {
        claim::hashes::drift_digest(&json::parse(listed().to_string().as_bytes()).unwrap())
    }

    #[test]
    fn what_cannot_be_read_and_what_is_not_listed_has_drifted() {
        let twice = r#"{"name":"find","inputSchema":{"type":"object","type":"array"}}"#;
        let found = drift(&[twice]).unwrap();
        assert_eq!((found.differs.len(), found.found), (0, Some(claim::Digest::of(twice))));
        assert_eq!(found.reason(), "tool server lists a definition that is not acceptable JSON");
        let missing = drift(&[]).unwrap();
        assert_eq!((missing.differs.len(), missing.found, missing.approved), (0, None, found_digest()));
        assert_eq!(missing.reason(), "tool server does not list the tool");
        let two = json!({"name": "find", "description": "Finds it."}).to_string();
        let reason = "tool server lists another annotations, inputSchema, outputSchema, title";
        assert_eq!(drift(&[&two]).unwrap().reason(), reason);
    }
}
