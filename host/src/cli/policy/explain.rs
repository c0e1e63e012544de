//! `host policy explain`

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::Outcome;
use super::super::bundle::Bundle;
use super::cases::Answer;
use crate::documents::read;
use crate::limits;

const EXAMPLES: &str = "\
Examples:
  host policy explain policies/ --tool salesforce.contacts --label pii
  host policy explain policies/ --tool payments.transfer --arguments '{\"amount\": 1500, \"to\": \"DE02\"}'
  host policy explain policies/ --action read_resource --uri file:///etc/hosts --subject alice
  host policy explain policies/ --catalog catalog.json --request request.json

A request file holds the object that a case has as \"request\" (policies/README.md); - is standard input. Flags go \
before its members.

Exit code: 0 for any decision, 1 if the bundle or the request is not understood.";

/// Say which policies decide on one request, and why
///
/// Lists every policy whose scope matches the request and whether its conditions are satisfied.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// Folder of the policy bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Catalog file [default: catalog.json beside the bundle's folder]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// File with the request as JSON
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// What is asked, such as read_resource [default: call_tool]
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Tool, as in the catalog
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Tool server's display_name, for actions other than call_tool
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// A resource's URI
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// A prompt's name
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// Arguments of the call as a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    arguments: Option<Value>,
    /// Workflow that the agent says it runs
    #[arg(long, value_name = "ID")]
    workflow_id: Option<String>,
    /// Authenticated subject
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Group of the subject; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Label that the session holds, such as pii; may be given several times
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Calls of the session before this one
    #[arg(long, value_name = "N")]
    call_count: Option<u64>,
    /// Write one JSON object to stdout
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) async fn execute(self) -> Outcome {
        let request = self.written()?;
        let bundle = Bundle::new(self.bundle, self.catalog);
        let answers = bundle.ask(std::slice::from_ref(&request), true).await?;
        let answer = answers.map_err(|fault| format!("request: {}", fault.text))?.pop();
        let answer = answer.ok_or("the enclave did not answer")?;
        if self.json {
            return Ok(writeln!(std::io::stdout(), "{answer}")?);
        }
        let answer: Answer = serde_json::from_value(answer)?;
        Ok(writeln!(std::io::stdout(), "{}", as_text(&answer))?)
    }

    /// The request of the file with what the flags say.
    fn written(&self) -> Result<Value, Box<dyn std::error::Error>> {
        let mut request = match &self.request {
            Some(path) if path.as_os_str() == "-" => {
                let mut text = Vec::new();
                std::io::stdin().take(limits::CASE_FILE).read_to_end(&mut text)?;
                serde_json::from_slice(&text)?
            }
            Some(path) => serde_json::from_slice(&read(path, limits::CASE_FILE, None)?)
                .map_err(|error| format!("{}: {error}", path.display()))?,
            None => Value::Object(Map::new()),
        };
        let members = request.as_object_mut().ok_or("the request is not a JSON object")?;
        let flags = [
            ("action", self.action.as_ref().map(|text| json!(text))),
            ("tool", self.tool.as_ref().map(|text| json!(text))),
            ("server", self.server.as_ref().map(|text| json!(text))),
            ("uri", self.uri.as_ref().map(|text| json!(text))),
            ("prompt", self.prompt.as_ref().map(|text| json!(text))),
            ("arguments", self.arguments.clone()),
            ("workflow_id", self.workflow_id.as_ref().map(|text| json!(text))),
            ("subject", self.subject.as_ref().map(|text| json!(text))),
            ("groups", Some(json!(self.groups)).filter(|_| !self.groups.is_empty())),
            ("labels", Some(json!(self.labels)).filter(|_| !self.labels.is_empty())),
            ("call_count", self.call_count.map(|count| json!(count))),
        ];
        members.extend(flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(request)
    }
}

fn json_value(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

fn as_text(answer: &Answer) -> String {
    let mut lines = vec![super::by(answer.decision.as_str(), &answer.policies)];
    lines.extend(reason(answer).map(|reason| format!("reason: {reason}")));
    lines.extend(answer.advice.iter().map(|(key, value)| format!("advice: @{key}({value:?})")));
    if !answer.rules.is_empty() {
        lines.push("\npolicies whose scope matches:".to_owned());
    }
    let width = answer.rules.iter().map(|rule| rule.policy.len()).max().unwrap_or_default();
    let rules = answer.rules.iter();
    lines.extend(rules.map(|rule| format!("  {:width$}  {:6}  {}", rule.policy, rule.effect, rule.outcome)));
    lines.join("\n")
}

/// Why nothing decided.
fn reason(answer: &Answer) -> Option<&str> {
    match answer.reason.as_deref() {
        Some(reason) => Some(reason),
        None if answer.failed => Some("a policy could not be evaluated"),
        None if answer.policies.is_empty() => Some("no policy permits it"),
        None => None,
    }
}
