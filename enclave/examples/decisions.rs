//! How long one decision takes over a policy set of 1,000 rules. Prints a table; what is measured is in the names.
//!
//! `cargo run --release -p enclave --example decisions`

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use claim::json::{self, Json};
use enclave::catalog::Catalog;
use enclave::labels::{Domains, Label, Labels};
use enclave::policy::{Action, Object, Policy, Question};
use serde_json::{Value, json};
use wire::{Blob, PolicyFile};

const RULES: usize = 1000;
const TOOLS: usize = 100;
/// Decisions of one round: long against the clock's resolution, short against a time slice.
const ROUND: u32 = 200;
const ROUNDS: usize = 101;

const MANIFEST: &str =
    r#"{"version": "1", "authored_at": "2026-06-05T00:00:00Z", "author_identity": "a", "commit_sha": "c"}"#;

const SCHEMA: &str = r#"
entity Agent = { workflow_id: String, groups: Set<String> };
entity Tool = { tool_name: String, sensitivity_level: String };
entity Doc = { name: String };
type Asked = { session_max_sensitivity: String, session_labels: Set<String>, workflow_id: String, call_count: Long };
action call_tool appliesTo { principal: Agent, resource: Tool, context: Asked };
action read_resource appliesTo { principal: Agent, resource: Doc, context: Asked };
action "tool-0" appliesTo {
    principal: Agent,
    resource: Tool,
    context: {
        session_max_sensitivity: String, session_labels: Set<String>, workflow_id: String, call_count: Long,
        input: { query: String, max_records?: Long },
    },
};
"#;

/// What each rule says beyond its scope.
const CONDITION: &str = r#"when { context.session_labels.contains("pii") && context.call_count > 100 }"#;

fn main() -> Result<(), Box<dyn Error>> {
    let catalog = catalog()?;
    let mut out = std::io::stdout();
    writeln!(out, "{RULES} rules, {TOOLS} tools; microseconds for one decision: median of {ROUNDS} rounds of {ROUND}")?;
    let arguments = json::parse(br#"{"query": "Acme Corp", "max_records": 10}"#)?;
    let tool = |name: &str| catalog.tool(name).ok_or("a tool of the catalog");
    let read = Object::resource(Action::ReadResource, &tool("tool-0")?.server, "file:///7");
    let by_tool =
        rules(|n| (format!("principal, action, resource == Tool::\"tool-{}\"", n % TOOLS), CONDITION.to_owned()));
    let by_subject = rules(|n| (format!("principal == Agent::\"user-{n}\", action, resource"), CONDITION.to_owned()));
    let by_uri = rules(|n| (format!("principal, action, resource == Doc::\"file:///{n}\""), CONDITION.to_owned()));
    let own = rules(|n| {
        let condition = format!("when {{ context.input.query != \"q{n}\" && context.call_count > 100 }}");
        let scope = if n % TOOLS == 0 {
            "action == Action::\"tool-0\", resource"
        } else {
            "action == Action::\"call_tool\", resource"
        };
        (format!("principal, {scope}"), if n % TOOLS == 0 { condition } else { CONDITION.to_owned() })
    });
    let unscoped = rules(|n| {
        (
            "principal, action == Action::\"call_tool\", resource".to_owned(),
            format!("when {{ context.workflow_id != \"w{n}\" && context.call_count > 100 }}"),
        )
    });
    for (name, cedar, object) in [
        ("scoped by tool: 10 rules for each", &by_tool, Object::Tool(tool("tool-7")?)),
        ("scoped by subject: one rule for each of 1,000", &by_subject, Object::Tool(tool("tool-7")?)),
        ("scoped by resource: one rule for each of 1,000 URIs", &by_uri, read),
        ("typed arguments: 10 rules on context.input", &own, Object::Tool(tool("tool-0")?)),
        ("no scope: all 1,000 conditions are evaluated", &unscoped, Object::Tool(tool("tool-7")?)),
    ] {
        let policy = load(cedar, &catalog)?;
        let question = question(object, &arguments);
        let verdict = policy.decide(&question);
        if !verdict.allowed() {
            return Err(format!("{name}: {verdict:?}").into());
        }
        writeln!(out, "{:>8.2}  {name}", median(&policy, &question))?;
    }
    Ok(())
}

fn median(policy: &Policy, question: &Question<'_>) -> f64 {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..ROUND {
                black_box(policy.decide(black_box(question)));
            }
            started.elapsed() / ROUND
        })
        .collect();
    rounds.sort_unstable();
    rounds.get(ROUNDS / 2).map_or(f64::NAN, |median| median.as_secs_f64() * 1e6)
}

/// A permit for all, and forbids that need all of their condition to be looked at.
fn rules(forbid: impl Fn(usize) -> (String, String)) -> String {
    let mut text = String::from("permit (principal, action, resource);\n");
    for (scope, condition) in (1..RULES).map(forbid) {
        let _ = writeln!(text, "forbid ({scope}) {condition};");
    }
    text
}

fn load(cedar: &str, catalog: &Catalog) -> Result<Policy, Box<dyn Error>> {
    let file = |path: &str, text: &str| PolicyFile { path: path.into(), bytes: Blob(text.as_bytes().to_vec()) };
    let files = [file("manifest.json", MANIFEST), file("schema.cedarschema", SCHEMA), file("rules.cedar", cedar)];
    Policy::load(&files, catalog).map_err(|refused| format!("{refused:?}").into())
}

fn catalog() -> Result<Catalog, Box<dyn Error>> {
    let mut entries: Vec<Value> = serde_json::from_str(include_str!("../../policies/quickstart/catalog.json"))?;
    let entry = entries.pop().ok_or("an entry")?;
    let tools = (0..TOOLS).map(|n| {
        let mut tool = entry.clone();
        if let Some(tool) = tool.as_object_mut() {
            tool.insert("tool_name".to_owned(), json!(format!("tool-{n}")));
        }
        tool
    });
    let text = tools.collect::<Value>().to_string();
    Catalog::parse(text.as_bytes()).map_err(|refused| format!("{refused:?}").into())
}

fn question<'a>(object: Object<'a>, arguments: &'a Json) -> Question<'a> {
    Question {
        object,
        arguments: Some(arguments),
        session_id: "session-1",
        workflow_id: "demo-agent",
        subject: Some("user-7"),
        issuer: None,
        groups: &[],
        labels: Labels::of(Label::Pii),
        call_count: 3,
        domains_touched: Domains::NONE,
        egress: false,
        attestation_platform: "software-only",
        now: 1_780_000_000,
    }
}
