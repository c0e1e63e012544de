//! A demo server for any catalog: its tools, with answers from a file.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::tools::{self, CallResult};

/// Tools and what they answer.
#[derive(Debug)]
pub struct Script {
    catalog: String,
    answers: Vec<Answer>,
}

/// One answer of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    tool: String,
    /// Arguments that a call must have, with these values, to be answered so.
    #[serde(default)]
    arguments: Map<String, Value>,
    /// The structured result.
    structured: Box<RawValue>,
}

impl Script {
    /// Reads a catalog and a JSON array of answers.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn parse(catalog: String, answers: &str) -> Result<Self, String> {
        if tools::definitions_of(&catalog).is_empty() {
            return Err("the catalog has no tools".to_owned());
        }
        let answers = serde_json::from_str(answers).map_err(|error| format!("answers: {error}"))?;
        Ok(Self { catalog, answers })
    }

    /// Entries of `tools/list`.
    pub(super) fn definitions(&self) -> Vec<Value> {
        tools::definitions_of(&self.catalog)
    }

    /// The first answer that fits a call.
    pub(super) fn call(&self, name: &str, arguments: &str) -> Option<CallResult> {
        let mut answers = self.answers.iter().filter(|answer| answer.tool == name).peekable();
        answers.peek()?;
        let arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
        let fits = |answer: &&Answer| answer.arguments.iter().all(|(key, value)| arguments.get(key) == Some(value));
        let nothing = || CallResult::text("there is no answer to these arguments".to_owned(), true);
        Some(answers.find(fits).map_or_else(nothing, |answer| CallResult::structured(&answer.structured)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Script;

    fn bfsi() -> Script {
        let catalog = include_str!("../../../policies/bfsi/catalog.json");
        Script::parse(catalog.to_owned(), include_str!("../../../policies/bfsi/answers.json")).unwrap()
    }

    fn called(name: &str, arguments: &Value) -> Option<Value> {
        bfsi().call(name, &arguments.to_string()).map(|result| serde_json::to_value(result).unwrap())
    }

    #[test]
    fn every_tool_of_the_catalog_is_listed_and_answers() {
        for tool in bfsi().definitions() {
            let name = tool["name"].as_str().unwrap();
            assert!(tool["inputSchema"].is_object() && tool["outputSchema"].is_object(), "{name}");
            let result = called(name, &json!({"customer_id": "C-1001"})).unwrap();
            assert!(result["structuredContent"].is_object() && result["isError"] == false, "{name}: {result}");
        }
    }

    #[test]
    fn answers_fit_the_arguments() {
        let title = |query| {
            called("news.search", &json!({"query": query})).unwrap()["structuredContent"]["articles"][0]["title"]
                .clone()
        };
        assert_eq!((title("Acme"), title("other")), (json!("Acme opens a plant"), json!("Rates unchanged")));
        assert_eq!(called("kyc.lookup", &json!({"customer_id": "C-9"})).unwrap()["isError"], true);
        assert_eq!(called("unknown", &json!({})), None);
        assert!(Script::parse("[]".to_owned(), "[]").is_err() && Script::parse("[{}]".to_owned(), "{}").is_err());
    }
}
