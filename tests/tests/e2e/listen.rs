//! What tool servers say when nobody has called: the stream of an MCP session, and `subscriptions/listen`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::{Events, Message};
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};
use tests::wait_for;

use crate::{books, lines};

const TOOLS: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
const PROMPTS: &str = r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#;
const UPDATED: &str = r#"{"jsonrpc":"2.0", "method":"notifications/resources/updated","params":{"uri":"a:1"}}"#;
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A legacy server that speaks of itself on its stream, and asks the agent something there.
fn talkative() -> McpServer {
    McpServer::start(Speaks::Legacy, |turn| {
        if turn.http.target().0 == "GET" {
            turn.event(PROMPTS);
            turn.event(UPDATED);
            turn.ask("q", "roots/list", &json!({}));
            turn.closed();
        }
    })
}

fn get(gateway: &Gateway, headers: &[(&str, &str)]) -> Message {
    gateway.connect().request("GET", "/mcp", headers, b"").expect("an answer")
}

#[test]
fn a_session_s_stream_carries_what_its_servers_say_of_themselves() {
    let tool = talkative();
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["resources", "roots"]));
    let agent = LegacyAgent::start(&gateway, &json!({"roots": {}}));
    let mut stream = agent.listen();
    assert!(stream.streams(), "{:?}", stream.head);
    assert_eq!(stream.next_data().expect("a stream").as_deref(), Some(UPDATED), "not of prompts: the catalog has none");
    let asked = stream.next_json();
    assert_eq!(asked["method"], "roots/list");
    assert_eq!(agent.respond(&asked["id"], &json!({"roots": []})), 202);
    wait_for("the answer at the server", Duration::from_secs(5), || {
        tool.seen().iter().find(|message| message.text().contains(r#"{"roots":[]}"#)).map(drop)
    });
    let calls = books(&gateway, &agent.session);
    assert_eq!(lines(&calls), [("roots/list", "allow", "")]);
    assert!(calls[0].entry["detail"].get("during").is_none(), "{:#?}", calls[0]);

    assert_eq!(agent.listen().head.status(), 409, "one stream for each session");
    assert_eq!(agent.end(), 204);
    assert!(!matches!(stream.next_data(), Ok(Some(_))), "the stream ends with the session");
    assert_eq!(agent.listen().head.status(), 404);
}

#[test]
fn a_stream_that_its_agent_left_makes_room_for_the_next() {
    let tool = talkative();
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["resources"]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    for _ in 0..3 {
        let mut stream: Events = wait_for("room", Duration::from_secs(5), || {
            Some(agent.listen()).filter(|stream| stream.head.status() != 409)
        });
        assert_eq!(stream.next_data().expect("a stream").as_deref(), Some(UPDATED));
    }
}

/// A server that never says whether it has a stream must not keep a place among its streams for ever.
#[test]
fn a_server_s_stream_is_given_up_with_the_agent_s() {
    let left = Arc::new(AtomicBool::new(false));
    let flag = left.clone();
    let tool = McpServer::start(Speaks::Legacy, move |turn| {
        if turn.http.target().0 == "GET" {
            flag.store(turn.closed(), Ordering::SeqCst);
            turn.open();
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["resources"]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let stream = agent.listen();
    tool.wait("GET");
    drop(stream);
    wait_for("end of the server's stream", Duration::from_secs(5), || left.load(Ordering::SeqCst).then_some(()));
}

#[test]
fn a_stream_belongs_to_a_session() {
    let tool = McpServer::plain(Speaks::Legacy);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    assert_eq!(get(&gateway, &[BOTH]).status(), 405);
    assert_eq!(get(&gateway, &[BOTH, ("mcp-session-id", "unknown")]).status(), 404);
    gateway.call("no-mcp-session", CONTACTS);
    assert_eq!(get(&gateway, &[BOTH, ("mcp-session-id", "no-mcp-session")]).status(), 404);
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert_eq!(get(&gateway, &[("accept", "application/json"), ("mcp-session-id", &agent.session)]).status(), 406);
}

#[test]
fn a_subscription_has_what_was_asked_for_and_allowed() {
    let tool = McpServer::start(Speaks::Modern, |turn| {
        if turn.method() == "subscriptions/listen" {
            let agreed = json!({"notifications": turn.body["params"]["notifications"]});
            let method = "notifications/subscriptions/acknowledged";
            // Whatever comes before the acknowledgement is not of this subscription.
            turn.event(TOOLS);
            turn.event(&json!({"jsonrpc": "2.0", "method": method, "params": agreed}).to_string());
            turn.event(PROMPTS);
            turn.event(UPDATED);
            turn.closed();
        }
    });
    let secret = r#"forbid (principal, action, resource == cMCP::Resource::"a:secret");"#;
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["resources"]).policy("secret.cedar", secret));
    let wanted =
        json!({"promptsListChanged": true, "toolsListChanged": false, "resourceSubscriptions": ["a:1", "a:secret"]});
    let listen = Modern::new("listener", "subscriptions/listen", &json!({"notifications": wanted}));
    let mut stream = listen.send(&gateway);
    let first = stream.next_json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["notifications"], json!({"resourceSubscriptions": ["a:1"]}), "{first}");
    assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1, "{first}");
    assert_eq!(stream.next_data().expect("a stream").as_deref(), Some(UPDATED));
    let sent = tool.of("subscriptions/listen")[0].json()["params"]["notifications"].clone();
    assert_eq!(sent, json!({"resourceSubscriptions": ["a:1"]}), "the server is asked for no more");
    let expected = [("subscriptions/listen", "allow", ""), ("subscriptions/listen", "deny", "")];
    let calls = books(&gateway, "listener");
    assert_eq!(lines(&calls), expected);
    assert_eq!(calls[1].entry["detail"]["object"], "a:secret");

    let deaf = listen.header("accept", "application/json").answer(&gateway);
    assert_eq!(deaf.status(), 406, "{}", deaf.text());
}
