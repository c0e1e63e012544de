//! When a list is asked for again: after an interval, after an announcement, at each first contact.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::mcp_server::Speaks;
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::stdio::StdioServer;
use tests::wait_for;

use super::{A_WHILE, ALLOWED, CHANGED, DENIED, Server, approved, drifts, flag, refused, served, setup};
use crate::{books, lines};

#[test]
fn the_interval_finds_drift_and_its_end() {
    let server = Server::start(Speaks::Modern, |_| ());
    let gateway = Gateway::start(&setup(&server.mcp.url()).with("/catalog/recheck_seconds", json!(1)));
    served(&gateway.call("rechecked", CONTACTS));
    server.drift("description", &json!("Something else."));
    thread::sleep(A_WHILE);
    assert_eq!(server.lists(), 1, "an idle server is left alone");
    refused(&gateway.call("rechecked", CONTACTS), "CATALOG_DRIFT");
    server.set(&approved());
    thread::sleep(A_WHILE);
    served(&gateway.call("rechecked", CONTACTS));
    assert_eq!(lines(&books(&gateway, "rechecked")), [ALLOWED, DENIED, ALLOWED]);
    assert_eq!((server.lists(), server.calls()), (3, 2));
    server.drift("description", &json!("Something else."));
    thread::sleep(A_WHILE);
    refused(&gateway.call("rechecked", CONTACTS), "CATALOG_DRIFT");
    assert_eq!(drifts(&gateway, "rechecked").len(), 1, "the same drift again is on record");
    server.drift("description", &json!("And again."));
    thread::sleep(A_WHILE);
    refused(&gateway.call("rechecked", CONTACTS), "CATALOG_DRIFT");
    assert_eq!(drifts(&gateway, "rechecked").len(), 2);
}

#[test]
fn a_change_that_is_announced_in_a_call_is_looked_at_before_the_next() {
    let (announce, flag) = flag();
    let server = Server::start(Speaks::Modern, move |turn| {
        if turn.is_call() && flag.swap(false, Ordering::SeqCst) {
            turn.event(CHANGED);
            turn.text("ok");
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()));
    served(&gateway.call("call", CONTACTS));
    served(&gateway.call("call", CONTACTS));
    assert_eq!(server.lists(), 1, "nothing was announced");
    announce.store(true, Ordering::SeqCst);
    served(&gateway.call("call", CONTACTS));
    server.drift("title", &json!("Other"));
    refused(&gateway.call("call", CONTACTS), "CATALOG_DRIFT");
    assert_eq!((server.lists(), server.calls()), (2, 3));
    assert_eq!(lines(&books(&gateway, "call")), [ALLOWED, ALLOWED, ALLOWED, DENIED]);
    assert_eq!(drifts(&gateway, "call").len(), 1);
}

#[test]
fn a_change_that_is_announced_on_a_session_s_stream_is_looked_at() {
    let (announce, flag) = flag();
    let server = Server::start(Speaks::Legacy, move |turn| {
        if turn.http.target().0 == "GET" {
            turn.open();
            wait_for("the change", Duration::from_secs(20), || flag.swap(false, Ordering::SeqCst).then_some(()));
            turn.event(CHANGED);
            turn.closed();
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let other = LegacyAgent::start(&gateway, &json!({}));
    let mut stream = agent.listen();
    served(&agent.call(1).message().expect("an answer"));
    served(&other.call(1).message().expect("an answer"));
    server.drift("title", &json!("Other"));
    announce.store(true, Ordering::SeqCst);
    assert_eq!(stream.next_data().expect("a stream").as_deref(), Some(CHANGED), "the agent hears of it too");
    for agent in [&agent, &other] {
        refused(&agent.call(2).message().expect("an answer"), "CATALOG_DRIFT");
        assert_eq!(drifts(&gateway, &agent.session).len(), 1);
    }
    assert_eq!((server.lists(), server.calls()), (4, 2));
}

#[test]
fn a_change_that_is_announced_to_a_subscriber_is_looked_at() {
    let (announce, flag) = flag();
    let server = Server::start(Speaks::Modern, move |turn| {
        if turn.method() == "subscriptions/listen" {
            let params = json!({"notifications": turn.body["params"]["notifications"]});
            let method = "notifications/subscriptions/acknowledged";
            turn.event(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
            wait_for("the change", Duration::from_secs(20), || flag.swap(false, Ordering::SeqCst).then_some(()));
            turn.event(CHANGED);
            turn.closed();
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()));
    served(&gateway.call("listened", CONTACTS));
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    let mut stream = Modern::new("listener", "subscriptions/listen", &wanted).send(&gateway);
    assert_eq!(stream.next_json()["params"]["notifications"], wanted["notifications"]);
    server.drift("title", &json!("Other"));
    announce.store(true, Ordering::SeqCst);
    assert_eq!(stream.next_data().expect("a stream").as_deref(), Some(CHANGED));
    refused(&gateway.call("listened", CONTACTS), "CATALOG_DRIFT");
    assert_eq!(drifts(&gateway, "listened").len(), 1);
}

/// Tools that change whenever they are listed cannot be held to any list.
#[test]
fn a_server_that_announces_changes_without_end_is_not_asked_without_end() {
    let server = Server::start(Speaks::Modern, |turn| {
        if turn.method() == "tools/list" {
            turn.event(CHANGED);
            turn.result(&json!({"tools": approved()}).to_string());
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()));
    refused(&gateway.call("restless", CONTACTS), "CATALOG_UNCONFIRMED");
    assert_eq!((server.lists(), server.calls()), (3, 0));
}

/// What a server forgets it may have forgotten because it is another one now.
#[test]
fn a_session_that_is_opened_again_is_a_first_contact() {
    let (forget, flag) = flag();
    let server = Server::start(Speaks::Legacy, move |turn| {
        if turn.is_call() && flag.swap(false, Ordering::SeqCst) {
            turn.raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()).durability("strict"));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    for session in [None, Some("shared")] {
        server.set(&approved());
        let call =
            || session.map_or_else(|| agent.call(1).message().expect("an answer"), |id| gateway.call(id, CONTACTS));
        served(&call());
        server.drift("title", &json!("Other"));
        forget.store(true, Ordering::SeqCst);
        let calls = server.calls();
        refused(&call(), "CATALOG_DRIFT");
        assert_eq!(server.calls(), calls + 1, "not sent again");
        let session = session.unwrap_or(&agent.session);
        assert_eq!(lines(&books(&gateway, session)), [ALLOWED, DENIED]);
        assert_eq!(drifts(&gateway, session).len(), 1);
    }
}

/// Also where nobody listens: what a shared process says of itself is for no session.
#[test]
fn a_process_that_announces_a_change_or_is_another_one_is_asked_again() {
    for scope in ["session", "shared"] {
        let (drifted, flag) = flag();
        let tool = StdioServer::start(env!("CARGO_BIN_EXE_puppet"), Speaks::Legacy, move |line| match line.method() {
            "tools/list" if flag.load(Ordering::SeqCst) => line.result(r#"{"tools":[]}"#),
            "tools/call" if line.body["params"]["arguments"]["query"] == "change" => {
                line.send(None, "notifications/tools/list_changed", &json!({}));
                line.text("ok");
            }
            "tools/call" if line.body["params"]["arguments"]["query"] == "exit" => line.exit(),
            _ => {}
        });
        let mut entry = tool.entry();
        entry["process"] = json!(scope);
        let gateway = Gateway::start(&Setup::governed("http://localhost/", &[]).server(&entry));
        let call = |query: &str| {
            let mut params = call_params(CONTACTS, scope);
            params["arguments"]["query"] = json!(query);
            gateway.post("/mcp", &rpc(1, "tools/call", &params))
        };
        served(&call("plain"));
        assert_eq!(tool.of("tools/list").len(), 1);
        served(&call("change"));
        drifted.store(true, Ordering::SeqCst);
        refused(&call("plain"), "CATALOG_DRIFT");
        drifted.store(false, Ordering::SeqCst);
        let list = gateway.call("idle", CONTACTS);
        assert_eq!(list.error_code() == "CATALOG_DRIFT", scope == "shared", "another session, another process");
        assert_eq!(drifts(&gateway, scope).len(), 1, "{scope}");
    }
}

#[test]
fn a_process_that_is_started_again_is_a_first_contact() {
    let (drifted, flag) = flag();
    let tool = StdioServer::start(env!("CARGO_BIN_EXE_puppet"), Speaks::Legacy, move |line| match line.method() {
        "tools/list" if flag.load(Ordering::SeqCst) => line.result(r#"{"tools":[]}"#),
        "tools/call" if flag.load(Ordering::SeqCst) => line.exit(),
        _ => {}
    });
    let gateway = Gateway::start(&Setup::governed("http://localhost/", &[]).server(&tool.entry()));
    served(&gateway.call("again", CONTACTS));
    drifted.store(true, Ordering::SeqCst);
    refused(&gateway.call("again", CONTACTS), "UPSTREAM_INVALID");
    tool.wait_ended(1);
    wait_for("another process", Duration::from_secs(20), || {
        (gateway.call("again", CONTACTS).error_code() == "CATALOG_DRIFT").then_some(())
    });
    assert_eq!((tool.of("tools/call").len(), drifts(&gateway, "again").len()), (2, 1));
}
