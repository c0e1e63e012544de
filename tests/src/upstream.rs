//! A tool server that answers as each test wants, and remembers what reached it.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Message, read_message, response_bytes};
use crate::setup::listed_tools;

/// How the server answers one `tools/call`.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This JSON text as `result`.
    Result(String),
    /// This JSON text as `error`.
    Error(String),
    /// This body with status 200 and `application/json`.
    Body(String),
    /// This status with a JSON body.
    Status(u16),
    /// These bytes on the connection, which stays open.
    Raw(Vec<u8>),
    /// These events as `text/event-stream`, `{id}` replaced by the call's id.
    Events(Vec<String>),
    /// The connection is closed without an answer.
    Close,
    /// These bytes, then the connection is closed.
    RawThenClose(Vec<u8>),
    /// Nothing for this long, then `result`.
    Late(Duration, String),
    /// A body that never ends.
    Endless,
}

type Script = dyn Fn(&Value) -> Reply + Send + Sync;

/// The server; it serves until the test process ends.
#[derive(Clone)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Message>>>,
    script: Arc<Mutex<Arc<Script>>>,
}

impl Upstream {
    /// Answers every call with this `result`.
    pub fn fixed(result: &str) -> Self {
        let result = result.to_owned();
        Self::scripted(move |_| Reply::Result(result.clone()))
    }

    /// A plausible result for tests that do not look at it.
    pub fn plain() -> Self {
        Self::fixed(r#"{"content":[{"type":"text","text":"ok"}],"isError":false}"#)
    }

    /// Answers every call, given as its JSON-RPC request, as the script says.
    pub fn scripted(script: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            calls: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(script))),
        };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// Replaces the script.
    pub fn set(&self, script: impl Fn(&Value) -> Reply + Send + Sync + 'static) {
        *self.script.lock().expect("not poisoned") = Arc::new(script);
    }

    /// Its address for a catalog.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Every `tools/call` that reached it, as HTTP.
    pub fn calls(&self) -> Vec<Message> {
        self.calls.lock().expect("not poisoned").clone()
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        while let Ok(message) = read_message(&mut reader) {
            if !self.answer(&message, &mut writer).unwrap_or(false) {
                let _ = writer.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }

    /// Whether the connection stays open.
    fn answer(&self, message: &Message, writer: &mut TcpStream) -> std::io::Result<bool> {
        let request: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let id = &request["id"];
        let reply = match request["method"].as_str() {
            Some("tools/call") => {
                self.calls.lock().expect("not poisoned").push(message.clone());
                let script = Arc::clone(&self.script.lock().expect("not poisoned"));
                script(&request)
            }
            Some("initialize") => Reply::Result(initialized()),
            Some("tools/list") => Reply::Result(listed_tools()),
            Some(method) if method.starts_with("notifications/") => {
                Reply::Raw(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec())
            }
            _ => Reply::Status(404),
        };
        write_reply(reply, id, writer)
    }
}

fn initialized() -> String {
    json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "test", "version": "1"}}).to_string()
}

fn write_reply(reply: Reply, id: &Value, writer: &mut TcpStream) -> std::io::Result<bool> {
    let json = |body: String| response_bytes(200, "application/json", body.as_bytes());
    let result = |result: &str| json(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    let (bytes, open) = match reply {
        Reply::Result(text) => (result(&text), true),
        Reply::Error(text) => (json(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{text}}}"#)), true),
        Reply::Body(body) => (json(body), true),
        Reply::Status(status) => (response_bytes(status, "application/json", b"{\"error\":\"status\"}"), true),
        Reply::Raw(bytes) => (bytes, true),
        Reply::Events(events) => (event_stream(&events, id), false),
        Reply::Close => (Vec::new(), false),
        Reply::RawThenClose(bytes) => (bytes, false),
        Reply::Late(wait, text) => {
            thread::sleep(wait);
            (result(&text), true)
        }
        Reply::Endless => return endless(writer),
    };
    writer.write_all(&bytes)?;
    writer.flush()?;
    Ok(open)
}

fn event_stream(events: &[String], id: &Value) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec();
    for event in events {
        bytes.extend(event.replace("{id}", &id.to_string()).bytes());
    }
    bytes
}

fn endless(writer: &mut TcpStream) -> std::io::Result<bool> {
    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
    loop {
        writer.write_all(b"10\r\n                \r\n")?;
        thread::sleep(Duration::from_millis(1));
    }
}
