//! `cmcp-verify connect`: an MCP client that only spawns programs reaches the gateway over standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup, token};
use tests::upstream::{Reply, Upstream};
use tests::{bin, wait_for};

/// The bridge, as a client holds it.
struct Bridge {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Bridge {
    fn to(url: &str) -> Self {
        let mut command = Command::new(bin::path("cmcp-verify"));
        command.args(["connect", url]);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the bridge starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { input: process.stdin.take(), process, output }
    }

    fn to_gateway(gateway: &Gateway) -> Self {
        let mut bridge = Self::to(&format!("http://{}", gateway.address));
        bridge.open();
        bridge
    }

    fn open(&mut self) {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let answer = self.ask(0, "initialize", &params);
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("open"), "{line}").expect("the bridge reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }

    fn ask(&mut self, id: u64, method: &str, params: &Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        let answer: Value = serde_json::from_str(&self.hear()).expect("JSON on one line");
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, id: u64) -> Value {
        self.ask(id, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "Acme"}}))
    }

    /// Closes its input; how it ends.
    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        wait_for("end of the bridge", Duration::from_secs(10), || self.process.try_wait().expect("a child")).code()
    }
}

#[test]
fn a_spawning_client_lists_calls_and_is_denied() {
    let tool = Upstream::fixed("{\n \"content\": [],\n \"structuredContent\": {\"n\": 1.50}\n}");
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    let mut bridge = Bridge::to_gateway(&gateway);
    assert_eq!(bridge.ask(1, "tools/list", &json!({}))["result"]["tools"][0]["name"], CONTACTS);
    bridge.say("");
    bridge.say(
        r#"{"jsonrpc":"2.0","id":"two","method":"tools/call","params":{"name":"salesforce.contacts","arguments":{}}}"#,
    );
    let line = bridge.hear();
    assert!(line.contains(r#""structuredContent": {"n": 1.50}"#), "the tool server's own bytes: {line}");
    let answer: Value = serde_json::from_str(&line).expect("JSON");
    let session = answer["result"]["_meta"]["io.cmcp/receipt"]["session_id"].as_str().expect("a receipt").to_owned();
    assert_eq!(bridge.call(3)["error"]["data"]["error_code"], "POLICY_DENY");
    assert_eq!(gateway.entries(&session).len(), 3, "start, call, denial");
    assert_eq!(bridge.end(), Some(0));
    assert!(gateway.entries(&session).iter().any(|entry| entry["entry_type"] == "session_end"), "the session is ended");
}

#[test]
fn what_is_no_message_is_answered_and_the_rest_goes_on() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut bridge = Bridge::to_gateway(&gateway);
    for broken in ["{", "[]", "hello"] {
        bridge.say(broken);
        let answer: Value = serde_json::from_str(&bridge.hear()).expect("JSON");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32700)), "{broken}");
    }
    assert_eq!(bridge.ask(4, "no/such", &json!({}))["error"]["code"], -32601);
    assert_eq!(bridge.ask(5, "ping", &json!({}))["result"], json!({}));
}

#[test]
fn requests_wait_for_nobody() {
    let tool = Upstream::scripted(|_| Reply::Late(Duration::from_millis(800), "{\"content\":[]}".to_owned()));
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut bridge = Bridge::to_gateway(&gateway);
    bridge.say(
        &json!({"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": {"name": CONTACTS, "arguments": {}}})
            .to_string(),
    );
    assert_eq!(bridge.ask(2, "ping", &json!({}))["result"], json!({}), "overtakes the slow call");
    assert_eq!(serde_json::from_str::<Value>(&bridge.hear()).expect("JSON")["id"], "slow");
}

#[test]
fn a_session_that_the_gateway_lost_is_opened_again() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut bridge = Bridge::to_gateway(&gateway);
    let session = |answer: &Value| answer["result"]["_meta"]["io.cmcp/receipt"]["session_id"].clone();
    let before = session(&bridge.call(1));
    let killed = gateway.kill_enclave();
    wait_for("the next enclave", Duration::from_secs(20), || (gateway.enclave_pid() != killed).then_some(()));
    gateway.wait_ready();
    let answer = bridge.call(2);
    assert!(session(&answer).is_string(), "{answer}");
    assert_ne!(session(&answer), before);
    let (_, _folder) = gateway.stop();
    let answer = bridge.call(3);
    assert_eq!(answer["error"]["code"], -32000, "{answer}");
    assert_eq!(bridge.end(), Some(0));
}

#[test]
fn event_streams_become_lines() {
    let server = Upstream::scripted(|_| {
        Reply::Events(vec![
            "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\ndata: \"params\":{}}\n\n".to_owned(),
            "data: {\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{}}\n\n".to_owned(),
        ])
    });
    let mut bridge = Bridge::to(&server.url());
    bridge.say(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#);
    let line = bridge.hear();
    assert!(line.contains("notifications/progress"), "{line}");
    assert_eq!(
        serde_json::from_str::<Value>(&bridge.hear()).expect("JSON"),
        json!({"jsonrpc": "2.0", "id": 7, "result": {}})
    );
    server.set(|_| Reply::Events(vec!["data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n".to_owned()]));
    bridge.say(r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{}}"#);
    assert!(bridge.hear().contains(r#""id":8"#));
    let answer: Value = serde_json::from_str(&bridge.hear()).expect("JSON");
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(9), &json!(-32000)), "{answer}");
}

#[test]
fn a_token_comes_from_a_file_or_the_environment() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).agents(&["a"]));
    let file = gateway.folder().join("a.token");
    std::fs::write(&file, format!("{}\n", token("a"))).expect("a file");
    let url = format!("http://{}", gateway.address);
    let connect = |words: &[&std::ffi::OsStr], variable: Option<&str>| {
        let mut command = Command::new(bin::path("cmcp-verify"));
        command.args(["connect", &url]).args(words);
        if let Some(value) = variable {
            command.env("CMCP_BEARER_TOKEN", value);
        }
        command
    };
    let from_file = connect(&["--token-file".as_ref(), file.as_os_str()], None);
    let from_variable = connect(&[], Some(&token("a")));
    for command in [from_file, from_variable] {
        let mut bridge = Bridge::of(command);
        bridge.open();
        let answer = bridge.call(1);
        let session = answer["result"]["_meta"]["io.cmcp/receipt"]["session_id"].as_str().expect("a receipt");
        let start = gateway.caller("a").entries(session)[0].clone();
        assert_eq!(start["detail"]["identity"]["subject"], "a");
        let session = session.to_owned();
        assert_eq!(bridge.end(), Some(0));
        let entries = gateway.caller("a").entries(&session);
        assert_eq!(entries.last().expect("an entry")["entry_type"], "session_end", "DELETE has the token too");
    }
    for command in [connect(&[], None), connect(&[], Some(&token("b")))] {
        let mut bridge = Bridge::of(command);
        let answer = bridge.ask(0, "initialize", &json!({"protocolVersion": "2025-06-18", "capabilities": {}}));
        let message = answer["error"]["message"].as_str().expect("an error");
        assert!(message.contains("401") && message.contains("--token-file"), "{message}");
    }
    std::fs::write(&file, "short").expect("a file");
    for mut command in [connect(&["--token-file".as_ref(), file.as_os_str()], None), connect(&[], Some("short secret"))]
    {
        let output = command.output().expect("the bridge runs");
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("32 to 1024") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn plain_http_leaves_this_machine_for_nobody() {
    for url in ["http://gateway.example:8443", "127.0.0.1:8443", "http://", "http://127.0.0.1.example/"] {
        let output = Command::new(bin::path("cmcp-verify")).args(["connect", url]).output().expect("the bridge runs");
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1"), "{url}: {output:?}");
    }
}
