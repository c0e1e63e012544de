//! Agents by token: who gets in, and what is whose.

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::{Gateway, Named};
use tests::setup::{CONTACTS, Setup, WHO_CALLS_WHAT, bearer, call_params, rpc, token};
use tests::upstream::Upstream;
use tests::wait_for;

use crate::resets::verifies;

const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Headers and body of a request.
type Shape<'a> = (&'a [(&'a str, &'a str)], Vec<u8>);

fn start(tool: &Upstream) -> Gateway {
    Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing").agents(&["a", "b"]))
}

fn code(answer: &tests::http::Message) -> (u16, String) {
    (answer.status(), answer.error_code())
}

#[test]
fn who_has_no_token_gets_nothing() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let good = bearer("a");
    let other = bearer("c");
    let hash = format!("Bearer {}", claim::Digest::of(token("a")).prefixed());
    let huge = format!("Bearer {}", "x".repeat(60_000));
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "s"));
    let modern = Modern::call("s");
    let shapes: [Shape<'_>; 4] = [
        (&[], call),
        (&[("accept", "text/event-stream")], rpc(1, "initialize", &json!({"protocolVersion": "2025-11-25"}))),
        (&[("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")], rpc(1, "tools/list", &json!({}))),
        (&modern.pairs(), modern.body.to_string().into_bytes()),
    ];
    for (name, values, invalid) in [
        ("missing", vec![], false),
        ("wrong", vec![other.as_str()], true),
        ("its hash", vec![&hash], true),
        ("huge", vec![&huge], true),
        ("twice", vec![&good, &good], true),
        ("twice, one wrong", vec![&good, &other], true),
        ("another scheme", vec!["Basic YTpi"], true),
        ("no scheme", vec![good.trim_start_matches("Bearer ")], true),
        ("empty", vec![""], true),
    ] {
        let own: Vec<(&str, &str)> = values.iter().map(|value| ("authorization", *value)).collect();
        let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
            gateway.connect().request(method, path, &[headers, &own].concat(), body).expect("an answer")
        };
        for (headers, body) in &shapes {
            let refused = ask("POST", "/mcp", headers, body);
            assert_eq!(code(&refused), (401, "UNAUTHENTICATED".to_owned()), "{name}");
            let challenge = refused.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer realm="), "{name}: {challenge}");
            assert_eq!(challenge.contains("invalid_token"), invalid, "{name}: {challenge}");
        }
        for (method, path) in [
            ("GET", "/mcp"),
            ("DELETE", "/mcp"),
            ("GET", "/tools/list"),
            ("GET", "/session/s/claim"),
            ("GET", "/sessions/s/trace-claim"),
            ("POST", "/sessions/s/close"),
            ("POST", "/sessions/s/reset"),
            ("GET", "/session/s/trust-record"),
            ("GET", "/audit/export?session_id=s"),
        ] {
            assert_eq!(code(&ask(method, path, &[], b"")), (401, "UNAUTHENTICATED".to_owned()), "{name}: {path}");
        }
        for path in ["/health", "/readyz", &format!("/attestation?nonce={NONCE}")] {
            assert_eq!(ask("GET", path, &[], b"").status(), 200, "{name}: {path}");
        }
    }
    assert!(tool.calls().is_empty());
    let (a, log) = (gateway.caller("a"), gateway.log());
    assert_eq!(a.get("/session/s/claim").status(), 404, "no session was opened");
    assert_eq!(a.call("s", CONTACTS).status(), 200);
    assert!(!log.contains(&token("c")) && !gateway.log().contains(&token("a")));
    let upstream = tool.calls();
    let heads: String =
        upstream.iter().flat_map(|call| call.headers.clone()).map(|(name, value)| name + &value).collect();
    assert!(!heads.contains(&token("a")) && !heads.contains("authorization"), "{heads}");
    assert!(!upstream[0].text().contains(&token("a")));
}

#[test]
fn the_operator_is_no_agent_and_agents_are_no_operators() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let operator = gateway.caller("operator");
    assert_eq!(code(&operator.call("s", CONTACTS)), (403, "AGENT_REQUIRED".to_owned()));
    assert_eq!(operator.request("GET", "/mcp", &[("mcp-session-id", "s")], b"").status(), 403);
    assert!(tool.calls().is_empty());
    let a = gateway.caller("a");
    a.call("s", CONTACTS);
    assert_eq!(code(&a.post("/sessions/s/reset", b"")), (403, "OPERATOR_REQUIRED".to_owned()));
    assert_eq!(code(&gateway.caller("b").post("/sessions/s/reset?identity=a", b"")).1, "OPERATOR_REQUIRED");
    assert!(!a.entries("s").iter().any(|entry| entry["entry_type"] == "session_reset"));
    assert_eq!(a.call("s", CONTACTS).status(), 403, "the labels are still there");

    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    gateway.call("s", CONTACTS);
    let refused = gateway.post("/sessions/s/reset", b"");
    assert_eq!(code(&refused), (403, "OPERATOR_REQUIRED".to_owned()));
    assert!(refused.text().contains("operator.token_sha256"), "{}", refused.text());
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).operated());
    gateway.call("s", CONTACTS);
    assert_eq!(code(&gateway.post("/sessions/s/reset", b"")), (403, "OPERATOR_REQUIRED".to_owned()));
    assert_eq!(code(&gateway.caller("operator").call("s", CONTACTS)), (403, "AGENT_REQUIRED".to_owned()));
    assert_eq!(gateway.caller("operator").post("/sessions/s/reset", b"").status(), 200);
}

#[test]
fn equal_ids_of_two_identities_are_two_sessions() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let (a, b, operator) = (gateway.caller("a"), gateway.caller("b"), gateway.caller("operator"));
    assert_eq!(a.call("same", CONTACTS).status(), 200);
    assert_eq!(b.call("same", CONTACTS).status(), 200, "b holds nothing of a's");
    assert_eq!(b.call("same", CONTACTS).status(), 403);
    let claim =
        |caller: &Named<'_>, query: &str| caller.get(&format!("/session/same/claim{query}")).json()["gateway"].clone();
    let (of_a, of_b) = (claim(&a, ""), claim(&b, ""));
    assert_eq!((&of_a["session_id"], &of_b["session_id"]), (&json!("same"), &json!("same")));
    assert_ne!(of_a["audit_chain"]["root"], of_b["audit_chain"]["root"]);
    assert_eq!(of_a["call_summary"]["tool_calls_total"], 1);
    assert_eq!(of_b["call_summary"]["tool_calls_total"], 2);
    let start = |caller: &Named<'_>| caller.entries("same")[0]["detail"]["identity"].clone();
    assert_eq!(start(&a), json!({"subject": "a", "issuer": "tests"}));
    assert_eq!(start(&b), json!({"subject": "b", "issuer": "tests"}));
    verifies(&a, "same", "");
    verifies(&b, "same", "");

    assert_eq!(code(&operator.get("/session/same/claim")), (400, "INVALID_QUERY".to_owned()), "whose?");
    assert_eq!(claim(&operator, "?identity=a")["audit_chain"], of_a["audit_chain"]);
    assert_eq!(claim(&operator, "?identity=%62")["audit_chain"], of_b["audit_chain"]);
    assert_eq!(code(&operator.get("/session/same/claim?identity=c")), (400, "INVALID_QUERY".to_owned()));
    assert_eq!(claim(&b, "?identity=a")["audit_chain"], of_b["audit_chain"], "an agent's own, whatever it names");
    assert_eq!(operator.post("/sessions/same/close?identity=a", b"").status(), 200);
    assert_eq!(b.call("same", CONTACTS).status(), 403, "b's session goes on");
    assert_eq!(a.entries("same").last().expect("an entry")["entry_type"], "session_end");
}

#[test]
fn what_is_anothers_is_unknown() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let (a, b) = (gateway.caller("a"), gateway.caller("b"));
    a.call("mine", CONTACTS);
    a.call("done", CONTACTS);
    assert_eq!(a.post("/sessions/done/close", b"").status(), 200);
    for session in ["mine", "done", "never"] {
        for (method, path) in [
            ("GET", format!("/session/{session}/claim")),
            ("GET", format!("/sessions/{session}/trace-claim")),
            ("GET", format!("/session/{session}/trust-record?nonce={NONCE}")),
            ("GET", format!("/audit/export?session_id={session}")),
            ("POST", format!("/sessions/{session}/close")),
        ] {
            let mine = b.request(method, &path, &[], b"");
            assert_eq!(code(&mine), (404, "SESSION_UNKNOWN".to_owned()), "{path}");
            assert_eq!(mine.text(), b.request(method, &path.replace(session, "none"), &[], b"").text(), "{path}");
        }
    }
    assert!(a.entries("mine").iter().all(|entry| entry["entry_type"] != "session_end"));
    verifies(&gateway.caller("operator"), "done", "");
}

#[test]
fn an_mcp_session_is_of_use_to_its_identity_alone() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let b = gateway.caller("b");
    let mine = LegacyAgent::start_as(&gateway, &json!({"elicitation": {}}), gateway.caller("a").authorization);
    let stream = mine.listen();
    assert!(stream.streams());
    let stolen = [("mcp-session-id", mine.session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let accept = ("accept", "application/json, text/event-stream");
    let bodies = [
        rpc(1, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x"}})),
        rpc(1, "tools/list", &json!({})),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).to_string().into(),
        json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string().into(),
    ];
    for body in &bodies {
        let refused = b.request("POST", "/mcp", &[&stolen[..], &[accept]].concat(), body);
        assert_eq!(code(&refused), (404, "SESSION_UNKNOWN".to_owned()), "{}", String::from_utf8_lossy(body));
    }
    for method in ["GET", "DELETE"] {
        let refused = b.request(method, "/mcp", &[stolen[0], ("accept", "text/event-stream")], b"");
        assert_eq!(code(&refused), (404, "SESSION_UNKNOWN".to_owned()), "{method}");
    }
    assert!(tool.calls().is_empty());
    assert_eq!(mine.call(7).message().expect("an answer").json()["id"], 7, "it goes on");
    assert_eq!(mine.end(), 204);

    // By another name for the same: b's own session, not a's.
    let named = Modern::call(&mine.session).header("authorization", &b.authorization).answer(&gateway);
    assert!(named.json()["result"].is_object(), "{}", named.text());
    assert_eq!(b.entries(&mine.session)[0]["detail"]["identity"]["subject"], "b");
}

#[test]
fn one_connection_may_carry_several_identities() {
    let tool = Upstream::plain();
    let gateway = start(&tool);
    let mut connection = gateway.connect();
    let body = rpc(1, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x"}}));
    let mut call = |name: &str| {
        let authorization = gateway.caller(name).authorization;
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        connection.request("POST", "/mcp", &headers, &body).expect("an answer")
    };
    let answers: Vec<_> = ["a", "b", "a", "b"].into_iter().map(&mut call).collect();
    let statuses: Vec<u16> = answers.iter().map(tests::http::Message::status).collect();
    assert_eq!(statuses, [200, 200, 403, 403], "each has a session of its own");
    let ids: Vec<Value> = answers[..2].iter().map(|answer| crate::receipt(answer)["session_id"].clone()).collect();
    assert_eq!(ids[0], ids[1], "of the same id");
}

#[test]
fn labels_follow_an_identity_into_its_next_session() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").agents(&["a", "b"]).limit("session_idle_seconds", 1);
    let gateway = Gateway::start(&setup);
    let (a, b) = (gateway.caller("a"), gateway.caller("b"));
    assert_eq!(a.call("one", CONTACTS).status(), 200);
    for session in ["two", "one"] {
        assert_eq!(code(&a.call(session, CONTACTS)), (403, "POLICY_DENY".to_owned()), "{session}");
    }
    let start = a.entries("two")[0].clone();
    assert_eq!(start["session_sensitivity_after"], "pii", "a session begins with what its identity holds");
    assert_eq!(a.post("/sessions/one/close", b"").status(), 200);
    assert_eq!(a.post("/sessions/two/close", b"").status(), 200);
    assert_eq!(a.call("one", CONTACTS).status(), 403, "closing sheds nothing");
    wait_for("idle expiry", std::time::Duration::from_secs(10), || {
        (a.entries("one").last()?["entry_type"] == "session_end").then_some(())
    });
    let legacy = LegacyAgent::start_as(&gateway, &json!({}), a.authorization.clone());
    assert_eq!(legacy.call(1).message().expect("an answer").error_code(), "POLICY_DENY", "nor does waiting");
    let modern = Modern::call("three").header("authorization", &a.authorization).answer(&gateway);
    assert_eq!(modern.error_code(), "POLICY_DENY");
    assert_eq!(b.call("one", CONTACTS).status(), 200, "another identity holds its own");
    verifies(&a, "two", "");
    verifies(&a, "three", "");
}

#[test]
fn open_sessions_see_what_their_identity_holds_now() {
    let tool = Upstream::plain();
    let setup =
        Setup::quickstart(&tool.url()).mode("enforcing").tool("notes", &tool.url(), "public", "public").agents(&["a"]);
    let gateway = Gateway::start(&setup);
    let a = gateway.caller("a");
    a.call("early", "notes");
    a.call("other", CONTACTS);
    assert_eq!(a.call("early", CONTACTS).status(), 403);
    let entries = a.entries("early");
    let denied = entries.last().expect("an entry");
    assert_eq!((&denied["session_sensitivity_before"], &denied["policy_decision"]), (&json!("pii"), &json!("deny")));
    verifies(&a, "early", "");
}

#[test]
fn scope_session_leaves_labels_where_they_were_joined() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").agents(&["a"]);
    let gateway = Gateway::start(&setup.with("/sensitivity/scope", json!("session")));
    for session in ["one", "two"] {
        assert_eq!(gateway.caller("a").call(session, CONTACTS).status(), 200, "{session}");
    }
}

#[test]
fn one_identity_cannot_fill_the_table() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).agents(&["a", "b"]).limit("max_sessions_per_identity", 3);
    let gateway = Gateway::start(&setup.limit("max_sessions", 5));
    let (a, b) = (gateway.caller("a"), gateway.caller("b"));
    for session in ["1", "2", "3"] {
        assert_eq!(a.call(session, CONTACTS).status(), 200);
    }
    let full = (503, "SESSION_LIMIT".to_owned());
    assert_eq!(code(&a.call("4", CONTACTS)), full);
    for session in ["1", "2"] {
        assert_eq!(b.call(session, CONTACTS).status(), 200);
    }
    assert_eq!(code(&b.call("3", CONTACTS)), full, "five in all");
    assert_eq!(a.call("1", CONTACTS).status(), 200, "none with labels was evicted");
    a.post("/sessions/1/close", b"");
    assert_eq!(b.call("3", CONTACTS).status(), 200);
}

#[test]
fn policies_decide_by_subject_issuer_and_group() {
    let tool = Upstream::plain();
    let setup = ["by.id", "by.group", "by.issuer"]
        .iter()
        .fold(Setup::quickstart(&tool.url()).mode("enforcing"), |setup, name| {
            setup.tool(name, &tool.url(), "public", "public")
        })
        .agents(&["spiffe://bank/a@tellers", "b@auditors"])
        .policy("schema.cedarschema", WHO_CALLS_WHAT)
        .policy(
            "demo.cedar",
            r#"permit (principal == cMCP::Principal::"spiffe://bank/a", action, resource == cMCP::Resource::"by.id");
               permit (principal, action, resource == cMCP::Resource::"by.group") when { principal.groups.contains("auditors") };
               permit (principal, action, resource == cMCP::Resource::"by.issuer") when { principal.issuer == "tests" && principal.subject == "b" };"#,
        );
    let gateway = Gateway::start(&setup);
    for (name, tool, status) in [
        ("spiffe://bank/a", "by.id", 200),
        ("spiffe://bank/a", "by.group", 403),
        ("spiffe://bank/a", "by.issuer", 403),
        ("b", "by.id", 403),
        ("b", "by.group", 200),
        ("b", "by.issuer", 200),
    ] {
        let caller = gateway.caller(name);
        assert_eq!(caller.call("s", tool).status(), status, "{name} {tool}");
        let modern = Modern::new("m", "tools/call", &json!({"name": tool, "arguments": {"query": "x"}}));
        let answer = modern.header("authorization", &caller.authorization).answer(&gateway);
        assert_eq!(answer.json()["result"].is_object(), status == 200, "{name} {tool}");
        let legacy = LegacyAgent::start_as(&gateway, &json!({}), caller.authorization);
        let params = json!({"name": tool, "arguments": {"query": "x"}});
        let answer = legacy.request(1, "tools/call", &params).message().expect("an answer");
        assert_eq!(answer.json()["result"].is_object(), status == 200, "{name} {tool}");
    }
}
