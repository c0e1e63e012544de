//! One rule, every shape: however a call is dressed, the policy decides the same, and what cannot be read in one way only
//! reaches nobody.

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::setup::{Setup, rpc};
use tests::upstream::{Reply, Upstream};

const ALLOWED: &str = "allowed.tool";
const FORBIDDEN: &str = "forbidden.tool";
const JSON: (&str, &str) = ("accept", "application/json");
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const LEGACY: (&str, &str) = ("mcp-protocol-version", "2025-06-18");
const METHOD: (&str, &str) = ("mcp-method", "tools/call");

/// A way to send a call of a tool.
struct Shape {
    name: &'static str,
    /// Whether such a call can be understood at all.
    sound: bool,
    send: fn(&Gateway, &str) -> Message,
}

fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &[u8]) -> Message {
    let headers = [&[("content-type", "application/json")], headers].concat();
    gateway.connect().request("POST", "/mcp", &headers, body).expect("an answer")
}

fn call(params: &Value) -> Vec<u8> {
    rpc(1, "tools/call", params)
}

fn bare(tool: &str) -> Value {
    json!({"name": tool, "arguments": {"query": "x"}})
}

fn modern(tool: &str) -> Value {
    let mut params = bare(tool);
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

fn in_session(gateway: &Gateway, body: &[u8]) -> Message {
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let answer = post(gateway, &[BOTH], &rpc(0, "initialize", &hello));
    let session = answer.header("mcp-session-id").expect("a session").to_owned();
    post(gateway, &[BOTH, LEGACY, ("mcp-session-id", &session)], body)
}

/// Every letter of a name as a JSON escape.
fn escaped(name: &str) -> String {
    let letters: Vec<String> = name.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    letters.concat()
}

const SHAPES: [Shape; 17] = [
    Shape {
        name: "seed",
        sound: true,
        send: |gateway, tool| {
            let mut params = bare(tool);
            params["_cmcp"] = json!({"session_id": "shapes"});
            post(gateway, &[], &call(&params))
        },
    },
    Shape { name: "bare", sound: true, send: |gateway, tool| post(gateway, &[], &call(&bare(tool))) },
    Shape { name: "legacy session", sound: true, send: |gateway, tool| in_session(gateway, &call(&bare(tool))) },
    Shape {
        name: "legacy without session",
        sound: true,
        send: |gateway, tool| post(gateway, &[BOTH, LEGACY], &call(&bare(tool))),
    },
    Shape {
        name: "legacy session, mirrored headers of another tool",
        sound: true,
        send: |gateway, tool| {
            let other = if tool == FORBIDDEN { ALLOWED } else { FORBIDDEN };
            post(gateway, &[BOTH, LEGACY, METHOD, ("mcp-name", other)], &call(&bare(tool)))
        },
    },
    Shape {
        name: "modern",
        sound: true,
        send: |gateway, tool| post(gateway, &[JSON, MODERN, METHOD, ("mcp-name", tool)], &call(&modern(tool))),
    },
    Shape {
        name: "modern, event stream",
        sound: true,
        send: |gateway, tool| {
            post(gateway, &[("accept", "text/event-stream"), MODERN, METHOD, ("mcp-name", tool)], &call(&modern(tool)))
        },
    },
    Shape {
        name: "modern, base64 name",
        sound: true,
        send: |gateway, tool| {
            let name =
                if tool == FORBIDDEN { "=?base64?Zm9yYmlkZGVuLnRvb2w=?=" } else { "=?base64?YWxsb3dlZC50b29s?=" };
            post(gateway, &[JSON, MODERN, METHOD, ("mcp-name", name)], &call(&modern(tool)))
        },
    },
    Shape {
        name: "escaped name",
        sound: true,
        send: |gateway, tool| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{{"n\u0061me":"{}"}}}}"#,
                escaped(tool)
            );
            post(gateway, &[], body.as_bytes())
        },
    },
    Shape {
        name: "modern, header names another tool",
        sound: false,
        send: |gateway, tool| {
            let other = if tool == FORBIDDEN { ALLOWED } else { FORBIDDEN };
            post(gateway, &[JSON, MODERN, METHOD, ("mcp-name", other)], &call(&modern(tool)))
        },
    },
    Shape {
        name: "modern, header names another method",
        sound: false,
        send: |gateway, tool| {
            let headers = [JSON, MODERN, ("mcp-method", "tools/list"), ("mcp-name", tool)];
            post(gateway, &headers, &call(&modern(tool)))
        },
    },
    Shape { name: "modern, no headers", sound: false, send: |gateway, tool| post(gateway, &[], &call(&modern(tool))) },
    Shape {
        name: "modern header, legacy body",
        sound: false,
        send: |gateway, tool| post(gateway, &[JSON, MODERN, METHOD, ("mcp-name", tool)], &call(&bare(tool))),
    },
    Shape {
        name: "name twice",
        sound: false,
        send: |gateway, tool| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{ALLOWED}","n\u0061me":"{tool}"}}}}"#
            );
            post(gateway, &[], body.as_bytes())
        },
    },
    Shape {
        name: "method twice",
        sound: false,
        send: |gateway, tool| {
            let params = bare(tool);
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{params}}}"#);
            post(gateway, &[], body.as_bytes())
        },
    },
    Shape {
        name: "batch",
        sound: false,
        send: |gateway, tool| {
            let one = String::from_utf8(call(&bare(tool))).expect("text");
            post(gateway, &[], format!("[{one}]").as_bytes())
        },
    },
    Shape {
        name: "upper case",
        sound: false,
        send: |gateway, tool| post(gateway, &[], &call(&bare(&tool.to_uppercase()))),
    },
];

fn start(tool: &Upstream) -> Gateway {
    let setup = Setup::quickstart(&tool.url())
        .mode("enforcing")
        .tool(ALLOWED, &tool.url(), "public", "public")
        .tool(FORBIDDEN, &tool.url(), "public", "public")
        .policy(
            "demo.cedar",
            r#"permit (principal, action, resource);
               forbid (principal, action, resource == cMCP::Resource::"forbidden.tool");"#,
        );
    Gateway::start(&setup)
}

#[test]
fn one_rule_decides_in_every_shape() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    for shape in SHAPES {
        let before = tool.calls().len();
        let denied = (shape.send)(&gateway, FORBIDDEN);
        assert!(denied.text().contains("\"error\""), "{}: {}", shape.name, denied.text());
        assert!(!denied.text().contains("\"result\""), "{}: {}", shape.name, denied.text());
        if shape.sound {
            assert!(denied.text().contains("POLICY_DENY"), "{}: {}", shape.name, denied.text());
        }
        assert_eq!(tool.calls().len(), before, "{}: a forbidden call reached the tool server", shape.name);
        let allowed = (shape.send)(&gateway, ALLOWED);
        assert_eq!(allowed.text().contains("\"result\""), shape.sound, "{}: {}", shape.name, allowed.text());
        assert_eq!(tool.calls().len() - before, usize::from(shape.sound), "{}", shape.name);
    }
}

/// What is listed is what could be called: the same rule again.
#[test]
fn a_forbidden_tool_is_not_listed_in_any_era() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let params = json!({"_meta": modern("x")["_meta"]});
    let modern = post(&gateway, &[JSON, MODERN, ("mcp-method", "tools/list")], &rpc(1, "tools/list", &params));
    let lists = [
        gateway.get("/tools/list").json(),
        post(&gateway, &[], &rpc(1, "tools/list", &json!({}))).json()["result"].clone(),
        in_session(&gateway, &rpc(1, "tools/list", &json!({}))).json()["result"].clone(),
        modern.json()["result"].clone(),
    ];
    for list in lists {
        let names: Vec<&str> =
            list["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, [ALLOWED, "salesforce.contacts"]);
    }
}

/// Other methods are actions of their own: nobody asked for them in this bundle, so they are not served at all.
#[test]
fn what_catalog_and_bundle_do_not_speak_of_is_refused() {
    let tool = Upstream::scripted(|_| Reply::Result("{}".to_owned()));
    let gateway = start(&tool);
    for method in ["resources/list", "resources/read", "prompts/get", "completion/complete", "logging/setLevel"] {
        let body = rpc(1, method, &json!({"uri": "a:b", "name": "n", "ref": {"type": "ref/prompt", "name": "n"}}));
        let answer = post(&gateway, &[], &body);
        assert_eq!((answer.status(), answer.error_code().as_str()), (404, "MCP_METHOD_NOT_FOUND"), "{method}");
    }
    assert_eq!(tool.calls().len(), 0);
}
