//! How tool servers are spoken to: handshakes that fail, sessions that are forgotten, several servers as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::{Message, response_bytes};
use tests::mcp_server::{McpServer, Speaks, Turn};
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::wait_for;

use crate::{books, lines};

/// What a server does in its turn.
type Does = fn(&mut Turn<'_>);

/// A URL where nobody listens.
fn nobody() -> String {
    format!("http://127.0.0.1:{}/mcp", tests::bin::free_port())
}

/// A legacy server that answers 404 to the first calls.
fn forgetful(calls: usize) -> McpServer {
    let forgotten = Arc::new(AtomicUsize::new(0));
    McpServer::start(Speaks::Legacy, move |turn| {
        if turn.is_call() && forgotten.fetch_add(1, Ordering::SeqCst) < calls {
            turn.raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    })
}

#[test]
fn a_forgotten_session_is_opened_again_once() {
    for (forgets, outcome, hellos, calls) in
        [(1, (CONTACTS, "allow", ""), 2, 2), (100, (CONTACTS, "fault", "UPSTREAM_INVALID"), 2, 2)]
    {
        let tool = forgetful(forgets);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
        let agent = LegacyAgent::start(&gateway, &json!({}));
        let answer = agent.call(5).message().expect("an answer");
        assert_eq!(answer.json().get("result").is_some(), outcome.1 == "allow", "{}", answer.text());
        assert_eq!((tool.of("initialize").len(), tool.of("tools/call").len()), (hellos, calls));
        assert_eq!(lines(&books(&gateway, &agent.session)), [outcome]);
    }
    let tool = forgetful(1);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    assert_eq!(gateway.call("shared", CONTACTS).status(), 200, "a shared link is opened again too");
    assert_eq!(lines(&books(&gateway, "shared")), [(CONTACTS, "allow", "")]);
}

#[test]
fn an_agent_s_end_ends_its_sessions_with_tool_servers() {
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.http.target().0 == "DELETE" {
            turn.closed();
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert_eq!(agent.call(5).message().expect("an answer").status(), 200);
    assert_eq!(agent.end(), 204, "whether or not the server answers");
    assert_eq!(tool.wait("DELETE").header("mcp-session-id"), Some("upstream-session"));
    assert_eq!(agent.call(6).head.status(), 404, "the session is over");
    assert_eq!(tool.of("tools/call").len(), 1);
}

/// Messages that a server does not take are given up: others wait behind them.
#[test]
fn a_server_that_does_not_take_an_end_does_not_block_the_next_agent() {
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.http.target().0 == "DELETE" {
            turn.closed();
            turn.open();
        }
    });
    let setup = Setup::governed(&tool.url(), &[]).limit("upstream_connections_per_server", 1);
    let gateway = Gateway::start(&setup.limit("upstream_timeout_ms", 500));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert!(agent.call(5).next_json_or_body()["result"].is_object());
    assert_eq!(agent.end(), 204);
    tool.wait("DELETE");
    let next = LegacyAgent::start(&gateway, &json!({}));
    wait_for("room for the next agent", Duration::from_secs(5), || {
        next.call(6).next_json_or_body()["result"].is_object().then_some(())
    });
}

#[test]
fn a_handshake_that_fails_is_a_fault_of_the_call() {
    let cases: [(&str, Does, &str); 4] = [
        ("version", |turn| turn.initialized("1999-12-31", None), "UPSTREAM_INVALID"),
        ("garbage", |turn| turn.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "UPSTREAM_INVALID"),
        (
            "html",
            |turn| turn.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 1\r\n\r\n<"),
            "UPSTREAM_INVALID",
        ),
        ("never", |turn| assert!(turn.closed()), "UPSTREAM_TIMEOUT"),
    ];
    for (name, answer, code) in cases {
        let tool = McpServer::start(Speaks::Legacy, move |turn| {
            if turn.method() == "initialize" {
                answer(turn);
                turn.open();
            }
        });
        let setup = Setup::governed(&tool.url(), &["resources"]).limit("upstream_timeout_ms", 1000);
        let gateway = Gateway::start(&setup);
        let agent = LegacyAgent::start(&gateway, &json!({}));
        assert!(agent.offered["capabilities"].get("resources").is_none(), "{name}: {}", agent.offered);
        assert_eq!(agent.call(5).message().expect("an answer").error_code(), code, "{name}");
        let calls = books(&gateway, &agent.session);
        assert_eq!(lines(&calls), [(CONTACTS, "fault", code)], "{name}");
        assert_eq!(calls[0].entry["detail"]["forwarded"], false, "{name}: the call did not run");
        assert_eq!(tool.of("tools/call").len(), 0, "{name}");
    }
}

/// What a proxy says while its server restarts tells nothing of what the server speaks.
#[test]
fn a_server_that_is_not_there_yet_is_asked_again_what_it_speaks() {
    let refused = Arc::new(AtomicUsize::new(0));
    let tool = McpServer::start(Speaks::Legacy, move |turn| {
        if refused.fetch_add(1, Ordering::SeqCst) < 1 {
            turn.raw(b"HTTP/1.1 503 X\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nbusy");
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    assert_eq!(gateway.call("early", CONTACTS).error_code(), "UPSTREAM_UNAVAILABLE");
    assert_eq!(gateway.call("early", CONTACTS).status(), 200);
    let call = tool.of("tools/call").pop().expect("a call");
    assert_eq!(call.header("mcp-session-id"), Some("upstream-session"), "with a handshake");
    let expected = [(CONTACTS, "fault", "UPSTREAM_UNAVAILABLE"), (CONTACTS, "allow", "")];
    assert_eq!(lines(&books(&gateway, "early")), expected);
}

/// A server that refuses the one version it names is modern all the same; one that names others is not asked twice.
#[test]
fn a_refused_version_that_the_server_names_as_its_own_is_asked_for_again() {
    for (named, asked) in
        [("2026-07-28", vec!["server/discover"; 2]), ("2030-01-01", vec!["server/discover", "initialize"])]
    {
        let refused = Arc::new(AtomicUsize::new(0));
        let tool = McpServer::start(Speaks::Modern, move |turn| {
            if turn.method() == "server/discover" && refused.fetch_add(1, Ordering::SeqCst) < 1 {
                let data = json!({"supported": [named], "requested": "2026-07-28"});
                let error = json!({"code": -32022, "message": "no", "data": data});
                let body = json!({"jsonrpc": "2.0", "id": turn.body["id"], "error": error}).to_string();
                turn.raw(&response_bytes(400, "application/json", body.as_bytes()));
            }
        });
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
        assert!(Modern::call("named").answer(&gateway).json()["result"].is_object());
        let seen: Vec<String> =
            tool.seen().iter().map(|seen| seen.json()["method"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(seen, [asked, vec!["tools/list", "tools/call"]].concat(), "{named}");
        let version =
            tool.of("tools/call").pop().and_then(|call| call.header("mcp-protocol-version").map(str::to_owned));
        assert_eq!(version.is_some(), named == "2026-07-28", "{named}");
    }
}

#[test]
fn a_server_that_is_down_costs_its_capabilities_only() {
    let tool = McpServer::plain(Speaks::Legacy);
    let mut setup = Setup::governed(&nobody(), &["prompts"]).tool("z.other", &tool.url(), "public", "public");
    setup.catalog[1]["server"]["capabilities"] = json!(["resources"]);
    let gateway = Gateway::start(&setup);
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let offered = &agent.offered["capabilities"];
    assert!(offered.get("prompts").is_none() && offered["resources"].is_object(), "{offered}");
    let call = |tool: &str| {
        let params = json!({"name": tool, "arguments": {"query": "x"}});
        agent.request(5, "tools/call", &params).message().expect("an answer").json()
    };
    assert_eq!(call(CONTACTS)["error"]["data"]["error_code"], "UPSTREAM_UNAVAILABLE");
    assert!(call("z.other")["result"].is_object());
}

#[test]
fn agents_with_the_same_request_id_get_their_own_answers() {
    const AGENTS: usize = 16;
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.is_call() {
            let text = turn.body["params"]["arguments"]["query"].to_string();
            thread::sleep(Duration::from_millis(20));
            turn.text(&text);
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    thread::scope(|scope| {
        for number in 0..AGENTS {
            let gateway = &gateway;
            scope.spawn(move || {
                let query = format!("agent-{number}");
                let mut params = call_params(CONTACTS, &query);
                params["arguments"]["query"] = json!(query);
                let answer = gateway.post("/mcp", &rpc(1, "tools/call", &params)).json();
                assert_eq!(answer["id"], 1);
                assert_eq!(answer["result"]["content"][0]["text"], json!(query).to_string());
            });
        }
    });
    let mut ids: Vec<String> = tool.of("tools/call").iter().map(|call| call.json()["id"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), tool.of("initialize").len()), (AGENTS, 1), "one session, an id for each call");
}

/// A server with two pages of resources named after it, and one resource that it can read.
fn resources(name: &'static str) -> McpServer {
    McpServer::start(Speaks::Legacy, move |turn| {
        let page = |number: u32| json!([{"uri": format!("{name}:{number}"), "name": "n"}]);
        match (turn.method(), turn.body["params"]["cursor"].as_str(), turn.body["params"]["uri"].as_str()) {
            ("resources/list", None, _) => turn.result(&json!({"resources": page(1), "nextCursor": "~2"}).to_string()),
            ("resources/list", Some("~2"), _) => turn.result(&json!({"resources": page(2)}).to_string()),
            ("resources/list", ..) => turn.error(200, -32602),
            ("resources/read", _, Some(uri)) if uri.starts_with(name) => {
                turn.result(&json!({"contents": [{"uri": uri, "text": name}]}).to_string());
            }
            ("resources/read", ..) => turn.error(200, -32002),
            _ => {}
        }
    })
}

/// Every page of a list.
fn pages(agent: &LegacyAgent<'_>) -> (Vec<String>, usize) {
    let (mut uris, mut count, mut cursor) = (Vec::new(), 0, Value::Null);
    loop {
        let params = if cursor.is_null() { json!({}) } else { json!({"cursor": cursor}) };
        let page: Value = agent.request(1, "resources/list", &params).message().expect("an answer").json();
        let list = page["result"]["resources"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
        uris.extend(list.iter().filter_map(|resource| resource["uri"].as_str().map(str::to_owned)));
        count += 1;
        cursor = page["result"]["nextCursor"].clone();
        if cursor.is_null() {
            return (uris, count);
        }
    }
}

fn two(first: &str, second: &str) -> Setup {
    Setup::governed(first, &["resources"]).tool("z.other", second, "public", "public")
}

#[test]
fn lists_of_several_servers_are_paged_one_server_after_the_other() {
    let (one, other) = (resources("one"), resources("other"));
    let gateway = Gateway::start(&two(&one.url(), &other.url()));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert_eq!(pages(&agent), (["one:1", "one:2", "other:1", "other:2"].map(str::to_owned).into(), 4));
    assert!(books(&gateway, &agent.session).iter().all(|call| call.decision == "allow"));
    for cursor in ["garbage", "7~^", "~", "-1~^", "0", "\u{e9}~"] {
        let answer = agent.request(2, "resources/list", &json!({"cursor": cursor})).message().expect("an answer");
        assert_eq!(answer.json()["error"]["code"], -32602, "{cursor:?}: {}", answer.text());
    }
    let before = (one.of("resources/list").len(), other.of("resources/list").len());
    assert_eq!(before, (2, 2), "a cursor of nobody reaches nobody");
}

#[test]
fn a_server_that_is_down_costs_its_own_part_of_a_list() {
    let up = resources("up");
    for (setup, order) in [(two(&nobody(), &up.url()), "first"), (two(&up.url(), &nobody()), "last")] {
        let gateway = Gateway::start(&setup);
        let agent = LegacyAgent::start(&gateway, &json!({}));
        assert_eq!(pages(&agent).0, ["up:1", "up:2"], "{order}");
        let calls = books(&gateway, &agent.session);
        let down = calls.iter().filter(|call| call.code == "UPSTREAM_UNAVAILABLE").count();
        assert_eq!((calls.len(), down), (3, 1), "{order}: it is on record");
    }
    let gateway = Gateway::start(&two(&nobody(), &nobody()));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let answer: Message = agent.request(1, "resources/list", &json!({})).message().expect("an answer");
    assert_eq!(answer.error_code(), "UPSTREAM_UNAVAILABLE", "with nothing at all the list is no list");
}

#[test]
fn a_resource_is_read_from_the_server_that_has_it() {
    let (one, other) = (resources("one"), resources("other"));
    let gateway = Gateway::start(&two(&one.url(), &other.url()));
    let read = |uri: &str| Modern::new("reader", "resources/read", &json!({"uri": uri})).answer(&gateway);
    let found = read("other:1").json();
    assert_eq!(found["result"]["contents"][0]["text"], "other", "{found}");
    let missing = read("nobody:1");
    assert_eq!(missing.json()["error"]["code"], -32002, "{}", missing.text());
    let has_not = ("resources/read", "fault", "UPSTREAM_TOOL_ERROR");
    assert_eq!(lines(&books(&gateway, "reader")), [has_not, ("resources/read", "allow", ""), has_not, has_not]);
}
