//! A hostile host against the built enclave: each lie has an expected, named outcome, and none is a wrong record.

mod boot;
mod capture;
mod dials;
mod frames;
mod imds;
mod operator;
mod records;
mod sealed;
mod spawns;
mod tls;
mod totals;
mod transports;
mod upstream_tls;

use serde_json::Value;
use tests::hostile::HostileHost;
use tests::http::Message;
use tests::setup::{CONTACTS, call_params, rpc};

/// A call on a connection of its own.
fn call(host: &HostileHost, session: &str) -> Message {
    let body = rpc(1, "tools/call", &call_params(CONTACTS, session));
    host.connect().request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer")
}

/// `GET` on a connection of its own.
fn get(host: &HostileHost, path: &str) -> Message {
    host.connect().request("GET", path, &[], b"").expect("an answer")
}

/// A session's call summary.
fn summary(host: &HostileHost, session: &str) -> Value {
    let claim = get(host, &format!("/session/{session}/claim"));
    assert_eq!(claim.status(), 200, "{}", claim.text());
    claim.json()["gateway"]["call_summary"].clone()
}

/// Status and error code, for comparison.
fn outcome(answer: &Message) -> (u16, String) {
    (answer.status(), if answer.status() == 200 { String::new() } else { answer.error_code() })
}
