//! Headers of the modern era mirror the body; where they do not, nothing is forwarded.

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup, call_params, listed, rpc};

use crate::{books, lines};

/// The quickstart's tool, whose `query` is mirrored as `Mcp-Param-Query`, `max_records` as `Mcp-Param-Max` and `place.zone` as
/// `Mcp-Param-Z_1`.
fn mirroring(url: &str) -> Setup {
    let mut setup = Setup::governed(url, &[]);
    let definition = &mut setup.catalog[0]["approved_definition"];
    definition["input_schema"]["properties"]["query"]["x-mcp-header"] = json!("Query");
    definition["input_schema"]["properties"]["max_records"]["x-mcp-header"] = json!("Max");
    let zone = json!({"type": "string", "x-mcp-header": "Z_1"});
    definition["input_schema"]["properties"]["place"] = json!({"type": "object", "properties": {"zone": zone}});
    let parsed = claim::json::parse(definition.to_string().as_bytes()).expect("JSON");
    setup.catalog[0]["definition_hash"] = json!(claim::hashes::definition_hash(&parsed).prefixed());
    setup
}

/// A server that lists that tool.
fn server(speaks: Speaks) -> McpServer {
    let tools = json!({"tools": [listed(&mirroring("").catalog[0])]}).to_string();
    McpServer::start(speaks, move |turn| {
        if turn.method() == "tools/list" {
            turn.result(&tools);
        }
    })
}

fn call(arguments: &Value) -> Modern {
    Modern::new("mirror", "tools/call", &json!({"name": CONTACTS, "arguments": arguments}))
}

#[test]
fn mirrored_arguments_must_be_those_of_the_body() {
    let tool = server(Speaks::Modern);
    let gateway = Gateway::start(&mirroring(&tool.url()));
    let plain = || call(&json!({"query": "Acme"}));
    let wrong = [
        ("missing", plain()),
        ("other value", plain().header("mcp-param-query", "acme")),
        ("base64 of another", plain().header("mcp-param-query", "=?base64?YWNtZQ==?=")),
        ("broken base64", plain().header("mcp-param-query", "=?base64?QWNtZQ?=")),
        ("surplus", plain().header("mcp-param-query", "Acme").header("mcp-param-max", "1")),
        (
            "number as text",
            call(&json!({"query": "Acme", "max_records": 10}))
                .header("mcp-param-query", "Acme")
                .header("mcp-param-max", "10.0"),
        ),
        (
            "within another",
            call(&json!({"query": "Acme", "place": {"zone": "a"}}))
                .header("mcp-param-query", "Acme")
                .header("mcp-param-z_1", "b"),
        ),
    ];
    for (name, request) in wrong {
        let answer = request.answer(&gateway);
        assert_eq!(
            (answer.status(), &answer.json()["error"]["code"]),
            (400, &json!(-32020)),
            "{name}: {}",
            answer.text()
        );
    }
    assert_eq!(tool.of("tools/call").len(), 0);
    assert_eq!(gateway.get("/session/mirror/claim").status(), 404, "nothing was admitted");
    let full = json!({"query": "Acme \u{e9}", "max_records": 10, "place": {"zone": "a b"}});
    let right = [
        plain().header("mcp-param-query", "Acme"),
        plain().header("mcp-param-query", "=?base64?QWNtZQ==?=").header("mcp-param-unknown", "x"),
        call(&full)
            .header("mcp-param-query", "=?base64?QWNtZSDDqQ==?=")
            .header("mcp-param-max", "10")
            .header("mcp-param-z_1", "a b"),
    ];
    for request in right {
        let answer = request.answer(&gateway);
        assert!(answer.json()["result"].is_object(), "{}", answer.text());
    }
    let last = tool.of("tools/call").pop().expect("a call");
    let sent = ["query", "max", "z_1"].map(|name| last.header(&format!("mcp-param-{name}")));
    assert_eq!(sent, [Some("=?base64?QWNtZSDDqQ==?="), Some("10"), Some("a b")], "mirrored towards the server too");
    assert_eq!(books(&gateway, "mirror").len(), 3);
}

/// The mirrors are written for the server from the body, whatever the agent's era.
#[test]
fn a_legacy_agent_s_arguments_are_mirrored_for_a_modern_server() {
    let tool = server(Speaks::Modern);
    let gateway = Gateway::start(&mirroring(&tool.url()));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert!(agent.call(5).next_json_or_body()["result"].is_object());
    let call = tool.of("tools/call").pop().expect("a call");
    assert_eq!((call.header("mcp-param-query"), call.header("mcp-name")), (Some("x"), Some(CONTACTS)));
    assert_eq!(call.header("mcp-session-id"), None);
}

#[test]
fn a_session_id_says_nothing_in_the_modern_era() {
    let tool = McpServer::plain(Speaks::Modern);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    for session in [agent.session.as_str(), "unknown"] {
        let answer = Modern::call("own").header("mcp-session-id", session).answer(&gateway).json();
        assert_eq!(answer["result"]["_meta"]["io.cmcp/receipt"]["session_id"], "own", "{answer}");
    }
    assert_eq!(lines(&books(&gateway, &agent.session)), []);
    assert_eq!(books(&gateway, "own").len(), 2);
}

#[test]
fn an_unknown_version_is_told_the_known_one() {
    let tool = McpServer::plain(Speaks::Modern);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let mut request = Modern::call("version").header("mcp-protocol-version", "2030-01-01");
    request.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2030-01-01");
    let answer = request.answer(&gateway);
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status(), &error["code"]), (400, &json!(-32022)), "{error}");
    assert_eq!(error["data"]["supported"], json!(["2026-07-28"]));
    assert_eq!(error["data"]["requested"], "2030-01-01");
    assert_eq!(tool.seen().len(), 0);
}

/// The example of the W3C's specification.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

#[test]
fn a_trace_reaches_the_tool_server_and_nothing_else() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let tool = McpServer::plain(speaks);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &["resources"]));
        let agent = LegacyAgent::start(&gateway, &json!({}));
        let sent = || {
            let last = tool.seen().pop().expect("a request");
            ["traceparent", "tracestate"].map(|name| last.header(name).map(str::to_owned))
        };
        let whole = [Some(PARENT.to_owned()), Some(STATE.to_owned())];
        let session = [("mcp-session-id", agent.session.as_str())];
        for (shape, own) in [("legacy", session.as_slice()), ("bare", &[])] {
            let headers = [("content-type", "application/json"), ("traceparent", PARENT), ("tracestate", STATE)];
            let headers = [headers.as_slice(), own].concat();
            let body = rpc(1, "tools/call", &call_params(CONTACTS, "traced"));
            let answer = gateway.connect().request("POST", "/mcp", &headers, &body).expect("an answer");
            assert_eq!((answer.status(), sent()), (200, whole.clone()), "{speaks:?}, {shape}: {}", answer.text());
        }
        let read = Modern::new("traced", "resources/read", &json!({"uri": "a:1"}));
        for request in [Modern::call("traced"), read] {
            request.clone().header("traceparent", PARENT).header("tracestate", STATE).answer(&gateway);
            assert_eq!(sent(), whole, "{speaks:?}: {}", request.body["method"]);
            request.answer(&gateway);
            assert_eq!(sent(), [None, None], "nothing is made up, and nothing is left of the request before");
        }
        let stored = json!(gateway.entries("traced")).to_string();
        assert!(stored.contains("tool_call") && !stored.contains(&PARENT[3..35]), "{stored}");
    }
}

#[test]
fn a_malformed_trace_is_dropped_and_the_call_goes_on() {
    let tool = McpServer::plain(Speaks::Modern);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let twice = |name: &str, value: &str| {
        let mut request = Modern::call("dropped").header("traceparent", PARENT).header("tracestate", STATE);
        request.headers.push((name.to_owned(), value.to_owned()));
        request
    };
    let long = format!("a={}", "x".repeat(511));
    let parents = [PARENT.to_uppercase(), PARENT.replace("00-", "ff-"), format!("{PARENT}-"), String::new()];
    let of =
        |parent: &str, state: &str| Modern::call("dropped").header("traceparent", parent).header("tracestate", state);
    let mut cases: Vec<(Modern, [Option<&str>; 2])> =
        parents.iter().map(|parent| (of(parent, STATE), [None, None])).collect();
    cases.push((twice("traceparent", PARENT), [None, None]));
    cases.push((of(PARENT, &long), [Some(PARENT), None]));
    cases.push((of(PARENT, "Upper=1"), [Some(PARENT), None]));
    cases.push((
        twice("tracestate", "third=3"),
        [Some(PARENT), Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7,third=3")],
    ));
    let calls = cases.len();
    for (request, expected) in cases {
        let answer = request.answer(&gateway);
        assert!(answer.json()["result"].is_object(), "{}", answer.text());
        let last = tool.of("tools/call").pop().expect("a call");
        assert_eq!(["traceparent", "tracestate"].map(|name| last.header(name)), expected, "{:?}", request.headers);
    }
    assert_eq!(books(&gateway, "dropped").len(), calls);
}

#[test]
fn a_trace_in_meta_passes_as_it_is() {
    let tool = McpServer::plain(Speaks::Modern);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let mut request = Modern::call("meta");
    request.body["params"]["_meta"]["traceparent"] = json!(PARENT);
    request.body["params"]["_meta"]["tracestate"] = json!(STATE);
    assert!(request.answer(&gateway).json()["result"].is_object());
    let last = tool.of("tools/call").pop().expect("a call");
    let meta = last.json()["params"]["_meta"].clone();
    assert_eq!((&meta["traceparent"], &meta["tracestate"]), (&json!(PARENT), &json!(STATE)));
    assert_eq!(last.header("traceparent"), None, "what is in the body stays there");
}
