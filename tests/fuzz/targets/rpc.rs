//! What agents and tool servers send, without HTTP: no panic; a result keeps its bytes around the receipt.
#![no_main]

use enclave::mcp::envelope::{Message, parse_incoming, parse_message};
use enclave::mcp::receipt::{Place, inspect};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// What is spliced in, as a receipt would be.
const RECEIPT: &str = r#"{"call_id":"fuzz"}"#;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Message::Request(request)) = parse_message(bytes) {
        assert!(!request.method.is_empty() || bytes.windows(2).any(|pair| pair == b"\"\""));
    }
    let _ = parse_incoming(bytes, "1");
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(clean) = inspect(text)
        && let Ok(before) = serde_json::from_str::<Value>(text)
    {
        let spliced = clean.splice(Place::Seed, RECEIPT, &[]);
        let mut after: Value = serde_json::from_str(&spliced).expect("a result with a receipt is JSON");
        assert!(after.as_object_mut().expect("an object").remove("_cmcp").is_some());
        assert_eq!(after, before);
        let spliced = clean.splice(Place::Meta, RECEIPT, &[]);
        let after: Value = serde_json::from_str(&spliced).expect("a result with a receipt is JSON");
        assert!(after["_meta"]["io.cmcp/receipt"].is_object());
    }
});
