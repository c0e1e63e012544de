//! Every path that is served, and what others answer.

use serde_json::json;
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::upstream::Upstream;

const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

#[test]
fn every_endpoint_answers() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    gateway.call("one", CONTACTS);

    for path in ["/health", "/readyz"] {
        assert_eq!(gateway.get(path).status(), 200, "{path}");
    }
    let tools = gateway.get("/tools/list");
    assert_eq!(tools.status(), 200);
    assert!(tools.text().contains(CONTACTS), "{}", tools.text());

    let claim = gateway.get("/session/one/claim");
    assert_eq!(claim.status(), 200);
    assert_eq!(gateway.get("/sessions/one/trace-claim").body, claim.body, "the same claim at both paths");

    let record = gateway.get(&format!("/session/one/trust-record?nonce={NONCE}"));
    assert_eq!(record.status(), 200, "{}", record.text());
    assert_eq!(record.json()["runtime"]["nonce"], NONCE);
    assert_eq!(record.json()["references"][0]["digest"], json!(format!("sha256:{}", crate::sha256_hex(&claim.body))));

    let attestation = gateway.get(&format!("/attestation?nonce={NONCE}"));
    assert_eq!(attestation.status(), 200, "{}", attestation.text());
    assert!(attestation.text().contains("software-only"), "{}", attestation.text());

    let bundle = gateway.get("/audit/export?session_id=one").json();
    assert_eq!(bundle["session_id"], "one");
    assert!(bundle["bundle_signature"].is_string());
    assert_eq!(bundle["entries"][0]["entry_type"], "session_start");

    let closed = gateway.post("/sessions/one/close", b"");
    assert_eq!(closed.status(), 200, "{}", closed.text());
    assert_eq!(gateway.get("/session/one/claim").body, closed.body, "closing freezes the last claim");
}

#[test]
fn errors_have_their_status_and_code() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let cases = [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/session/unknown/claim", 404, "SESSION_UNKNOWN"),
        ("GET", "/sessions/unknown/trace-claim", 404, "SESSION_UNKNOWN"),
        ("GET", "/session/unknown/trust-record?nonce=AAECAwQFBgcICQoLDA0ODw", 404, "SESSION_UNKNOWN"),
        ("POST", "/sessions/unknown/close", 404, "SESSION_UNKNOWN"),
        ("GET", "/audit/export?session_id=unknown", 404, "SESSION_UNKNOWN"),
        ("GET", "/audit/export", 400, "INVALID_QUERY"),
        ("GET", "/attestation?nonce=AA", 400, "INVALID_QUERY"),
        (
            "GET",
            "/attestation?nonce=%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21%21",
            400,
            "INVALID_QUERY",
        ),
        ("DELETE", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/session/unknown/claim", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/sessions/unknown/close", 405, "METHOD_NOT_ALLOWED"),
    ];
    for (method, path, status, code) in cases {
        let answer = gateway.connect().request(method, path, &[], b"").expect("an answer");
        assert_eq!(
            (answer.status(), answer.error_code().as_str()),
            (status, code),
            "{method} {path}: {}",
            answer.text()
        );
    }
}

#[test]
fn keep_alive_serves_many_requests_on_one_connection() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let mut connection = gateway.connect();
    for round in 0..50 {
        let body = tests::setup::rpc(round, "tools/call", &tests::setup::call_params(CONTACTS, "kept"));
        let answer =
            connection.request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer");
        assert_eq!(answer.json()["id"], round);
    }
    assert_eq!(gateway.claim("kept")["gateway"]["call_summary"]["tool_calls_total"], 50);
}
