//! Agents that speak MCP: of the legacy era in a session, of the modern one request by request.

use std::io;

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::{Connection, Events, Message};
use crate::setup::CONTACTS;

/// What both eras accept.
const BOTH: &str = "application/json, text/event-stream";

/// An agent with an MCP session.
pub struct LegacyAgent<'g> {
    gateway: &'g Gateway,
    /// `Mcp-Session-Id`, which is the gateway's session too.
    pub session: String,
    /// What `initialize` answered.
    pub offered: Value,
    /// Its `Accept`.
    pub accept: &'static str,
    /// Its `Authorization`, or empty.
    pub authorization: String,
}

impl<'g> LegacyAgent<'g> {
    /// An agent that can be asked this.
    pub fn start(gateway: &'g Gateway, capabilities: &Value) -> Self {
        Self::start_as(gateway, capabilities, String::new())
    }

    /// An agent that authenticates itself with this header.
    pub fn start_as(gateway: &'g Gateway, capabilities: &Value, authorization: String) -> Self {
        let info = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info});
        let mut agent = Self { gateway, session: String::new(), offered: Value::Null, accept: BOTH, authorization };
        let answer = agent.request(0, "initialize", &params).message().expect("an answer");
        agent.offered = answer.json()["result"].clone();
        answer.header("mcp-session-id").expect("a session").clone_into(&mut agent.session);
        agent.notify("notifications/initialized", &json!({}));
        agent
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![("content-type", "application/json"), ("accept", self.accept)];
        if !self.authorization.is_empty() {
            headers.push(("authorization", self.authorization.as_str()));
        }
        if !self.session.is_empty() {
            headers.extend([("mcp-session-id", self.session.as_str()), ("mcp-protocol-version", "2025-11-25")]);
        }
        headers
    }

    /// Sends a request on a connection of its own.
    pub fn request(&self, id: u64, method: &str, params: &Value) -> Events {
        self.post(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    }

    /// Calls the quickstart's tool.
    pub fn call(&self, id: u64) -> Events {
        self.request(id, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x"}}))
    }

    /// Posts a message.
    pub fn post(&self, body: &Value) -> Events {
        let body = body.to_string();
        Events::open(self.gateway.connect(), "POST", "/mcp", &self.headers(), body.as_bytes()).expect("an answer")
    }

    /// Sends a notification; its HTTP status.
    pub fn notify(&self, method: &str, params: &Value) -> u16 {
        self.post(&json!({"jsonrpc": "2.0", "method": method, "params": params})).head.status()
    }

    /// Answers a tool server's request; the HTTP status.
    pub fn respond(&self, id: &Value, result: &Value) -> u16 {
        self.post(&json!({"jsonrpc": "2.0", "id": id, "result": result})).head.status()
    }

    /// Opens the stream of messages that belong to no call.
    pub fn listen(&self) -> Events {
        Events::open(self.gateway.connect(), "GET", "/mcp", &self.headers(), b"").expect("an answer")
    }

    /// Ends the session; the HTTP status.
    pub fn end(&self) -> u16 {
        self.gateway.connect().request("DELETE", "/mcp", &self.headers(), b"").expect("an answer").status()
    }
}

/// A request of the modern era.
#[derive(Clone, Debug)]
pub struct Modern {
    /// The body.
    pub body: Value,
    /// The headers, mirrors included.
    pub headers: Vec<(String, String)>,
}

impl Modern {
    /// A request with its mirrored headers, in the gateway's session of this name.
    pub fn new(session: &str, method: &str, params: &Value) -> Self {
        let mut params = params.clone();
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        params["_meta"]["io.cmcp/session_id"] = json!(session);
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", BOTH),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
        headers.extend(Some(("mcp-name", name.as_str())).filter(|(_, name)| !name.is_empty()));
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { body: json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}), headers }
    }

    /// A call of the quickstart's tool.
    pub fn call(session: &str) -> Self {
        Self::new(session, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x"}}))
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a member of the parameters.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.body["params"][name] = value;
        self
    }

    /// Sends it on a connection of its own, as far as the head of the answer.
    pub fn send(&self, gateway: &Gateway) -> Events {
        self.send_over(gateway.connect()).expect("an answer")
    }

    /// Sends it and reads the whole answer, or the last event.
    pub fn answer(&self, gateway: &Gateway) -> Message {
        self.send(gateway).message().expect("an answer")
    }

    fn send_over(&self, connection: Connection) -> io::Result<Events> {
        Events::open(connection, "POST", "/mcp", &self.pairs(), self.body.to_string().as_bytes())
    }

    /// The headers, to be written down.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}
