//! The two tools.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::quickstart;

const CONTACTS: [Contact; 5] = [
    Contact::new("003Qy00000A1", "Ada Okafor", "ada.okafor@acme.example", "Acme Corp"),
    Contact::new("003Qy00000A2", "Bruno Silva", "bruno.silva@acme.example", "Acme Corp"),
    Contact::new("003Qy00000A3", "Chen Wei", "chen.wei@acme.example", "Acme Corp"),
    Contact::new("003Qy00000B1", "Dana Novak", "dana.novak@globex.example", "Globex"),
    Contact::new("003Qy00000C1", "Elif Kaya", "elif.kaya@initech.example", "Initech"),
];

#[derive(Serialize)]
struct Contact {
    id: &'static str,
    name: &'static str,
    email: &'static str,
    account: &'static str,
}

impl Contact {
    const fn new(id: &'static str, name: &'static str, email: &'static str, account: &'static str) -> Self {
        Self { id, name, email, account }
    }

    fn matches(&self, query: &str) -> bool {
        self.id == query || contains_ignoring_case(self.account, query)
    }
}

/// Entries of `tools/list`.
pub(super) fn definitions() -> Vec<Value> {
    let mut definitions = definitions_of(quickstart::CATALOG);
    definitions.push(json!({
        "name": "echo",
        "description": "Answers with its arguments.",
        "inputSchema": { "type": "object", "properties": { "message": { "type": "string" } } },
    }));
    definitions
}

/// The result of a call.
#[derive(Serialize)]
pub(super) struct CallResult {
    content: [TextContent; 1],
    #[serde(rename = "structuredContent", skip_serializing_if = "Option::is_none")]
    structured: Option<Box<RawValue>>,
    #[serde(rename = "isError")]
    is_error: bool,
}

#[derive(Serialize)]
struct TextContent {
    r#type: &'static str,
    text: String,
}

impl CallResult {
    /// A structured result, as text too.
    pub(super) fn structured(structured: &RawValue) -> Self {
        Self { structured: Some(structured.to_owned()), ..Self::text(structured.get().to_owned(), false) }
    }

    pub(super) fn text(text: String, is_error: bool) -> Self {
        Self { content: [TextContent { r#type: "text", text }], structured: None, is_error }
    }
}

/// The result of a call, or `None` for an unknown tool.
pub(super) fn call(name: &str, arguments: &str) -> Option<CallResult> {
    match name {
        "salesforce.contacts" => Some(contacts(arguments)),
        "echo" => Some(CallResult::text(arguments.to_owned(), false)),
        _ => None,
    }
}

/// Members of a definition, as MCP's `tools/list` and as the catalog spells them.
const MEMBERS: [(&str, &str); 5] = [
    ("title", "title"),
    ("description", "description"),
    ("inputSchema", "input_schema"),
    ("outputSchema", "output_schema"),
    ("annotations", "annotations"),
];

/// The approved definitions of a catalog, as MCP spells them.
pub(super) fn definitions_of(catalog: &str) -> Vec<Value> {
    let entries = serde_json::from_str::<Vec<Value>>(catalog).unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let named = |(listed, approved): &(&str, &str)| {
                Some(((*listed).to_owned(), entry["approved_definition"].get(approved)?.clone()))
            };
            let name = ("name".to_owned(), entry["tool_name"].clone());
            Value::Object([name].into_iter().chain(MEMBERS.iter().filter_map(named)).collect())
        })
        .collect()
}

#[derive(Deserialize)]
struct Query {
    query: String,
    #[serde(default = "default_records")]
    max_records: usize,
}

fn default_records() -> usize {
    50
}

#[derive(Serialize)]
struct Found<'a> {
    contacts: &'a [&'a Contact],
    total_count: usize,
}

fn contacts(arguments: &str) -> CallResult {
    let query = match serde_json::from_str::<Query>(arguments) {
        Ok(query) => query,
        Err(error) => return CallResult::text(format!("arguments: {error}"), true),
    };
    let found: Vec<&Contact> = CONTACTS.iter().filter(|contact| contact.matches(&query.query)).collect();
    let shown = found.get(..query.max_records.min(found.len())).unwrap_or_default();
    // Serialising these types cannot fail; a result without structured content would show if that ever changed.
    let structured = to_raw_value(&Found { contacts: shown, total_count: found.len() }).ok();
    let text = structured.as_deref().map_or("", RawValue::get).to_owned();
    CallResult { structured, ..CallResult::text(text, false) }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    part.is_empty() || text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(name: &str, arguments: &str) -> Value {
        serde_json::to_value(call(name, arguments).unwrap()).unwrap()
    }

    #[test]
    fn bad_arguments_are_a_tool_error() {
        let result = called("salesforce.contacts", r#"{"max_records":1}"#);
        assert_eq!(result["isError"], true);
        assert!(result["content"][0]["text"].as_str().unwrap().contains("query"));
    }

    #[test]
    fn finds_by_account_in_any_case_and_by_id() {
        for (query, count) in [("acme", 3), ("003Qy00000B1", 1), ("nobody", 0), ("", 5)] {
            let arguments = json!({ "query": query }).to_string();
            assert_eq!(called("salesforce.contacts", &arguments)["structuredContent"]["total_count"], count);
        }
    }

    #[test]
    fn echo_answers_with_its_arguments() {
        assert_eq!(called("echo", r#"{"message":"hi"}"#)["content"][0]["text"], r#"{"message":"hi"}"#);
    }
}
