//! Legacy tool servers that close a call's event stream before the answer, and are asked for the rest (MCP 2025-11-25,
//! "Resumability and Redelivery").

use std::time::{Duration, Instant};

use serde_json::json;
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks, Turn};
use tests::setup::{CONTACTS, Setup};

use crate::{books, lines};

const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"at last"}]}}"#;

/// What a server does in its turn.
type Does = fn(&mut Turn<'_>);

/// The server's part of a stream: these bytes, and the end.
fn stream(turn: &mut Turn<'_>, text: &str) {
    turn.open();
    turn.more(text.as_bytes());
}

/// A server with one stream for the call and others for what follows each event.
fn server(speaks: Speaks, call: Does, rest: Does) -> McpServer {
    McpServer::start(speaks, move |turn| match (turn.http.target().0, turn.is_call()) {
        ("POST", true) => call(turn),
        ("GET", _) => rest(turn),
        _ => {}
    })
}

fn resumed_after(tool: &McpServer) -> Vec<String> {
    let ids = tool.of("GET").into_iter().map(|get| get.header("last-event-id").unwrap_or("none").to_owned());
    ids.collect()
}

#[test]
fn the_rest_of_a_stream_is_asked_for_and_the_call_is_made_once() {
    let tool = server(
        Speaks::Legacy,
        |turn| stream(turn, "id: call/1\nretry: 400\ndata: \n\n"),
        |turn| match turn.http.header("last-event-id") {
            Some("call/1") => stream(turn, &format!("id: call/2\ndata: {PROGRESS}\n\n")),
            Some("call/2") => stream(turn, &format!("id: call/3\ndata: {ANSWER}\n\n")),
            _ => {}
        },
    );
    let setup = Setup::governed(&tool.url(), &[]).limit("upstream_connections_per_server", 1);
    let gateway = Gateway::start(&setup);
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let started = Instant::now();
    let mut events = agent.call(5);
    assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(400), "the server asked to be left alone: {waited:?}");
    let answer = events.next_json();
    assert_eq!(answer["result"]["content"][0]["text"], "at last", "{answer}");
    assert_eq!(resumed_after(&tool), ["call/1", "call/2"]);
    let get = tool.of("GET").pop().expect("a stream");
    let named = (get.header("mcp-session-id"), get.header("mcp-protocol-version"), get.header("accept"));
    assert_eq!(named, (Some("upstream-session"), Some("2025-11-25"), Some("text/event-stream")));
    assert_eq!(tool.of("tools/call").len(), 1, "the call may have run: it is not sent again");
    assert_eq!(lines(&books(&gateway, &agent.session)), [(CONTACTS, "allow", "")]);
}

#[test]
fn a_stream_that_cannot_be_taken_up_again_is_a_fault() {
    let long = || "x".repeat(60_000);
    let again: Does = |turn| stream(turn, "id: next\nretry: 0\ndata:\n\n");
    let cases: [(&str, Does, Does, &str); 6] = [
        ("no id", |turn| stream(turn, "retry: 100\ndata:\n\n"), |_| (), "UPSTREAM_INVALID"),
        ("an id that no header carries", |turn| stream(turn, "id: \u{e9}\ndata:\n\n"), |_| (), "UPSTREAM_INVALID"),
        ("no streams", |turn| stream(turn, "id: 1\nretry: 1\n\n"), |_| (), "UPSTREAM_INVALID"),
        (
            "another call's answer",
            |turn| stream(turn, "id: 1\nretry: 1\n\n"),
            |turn| stream(turn, &format!("data: {}\n\n", ANSWER.replace(":5", ":6"))),
            "UPSTREAM_INVALID",
        ),
        ("never the answer", again, again, "UPSTREAM_TIMEOUT"),
        ("never the end", |turn| stream(turn, "id: 1\nretry: 1\n\n"), |_| (), "UPSTREAM_RESPONSE_TOO_LARGE"),
    ];
    for (name, call, rest, code) in cases {
        let endless = code == "UPSTREAM_RESPONSE_TOO_LARGE";
        let tool = McpServer::start(Speaks::Legacy, move |turn| match (turn.http.target().0, turn.is_call()) {
            ("POST", true) => call(turn),
            ("GET", _) if endless => {
                let noise = PROGRESS.replace("\"progress\":1", &format!("\"message\":\"{}\"", long()));
                stream(turn, &format!("id: 2\nretry: 1\ndata: {noise}\n\n"));
            }
            ("GET", _) => rest(turn),
            _ => {}
        });
        let setup = Setup::governed(&tool.url(), &[]).limit("upstream_timeout_ms", 1000);
        let gateway = Gateway::start(&setup.limit("max_response_bytes", 100_000));
        let agent = LegacyAgent::start(&gateway, &json!({}));
        let answer = agent.call(5).message().expect("an answer");
        assert_eq!(answer.error_code(), code, "{name}: {}", answer.text());
        let calls = books(&gateway, &agent.session);
        assert_eq!(lines(&calls), [(CONTACTS, "fault", code)], "{name}");
        assert_eq!(calls[0].entry["detail"]["forwarded"], true, "{name}: the call may have run");
        assert_eq!(tool.of("tools/call").len(), 1, "{name}");
        let gets = tool.of("GET").len();
        assert!(gets <= 10, "{name}: a server that names no pause is not asked in a loop: {gets}");
        assert_eq!(gets == 0, name.contains("id"), "{name}: {gets}");
    }
}

/// The modern era has no streams to go back to.
#[test]
fn a_modern_server_is_not_asked_for_the_rest() {
    let tool = server(Speaks::Modern, |turn| stream(turn, "id: 1\nretry: 1\ndata:\n\n"), |_| ());
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let answer = Modern::call("modern").answer(&gateway);
    assert_eq!(answer.error_code(), "UPSTREAM_INVALID", "{}", answer.text());
    assert_eq!(tool.of("GET").len(), 0);
    assert_eq!(lines(&books(&gateway, "modern")), [(CONTACTS, "fault", "UPSTREAM_INVALID")]);
}
