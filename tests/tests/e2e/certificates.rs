//! Agents that show a client certificate with a SPIFFE ID.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claim::operator::OperatorKey;
use serde_json::{Value, json};
use tests::bin;
use tests::gateway::Gateway;
use tests::http::Message;
use tests::issuer::now;
use tests::setup::{CONTACTS, Setup, bearer, call_params, rpc};
use tests::tls::{self, Ca, Shows, pem};
use tests::upstream::Upstream;
use tests::wait_for;

const DOMAIN: &str = "bank.example";
const A: &str = "spiffe://bank.example/ns/agents/sa/a";
const B: &str = "spiffe://bank.example/ns/agents/sa/b";
const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn setup(tool: &Upstream, ca: &Ca) -> Setup {
    let mtls = json!({"client_ca": pem(&ca.root), "trust_domain": DOMAIN});
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").operated();
    setup.with("/auth", json!({"mode": "mtls", "mtls": mtls}))
}

/// So many seconds from now, by the gateway's clock.
fn in_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(now() + seconds)
}

fn workload(ca: &Ca, id: &str) -> Shows {
    ca.workload(&[id], in_seconds(3600))
}

fn call(session: &str) -> Vec<u8> {
    rpc(1, "tools/call", &call_params(CONTACTS, session))
}

/// A request on a connection of its own; nothing if the handshake fails.
fn ask(gateway: &Gateway, shows: &Shows, method: &str, path: &str, body: &[u8]) -> Option<Message> {
    tls::connect_as(gateway.address, shows).ok()?.connection.request(method, path, &[], body).ok()
}

fn asked(gateway: &Gateway, shows: &Shows, method: &str, path: &str, body: &[u8]) -> Message {
    ask(gateway, shows, method, path, body).expect("an answer")
}

fn code(answer: &Message) -> (u16, String) {
    (answer.status(), answer.error_code())
}

fn identity(gateway: &Gateway, shows: &Shows, session: &str) -> Value {
    let bundle = asked(gateway, shows, "GET", &format!("/audit/export?session_id={session}"), b"");
    bundle.json()["entries"][0]["detail"]["identity"].clone()
}

#[test]
fn a_spiffe_id_is_an_identity_of_its_own() {
    let (tool, ca) = (Upstream::plain(), Ca::default());
    let gateway = Gateway::start_tls(&setup(&tool, &ca));
    let (a, b) = (workload(&ca, A), workload(&ca, B));
    assert_eq!(asked(&gateway, &a, "POST", "/mcp", &call("same")).status(), 200);
    assert_eq!(asked(&gateway, &b, "POST", "/mcp", &call("same")).status(), 200, "b holds nothing of a's");
    assert_eq!(code(&asked(&gateway, &b, "POST", "/mcp", &call("same"))), (403, "POLICY_DENY".to_owned()));
    assert_eq!(identity(&gateway, &a, "same"), json!({"subject": A, "issuer": DOMAIN}));
    assert_eq!(identity(&gateway, &b, "same"), json!({"subject": B, "issuer": DOMAIN}));
    let renewed = workload(&ca, A);
    assert_eq!(code(&asked(&gateway, &renewed, "POST", "/mcp", &call("other"))).1, "POLICY_DENY", "a's labels are a's");
    asked(&gateway, &a, "POST", "/mcp", &call("mine"));
    for (method, path) in
        [("GET", "/session/mine/claim"), ("GET", "/audit/export?session_id=mine"), ("POST", "/sessions/mine/close")]
    {
        assert_eq!(code(&asked(&gateway, &b, method, path, b"")), (404, "SESSION_UNKNOWN".to_owned()), "{path}");
        assert_eq!(asked(&gateway, &renewed, method, path, b"").status(), 200, "{path}");
    }
}

#[test]
fn without_a_certificate_there_is_the_operator_and_what_is_public() {
    let (tool, ca) = (Upstream::plain(), Ca::default());
    let gateway = Gateway::start_tls(&setup(&tool, &ca));
    for path in ["/health", "/readyz", &format!("/attestation?nonce={NONCE}")] {
        assert_eq!(gateway.get(path).status(), 200, "{path}");
    }
    let refused = gateway.call("s", CONTACTS);
    assert_eq!(code(&refused), (401, "UNAUTHENTICATED".to_owned()));
    assert!(refused.text().contains("auth.mtls.client_ca"), "{}", refused.text());
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="cmcp""#));
    assert_eq!(code(&gateway.get("/session/s/claim")), (401, "UNAUTHENTICATED".to_owned()));

    let a = workload(&ca, A);
    assert_eq!(asked(&gateway, &a, "POST", "/mcp", &call("s")).status(), 200);
    let operator = gateway.caller("operator");
    assert_eq!(operator.get("/session/s/claim").status(), 200);
    assert_eq!(code(&operator.call("s", CONTACTS)), (403, "AGENT_REQUIRED".to_owned()));
    assert_eq!(code(&asked(&gateway, &a, "POST", "/sessions/s/reset", b"")), (403, "OPERATOR_REQUIRED".to_owned()));
    // A token beside the certificate is the operator's or refused.
    for (name, status) in [("operator", 200), ("a", 401)] {
        let authorization = bearer(name);
        let mut connection = tls::connect_as(gateway.address, &a).expect("a handshake").connection;
        let headers = [("authorization", authorization.as_str())];
        let answer = connection.request("GET", "/session/s/claim", &headers, b"").expect("an answer");
        assert_eq!(answer.status(), status, "{name}");
    }
}

#[test]
fn certificates_that_do_not_count_open_nothing() {
    let (tool, ca, other) = (Upstream::plain(), Ca::default(), Ca::default());
    let gateway = Gateway::start_tls(&setup(&tool, &ca));
    for (name, shows) in [
        ("another CA", workload(&other, A)),
        ("expired", ca.workload(&[A], SystemTime::UNIX_EPOCH + Duration::from_secs(now() - 10))),
        ("for servers", {
            let (key, certificate) = ca.issue(&["agent.example"], |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            });
            Shows { key, certificate }
        }),
    ] {
        assert!(ask(&gateway, &shows, "GET", "/health", b"").is_none(), "{name}");
        assert!(ask(&gateway, &shows, "POST", "/mcp", &call("s")).is_none(), "{name}");
    }
    for (name, uris, reason) in [
        ("no URI", &[][..], "must have one URI"),
        ("two", &[A, B], "must have one URI"),
        ("a URL", &["https://bank.example/a"], "must have one URI"),
        ("no path", &["spiffe://bank.example"], "must have one URI"),
        ("another domain", &["spiffe://other.example/a"], "not in auth.mtls.trust_domain"),
    ] {
        let shows = ca.workload(uris, in_seconds(3600));
        for (method, path) in [("POST", "/mcp"), ("GET", "/session/s/claim"), ("POST", "/kill-switch/trip")] {
            let answer = asked(&gateway, &shows, method, path, &call("s"));
            assert_eq!(code(&answer), (401, "UNAUTHENTICATED".to_owned()), "{name}");
            assert!(answer.text().contains(reason), "{name}: {}", answer.text());
        }
        assert_eq!(asked(&gateway, &shows, "GET", "/health", b"").status(), 200, "{name}");
    }
    assert!(tool.calls().is_empty());
}

#[test]
fn a_connection_does_not_outlive_its_certificate() {
    let (tool, ca) = (Upstream::plain(), Ca::default());
    let gateway = Gateway::start_tls(&setup(&tool, &ca));
    let short = ca.workload(&[A], in_seconds(3));
    let mut connection = tls::connect_as(gateway.address, &short).expect("a handshake").connection;
    assert_eq!(connection.request("POST", "/mcp", &[], &call("s")).expect("an answer").status(), 200);
    let refused = wait_for("the end of the certificate", Duration::from_secs(10), || {
        let answer = connection.request("GET", "/session/s/claim", &[], b"").expect("an answer");
        Some(answer).filter(|answer| answer.status() != 200)
    });
    assert_eq!(code(&refused), (401, "UNAUTHENTICATED".to_owned()));
    assert!(refused.text().contains("certificate has expired"), "{}", refused.text());
    assert_eq!(connection.request("GET", "/health", &[], b"").expect("an answer").status(), 200);
    assert!(ask(&gateway, &short, "GET", "/health", b"").is_none(), "nor is it good for another");
    let renewed = workload(&ca, A);
    assert_eq!(asked(&gateway, &renewed, "GET", "/session/s/claim", b"").status(), 200, "the session goes on");
}

#[test]
fn the_kill_switch_and_rate_limits_know_spiffe_ids() {
    let (tool, ca) = (Upstream::plain(), Ca::default());
    let key = OperatorKey::from_seed([0x0a; 32]);
    let setup = setup(&tool, &ca)
        .operated_by(&key)
        .controls(&key, &json!({"epoch": 1, "blocked": [{"subject": B, "issuer": DOMAIN}]}))
        .with("/kill_switch", json!({"enabled": true}))
        .with("/rate_limits", json!([{"subject": A, "calls": 1, "per_seconds": 3600}]));
    let gateway = Gateway::start_tls(&setup);
    let (a, b) = (workload(&ca, A), workload(&ca, B));
    assert_eq!(code(&asked(&gateway, &b, "POST", "/mcp", &call("s"))), (403, "KILL_SWITCH".to_owned()));
    assert_eq!(asked(&gateway, &a, "POST", "/mcp", &call("s")).status(), 200);
    assert_eq!(code(&asked(&gateway, &a, "POST", "/mcp", &call("t"))), (429, "RATE_LIMITED".to_owned()));
    let order = |subject: &str| json!({"subject": subject}).to_string().into_bytes();
    let operator = gateway.caller("operator");
    let tripped = operator.post("/kill-switch/trip", &order(A));
    assert_eq!(tripped.json()["blocked"], json!({"subject": A, "issuer": DOMAIN}), "{}", tripped.text());
    assert_eq!(code(&asked(&gateway, &a, "POST", "/mcp", &call("t"))), (403, "KILL_SWITCH".to_owned()));
    for nobody in ["spiffe://other.example/a", "a"] {
        assert_eq!(code(&operator.post("/kill-switch/trip", &order(nobody))), (400, "MCP_INVALID_PARAMS".to_owned()));
    }
}

#[test]
fn plain_http_cannot_show_a_certificate() {
    let (tool, ca) = (Upstream::plain(), Ca::default());
    let folder = tempfile::tempdir().expect("a folder");
    setup(&tool, &ca).write(folder.path());
    let output = Command::new(bin::path("host"))
        .args(["--dev-enclave", "--config", "cmcp-config.yaml", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .output()
        .expect("the host runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("auth.mode") && text.contains("--tls"), "{text}");
}
