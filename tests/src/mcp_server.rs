//! A tool server that speaks MCP of either era, over event streams too, as each test scripts it.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Message, read_message, response_bytes};
use crate::setup::listed_tools;
use crate::wait_for;

/// How long a script waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which handshake the server answers, as long as the script does not answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// `server/discover`, 2026-07-28.
    Modern,
    /// `initialize` with a session, 2025-11-25.
    Legacy,
}

type Script = dyn Fn(&mut Turn<'_>) + Send + Sync;

/// The server; it serves until the test process ends.
#[derive(Clone)]
pub struct McpServer {
    /// Where it listens.
    pub address: SocketAddr,
    speaks: Speaks,
    seen: Arc<Mutex<Vec<Message>>>,
    script: Arc<Script>,
}

/// One request to the server, and the way back. What the script leaves unanswered is answered as a plain server would.
pub struct Turn<'a> {
    /// The request as HTTP.
    pub http: &'a Message,
    /// Its body, null without one.
    pub body: Value,
    server: &'a McpServer,
    /// How many messages the server had seen.
    before: usize,
    stream: &'a mut TcpStream,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unanswered,
    /// Within an event stream.
    Streaming,
    Answered,
}

impl McpServer {
    /// Starts a server with this script.
    pub fn start(speaks: Speaks, script: impl Fn(&mut Turn<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let server = Self { address, speaks, seen: Arc::default(), script: Arc::new(script) };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// A server that answers each call with one text.
    pub fn plain(speaks: Speaks) -> Self {
        Self::start(speaks, |_| ())
    }

    /// Its address for a catalog.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Every message that reached it, as HTTP.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// Every message of this JSON-RPC method, or without one of this HTTP method.
    pub fn of(&self, method: &str) -> Vec<Message> {
        let is = |message: &Message| json_of(message)["method"] == method || message.target().0 == method;
        self.seen().into_iter().filter(is).collect()
    }

    /// Waits for a message of this method.
    pub fn wait(&self, method: &str) -> Message {
        wait_for(method, PATIENCE, || self.of(method).pop())
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        while let Ok(http) = read_message(&mut reader) {
            let before = {
                let mut seen = self.seen.lock().expect("not poisoned");
                seen.push(http.clone());
                seen.len()
            };
            let (body, stream) = (json_of(&http), &mut writer);
            let mut turn = Turn { http: &http, body, server: self, before, stream, state: State::Unanswered };
            (self.script)(&mut turn);
            if turn.finish() == State::Streaming {
                break;
            }
        }
        let _ = writer.shutdown(Shutdown::Both);
    }
}

impl Turn<'_> {
    /// The JSON-RPC method; empty for a response.
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// Whether this is the call of a tool.
    pub fn is_call(&self) -> bool {
        self.method() == "tools/call"
    }

    /// Whether the script has not answered yet.
    pub fn is_unanswered(&self) -> bool {
        self.state == State::Unanswered
    }

    /// Sends this JSON text as `result`: as the last event of the event stream, if there is one.
    pub fn result(&mut self, result: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.body["id"]);
        self.answer(200, &text);
    }

    /// Sends this text as `result` of a tool.
    pub fn text(&mut self, text: &str) {
        self.result(&tool_result(text));
    }

    /// Sends a JSON-RPC error with this HTTP status.
    pub fn error(&mut self, status: u16, code: i64) {
        let error = json!({"code": code, "message": "no"});
        let text = json!({"jsonrpc": "2.0", "id": self.body["id"], "error": error}).to_string();
        self.answer(status, &text);
    }

    fn answer(&mut self, status: u16, text: &str) {
        if self.state == State::Streaming {
            return self.event(text);
        }
        self.raw(&response_bytes(status, "application/json", text.as_bytes()));
    }

    /// Sends one event with this data; the first makes the answer an event stream, which ends with the turn.
    pub fn event(&mut self, data: &str) {
        self.open();
        let _ = self.stream.write_all(format!("data: {data}\n\n").as_bytes());
    }

    /// Makes the answer an event stream.
    pub fn open(&mut self) {
        if self.state == State::Unanswered {
            self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
            self.state = State::Streaming;
        }
    }

    /// Sends these bytes as they are, in place of an answer.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.state = State::Answered;
        self.more(bytes);
    }

    /// Sends these bytes as they are. False if the gateway does not read any more.
    pub fn more(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Asks something of the agent, in the event stream.
    pub fn ask(&mut self, id: &str, method: &str, params: &Value) {
        self.event(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    }

    /// Waits for the answer to what was asked.
    pub fn asked(&self, id: &str) -> Value {
        let find =
            |message: &Message| Some(json_of(message)).filter(|body| body["id"] == id && body["method"].is_null());
        wait_for("answer of the agent", PATIENCE, || self.server.seen().iter().skip(self.before).find_map(find))
    }

    /// Waits for a message of this method.
    pub fn wait(&self, method: &str) -> Message {
        self.server.wait(method)
    }

    /// Waits until the gateway closes the connection.
    pub fn closed(&mut self) -> bool {
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        !matches!(self.stream.read(&mut [0]), Ok(1..) | Err(_))
    }

    fn finish(mut self) -> State {
        if self.state != State::Unanswered {
            return self.state;
        }
        let modern = self.server.speaks == Speaks::Modern;
        match (self.http.target().0, self.method()) {
            ("DELETE", _) => self.raw(b"HTTP/1.1 204 X\r\n\r\n"),
            ("POST", "server/discover") if modern => self.result(&discovered()),
            ("POST", "initialize") if !modern => self.initialized("2025-11-25", Some("upstream-session")),
            ("POST", "tools/call") => self.text("ok"),
            ("POST", "tools/list") => self.result(&listed_tools()),
            ("POST", method) if method.is_empty() || method.starts_with("notifications/") => {
                self.raw(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
            }
            ("POST", _) => self.error(if modern { 404 } else { 200 }, -32601),
            _ => self.raw(&response_bytes(405, "text/plain", b"no")),
        }
        State::Answered
    }

    /// Answers `initialize`.
    pub fn initialized(&mut self, version: &str, session: Option<&str>) {
        let info = json!({"name": "test", "version": "1"});
        let result = json!({"protocolVersion": version, "capabilities": capabilities(), "serverInfo": info});
        let body = json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result}).to_string();
        let session = session.map(|id| format!("mcp-session-id: {id}\r\n")).unwrap_or_default();
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{session}content-length: {length}\r\n");
        self.raw(format!("{head}\r\n{body}").as_bytes());
    }
}

/// The result of a tool with one text.
pub fn tool_result(text: &str) -> String {
    json!({"content": [{"type": "text", "text": text}]}).to_string()
}

fn json_of(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap_or_default()
}

pub(crate) fn capabilities() -> Value {
    json!({"tools": {}, "resources": {"subscribe": true}, "prompts": {}, "logging": {}, "completions": {}})
}

pub(crate) fn discovered() -> String {
    json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities(),
        "ttlMs": 0, "cacheScope": "private", "_meta": {},
    })
    .to_string()
}
