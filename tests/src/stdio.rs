//! A tool server over stdio that each test scripts: the process that the host starts is a puppet, which the test moves.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use claim::Digest;
use serde_json::{Value, json};

use crate::mcp_server::{Speaks, capabilities, discovered, tool_result};
use crate::setup::listed_tools;
use crate::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);

type Script = dyn Fn(&mut Line<'_>) + Send + Sync;

/// The server; each of its processes connects to it.
#[derive(Clone)]
pub struct StdioServer {
    program: PathBuf,
    address: SocketAddr,
    speaks: Speaks,
    processes: Arc<Mutex<Vec<Value>>>,
    ended: Arc<Mutex<Vec<Value>>>,
    seen: Arc<Mutex<Vec<Value>>>,
    script: Arc<Script>,
}

/// One message to a process, and the way back. What the script leaves unanswered is answered as a plain server would.
pub struct Line<'a> {
    /// The message.
    pub body: Value,
    /// Which process it is, from 0.
    pub process: usize,
    server: &'a StdioServer,
    before: usize,
    stream: &'a mut TcpStream,
    done: bool,
}

impl StdioServer {
    /// A server with this script, whose processes run the puppet.
    pub fn start(puppet: &str, speaks: Speaks, script: impl Fn(&mut Line<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let (processes, ended, seen) = Default::default();
        let script = Arc::new(script);
        let server = Self { program: puppet.into(), address, speaks, processes, ended, seen, script };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// Its `server` in a catalog entry.
    pub fn entry(&self) -> Value {
        let words = json!([self.program, self.address.to_string()]);
        json!({"display_name": "Puppet", "transport": "stdio", "command": words, "entrypoint_digest": digest(&self.program)})
    }

    /// The processes that were started, as they describe themselves.
    pub fn processes(&self) -> Vec<Value> {
        self.processes.lock().expect("not poisoned").clone()
    }

    /// Waits until so many processes have been started and have ended.
    pub fn wait_ended(&self, processes: usize) {
        wait_for("end of a process", PATIENCE, || {
            (self.ended.lock().expect("not poisoned").len() >= processes).then_some(())
        });
    }

    /// Every message of this method to any process.
    pub fn of(&self, method: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("not poisoned");
        seen.iter().filter(|message| message["method"] == method).cloned().collect()
    }

    /// Waits for a message of this method.
    pub fn wait(&self, method: &str) -> Value {
        wait_for(method, PATIENCE, || self.of(method).pop())
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(reader) = stream.try_clone() else { return };
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        let itself: Value = lines.next().and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
        let process = {
            let mut processes = self.processes.lock().expect("not poisoned");
            processes.push(itself.clone());
            processes.len() - 1
        };
        for line in lines {
            let body: Value = serde_json::from_str(&line).expect("one JSON message a line");
            let before = {
                let mut seen = self.seen.lock().expect("not poisoned");
                seen.push(body.clone());
                seen.len()
            };
            let mut line = Line { body, process, server: self, before, stream: &mut stream, done: false };
            (self.script)(&mut line);
            if !line.done
                && let Some(answer) = plain_answer(&line.body, self.speaks)
            {
                line.say(&answer);
            }
        }
        self.ended.lock().expect("not poisoned").push(itself);
    }
}

impl Line<'_> {
    /// The JSON-RPC method; empty for a response.
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// Whether this is the call of a tool.
    pub fn is_call(&self) -> bool {
        self.method() == "tools/call"
    }

    /// Writes a line; what it answers is answered.
    pub fn say(&mut self, line: &str) {
        self.raw(format!("{line}\n").as_bytes());
    }

    /// Writes bytes. False if the process is gone.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.done = true;
        self.stream.write_all(bytes).is_ok()
    }

    /// Answers with this JSON text.
    pub fn result(&mut self, result: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.body["id"]);
        self.say(&text);
    }

    /// Answers with this text as a tool does.
    pub fn text(&mut self, text: &str) {
        self.result(&tool_result(text));
    }

    /// Says nothing to this message.
    pub fn ignore(&mut self) {
        self.done = true;
    }

    /// Sends a notification, or with an id a request.
    pub fn send(&mut self, id: Option<&str>, method: &str, params: &Value) {
        let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if let Some(id) = id {
            message["id"] = json!(id);
        }
        self.say(&message.to_string());
    }

    /// Ends the process.
    pub fn exit(&mut self) {
        self.done = true;
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits on another thread for the answer to what was asked, and gives it to the call that this line is.
    pub fn answer_with_reply(&mut self, id: &str) {
        self.done = true;
        let (server, before, id) = (self.server.clone(), self.before, id.to_owned());
        let (call, mut stream) = (self.body["id"].clone(), self.stream.try_clone().expect("a second handle"));
        thread::spawn(move || {
            let find = || {
                let seen = server.seen.lock().expect("not poisoned");
                seen.iter().skip(before).find(|body| body["id"] == id && body["method"].is_null()).cloned()
            };
            let reply = wait_for("answer of the agent", PATIENCE, find);
            let result = tool_result(&reply["result"].to_string());
            let _ = stream.write_all(format!("{{\"jsonrpc\":\"2.0\",\"id\":{call},\"result\":{result}}}\n").as_bytes());
        });
    }
}

/// `entrypoint_digest` of a file.
pub fn digest(path: &Path) -> String {
    Digest::of(std::fs::read(path).expect("a file")).prefixed()
}

/// What a plain server answers to a message.
pub fn plain_answer(message: &Value, speaks: Speaks) -> Option<String> {
    let id = message.get("id").filter(|_| message["method"].is_string())?;
    let result = match (message["method"].as_str()?, speaks) {
        ("server/discover", Speaks::Modern) => discovered(),
        ("initialize", Speaks::Legacy) => {
            let info = json!({"name": "test", "version": "1"});
            json!({"protocolVersion": "2025-11-25", "capabilities": capabilities(), "serverInfo": info}).to_string()
        }
        ("tools/call", _) => tool_result("ok"),
        ("tools/list", _) => listed_tools(),
        _ => {
            let error = json!({"code": -32601, "message": "no"});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
        }
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}
