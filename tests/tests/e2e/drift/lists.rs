//! Lists that do not come, or come to several at once.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tests::agent::Modern;
use tests::gateway::Gateway;
use tests::mcp_server::{Speaks, Turn};
use tests::setup::{CONTACTS, call_params, rpc};

use super::{ALLOWED, Server, drifts, flag, refused, served, setup};
use crate::{booked, books, lines};

/// Answers `tools/list` in place of the server.
type Lists = fn(&mut Turn<'_>);

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// Up to a gigabyte, as long as it is read.
fn gigabyte(turn: &mut Turn<'_>) {
    turn.raw(HEAD);
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    let taken = (0..1 << 14).take_while(|_| turn.more(&chunk)).count();
    assert!(taken < 1 << 14, "nobody reads a gigabyte");
    turn.open();
}

fn announces_a_gigabyte(turn: &mut Turn<'_>) {
    turn.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n{");
    turn.closed();
    turn.open();
}

const UNANSWERED: [(&str, Lists); 12] = [
    ("500", |turn| turn.error(500, -32603)),
    ("404 of the modern era", |turn| turn.error(404, -32601)),
    ("error", |turn| turn.error(200, -32601)),
    ("html", |turn| turn.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 1\r\n\r\n<")),
    ("not an object", |turn| turn.result("[]")),
    ("no tools", |turn| turn.result(r#"{"tool":[]}"#)),
    ("a name twice", |turn| turn.result(r#"{"tools":[{"name":"a","name":"b"}]}"#)),
    ("a name that is none", |turn| turn.result(r#"{"tools":[{"name":7}]}"#)),
    ("never", |turn| {
        turn.closed();
        turn.open();
    }),
    ("endless pages", |turn| turn.result(r#"{"tools":[],"nextCursor":"more"}"#)),
    ("a gigabyte", gigabyte),
    ("announced", announces_a_gigabyte),
];

#[test]
fn a_list_that_does_not_come_is_an_outcome_of_its_own() {
    for (name, lists) in UNANSWERED {
        let (mute, flag) = flag();
        let server = Server::start(Speaks::Modern, move |turn| {
            if turn.method() == "tools/list" && flag.load(Ordering::SeqCst) {
                lists(turn);
            }
        });
        mute.store(true, Ordering::SeqCst);
        let setup = setup(&server.mcp.url()).limit("upstream_timeout_ms", 2000).limit("max_response_bytes", 100_000);
        let gateway = Gateway::start(&setup);
        let answer = gateway.call("mute", CONTACTS);
        refused(&answer, "CATALOG_UNCONFIRMED");
        assert_eq!((answer.status(), server.calls()), (503, 0), "{name}");
        mute.store(false, Ordering::SeqCst);
        served(&gateway.call("mute", CONTACTS));
        let calls = books(&gateway, "mute");
        assert_eq!(lines(&calls), [(CONTACTS, "deny", "CATALOG_UNCONFIRMED"), ALLOWED], "{name}");
        let reason = calls[0].entry["detail"]["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("tool server did not list its tools: "), "{name}: {reason}");
        assert_eq!(drifts(&gateway, "mute").len(), 0, "{name}");

        mute.store(true, Ordering::SeqCst);
        let gateway = Gateway::start(&setup.with("/catalog/unanswered_list", json!("warn_only")));
        let lists = server.lists();
        for _ in 0..2 {
            served(&gateway.call("warned", CONTACTS));
        }
        let calls = books(&gateway, "warned");
        assert_eq!(lines(&calls), [ALLOWED, ALLOWED], "{name}");
        assert!(calls.iter().all(|call| call.entry["detail"]["warning"] == "CATALOG_UNCONFIRMED"), "{calls:#?}");
        assert_eq!(drifts(&gateway, "warned").len(), 0, "{name}");
        if name != "endless pages" {
            assert_eq!(server.lists(), lists + 1, "{name}: not asked with every call");
        }
    }
}

#[test]
fn a_list_that_finds_its_session_forgotten_opens_another() {
    let (forget, flag) = flag();
    let server = Server::start(Speaks::Legacy, move |turn| {
        if turn.method() == "tools/list" && flag.swap(false, Ordering::SeqCst) {
            turn.raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()));
    forget.store(true, Ordering::SeqCst);
    served(&gateway.call("forgotten", CONTACTS));
    assert_eq!((server.mcp.of("initialize").len(), server.lists()), (2, 2));
}

#[test]
fn calls_that_come_at_once_wait_for_one_list() {
    const CALLS: usize = 16;
    for mute in [false, true] {
        let server = Server::start(Speaks::Legacy, move |turn| {
            if turn.method() == "tools/list" {
                thread::sleep(Duration::from_millis(500));
                if mute {
                    turn.error(500, -32603);
                }
            }
        });
        let gateway = Gateway::start(&setup(&server.mcp.url()));
        thread::scope(|scope| {
            for number in 0..CALLS {
                let gateway = &gateway;
                scope.spawn(move || {
                    let answer = gateway.call(&format!("at-once-{number}"), CONTACTS);
                    if mute { refused(&answer, "CATALOG_UNCONFIRMED") } else { served(&answer) }
                });
            }
        });
        assert_eq!(server.mcp.of("initialize").len(), 1);
        assert_eq!((server.lists(), server.calls()), if mute { (1, 0) } else { (1, CALLS) });
    }
}

/// A caller that leaves while the list is awaited leaves the others waiting for theirs, not for nothing.
#[test]
fn a_list_whose_caller_left_is_asked_for_by_the_next() {
    let (slow, flag) = flag();
    let server = Server::start(Speaks::Modern, move |turn| {
        if turn.method() == "tools/list" && flag.swap(false, Ordering::SeqCst) {
            turn.closed();
            turn.open();
        }
    });
    let gateway = Gateway::start(&setup(&server.mcp.url()));
    slow.store(true, Ordering::SeqCst);
    let mut leaving = gateway.connect();
    let request = Modern::call("left");
    let body = request.body.to_string();
    let bytes = tests::http::request_bytes("POST", "/mcp", &request.pairs(), body.as_bytes());
    leaving.send(&bytes).expect("sent");
    server.mcp.wait("tools/list");
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| gateway.post("/mcp", &rpc(1, "tools/call", &call_params(CONTACTS, "stayed"))));
        thread::sleep(Duration::from_millis(200));
        drop(leaving);
        waiting.join().expect("an answer")
    });
    served(&waiting);
    assert_eq!(server.lists(), 2);
    let left = booked(&gateway, "left", 1);
    assert_eq!(lines(&left), [(CONTACTS, "fault", "CALL_CANCELLED")]);
    assert_eq!(left[0].entry["detail"]["forwarded"], false, "the call did not run");
}
