//! End to end through the built binaries: agents on one side, tool servers on the other, the store underneath.

mod authoring;
mod connect;
mod crash;
mod decisions;
mod disk;
mod durability;
mod endpoints;
mod faults;
mod fidelity;
mod input;
mod lifecycle;
mod mcp;
mod metrics;
mod quickstart;
mod sessions;
mod shapes;
mod tamper;

use serde_json::Value;
use tests::http::Message;

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
