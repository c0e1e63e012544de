//! MCP clients: the handshake, sessions by header, denials that keep the session alive.

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::{Connection, Message};
use tests::setup::{CONTACTS, Setup, rpc};
use tests::upstream::Upstream;

/// A client that has been through `initialize`.
struct Client {
    connection: Connection,
    session: String,
}

impl Client {
    fn start(gateway: &Gateway) -> Self {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let mut connection = gateway.connect();
        let answer = post(&mut connection, &[], &rpc(0, "initialize", &params));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let result = &answer.json()["result"];
        assert_eq!(result["protocolVersion"], "2025-06-18");
        assert!(result["capabilities"]["tools"].is_object(), "{result}");
        assert!(result["serverInfo"]["name"].is_string(), "{result}");
        let session = answer.header("mcp-session-id").expect("a session id").to_owned();
        let mut client = Self { connection, session };
        let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let answer = client.send(initialized);
        assert_eq!((answer.status(), answer.body.len()), (202, 0));
        client
    }

    fn send(&mut self, body: &[u8]) -> Message {
        let headers = [("mcp-session-id", self.session.as_str()), ("mcp-protocol-version", "2025-06-18")];
        post(&mut self.connection, &headers, body)
    }

    fn call(&mut self, tool: &str) -> Message {
        self.send(&rpc(7, "tools/call", &json!({"name": tool, "arguments": {"query": "Acme"}})))
    }
}

fn post(connection: &mut Connection, headers: &[(&str, &str)], body: &[u8]) -> Message {
    let fixed = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    connection.request("POST", "/mcp", &[&fixed, headers].concat(), body).expect("an answer")
}

fn meta_receipt(answer: &Message) -> Value {
    answer.json()["result"]["_meta"]["io.cmcp/receipt"].clone()
}

#[test]
fn a_client_lists_and_calls() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut client = Client::start(&gateway);
    assert_eq!(client.send(&rpc(1, "ping", &json!({}))).json()["result"], json!({}));

    let listed = client.send(&rpc(2, "tools/list", &json!({}))).json();
    assert_eq!(listed["result"]["tools"][0]["name"], CONTACTS);
    assert!(listed["result"]["tools"][0]["inputSchema"].is_object(), "{listed}");

    let answer = client.call(CONTACTS);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let receipt = meta_receipt(&answer);
    assert!(receipt["call_id"].is_string(), "{}", answer.text());
    assert!(answer.json()["result"].get("_cmcp").is_none(), "an MCP client gets its receipt in _meta");
    let session = receipt["session_id"].as_str().expect("a session");
    assert_eq!(gateway.claim(session)["gateway"]["call_summary"]["tool_calls_total"], 1);
}

#[test]
fn a_denial_keeps_the_session() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    let mut client = Client::start(&gateway);
    assert_eq!(client.call(CONTACTS).status(), 200);
    let denied = client.call(CONTACTS);
    assert_eq!((denied.status(), denied.error_code().as_str()), (200, "POLICY_DENY"));
    assert_eq!(tool.calls().len(), 1);
    assert_eq!(client.send(&rpc(3, "ping", &json!({}))).status(), 200);
}

#[test]
fn each_mcp_session_is_its_own_session() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    let (mut one, mut two) = (Client::start(&gateway), Client::start(&gateway));
    let (first, second) = (one.call(CONTACTS), two.call(CONTACTS));
    assert_eq!((first.status(), second.status()), (200, 200));
    assert!(first.json().get("error").is_none() && second.json().get("error").is_none());
    assert_ne!(meta_receipt(&first)["session_id"], meta_receipt(&second)["session_id"]);
}

#[test]
fn an_unknown_mcp_session_is_404_so_that_clients_start_anew() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut connection = gateway.connect();
    let body = rpc(1, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x"}}));
    let answer = post(&mut connection, &[("mcp-session-id", "never-given-out")], &body);
    assert_eq!(answer.status(), 404, "{}", answer.text());
    assert_eq!(tool.calls().len(), 0);
}

#[test]
fn session_and_workflow_come_from_meta_and_are_stripped() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let params = json!({
        "name": CONTACTS, "arguments": {"query": "Acme"},
        "_meta": {"io.cmcp/session_id": "from-meta", "io.cmcp/workflow_id": "flow", "progressToken": 4},
    });
    let answer = gateway.post("/mcp", &rpc(1, "tools/call", &params));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(gateway.claim("from-meta")["gateway"]["session_id"], "from-meta");
    assert_eq!(gateway.entries("from-meta").last().expect("an entry")["workflow_id"], "flow");
    let seen = tool.calls()[0].text();
    assert!(!seen.contains("io.cmcp/") && !seen.contains("_cmcp"), "{seen}");
    assert!(seen.contains("progressToken"), "what is not ours is forwarded: {seen}");
}

#[test]
fn a_foreign_browser_origin_is_refused() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut connection = gateway.connect();
    let body = rpc(1, "tools/call", &tests::setup::call_params(CONTACTS, "origin"));
    let answer = post(&mut connection, &[("origin", "https://evil.example")], &body);
    assert_eq!((answer.status(), answer.error_code().as_str()), (403, "ORIGIN_REFUSED"));
    assert_eq!(tool.calls().len(), 0);
}
