//! What a tool server says before its answer: it passes as it is, to those who read event streams, as far as the catalog allows.

use serde_json::json;
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup, call_params, rpc};

use crate::{books, lines, sha256_hex};

const PROGRESS: &str = r#"{"jsonrpc": "2.0","method":"notifications/progress",  "params":{"progressToken":7,"progress":1.50,"x":"\u00e9"}}"#;
const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"d"}}"#;
const RESULT: &str = r#"{"content": [{"type":"text","text":"done"}], "n":1.0}"#;

/// A server that reports before it answers.
fn server(speaks: Speaks) -> McpServer {
    McpServer::start(speaks, |turn| {
        if turn.is_call() {
            turn.event(PROGRESS);
            turn.event(LOG);
            turn.result(RESULT);
        }
    })
}

#[test]
fn messages_reach_agents_of_both_eras_byte_for_byte_before_the_answer() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let tool = server(speaks);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &["logging"]));
        let agent = LegacyAgent::start(&gateway, &json!({}));
        for (session, mut events) in
            [(agent.session.as_str(), agent.call(5)), ("modern", Modern::call("modern").send(&gateway))]
        {
            assert!(events.streams(), "{speaks:?}, {session}");
            assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
            assert_eq!(events.next_data().expect("a stream").as_deref(), Some(LOG));
            let last = events.next_data().expect("a stream").expect("an answer");
            assert!(last.contains(r#"[{"type":"text","text":"done"}], "n":1.0"#), "{last}");
            assert!(last.contains("io.cmcp/receipt"), "{last}");
            assert_eq!(events.next_data().expect("a stream that ends"), None);
            let calls = books(&gateway, session);
            assert_eq!(lines(&calls), [(CONTACTS, "allow", "")]);
            let hash = format!("sha256:{}", sha256_hex(RESULT.as_bytes()));
            assert!(hash.ends_with(calls[0].entry["response_payload_hash"].as_str().expect("a hash")), "{calls:?}");
        }
    }
}

#[test]
fn who_reads_no_event_streams_gets_the_answer_only() {
    let tool = server(Speaks::Legacy);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["logging"]));
    let mut agent = LegacyAgent::start(&gateway, &json!({}));
    agent.accept = "application/json";
    let modern = Modern::call("json").header("accept", "application/json");
    // A bare agent gets JSON whatever it accepts, as in the quickstart.
    let body = rpc(1, "tools/call", &call_params(CONTACTS, "bare"));
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let bare = gateway.connect().request("POST", "/mcp", &headers, &body).expect("an answer");
    for answer in [agent.call(5).message().expect("an answer"), modern.answer(&gateway), bare] {
        assert_eq!((answer.status(), answer.header("content-type")), (200, Some("application/json")));
        assert!(answer.text().contains("done"), "{}", answer.text());
    }
    for session in [agent.session.as_str(), "json", "bare"] {
        assert_eq!(lines(&books(&gateway, session)), [(CONTACTS, "allow", "")]);
    }
}

#[test]
fn a_server_says_only_what_the_catalog_lets_it() {
    let tool = server(Speaks::Legacy);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    for mut events in [agent.call(5), Modern::call("modern").send(&gateway)] {
        assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
        assert!(events.next_json()["result"].is_object(), "the log message is dropped");
    }
}
