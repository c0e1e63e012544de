//! `host policy test`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::Outcome;
use super::super::bundle::Bundle;
use super::cases::{self, Answer, Case};

const EXAMPLES: &str = "\
Examples:
  host policy test policies/quickstart/policies policies/quickstart/cases
  host policy test policies/ cases/session.json --catalog catalog.json --json

A file of cases is a JSON array of
  {
    \"name\": \"once the session holds personal data, contacts are denied\",
    \"request\": {\"tool\": \"salesforce.contacts\", \"workflow_id\": \"demo-agent\", \"labels\": [\"pii\"]},
    \"expect\": {\"decision\": \"deny\", \"policies\": [\"demo.cedar:2\"]}
  }
The members of a request are listed in policies/README.md.

Exit code: 0 if every case gets what it expects, 1 if not.";

/// Run request-to-decision cases against a policy bundle
///
/// Prints one line for each case, and for each that fails what was expected, what came out and by which policies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// Folder of the policy bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// File of cases, or folder of such files
    #[arg(value_name = "CASES")]
    cases: PathBuf,
    /// Catalog file [default: catalog.json beside the bundle's folder]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Write one JSON object to stdout
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) async fn execute(self) -> Outcome {
        let cases = cases::load(&self.cases)?;
        let requests: Vec<Value> = cases.iter().map(|case| case.request.clone()).collect();
        let answers = match Bundle::new(self.bundle, self.catalog).ask(&requests, false).await? {
            Ok(answers) => answers,
            Err(fault) => {
                let case = fault.index.and_then(|index| cases.get(index)).map_or("cases", |case| case.name.as_str());
                return Err(format!("{case}: {}", fault.text).into());
            }
        };
        let answers: Vec<Answer> = answers.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        let run: Vec<_> = cases.iter().zip(&answers).collect();
        let failed = run.iter().filter(|(case, answer)| case.expect.difference(answer).is_some()).count();
        let text = if self.json { as_json(&run, failed).to_string() } else { as_text(&run, failed) };
        writeln!(std::io::stdout(), "{text}")?;
        if run.len() != cases.len() {
            return Err("the enclave did not answer every case".into());
        }
        if failed > 0 { Err(format!("{failed} of {} cases failed", cases.len()).into()) } else { Ok(()) }
    }
}

fn as_text(run: &[(&Case, &Answer)], failed: usize) -> String {
    let width = run.iter().map(|(case, _)| case.name.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for (case, answer) in run {
        let difference = case.expect.difference(answer);
        let mark = if difference.is_some() { "FAIL" } else { "ok  " };
        let decided = super::by(answer.decision.as_str(), &answer.policies);
        lines.push(format!("{mark}  {:width$}  {decided}", case.name));
        if let Some((expected, found)) = difference {
            lines.push(format!("      expected {expected}"));
            lines.push(format!("      found    {found}"));
        }
    }
    lines.push(format!("{} cases, {failed} failed", run.len()));
    lines.join("\n")
}

fn as_json(run: &[(&Case, &Answer)], failed: usize) -> Value {
    let cases: Vec<_> = run
        .iter()
        .map(|(case, answer)| {
            let difference = case.expect.difference(answer);
            json!({
                "name": case.name,
                "ok": difference.is_none(),
                "decision": answer.decision.as_str(),
                "policies": answer.policies,
                "expected": difference.map(|(expected, _)| expected),
            })
        })
        .collect();
    json!({"ok": failed == 0, "failed": failed, "cases": cases})
}
