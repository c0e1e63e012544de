//! JSON-RPC 2.0 and the MCP methods.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::script::Script;
use super::tools;

/// Protocol revisions that the server speaks, newest first.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// What goes back for one POST.
pub(super) enum Reply {
    /// A notification or a response: nothing to say.
    Accepted,
    /// A JSON-RPC response.
    Json {
        status: StatusCode,
        body: Bytes,
        /// Sent along with the answer to `initialize`; never asked for again.
        session: Option<String>,
    },
}

/// What never changes between requests.
#[derive(Debug)]
pub(super) struct Server {
    tools: Value,
    script: Option<Script>,
    sessions: AtomicU64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Success<'a, T> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    result: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    error: RpcError,
}

#[derive(Serialize)]
struct RpcError {
    code: i32,
    message: String,
}

#[derive(Deserialize)]
struct Initialize {
    #[serde(rename = "protocolVersion")]
    protocol_version: Option<String>,
}

#[derive(Deserialize)]
struct Call<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { tools: json!({ "tools": tools::definitions() }), script: None, sessions: AtomicU64::new(1) }
    }

    pub(super) fn scripted(script: Script) -> Self {
        let tools = json!({ "tools": script.definitions() });
        Self { tools, script: Some(script), sessions: AtomicU64::new(1) }
    }

    /// Answers one message.
    pub(super) fn reply(&self, body: &[u8]) -> Reply {
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(body) else {
            return failure(StatusCode::BAD_REQUEST, None, PARSE_ERROR, "not one JSON-RPC message");
        };
        if envelope.jsonrpc != "2.0" {
            return failure(StatusCode::BAD_REQUEST, envelope.id, INVALID_REQUEST, "jsonrpc is not \"2.0\"");
        }
        match (envelope.id, envelope.method) {
            (Some(id), Some(method)) => self.request(id, method, envelope.params),
            _ => Reply::Accepted,
        }
    }

    fn request(&self, id: &RawValue, method: &str, params: Option<&RawValue>) -> Reply {
        match method {
            "initialize" => self.initialize(id, params),
            "ping" => success(id, json!({})),
            "tools/list" => success(id, &self.tools),
            "tools/call" => self.call(id, params),
            other => failure(StatusCode::OK, Some(id), METHOD_NOT_FOUND, &format!("no method {other:?}")),
        }
    }

    fn initialize(&self, id: &RawValue, params: Option<&RawValue>) -> Reply {
        let asked = params
            .and_then(|params| serde_json::from_str::<Initialize>(params.get()).ok())
            .and_then(|initialize| initialize.protocol_version);
        let [newest, ..] = REVISIONS;
        let revision = REVISIONS.into_iter().find(|known| asked.as_deref() == Some(known)).unwrap_or(newest);
        let result = json!({
            "protocolVersion": revision,
            "capabilities": { "tools": { "listChanged": false } },
            "serverInfo": { "name": "cmcp-demo-server", "version": env!("CARGO_PKG_VERSION") },
        });
        let session = format!("demo-{}", self.sessions.fetch_add(1, Ordering::Relaxed));
        match success(id, result) {
            Reply::Json { status, body, .. } => Reply::Json { status, body, session: Some(session) },
            Reply::Accepted => Reply::Accepted,
        }
    }

    fn call(&self, id: &RawValue, params: Option<&RawValue>) -> Reply {
        let Some(call) = params.and_then(|params| serde_json::from_str::<Call<'_>>(params.get()).ok()) else {
            return failure(StatusCode::OK, Some(id), INVALID_PARAMS, "params need a name and arguments");
        };
        let arguments = call.arguments.map_or("{}", RawValue::get);
        let result = match &self.script {
            Some(script) => script.call(call.name, arguments),
            None => tools::call(call.name, arguments),
        };
        match result {
            Some(result) => success(id, result),
            None => failure(StatusCode::OK, Some(id), INVALID_PARAMS, &format!("no tool {:?}", call.name)),
        }
    }
}

fn success(id: &RawValue, result: impl Serialize) -> Reply {
    encoded(StatusCode::OK, &Success { jsonrpc: "2.0", id, result })
}

fn failure(status: StatusCode, id: Option<&RawValue>, code: i32, message: &str) -> Reply {
    encoded(status, &Failure { jsonrpc: "2.0", id, error: RpcError { code, message: message.to_owned() } })
}

/// Serialising these types cannot fail; an empty body would show if that ever changed.
fn encoded(status: StatusCode, message: &impl Serialize) -> Reply {
    Reply::Json { status, body: serde_json::to_vec(message).unwrap_or_default().into(), session: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_reply(body: &str) -> (StatusCode, Value, Option<String>) {
        match Server::new().reply(body.as_bytes()) {
            Reply::Json { status, body, session } => (status, serde_json::from_slice(&body).unwrap(), session),
            Reply::Accepted => panic!("accepted {body}"),
        }
    }

    #[test]
    fn seed_call() {
        let (status, reply, _) = json_reply(
            r#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call",
                "params":{"name":"salesforce.contacts","arguments":{"query":"Acme Corp","max_records":2}}}"#,
        );
        assert_eq!(status, 200);
        assert_eq!(reply["id"], "ab");
        let content = &reply["result"]["structuredContent"];
        assert_eq!(content["contacts"].as_array().unwrap().len(), 2);
        assert_eq!(content["total_count"], 3);
        let text = reply["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), content);
    }

    #[test]
    fn initialize_agrees_on_a_revision() {
        let (_, reply, session) =
            json_reply(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}"#);
        assert_eq!(reply["result"]["protocolVersion"], "2025-03-26");
        assert!(session.unwrap().starts_with("demo-"));
        let (_, reply, _) =
            json_reply(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"1999-01-01"}}"#);
        assert_eq!(reply["result"]["protocolVersion"], "2025-11-25");
    }

    #[test]
    fn lists_what_the_catalog_approves() {
        let (_, reply, _) = json_reply(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        let names: Vec<_> = reply["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, ["salesforce.contacts", "echo"]);
        assert_eq!(reply["result"]["tools"][0]["inputSchema"]["required"][0], "query");
    }

    #[test]
    fn notifications_and_responses_are_accepted() {
        for body in
            [r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]
        {
            assert!(matches!(Server::new().reply(body.as_bytes()), Reply::Accepted));
        }
    }

    #[test]
    fn bad_messages_are_named() {
        for (body, status, code) in [
            ("", 400, PARSE_ERROR),
            ("[]", 400, PARSE_ERROR),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, 400, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get"}"#, 200, METHOD_NOT_FOUND),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, 200, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#, 200, INVALID_PARAMS),
        ] {
            let (found, reply, _) = json_reply(body);
            assert_eq!((found.as_u16(), &reply["error"]["code"]), (status, &json!(code)), "{body}");
        }
    }
}
