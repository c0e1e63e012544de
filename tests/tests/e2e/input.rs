//! Bad input answers, never a crash.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::gateway::Gateway;
use tests::http::{Connection, Message};
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::upstream::Upstream;

/// A gateway, its enclave's process, and a check that both still serve.
struct Target {
    gateway: Gateway,
    enclave: u32,
    tool: Upstream,
}

impl Target {
    fn start(change: impl Fn(Setup) -> Setup) -> Self {
        let tool = Upstream::plain();
        let gateway = Gateway::start(&change(Setup::quickstart(&tool.url())));
        let enclave = gateway.enclave_pid();
        Self { gateway, enclave, tool }
    }

    /// Still the same process, and it still serves.
    fn assert_unharmed(&self, after: &str) {
        assert_eq!(self.gateway.call("healthy", CONTACTS).status(), 200, "after {after}");
        assert_eq!(self.gateway.enclave_pid(), self.enclave, "the enclave was restarted by {after}");
    }

    fn post(&self, body: &[u8]) -> Message {
        self.gateway.post("/mcp", body)
    }
}

fn call_with_name(name: &str) -> Vec<u8> {
    rpc(1, "tools/call", &call_params(name, "bad-name"))
}

fn call_with_session(session: &str) -> Vec<u8> {
    rpc(1, "tools/call", &call_params(CONTACTS, session))
}

#[test]
fn malformed_bodies_are_refused_by_name() {
    let target = Target::start(|setup| setup);
    let arguments = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{CONTACTS}","arguments":{text}}}}}"#
        )
    };
    let nested = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let parse = (400, "MCP_PARSE_FAILURE");
    let request = (400, "MCP_INVALID_REQUEST");
    let params = (400, "MCP_INVALID_PARAMS");
    let cases: Vec<(&str, Vec<u8>, (u16, &str))> = vec![
        ("nested arrays", nested.clone().into_bytes(), request),
        ("nested arguments", arguments(&nested).into_bytes(), params),
        ("invalid UTF-8", [&b"{\"jsonrpc\":\"2.0\",\"id\":\""[..], b"\xff\xfe", b"\"}"].concat(), parse),
        ("lone surrogate", arguments(r#"{"query":"\ud800"}"#).into_bytes(), params),
        ("duplicate key", br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#.to_vec(), parse),
        ("duplicate key in arguments", arguments(r#"{"query":"a","qu\u0065ry":"b"}"#).into_bytes(), params),
        ("NaN", arguments(r#"{"query":NaN}"#).into_bytes(), parse),
        ("infinite", arguments(r#"{"query":1e999}"#).into_bytes(), params),
        ("trailing bytes", br#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#.to_vec(), parse),
        ("empty", Vec::new(), parse),
        ("batch", br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.to_vec(), request),
        ("version 1.0", br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_vec(), request),
        ("id is an object", br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_vec(), request),
        ("no method", br#"{"jsonrpc":"2.0","id":1}"#.to_vec(), request),
        ("unknown method", rpc(1, "tools/destroy", &json!({})), (404, "MCP_METHOD_NOT_FOUND")),
        ("no params", br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.to_vec(), params),
        ("arguments is a list", arguments("[]").into_bytes(), params),
        ("name is a number", br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#.to_vec(), params),
        ("newline in name", call_with_name("echo\nfake log line"), params),
        ("no name at all", call_with_name(""), params),
        ("name of 129 characters", call_with_name(&"n".repeat(129)), params),
        ("name of a megabyte", call_with_name(&"n".repeat(1_000_000)), params),
        ("name that is not ASCII", call_with_name("контакты"), params),
        ("session with a slash", call_with_session("../../etc/passwd"), params),
        ("session of 129 characters", call_with_session(&"s".repeat(129)), params),
        ("empty session", call_with_session(""), params),
    ];
    for (name, body, expected) in cases {
        let answer = target.post(&body);
        assert_eq!((answer.status(), answer.error_code().as_str()), expected, "{name}: {}", answer.text());
        target.assert_unharmed(name);
    }
    let reached = target.tool.calls().len();
    let healthy = target.gateway.claim("healthy")["gateway"]["call_summary"]["tool_calls_total"].as_u64();
    assert_eq!(healthy, Some(reached as u64), "only the healthy calls reached the tool");
}

#[test]
fn an_argument_with_a_name_of_a_megabyte_passes_whole() {
    let target = Target::start(|setup| setup);
    let arguments = format!(r#"{{"query":"x","{}":1}}"#, "n".repeat(1_000_000));
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{CONTACTS}","arguments":{arguments}}}}}"#
    );
    assert_eq!(target.post(call.as_bytes()).status(), 200);
    assert!(target.tool.calls()[0].text().contains(&arguments));
}

#[test]
fn an_upper_case_tool_name_is_another_tool() {
    let target = Target::start(|setup| setup);
    let answer = target.post(&call_with_name("SALESFORCE.contacts"));
    assert_eq!((answer.status(), answer.error_code().as_str()), (403, "TOOL_NOT_IN_CATALOG"));
}

#[test]
fn bodies_past_the_cap_are_cut() {
    let target = Target::start(|setup| setup.limit("max_body_bytes", 10_000));
    let large = rpc(1, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x".repeat(20_000)}}));
    let answer = target.post(&large);
    assert_eq!((answer.status(), answer.error_code().as_str()), (413, "MCP_BODY_TOO_LARGE"));

    let mut connection = target.gateway.connect();
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).expect("the gateway reads");
    for _ in 0..40 {
        let _ = connection.send(format!("200\r\n{}\r\n", "x".repeat(512)).as_bytes());
    }
    assert_eq!(connection.receive().expect("an answer before the body ends").status(), 413);
    target.assert_unharmed("a body past the cap");
}

#[test]
fn heads_past_the_cap_are_refused() {
    let target = Target::start(|setup| setup);
    let names: Vec<String> = (0..10_000).map(|n| format!("x-{n}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let mut connection = target.gateway.connect();
    if connection.send(&tests::http::request_bytes("GET", "/health", &headers, b"")).is_ok() {
        match connection.receive() {
            Ok(answer) => assert_eq!(answer.status(), 431),
            Err(error) => panic!("no answer: {error}"),
        }
    }
    target.assert_unharmed("10,000 headers");

    let answer = target.gateway.connect().request("GET", "/health", &[("x-long", &"v".repeat(200_000))], b"");
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    target.assert_unharmed("a long header");
}

#[test]
fn a_slow_sender_is_cut_off() {
    let target = Target::start(|setup| setup.limit("request_timeout_ms", 500));
    for (name, sent) in
        [("head", "POST /mcp HTTP/1.1\r\nho"), ("body", "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")]
    {
        let mut stream = TcpStream::connect(target.gateway.address).expect("the gateway accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(sent.as_bytes()).expect("the gateway reads");
        let started = Instant::now();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(started.elapsed() < Duration::from_secs(5), "slow {name}: cut after {:?}", started.elapsed());
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "slow {name}: {text}");
        target.assert_unharmed(name);
    }
}

#[test]
fn what_is_not_http_is_closed() {
    let target = Target::start(|setup| setup.limit("request_timeout_ms", 500));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"GET / HTTP/9.9\r\n\r\n",
        b"cMCP\x01\x00\x04\x00\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(target.gateway.address).expect("the gateway accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(bytes).expect("the gateway reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    target.assert_unharmed("what is not HTTP");
}

#[test]
fn both_lengths_in_one_request_are_refused() {
    let target = Target::start(|setup| setup);
    let body = call_with_session("smuggled");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{}",
        5,
        String::from_utf8_lossy(&tests::http::request_bytes("POST", "/mcp", &[], &body))
    );
    let mut connection = target.gateway.connect();
    connection.send(request.as_bytes()).expect("the gateway reads");
    let answer = connection.receive().expect("an answer");
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert_eq!(target.tool.calls().len(), 0, "nothing hidden in a body is run");
}

#[test]
fn ten_thousand_sessions_are_served_and_bounded() {
    let target = Target::start(|setup| setup.limit("max_sessions", 10_000));
    let mut connection = Connection::open(target.gateway.address).expect("the gateway accepts");
    let mut call = |session: usize| {
        let body = call_with_session(&format!("many-{session}"));
        connection.request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer")
    };
    for session in 0..10_000 {
        assert_eq!(call(session).status(), 200, "session {session}");
    }
    assert_eq!(call(10_000).error_code(), "SESSION_LIMIT");
    assert_eq!(call(5).status(), 200);
    let claim = target.gateway.claim("many-9999");
    assert_eq!(claim["gateway"]["call_summary"]["tool_calls_total"], 1);
}
