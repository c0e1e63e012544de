//! Agents whose tokens an issuer signs: who gets in, for how long, and what is whose.

use std::time::Duration;

use claim::operator::OperatorKey;
use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::issuer::{ISSUER, now, token};
use tests::setup::{CONTACTS, Setup, WHO_CALLS_WHAT, call_params, rpc};
use tests::upstream::Upstream;
use tests::wait_for;

use crate::resets::verifies;

const RESOURCE: &str = "https://gateway.tests.example/mcp";
const METADATA: &str = "https://gateway.tests.example/.well-known/oauth-protected-resource/mcp";

fn setup(tool: &Upstream) -> Setup {
    Setup::quickstart(&tool.url()).mode("enforcing").issued()
}

fn code(answer: &Message) -> (u16, String) {
    (answer.status(), answer.error_code())
}

/// Code and `WWW-Authenticate` of a refusal, which repeats nothing of the token.
fn turned_away(answer: &Message, token: &str) -> (u16, String) {
    assert_eq!(answer.error_code(), "UNAUTHENTICATED");
    let challenge = answer.header("www-authenticate").expect("a challenge").to_owned();
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!answer.text().contains(part) && !challenge.contains(part), "{}", answer.text());
    }
    (answer.status(), challenge)
}

#[test]
fn two_subjects_with_equal_session_ids_share_nothing() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&setup(&tool));
    let (a, b) = (gateway.bearer(&token("a", &json!({}))), gateway.bearer(&token("b", &json!({}))));
    assert_eq!(a.call("same", CONTACTS).status(), 200);
    assert_eq!(b.call("same", CONTACTS).status(), 200, "b holds nothing of a's");
    assert_eq!(b.call("same", CONTACTS).status(), 403);
    for (caller, subject) in [(&a, "a"), (&b, "b")] {
        let identity = caller.entries("same")[0]["detail"]["identity"].clone();
        assert_eq!(identity, json!({"subject": subject, "issuer": ISSUER}));
        verifies(caller, "same", "");
    }
    let operator = gateway.caller("operator");
    assert_eq!(code(&operator.get("/session/same/claim")), (400, "INVALID_QUERY".to_owned()), "whose?");
    verifies(&operator, "same", "&identity=b");
    assert_eq!(code(&operator.get("/session/same/claim?identity=c")), (400, "INVALID_QUERY".to_owned()));
    assert_eq!(code(&operator.call("same", CONTACTS)), (403, "AGENT_REQUIRED".to_owned()));

    a.call("mine", CONTACTS);
    for (method, path) in [
        ("GET", "/session/mine/claim"),
        ("GET", "/sessions/mine/trace-claim"),
        ("GET", "/session/mine/trust-record"),
        ("GET", "/audit/export?session_id=mine"),
        ("POST", "/sessions/mine/close"),
    ] {
        assert_eq!(code(&b.request(method, path, &[], b"")), (404, "SESSION_UNKNOWN".to_owned()), "{path}");
    }
    let legacy = LegacyAgent::start_as(&gateway, &json!({}), a.authorization.clone());
    let stolen = [("mcp-session-id", legacy.session.as_str()), ("accept", "application/json, text/event-stream")];
    for method in ["GET", "DELETE"] {
        assert_eq!(code(&b.request(method, "/mcp", &stolen, b"")), (404, "SESSION_UNKNOWN".to_owned()), "{method}");
    }
    let call = rpc(1, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "x"}}));
    assert_eq!(code(&b.request("POST", "/mcp", &stolen, &call)), (404, "SESSION_UNKNOWN".to_owned()));
    let log = gateway.log();
    assert!(!log.contains(a.authorization.trim_start_matches("Bearer ")), "a token is logged");
    let heads: Vec<_> = tool.calls().iter().flat_map(|call| call.headers.clone()).collect();
    assert!(heads.iter().all(|(name, _)| name != "authorization"), "a token is passed on: {heads:?}");
}

#[test]
fn a_token_that_does_not_count_is_refused_by_name() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&setup(&tool));
    let good = token("a", &json!({}));
    let (input, signature) = good.rsplit_once('.').expect("a token");
    let (head, _) = input.split_once('.').expect("a token");
    let other = token("b", &json!({}));
    let (other_input, _) = other.rsplit_once('.').expect("a token");
    let none = claim::b64u::encode(br#"{"alg":"none"}"#);
    let (_, claims) = input.split_once('.').expect("a token");
    for (token, reason) in [
        (token("a", &json!({"exp": now() - 1})), "has expired"),
        (token("a", &json!({"exp": null})), "exp is missing"),
        (token("a", &json!({"nbf": now() + 300})), "not valid yet"),
        (token("a", &json!({"iss": "https://evil.example"})), "iss is not"),
        (token("a", &json!({"aud": "https://other.example"})), "aud does not name"),
        (token("a", &json!({"sub": "anonymous"})), "subject_claim"),
        (token("a b", &json!({})), "subject_claim"),
        (token("a", &json!({"groups": "tellers"})), "groups_claim"),
        (token("a", &json!({"cnf": {"jkt": "x"}})), "bound to a key"),
        (format!("{none}.{claims}."), "alg is not"),
        (format!("{other_input}.{signature}"), "the signature is not"),
        (format!("{head}.{claims}"), "not a JWT"),
        (tests::setup::token("a"), "not a JWT"),
        ("x".repeat(9000), "longer than"),
    ] {
        let caller = gateway.bearer(&token);
        for (method, path, body) in [
            ("POST", "/mcp", rpc(1, "tools/call", &call_params(CONTACTS, "s"))),
            ("GET", "/session/s/claim", Vec::new()),
            ("POST", "/kill-switch/trip", Vec::new()),
        ] {
            let answer = caller.request(method, path, &[], &body);
            assert!(answer.text().contains(reason), "{reason}: {}", answer.text());
            let (status, challenge) = turned_away(&answer, &token);
            let expected = r#"Bearer realm="cmcp", error="invalid_token", error_description=""#;
            assert!(status == 401 && challenge.starts_with(expected), "{challenge}");
            assert!(challenge.contains(reason), "{challenge}");
        }
        let answer = Modern::call("s").header("authorization", &caller.authorization).answer(&gateway);
        assert_eq!(code(&answer), (401, "UNAUTHENTICATED".to_owned()), "{reason}");
    }
    for path in [format!("/mcp?access_token={good}"), format!("/session/s/claim?access_token={good}")] {
        let method = if path.starts_with("/mcp") { "POST" } else { "GET" };
        let body = rpc(1, "tools/call", &call_params(CONTACTS, "s"));
        let answer = gateway.connect().request(method, &path, &[], &body).expect("an answer");
        let (status, challenge) = turned_away(&answer, &good);
        assert_eq!((status, challenge.as_str()), (401, r#"Bearer realm="cmcp""#), "a token in the query is none");
    }
    let twice = [("authorization", "Bearer x")];
    assert_eq!(gateway.bearer(&good).request("GET", "/session/s/claim", &twice, b"").status(), 401);
    assert!(tool.calls().is_empty());
    assert_eq!(gateway.bearer(&good).get("/session/s/claim").status(), 404, "no session was opened");
    assert_eq!(gateway.bearer(&good).call("s", CONTACTS).status(), 200);
}

#[test]
fn a_session_outlives_its_tokens_and_no_token_its_time() {
    let tool = Upstream::plain();
    let setup = setup(&tool).tool("notes", &tool.url(), "public", "public");
    let gateway = Gateway::start(&setup.policy("demo.cedar", "permit (principal, action, resource);"));
    let short = gateway.bearer(&token("a", &json!({"exp": now() + 3})));
    assert_eq!(short.call("s", "notes").status(), 200);
    let legacy = LegacyAgent::start_as(&gateway, &json!({}), short.authorization.clone());
    let mut stream = legacy.listen();
    assert!(stream.streams());
    let expired = wait_for("expiry", Duration::from_secs(10), || {
        Some(short.call("s", "notes")).filter(|answer| answer.status() != 200)
    });
    assert!(expired.text().contains("has expired"), "{}", expired.text());
    assert_eq!(short.get("/session/s/claim").status(), 401);
    let ended = stream.next_data().expect("the stream ends in order");
    assert_eq!(ended, None, "with its token");
    assert_eq!(legacy.call(1).head.status(), 401);

    let renewed = gateway.bearer(&token("a", &json!({})));
    assert_eq!(renewed.call("s", "notes").status(), 200);
    let calls = renewed.entries("s").iter().filter(|entry| entry["entry_type"] == "tool_call").count();
    assert_eq!(calls, tool.calls().len(), "each call that was made, none that was refused");
    assert_eq!(renewed.entries("s")[0]["detail"]["session_number"], 1, "the same session goes on");
    verifies(&renewed, "s", "");
    let stolen = [("mcp-session-id", legacy.session.as_str())];
    assert_eq!(renewed.request("DELETE", "/mcp", &stolen, b"").status(), 204, "its MCP session too");
}

#[test]
fn groups_are_those_of_the_token_that_is_sent() {
    let tool = Upstream::plain();
    let setup = setup(&tool)
        .tool("notes", &tool.url(), "public", "public")
        .policy("schema.cedarschema", WHO_CALLS_WHAT)
        .policy(
            "demo.cedar",
            r#"permit (principal == cMCP::Principal::"auth0|a", action, resource == cMCP::Resource::"notes")
               when { principal.groups.contains("editors") && principal.issuer == "https://login.tests.example" };"#,
        );
    let gateway = Gateway::start(&setup);
    let with = |subject: &str, groups: Value| gateway.bearer(&token(subject, &json!({"groups": groups})));
    let (editor, reader) = (with("auth0|a", json!(["editors", "Gr\u{fc}ppe"])), with("auth0|a", json!(["readers"])));
    for round in 0..2 {
        assert_eq!(editor.call("s", "notes").status(), 200, "{round}");
        assert_eq!(reader.call("s", "notes").status(), 403, "{round}: another token's groups are not lent");
    }
    assert_eq!(gateway.bearer(&token("auth0|a", &json!({}))).call("s", "notes").status(), 403);
    assert_eq!(with("b", json!(["editors"])).call("s", "notes").status(), 403);
    let mut legacy = LegacyAgent::start_as(&gateway, &json!({}), editor.authorization.clone());
    let call = json!({"name": "notes", "arguments": {"query": "x"}});
    assert!(legacy.request(1, "tools/call", &call).message().expect("an answer").json()["result"].is_object());
    legacy.authorization.clone_from(&reader.authorization);
    let denied = legacy.request(2, "tools/call", &call).message().expect("an answer");
    assert_eq!(denied.error_code(), "POLICY_DENY", "in an MCP session too");
}

#[test]
fn agents_hear_where_tokens_come_from() {
    let tool = Upstream::plain();
    let paths = ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"];
    let gateway = Gateway::start(&setup(&tool).with("/auth/resource", json!(RESOURCE)));
    for path in paths {
        let metadata = gateway.get(path);
        assert_eq!((metadata.status(), metadata.header("content-type")), (200, Some("application/json")), "{path}");
        assert_eq!(
            metadata.json(),
            json!({"resource": RESOURCE, "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"]})
        );
    }
    let none = gateway.post("/mcp", &rpc(1, "tools/list", &json!({})));
    let (status, challenge) = turned_away(&none, "");
    assert_eq!((status, challenge), (401, format!(r#"Bearer realm="cmcp", resource_metadata="{METADATA}""#)));
    let wrong = gateway.bearer("x.y.z").call("s", CONTACTS);
    assert!(turned_away(&wrong, "").1.ends_with(&format!(r#", resource_metadata="{METADATA}""#)));

    let gateway = Gateway::start(&setup(&tool));
    for path in paths {
        assert_eq!(code(&gateway.get(path)), (404, "NOT_FOUND".to_owned()));
    }
    assert!(!turned_away(&gateway.call("s", CONTACTS), "").1.contains("resource_metadata"));
}

#[test]
fn the_kill_switch_and_rate_limits_know_subjects_of_an_issuer() {
    let key = OperatorKey::from_seed([0x0a; 32]);
    let tool = Upstream::plain();
    let blocked = json!([{"subject": "fired", "issuer": ISSUER}, {"subject": "b", "issuer": "https://other.example"}]);
    let setup = setup(&tool)
        .tool("notes", &tool.url(), "public", "public")
        .policy("demo.cedar", "permit (principal, action, resource);")
        .operated_by(&key)
        .controls(&key, &json!({"epoch": 1, "blocked": blocked}))
        .with("/kill_switch", json!({"enabled": true, "min_calls": 4, "deny_rate_percent": 100}))
        .with("/rate_limits", json!([{"subject": "slow", "calls": 1, "per_seconds": 3600}]));
    let gateway = Gateway::start(&setup);
    assert!(gateway.log().contains("warnings about the documents: 1"), "b of another issuer: {}", gateway.log());
    let agent = |subject: &str| gateway.bearer(&token(subject, &json!({})));
    assert_eq!(code(&agent("fired").call("s", "notes")), (403, "KILL_SWITCH".to_owned()));
    assert_eq!(agent("b").call("s", "notes").status(), 200);
    assert_eq!(agent("slow").call("s", "notes").status(), 200);
    assert_eq!(code(&agent("slow").call("t", "notes")), (429, "RATE_LIMITED".to_owned()));
    let operator = gateway.caller("operator");
    let order = |subject: &str| json!({"subject": subject, "reason": "stolen laptop"}).to_string().into_bytes();
    for subject in ["b", "new"] {
        let tripped = operator.post("/kill-switch/trip", &order(subject));
        assert_eq!(tripped.status(), 200, "{}", tripped.text());
        assert_eq!(tripped.json()["blocked"], json!({"subject": subject, "issuer": ISSUER}));
        // Another token of the same subject is the same identity.
        let other = gateway.bearer(&token(subject, &json!({"jti": "2"})));
        assert_eq!(code(&other.call("t", "notes")), (403, "KILL_SWITCH".to_owned()), "{subject}");
    }
    assert_eq!(operator.post("/kill-switch/unblock", &order("b")).status(), 200);
    assert_eq!(agent("b").call("s", "notes").status(), 200);
    assert_eq!(code(&operator.post("/kill-switch/trip", &order("a b"))), (400, "MCP_INVALID_PARAMS".to_owned()));
    assert_eq!(code(&agent("b").post("/kill-switch/trip", &order("c"))), (403, "OPERATOR_REQUIRED".to_owned()));
    verifies(&agent("b"), "s", "");
}

#[test]
fn identities_that_hold_something_are_not_forgotten_for_newcomers() {
    let tool = Upstream::plain();
    let setup = setup(&tool).tool("notes", &tool.url(), "public", "public").limit("max_identities", 2);
    let gateway = Gateway::start(
        &setup.policy("also.cedar", "permit (principal, action, resource == cMCP::Resource::\"notes\");"),
    );
    let agent = |subject: &str| gateway.bearer(&token(subject, &json!({})));
    assert_eq!(agent("a").call("s", CONTACTS).status(), 200);
    assert_eq!(agent("idle").get("/session/s/claim").status(), 404);
    let full = (503, "IDENTITY_LIMIT".to_owned());
    assert_eq!(agent("b").call("s", "notes").status(), 200, "in the place of who holds nothing");
    assert_eq!(code(&agent("c").call("s", "notes")), full);
    assert_eq!(code(&agent("c").get("/session/s/claim")), full);
    assert_eq!(agent("a").post("/sessions/s/close", b"").status(), 200);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(code(&agent("c").call("s", "notes")), full, "labels and closed sessions are kept");
    assert_eq!(code(&agent("a").call("t", CONTACTS)), (403, "POLICY_DENY".to_owned()), "a still holds pii");
    assert_eq!(agent("a").get("/session/s/claim").status(), 200);
}
