//! All that the host sees of the quickstart: what agents and tool servers say, what is stored, and what the enclave tells it.

use std::time::Duration;

use claim::bootlog::BootId;
use claim::operator::{OperatorKey, ProvisionOrder};
use claim::{Digest, b64u};
use serde_json::json;
use tests::hostile::{HostileHost, Unbooted, bundle};
use tests::http::Connection;
use tests::setup::{CONTACTS, Setup, bearer, call_params, rpc, token};
use tests::store::Auditor;
use tests::tls::{self, Trust};
use tests::upstream::Upstream;
use tests::upstream_tls::{Identity, TlsFront};
use wire::BootBundle;

use crate::tls::{Relayed, Wire};

const SESSION: &str = "demo-session-001";
const RESULT: &str = "Ada Okafor";
const SECRET: &str = "s3cret-of-the-crm-5f2b90c1";

/// What nobody on the way may read.
fn words() -> Vec<String> {
    let words = ["Acme Corp", RESULT, SECRET, SESSION, "demo-agent", CONTACTS, "tools/call", "session_start", "alice"];
    words.iter().map(|word| (*word).to_owned()).chain(["alice", "operator"].map(token)).collect()
}

fn found(captured: &[u8]) -> Vec<String> {
    let mut words = words();
    words.retain(|word| captured.windows(word.len()).any(|bytes| bytes == word.as_bytes()));
    words
}

/// The quickstart's call, claim and audit bundle, by an agent with a token, to a tool server that wants a secret; and all that the host saw of it.
fn quickstart(secure: bool) -> Vec<u8> {
    let tool = Upstream::fixed(&json!({"content": [{"type": "text", "text": RESULT}]}).to_string());
    let identity = Identity::own(&["127.0.0.1"]);
    let front = TlsFront::start(tool.address, &identity);
    let (url, pin) = if secure { (front.url(), identity.key_pin()) } else { (tool.url(), String::new()) };
    let key = OperatorKey::from_seed([9; 32]);
    let mut setup = Setup::quickstart(&url).agents(&["alice"]).operated_by(&key);
    if secure {
        setup = setup.pinned("key-pinned", &pin).sealed_to(&Auditor::new().key);
        setup.catalog[0]["server"]["secret"] = json!({"name": "crm", "use": "bearer"});
    }
    let host = Unbooted::start().boot(BootBundle { tls: secure, ..bundle(&setup) });

    let wire = Wire::default();
    let connect = || {
        let stream = Relayed::new(host.inbound(), &wire);
        if secure {
            tls::over(stream, None, &Trust::Anybody).expect("a handshake").connection
        } else {
            Connection::over(stream)
        }
    };
    let ask = |caller: &str, method: &str, path: &str, body: &[u8]| {
        let authorization = bearer(caller);
        let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
        let answer = connect().request(method, path, &headers, body).expect("an answer");
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer
    };
    ask("operator", "GET", "/readyz", b"");
    if secure {
        ask("operator", "PUT", "/secrets/crm", order(&host, &key, &url, &pin).as_bytes());
    }
    let call = ask("alice", "POST", "/mcp", &rpc(1, "tools/call", &call_params(CONTACTS, SESSION)));
    assert!(call.text().contains(RESULT));
    let shown = tool.calls().pop().expect("a call").header("authorization").map(str::to_owned);
    assert_eq!(shown, secure.then(|| format!("Bearer {SECRET}")));
    let claim = ask("alice", "POST", &format!("/sessions/{SESSION}/close"), b"");
    assert_eq!(claim.json()["gateway"]["call_summary"]["tool_calls_allowed"], 1);
    ask("alice", "GET", &format!("/audit/export?session_id={SESSION}"), b"");

    let mut captured = wire.seen();
    captured.extend(host.relayed());
    captured.extend(host.store.appends().into_iter().flat_map(|append| append.bytes.0));
    // Totals come once a second.
    while let Some(event) = host.try_event(Duration::from_millis(1500)) {
        captured.extend(format!("{event:?}").into_bytes());
    }
    captured
}

fn order(host: &HostileHost, key: &OperatorKey, server: &str, pin: &str) -> String {
    let (name, server, pin) = ("crm".to_owned(), server.to_owned(), pin.to_owned());
    let value_sha256 = Digest::of(SECRET);
    let signed = ProvisionOrder { boot_id: BootId(host.report.boot_id), name, value_sha256, server, pin };
    let signature = key.sign_provision(&signed);
    let value = b64u::encode(SECRET.as_bytes());
    json!({"value": value, "server": signed.server, "pin": signed.pin, "signature": signature}).to_string()
}

#[test]
fn over_tls_the_host_reads_nothing() {
    let captured = quickstart(true);
    assert!(captured.len() > 10_000, "{} bytes", captured.len());
    assert_eq!(found(&captured), [""; 0], "the host read these");
}

#[test]
fn without_it_reads_everything() {
    // So the test above would see it. A secret for a tool server is not even taken there.
    let seen = found(&quickstart(false));
    let mut missing = words();
    missing.retain(|word| word != SECRET && !seen.contains(word));
    assert_eq!(missing, [""; 0]);
}
