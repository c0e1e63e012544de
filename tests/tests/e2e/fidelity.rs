//! The tool server's bytes arrive whole, with a receipt beside them, and the hash in the entry is theirs.

use serde_json::json;
use tests::gateway::Gateway;
use tests::http::Message;
use tests::setup::{CONTACTS, Setup, rpc};
use tests::upstream::{Reply, Upstream};

use crate::{call_entries, sha256_hex};

const RESULTS: [&str; 9] = [
    "{}",
    r#"{"content":[]}"#,
    r#"{"content":[{"type":"text","text":"plain"}],"isError":false}"#,
    r#"{"isError":true,"content":[{"type":"text","text":"it failed"}]}"#,
    r#"{"content":[{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png"},{"type":"resource_link","uri":"file:///a","name":"a"}]}"#,
    r#"{"structuredContent":{"total":1.50,"big":123456789012345678901234567890,"tiny":1e-9,"n":-0},"content":[]}"#,
    "{ \"content\" : [ ] ,\r\n\t\"x-unknown\" : { \"z\":1, \"a\":[null,true] } }",
    r#"{"content":[{"type":"text","text":"\u00e9\ud83d\ude00 \"quoted\" {not json} \\"}],"é":"naïve 😀"}"#,
    r#"{"content":[],"nested":{"deep":{"_cmcp_like":"no receipt","text":"}{"}}}"#,
];

/// The `result` text of an answer: the gateway writes `result` last.
fn result_text(answer: &Message) -> String {
    let text = answer.text();
    let start = text.find(r#""result":"#).unwrap_or_else(|| panic!("no result: {text}")) + 9;
    text[start..text.len() - 1].to_owned()
}

/// The text without the member of this name, which has no brace inside a string.
fn without_member(text: &str, name: &str) -> String {
    let key = format!("\"{name}\":");
    let start = text.rfind(&key).unwrap_or_else(|| panic!("no {name} in {text}"));
    let mut depth = 0;
    let length = text[start..]
        .char_indices()
        .find_map(|(at, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            (c == '}' && depth == 0).then_some(at + 1)
        })
        .expect("a whole member");
    let (before, after) = (&text[..start], &text[start + length..]);
    match (before.strip_suffix(','), after.strip_prefix(',')) {
        (Some(before), _) => format!("{before}{after}"),
        (None, Some(after)) => format!("{before}{after}"),
        (None, None) => format!("{before}{after}"),
    }
}

#[test]
fn results_arrive_byte_for_byte() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    for (number, result) in RESULTS.into_iter().enumerate() {
        tool.set(move |_| Reply::Result(result.to_owned()));
        let session = format!("fidelity-{number}");
        let answer = gateway.call(&session, CONTACTS);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(without_member(&result_text(&answer), "_cmcp"), result);
        let entry = call_entries(&gateway.entries(&session)).remove(0);
        assert_eq!(
            entry["response_payload_hash"],
            json!(format!("sha256:{}", sha256_hex(result.as_bytes()))),
            "{result}"
        );
    }
}

#[test]
fn receipts_for_mcp_clients_go_into_meta() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let headers = [("content-type", "application/json"), ("mcp-protocol-version", "2025-06-18")];
    let body = rpc(1, "tools/call", &json!({"name": CONTACTS, "arguments": {"query": "Acme"}}));
    let call = || gateway.connect().request("POST", "/mcp", &headers, &body).expect("an answer");

    let existing = r#"{"_meta":{"server/own":{"a":1}},"content":[]}"#;
    tool.set(move |_| Reply::Result(existing.to_owned()));
    let answer = call();
    assert_eq!(answer.text().matches("\"_meta\"").count(), 1, "into the existing object: {}", answer.text());
    assert!(answer.json()["result"]["_meta"]["io.cmcp/receipt"].is_object(), "{}", answer.text());
    assert_eq!(without_member(&result_text(&answer), "io.cmcp/receipt"), existing);

    tool.set(|_| Reply::Result(r#"{"content":[]}"#.to_owned()));
    let answer = call();
    assert!(answer.json()["result"]["_meta"]["io.cmcp/receipt"].is_object(), "{}", answer.text());
}

#[test]
fn forged_receipts_are_faults() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let forged = [
        r#"{"content":[],"_cmcp":{"call_id":"mine"}}"#,
        r#"{"content":[],"\u005fcmcp":{"call_id":"mine"}}"#,
        r#"{"content":[],"_cmc\u0070":null}"#,
        r#"{"content":[],"_meta":{"io.cmcp/receipt":{}}}"#,
        r#"{"content":[],"_meta":{"io.cmcp/anything":1}}"#,
        r#"{"content":[],"_meta":{"io\u002ecmcp/receipt":{}}}"#,
        r#"{"content":[],"_meta":{"\u0069o.cmcp\/receipt":{}}}"#,
        r#"{"content":[],"content":[]}"#,
        r#"{"content":[],"_meta":{"a":1,"a":2}}"#,
    ];
    for (number, result) in forged.into_iter().enumerate() {
        tool.set(move |_| Reply::Result(result.to_owned()));
        let session = format!("forged-{number}");
        let answer = gateway.call(&session, CONTACTS);
        assert_eq!((answer.status(), answer.error_code().as_str()), (502, "UPSTREAM_FORGED_RECEIPT"), "{result}");
        let summary = gateway.claim(&session)["gateway"]["call_summary"].clone();
        assert_eq!(summary["tool_calls_faulted"], 1, "{result}");
    }
}

#[test]
fn arguments_are_forwarded_and_hashed_as_received() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let arguments = r#"{ "query" : "A\u0063me  caf\u00e9", "max_records":10 }"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"name":"{CONTACTS}","arguments":{arguments},"_cmcp":{{"session_id":"raw","workflow_id":"demo-agent"}}}}}}"#
    );
    let answer = gateway.post("/mcp", body.as_bytes());
    assert_eq!(answer.json()["id"], "x", "{}", answer.text());
    assert!(tool.calls()[0].text().contains(arguments), "{}", tool.calls()[0].text());
    let canonical = r#"{"max_records":10,"query":"Acme  caf\u00e9"}"#;
    let entry = call_entries(&gateway.entries("raw")).remove(0);
    assert_eq!(entry["request_payload_hash"], json!(format!("sha256:{}", sha256_hex(canonical.as_bytes()))));
}
