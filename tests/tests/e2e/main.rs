//! End to end through the built binaries: agents on one side, tool servers on the other, the store underneath.

mod answers;
mod asked;
mod attested;
mod authoring;
mod bfsi;
mod cancel;
mod certificates;
mod connect;
mod controls;
mod crash;
mod decisions;
mod disk;
mod drift;
mod durability;
mod endpoints;
mod faults;
mod fidelity;
mod floods;
mod hardware;
mod headers;
mod identities;
mod input;
mod inspection;
mod lifecycle;
mod links;
mod listen;
mod mcp;
mod metrics;
mod parked;
mod progress;
mod quickstart;
mod resets;
mod restraints;
mod resume;
mod rounds;
mod sealed;
mod secrets;
mod sessions;
mod shapes;
mod stdio;
mod tamper;
mod tls;
mod tokens;
mod upstream_tls;

use std::time::Duration;

use serde_json::Value;
use tests::gateway::Gateway;
use tests::http::Message;
use tests::wait_for;

/// Lower-case hex of SHA-256.
fn sha256_hex(bytes: &[u8]) -> String {
    claim::Digest::of(bytes).hex()
}

/// The receipt in an answer of the quickstart's shape.
fn receipt(answer: &Message) -> Value {
    let receipt = answer.json()["result"]["_cmcp"].clone();
    assert!(receipt.is_object(), "no receipt: {}", answer.text());
    receipt
}

/// The entries that end a call.
fn call_entries(entries: &[Value]) -> Vec<Value> {
    entries
        .iter()
        .filter(|entry| entry["entry_type"] == "tool_call" || entry["entry_type"] == "fault")
        .cloned()
        .collect()
}

/// A call as its entry tells it.
#[derive(Clone, Debug)]
struct Booked {
    /// The method, or the tool's name.
    what: String,
    decision: String,
    /// `detail.error_code`, or empty.
    code: String,
    entry: Value,
}

/// The calls of a session in the order of their ends; its claim counts the same.
fn books(gateway: &Gateway, session: &str) -> Vec<Booked> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let booked = |entry: Value| Booked {
        what: text(entry["detail"].get("method").unwrap_or(&entry["tool_name"])),
        decision: text(&entry["policy_decision"]),
        code: text(&entry["detail"]["error_code"]),
        entry,
    };
    let all: Vec<Booked> = call_entries(&gateway.entries(session)).into_iter().map(booked).collect();
    let summary = gateway.claim(session)["gateway"]["call_summary"].clone();
    let count = |decisions: &[&str]| all.iter().filter(|call| decisions.contains(&call.decision.as_str())).count();
    assert_eq!(summary["tool_calls_total"], all.len(), "{all:#?}");
    let counted: [(_, &[&str]); 3] =
        [("allowed", &["allow"]), ("denied", &["deny", "advisory_deny"]), ("faulted", &["fault"])];
    for (name, decisions) in counted {
        assert_eq!(summary[format!("tool_calls_{name}")], count(decisions), "{name}: {all:#?}");
    }
    all
}

/// The same, once there are as many calls.
fn booked(gateway: &Gateway, session: &str, calls: usize) -> Vec<Booked> {
    let find = || Some(call_entries(&gateway.entries(session))).filter(|entries| entries.len() >= calls);
    wait_for("terminal entry", Duration::from_secs(15), find);
    let all = books(gateway, session);
    assert_eq!(all.len(), calls, "{all:#?}");
    all
}

/// What was called, the decision, and the error code of each.
fn lines(calls: &[Booked]) -> Vec<(&str, &str, &str)> {
    calls.iter().map(|call| (call.what.as_str(), call.decision.as_str(), call.code.as_str())).collect()
}
