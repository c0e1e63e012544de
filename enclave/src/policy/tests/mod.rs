mod actions;
mod decide;
mod differential;
mod load;
mod typed;

use serde_json::{Value, json};
use wire::{Blob, BootRefusal, PolicyFile};

use super::{Object, Policy, Question};
use crate::catalog::{Catalog, Tool};
use crate::labels::{Domains, Labels};

const MANIFEST: &str = include_str!("../../../../policies/quickstart/policies/manifest.json");
const DEMO: &str = include_str!("../../../../policies/quickstart/policies/demo.cedar");
const SCHEMA: &str = include_str!("../../../../policies/quickstart/policies/schema.cedarschema");
const CATALOG: &str = include_str!("../../../../policies/quickstart/catalog.json");

/// The quickstart's schema as Cedar text.
const SCHEMA_TEXT: &str = r"
namespace cMCP {
    entity Principal = { session_id: String, workflow_id: String };
    entity Resource = { tool_name: String };
    action call_tool appliesTo {
        principal: [Principal],
        resource: [Resource],
        context: { session_max_sensitivity: String, workflow_id: String },
    };
}
";

/// Everything that the vocabulary has.
const SCHEMA_FULL: &str = r#"
type Names = Set<String>;
entity Agent = { session_id: String, workflow_id: String, subject: String, issuer: String, groups?: Names };
entity Tool = {
    tool_name: String, server: String, compliance_domain: String, sensitivity_level: String, transport: String,
    evidence_class: String, kind: String, name: String,
};
action "calls";
action call_tool in ["calls"] appliesTo {
    principal: Agent,
    resource: Tool,
    context: {
        session_max_sensitivity: String, session_labels: Names, sensitivity_level_int: Long, workflow_id: String,
        call_count: Long, domains_touched: Set<String>, egress: Bool, attestation_platform: String, time: Long,
    },
};
"#;

/// Every action, with types of its own for some, and one of a tool.
const SCHEMA_ALL: &str = r#"
type Names = Set<String>;
type Asked = {
    session_max_sensitivity: String, session_labels: Names, sensitivity_level_int: Long, workflow_id: String,
    call_count: Long, domains_touched: Names, egress: Bool, time: Long,
};
entity Agent, Robot = {
    session_id: String, workflow_id: String, subject: String, issuer: String, groups?: Names,
};
entity Tool, Doc, Server = {
    kind: String, name: String, tool_name: String, server: String, compliance_domain: String, sensitivity_level: String,
};
action "calls", "reads";
action call_tool in ["calls"] appliesTo { principal: Agent, resource: Tool, context: Asked };
action echo in ["calls"] appliesTo {
    principal: Agent,
    resource: Tool,
    context: {
        session_max_sensitivity: String, session_labels: Names, sensitivity_level_int: Long, workflow_id: String,
        call_count: Long, domains_touched: Names, egress: Bool, time: Long,
        input: { query: String, max_records?: Long },
    },
};
action read_resource in ["reads"] appliesTo { principal: Agent, resource: Doc, context: Asked };
action subscribe_resource in ["reads"] appliesTo { principal: Robot, resource: Doc, context: Asked };
action get_prompt appliesTo { principal: Agent, resource: Tool, context: Asked };
action complete appliesTo { principal: Agent, resource: Doc, context: Asked };
action list_resources, list_prompts, set_log_level, sample, elicit, list_roots
    appliesTo { principal: Agent, resource: Server, context: Asked };
"#;

fn file(path: &str, text: &str) -> PolicyFile {
    PolicyFile { path: path.into(), bytes: Blob(text.as_bytes().to_vec()) }
}

fn bundle(cedar: &str, schema: &str) -> Vec<PolicyFile> {
    vec![file("manifest.json", MANIFEST), file("demo.cedar", cedar), file("schema.cedarschema", schema)]
}

/// `salesforce.contacts` of the quickstart, and `echo`.
fn catalog() -> Catalog {
    let mut entries: Value = serde_json::from_str(CATALOG).unwrap();
    let mut echo = entries[0].clone();
    echo["tool_name"] = json!("echo");
    echo["sensitivity_level"] = json!("public");
    echo["compliance_domain"] = json!("internal");
    entries.as_array_mut().unwrap().push(echo);
    Catalog::parse(entries.to_string().as_bytes()).unwrap()
}

fn load(cedar: &str, schema: &str) -> Result<Policy, BootRefusal> {
    Policy::load(&bundle(cedar, schema), &catalog())
}

fn question(tool: &Tool) -> Question<'_> {
    Question {
        object: Object::Tool(tool),
        arguments: None,
        session_id: "s-1",
        workflow_id: "demo-agent",
        subject: None,
        issuer: None,
        groups: &[],
        labels: Labels::PUBLIC,
        call_count: 0,
        domains_touched: Domains::NONE,
        egress: false,
        attestation_platform: "software-only",
        now: 1_780_000_000,
    }
}

/// Whether the policies allow a call of `echo`, after `change`.
fn allows(cedar: &str, schema: &str, change: impl FnOnce(&mut Question<'_>)) -> bool {
    let catalog = catalog();
    let policy = Policy::load(&bundle(cedar, schema), &catalog).unwrap_or_else(|refused| panic!("{refused:?}"));
    let mut question = question(catalog.tool("echo").unwrap());
    change(&mut question);
    policy.decide(&question).allowed()
}

/// The quickstart's policies, for tests elsewhere.
pub(crate) fn quickstart() -> std::rc::Rc<Policy> {
    let catalog = Catalog::parse(CATALOG.as_bytes()).unwrap();
    let file = |path: &str, text: &str| PolicyFile { path: path.into(), bytes: Blob(text.into()) };
    let files = [file("manifest.json", MANIFEST), file("schema.cedarschema", SCHEMA), file("demo.cedar", DEMO)];
    std::rc::Rc::new(Policy::load(&files, &catalog).unwrap())
}
