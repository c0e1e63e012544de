//! Tools whose server defines them otherwise than was approved: on record in the session's chain and in its claim, and refused.

mod changes;
mod definitions;
mod lists;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::mcp_server::{McpServer, Speaks, Turn};
use tests::setup::{CONTACTS, Setup, listed};

use crate::quickstart::verify;

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
/// Longer than `catalog.recheck_seconds: 1`.
const A_WHILE: Duration = Duration::from_millis(1100);
const DENIED: (&str, &str, &str) = (CONTACTS, "deny", "CATALOG_DRIFT");
const ALLOWED: (&str, &str, &str) = (CONTACTS, "allow", "");

/// A server whose list a test changes.
struct Server {
    mcp: McpServer,
    tools: Arc<Mutex<Value>>,
}

impl Server {
    /// Lists what the catalog approves, until told otherwise.
    fn start(speaks: Speaks, script: impl Fn(&mut Turn<'_>) + Send + Sync + 'static) -> Self {
        let tools = Arc::new(Mutex::new(approved()));
        let lists = tools.clone();
        let mcp = McpServer::start(speaks, move |turn| {
            script(turn);
            if turn.method() == "tools/list" && turn.is_unanswered() {
                let tools = lists.lock().expect("not poisoned").clone();
                turn.result(&json!({"tools": tools}).to_string());
            }
        });
        Self { mcp, tools }
    }

    fn set(&self, tools: &Value) {
        tools.clone_into(&mut self.tools.lock().expect("not poisoned"));
    }

    /// Changes one member of the first tool.
    fn drift(&self, name: &str, value: &Value) {
        self.tools.lock().expect("not poisoned")[0][name].clone_from(value);
    }

    fn lists(&self) -> usize {
        self.mcp.of("tools/list").len()
    }

    fn calls(&self) -> usize {
        self.mcp.of("tools/call").len()
    }
}

/// The quickstart's tool with a title and annotations, on this server.
fn setup(url: &str) -> Setup {
    let mut setup = Setup::governed(url, &[]);
    let definition = &mut setup.catalog[0]["approved_definition"];
    definition["title"] = json!("Contacts");
    definition["annotations"] = json!({"readOnlyHint": true, "openWorldHint": false});
    let parsed = claim::json::parse(definition.to_string().as_bytes()).expect("JSON");
    setup.catalog[0]["definition_hash"] = json!(claim::hashes::definition_hash(&parsed).prefixed());
    setup
}

fn approved() -> Value {
    json!([listed(&setup("").catalog[0])])
}

fn of_type(entries: &[Value], entry_type: &str) -> Vec<Value> {
    entries.iter().filter(|entry| entry["entry_type"] == entry_type).cloned().collect()
}

/// The `catalog_drift` entries of a session; its claim says whether there are any, and an outsider agrees.
fn drifts(gateway: &Gateway, session: &str) -> Vec<Value> {
    let found = of_type(&gateway.entries(session), "catalog_drift");
    let claim = gateway.claim(session);
    assert_eq!(claim["gateway"]["catalog"]["drift_detected"], !found.is_empty());
    let (_, verdict) = verify(gateway, session);
    assert_eq!(verdict["status"], "partially_verified", "{verdict}");
    assert!(verdict["failure_reason"].is_null(), "{verdict}");
    found.into_iter().map(|entry| entry["detail"].clone()).collect()
}

fn refused(answer: &Message, code: &str) {
    assert_eq!(answer.error_code(), code, "{}", answer.text());
    assert!(answer.json()["error"]["data"]["audit_entry_hash"].is_string(), "it is on record: {}", answer.text());
}

fn served(answer: &Message) {
    assert!(answer.json()["result"].is_object(), "{}", answer.text());
}

/// A flag that makes a server say that its tools have changed.
fn flag() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (flag.clone(), flag)
}
