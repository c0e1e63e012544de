//! Tool servers that fail: a named error, one terminal entry, a count, and the next call works.

use std::time::Duration;

use tests::gateway::Gateway;
use tests::http::request_bytes;
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::upstream::{Reply, Upstream};
use tests::{proc, wait_for};

use crate::call_entries;

const OK: &str = r#"{"content":[]}"#;

fn short_limits(url: &str) -> Setup {
    Setup::quickstart(url).limit("upstream_timeout_ms", 1000).limit("max_response_bytes", 100_000)
}

/// What the agent sees, and that the session's books have it.
fn expect(gateway: &Gateway, session: &str, status: u16, code: &str) {
    let answer = gateway.call(session, CONTACTS);
    assert_eq!((answer.status(), answer.error_code().as_str()), (status, code), "{session}: {}", answer.text());
    let entries = call_entries(&gateway.entries(session));
    assert_eq!(entries.len(), 1, "{session}: exactly one terminal entry");
    let summary = &gateway.claim(session)["gateway"]["call_summary"];
    assert_eq!(
        (summary["tool_calls_total"].as_u64(), summary["tool_calls_faulted"].as_u64()),
        (Some(1), Some(1)),
        "{session}"
    );
}

#[test]
fn every_upstream_fault_is_named_and_counted() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&short_limits(&tool.url()));
    let garbage = b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec();
    let cases: Vec<(&str, Reply, u16, &str)> = vec![
        ("status-500", Reply::Status(500), 502, "UPSTREAM_INVALID"),
        ("status-404", Reply::Status(404), 502, "UPSTREAM_INVALID"),
        ("not-json", Reply::Body("<html>".into()), 502, "UPSTREAM_INVALID"),
        ("empty", Reply::Body(String::new()), 502, "UPSTREAM_INVALID"),
        ("wrong-id", Reply::Body(r#"{"jsonrpc":"2.0","id":"other","result":{}}"#.into()), 502, "UPSTREAM_INVALID"),
        ("no-result", Reply::Body(r#"{"jsonrpc":"2.0","id":1}"#.into()), 502, "UPSTREAM_INVALID"),
        ("list", Reply::Body("[]".into()), 502, "UPSTREAM_INVALID"),
        ("result-is-a-string", Reply::Result(r#""text""#.into()), 502, "UPSTREAM_INVALID"),
        ("deep", Reply::Result("[".repeat(40_000)), 502, "UPSTREAM_INVALID"),
        ("garbage", Reply::RawThenClose(garbage), 502, "UPSTREAM_INVALID"),
        (
            "cut-off",
            Reply::RawThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_vec()),
            502,
            "UPSTREAM_INVALID",
        ),
        (
            "oversize",
            Reply::Result(format!("{{\"x\":\"{}\"}}", "y".repeat(200_000))),
            502,
            "UPSTREAM_RESPONSE_TOO_LARGE",
        ),
        ("slow", Reply::Late(Duration::from_secs(3), OK.into()), 504, "UPSTREAM_TIMEOUT"),
        (
            "no-final-event",
            Reply::Events(vec!["data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n".into()]),
            502,
            "UPSTREAM_INVALID",
        ),
    ];
    for (name, reply, status, code) in cases {
        tool.set(move |_| reply.clone());
        expect(&gateway, name, status, code);
        tool.set(|_| Reply::Result(OK.into()));
        assert_eq!(gateway.call("after", CONTACTS).status(), 200, "the call after {name}");
    }
}

#[test]
fn an_answer_that_never_ends_is_cut() {
    let tool = Upstream::scripted(|_| Reply::Endless);
    let gateway = Gateway::start(&short_limits(&tool.url()));
    let answer = gateway.call("endless", CONTACTS);
    let code = answer.error_code();
    assert!(code == "UPSTREAM_RESPONSE_TOO_LARGE" || code == "UPSTREAM_TIMEOUT", "{}", answer.text());
}

#[test]
fn a_closed_connection_is_a_fault() {
    let tool = Upstream::scripted(|_| Reply::Close);
    let gateway = Gateway::start(&short_limits(&tool.url()));
    expect(&gateway, "closed", 502, "UPSTREAM_INVALID");
    assert_eq!(tool.calls().len(), 1, "a call that may have run is not sent twice");
}

#[test]
fn a_tool_server_that_is_down_costs_its_own_tools_only() {
    let tool = Upstream::plain();
    let nobody = format!("http://127.0.0.1:{}/mcp", tests::bin::free_port());
    let gateway = Gateway::start(&short_limits(&nobody).tool("echo", &tool.url(), "public", "public"));
    expect(&gateway, "down", 502, "UPSTREAM_UNAVAILABLE");
    assert_eq!(gateway.call("down", "echo").status(), 200);
}

#[test]
fn a_tool_error_is_passed_on_and_counted() {
    let error = r#"{"code":-32602,"message":"no such contact","data":{"hint":1.50}}"#;
    let tool = Upstream::scripted(move |_| Reply::Error(error.to_owned()));
    let gateway = Gateway::start(&short_limits(&tool.url()));
    let answer = gateway.call("tool-error", CONTACTS);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.text().contains(error), "{}", answer.text());
    let summary = &gateway.claim("tool-error")["gateway"]["call_summary"];
    assert_eq!(summary["tool_calls_faulted"], 1);
}

#[test]
fn event_streams_are_read_to_their_final_event() {
    let events = vec![
        ": comment\n\n".to_owned(),
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n".to_owned(),
        "id: 1\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":{id},\ndata: \"result\":{\"content\":[]}}\n\n"
            .to_owned(),
    ];
    let tool = Upstream::scripted(move |_| Reply::Events(events.clone()));
    let gateway = Gateway::start(&short_limits(&tool.url()));
    let answer = gateway.call("events", CONTACTS);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.text().contains(r#""content":[]"#), "{}", answer.text());
}

#[test]
fn a_call_whose_agent_hangs_up_still_ends_in_one_entry() {
    let tool = Upstream::scripted(|_| Reply::Late(Duration::from_millis(300), OK.to_owned()));
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let body = rpc(1, "tools/call", &call_params(CONTACTS, "gone"));
    let mut agent = gateway.connect();
    agent.send(&request_bytes("POST", "/mcp", &[("content-type", "application/json")], &body)).expect("sent");
    wait_for("the call at the tool", Duration::from_secs(10), || (!tool.calls().is_empty()).then_some(()));
    drop(agent);
    let ended = wait_for("the terminal entry", Duration::from_secs(10), || {
        Some(call_entries(&gateway.entries("gone"))).filter(|entries| !entries.is_empty())
    });
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["policy_decision"], "allow");
    assert!(ended[0]["response_payload_hash"].is_string(), "{}", ended[0]);
    assert_eq!(gateway.claim("gone")["gateway"]["call_summary"]["tool_calls_total"], 1);
}

fn http(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n\r\n{body}").into_bytes()
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_not_read() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&short_limits(&tool.url()));
    let cases = [
        ("length-and-chunks", "transfer-encoding: chunked"),
        ("two-lengths", "content-length: 5"),
        ("other-coding", "transfer-encoding: gzip, chunked"),
        ("folded", "x: a\r\n b"),
    ];
    for (name, field) in cases {
        tool.set(move |request| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{OK}}}"#, request["id"]);
            Reply::Raw(http(&format!("content-length: {}\r\n{field}", body.len()), &body))
        });
        expect(&gateway, name, 502, "UPSTREAM_INVALID");
    }
}

#[test]
fn an_answer_nobody_asked_for_is_nobody_s() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&short_limits(&tool.url()));
    tool.set(move |request| {
        let id = &request["id"];
        let text = |word: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"word":"{word}"}}}}"#);
        let (first, second) = (text("first"), text("second"));
        let one = |body: &str| http(&format!("content-length: {}", body.len()), body);
        Reply::Raw([one(&first), one(&second)].concat())
    });
    assert!(gateway.call("two", CONTACTS).text().contains("first"));
    tool.set(move |_| Reply::Result(r#"{"content":[],"word":"third"}"#.into()));
    let next = gateway.call("two", CONTACTS);
    assert!(next.text().contains("third"), "{}", next.text());
}

#[test]
fn an_announced_length_that_never_comes_takes_time_and_no_memory() {
    let tool = Upstream::scripted(|_| Reply::Raw(http("content-length: 1000000000", "{")));
    let gateway = Gateway::start(&short_limits(&tool.url()));
    expect(&gateway, "over-the-cap", 502, "UPSTREAM_RESPONSE_TOO_LARGE");

    tool.set(|_| Reply::Raw(http("content-length: 60000000", "{")));
    let gateway = Gateway::start(&short_limits(&tool.url()).limit("max_response_bytes", 67_108_864));
    let asked_for = || proc::data_kib(gateway.enclave_pid()).expect("the enclave runs");
    let before = asked_for();
    expect(&gateway, "within-the-cap", 504, "UPSTREAM_TIMEOUT");
    assert!(asked_for() < before + 8192, "{before} KiB before, {} KiB after", asked_for());
}
