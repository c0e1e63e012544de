//! Controls that hold in every mode, and what their tests share.

mod ceilings;
mod kill_switch;
mod rates;

use claim::operator::OperatorKey;
use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::setup::Setup;

use crate::Booked;

const PERMIT: &str = "permit (principal, action, resource);";
const MODES: [&str; 3] = ["enforcing", "advisory", "silent"];

fn key() -> OperatorKey {
    OperatorKey::from_seed([0x0a; 32])
}

/// A tool that brings personal data and one that sends mail, both allowed.
fn setup(upstream: &str, mode: &str) -> Setup {
    Setup::quickstart(upstream).mode(mode).policy("demo.cedar", PERMIT).tool("mail", upstream, "external", "public")
}

fn outcome(answer: &Message) -> (u16, String) {
    (answer.status(), if answer.status() == 200 { String::new() } else { answer.error_code() })
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// The one call of a session that was refused by this code, with nothing forwarded.
fn denied<'a>(calls: &'a [Booked], code: &str) -> &'a Value {
    let found: Vec<_> = calls.iter().filter(|call| call.code == code).collect();
    assert_eq!((found.len(), found[0].decision.as_str()), (1, "deny"), "{calls:#?}");
    &found[0].entry
}

#[test]
fn settings_that_name_nothing_are_refused() {
    let check = |setup: &Setup| {
        let folder = tempfile::tempdir().expect("a folder");
        setup.write(folder.path());
        let args = ["check", "--config", "cmcp-config.yaml"];
        let output =
            std::process::Command::new(tests::bin::path("host")).args(args).current_dir(folder.path()).output();
        String::from_utf8(output.expect("the host runs").stderr).expect("text")
    };
    let base = setup("http://localhost:9001/mcp", "enforcing");
    for (pointer, value, words) in [
        (
            "/sink_policy/tools/nowhere",
            json!("public"),
            "sink_policy.tools.nowhere: found \"nowhere\", expected a tool_name",
        ),
        ("/sink_policy/tools/mail", json!("top"), "sink_policy.tools.mail: found \"top\", expected one of public, pii"),
        ("/sink_policy/response_max_sensitivity", json!("x"), "sink_policy.response_max_sensitivity: found \"x\""),
        ("/rate_limits", json!([{"tool": "x", "calls": 1, "per_seconds": 1}]), "rate_limits[0].tool: found \"x\""),
        (
            "/rate_limits",
            json!([{"subject": "x", "calls": 1, "per_seconds": 1}]),
            "rate_limits[0].subject: found \"x\"",
        ),
        (
            "/rate_limits",
            json!([{"calls": 0, "per_seconds": 1}]),
            "rate_limits[0].calls: found 0, expected 1 to 1000000",
        ),
        ("/rate_limits", json!([{"calls": 1, "per_seconds": 0}]), "rate_limits[0].per_seconds: found 0"),
        ("/rate_limits", json!([{"calls": 1}]), "rate_limits[0].per_seconds"),
        ("/kill_switch/deny_rate_percent", json!(101), "kill_switch.deny_rate_percent: found 101, expected 1 to 100"),
        ("/kill_switch/window_seconds", json!(0), "kill_switch.window_seconds: found 0"),
        ("/kill_switch/enable", json!(true), "did you mean enabled?"),
    ] {
        let text = check(&base.clone().with(pointer, value));
        assert!(text.contains(words), "{pointer}: {text}");
    }
}

const ALICE: &str = "alice-token-0123456789abcdef0123456789";
const BOB: &str = "bob-token-0123456789abcdef0123456789ab";
const OPERATOR: &str = "operator-token-0123456789abcdef012345";

/// The same with two agents and an operator, told apart by their tokens.
fn identified(setup: &Setup) -> Setup {
    let hash = |token: &str| claim::Digest::of(token).prefixed();
    let agent = |subject: &str, token: &str| json!({"subject": subject, "issuer": "corp", "token_sha256": hash(token)});
    let auth = json!({"mode": "bearer", "tokens": [agent("alice", ALICE), agent("bob", BOB)]});
    setup.clone().with("/auth", auth).with("/operator/token_sha256", json!(hash(OPERATOR)))
}

fn post(gateway: &Gateway, token: &str, path: &str, body: &Value) -> Message {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    gateway
        .connect()
        .request("POST", path, if token.is_empty() { &headers[..1] } else { &headers }, &body)
        .expect("an answer")
}

fn call_as(gateway: &Gateway, token: &str, session: &str, tool: &str) -> (u16, String) {
    let params = json!({"name": tool, "arguments": {"query": "x"}, "_cmcp": {"session_id": session}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    outcome(&post(gateway, token, "/mcp", &body))
}

/// Claim and audit bundle of a session, as its own agent gets them; they prove each other.
fn proof_as(gateway: &Gateway, token: &str, session: &str) -> (Value, Vec<Value>) {
    let bearer = format!("Bearer {token}");
    let get = |path: &str| {
        let answer = gateway.connect().request("GET", path, &[("authorization", &bearer)], b"").expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer
    };
    let claim = get(&format!("/session/{session}/claim"));
    let bundle = get(&format!("/audit/export?session_id={session}"));
    let options = verify::BundleOptions::default();
    let verdict = verify::verify_audit_bundle(bundle.text().as_bytes(), Some(claim.text().as_bytes()), options);
    assert!(verdict.verified, "{:?}", verdict.failures);
    (claim.json(), bundle.json()["entries"].as_array().expect("entries").clone())
}
