//! Calls that end early: the tool server hears of it, the agent may not, the audit always does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::{Message, request_bytes};
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};
use tests::{http, wait_for};

use crate::{Booked, booked, lines};

const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;

/// A server that never answers a call and counts the calls whose connection was closed.
fn stuck(speaks: Speaks, streams: bool) -> (McpServer, Arc<AtomicUsize>) {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    let server = McpServer::start(speaks, move |turn| {
        if turn.is_call() || turn.method() == "resources/read" {
            if streams {
                turn.event(PROGRESS);
            }
            if turn.closed() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            turn.open();
        }
    });
    (server, closed)
}

fn wait_closed(closed: &AtomicUsize, calls: usize) {
    wait_for("closed upstream connection", Duration::from_secs(5), || {
        (closed.load(Ordering::SeqCst) == calls).then_some(())
    });
}

fn body(message: &Message) -> Value {
    message.json()
}

fn assert_cancelled(calls: &[Booked], what: &str) {
    assert_eq!(lines(calls), [(what, "fault", "CALL_CANCELLED")]);
    assert_eq!(calls[0].entry["detail"]["forwarded"], true, "it may have run");
}

#[test]
fn a_modern_agent_that_closes_the_connection_cancels() {
    for (speaks, streams) in
        [(Speaks::Modern, false), (Speaks::Modern, true), (Speaks::Legacy, false), (Speaks::Legacy, true)]
    {
        let (tool, closed) = stuck(speaks, streams);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
        let call = Modern::call("gone");
        if streams {
            let mut events = call.send(&gateway);
            assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
            drop(events);
        } else {
            let mut agent = gateway.connect();
            let bytes = request_bytes("POST", "/mcp", &call.pairs(), call.body.to_string().as_bytes());
            agent.send(&bytes).expect("sent");
            tool.wait("tools/call");
            drop(agent);
        }
        wait_closed(&closed, 1);
        assert_cancelled(&booked(&gateway, "gone", 1), CONTACTS);
        if speaks == Speaks::Legacy {
            let id = body(&tool.wait("tools/call"))["id"].clone();
            assert_eq!(
                body(&tool.wait("notifications/cancelled"))["params"]["requestId"],
                id,
                "a legacy server is told"
            );
        }
    }
}

#[test]
fn a_legacy_agent_that_hangs_up_cancels_nothing() {
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.is_call() {
            turn.event(PROGRESS);
            turn.wait("notifications/roots/list_changed");
            turn.text("done");
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["roots"]));
    let agent = LegacyAgent::start(&gateway, &json!({"roots": {}}));
    let mut events = agent.call(5);
    assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
    drop(events);
    assert_eq!(agent.notify("notifications/roots/list_changed", &json!({})), 202);
    let calls = booked(&gateway, &agent.session, 1);
    assert_eq!(lines(&calls), [(CONTACTS, "allow", "")]);
    assert!(calls[0].entry["response_payload_hash"].is_string());
    assert_eq!(tool.of("notifications/cancelled").len(), 0);
}

#[test]
fn a_legacy_agent_cancels_by_notification() {
    let (tool, closed) = stuck(Speaks::Legacy, true);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let (agent, other) = (LegacyAgent::start(&gateway, &json!({})), LegacyAgent::start(&gateway, &json!({})));
    let mut events = agent.call(5);
    assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
    for (who, id) in [(&other, 5), (&agent, 6)] {
        assert_eq!(who.notify("notifications/cancelled", &json!({"requestId": id})), 202, "nothing of theirs");
    }
    assert_eq!(agent.notify("notifications/cancelled", &json!({"requestId": 5})), 202);
    let answer = events.next_json();
    assert_eq!(answer["error"]["data"]["error_code"], "CALL_CANCELLED", "{answer}");
    wait_closed(&closed, 1);
    assert_eq!(body(&tool.wait("notifications/cancelled"))["params"], json!({"requestId": 5}));
    assert_eq!(tool.of("notifications/cancelled").len(), 1, "what is not under way is not told");
    assert_cancelled(&booked(&gateway, &agent.session, 1), CONTACTS);
}

/// A server must not keep its agents waiting by not taking what it is told.
#[test]
fn a_server_that_takes_no_messages_does_not_hold_up_a_cancellation() {
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.is_call() {
            turn.ask("p", "ping", &json!({}));
            turn.event(PROGRESS);
            turn.closed();
        } else if turn.body["id"] == "p" || turn.method() == "notifications/cancelled" {
            turn.closed();
            turn.open();
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let mut events = agent.call(5);
    assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
    assert_eq!(agent.notify("notifications/cancelled", &json!({"requestId": 5})), 202);
    assert_eq!(events.next_json()["error"]["data"]["error_code"], "CALL_CANCELLED");
    assert_cancelled(&booked(&gateway, &agent.session, 1), CONTACTS);
    assert_eq!(agent.end(), 204);
}

#[test]
fn a_cancelled_read_is_not_asked_of_the_next_server() {
    let (one, two) = (stuck(Speaks::Legacy, false).0, McpServer::plain(Speaks::Legacy));
    let setup = Setup::governed(&one.url(), &["resources"]).tool("z.other", &two.url(), "public", "public");
    let gateway = Gateway::start(&setup);
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let answer = std::thread::scope(|scope| {
        let reading = scope.spawn(|| agent.request(5, "resources/read", &json!({"uri": "file:///a"})).message());
        one.wait("resources/read");
        assert_eq!(agent.notify("notifications/cancelled", &json!({"requestId": 5})), 202);
        reading.join().expect("no panic")
    });
    assert_eq!(answer.expect("an answer").error_code(), "CALL_CANCELLED");
    assert_cancelled(&booked(&gateway, &agent.session, 1), "resources/read");
    assert_eq!(two.of("resources/read").len(), 0);
}

#[test]
fn the_end_of_a_session_ends_its_calls() {
    let (tool, closed) = stuck(Speaks::Legacy, true);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let mut events: http::Events = agent.call(5);
    assert_eq!(events.next_data().expect("a stream").as_deref(), Some(PROGRESS));
    assert_eq!(agent.end(), 204);
    assert_eq!(events.next_json()["error"]["data"]["error_code"], "CALL_CANCELLED");
    wait_closed(&closed, 1);
    assert_cancelled(&booked(&gateway, &agent.session, 1), CONTACTS);
    assert_eq!(tool.wait("DELETE").header("mcp-session-id"), Some("upstream-session"));
}
