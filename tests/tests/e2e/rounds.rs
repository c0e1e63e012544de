//! Calls of several rounds (MCP 2026-07-28): made by a modern agent, or by the gateway for a legacy one.

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};

use crate::{books, lines, sha256_hex};

const ELICIT: &str = "elicitation/create";

fn wants_input() -> String {
    let request = json!({"method": ELICIT, "params": {"message": "who?"}});
    json!({"resultType": "input_required", "inputRequests": {"name": request}, "requestState": "state-1"}).to_string()
}

/// A server that wants input before it answers, always if it is insatiable.
fn server(insatiable: bool) -> McpServer {
    McpServer::start(Speaks::Modern, move |turn| {
        if turn.is_call() {
            let input = turn.body["params"]["inputResponses"].clone();
            if input.is_null() || insatiable {
                turn.result(&wants_input());
            } else {
                turn.text(&input.to_string());
            }
        }
    })
}

fn able() -> Value {
    json!({"elicitation": {}})
}

#[test]
fn a_legacy_agent_is_asked_and_the_gateway_makes_the_round() {
    let tool = server(false);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["elicitation"]));
    let agent = LegacyAgent::start(&gateway, &able());
    let mut events = agent.call(5);
    let asked = events.next_json();
    assert_eq!((&asked["method"], &asked["params"]), (&json!(ELICIT), &json!({"message": "who?"})));
    assert_eq!(agent.respond(&asked["id"], &json!({"action": "accept"})), 202);
    let answer = events.next_json();
    assert_eq!(answer["id"], 5);
    assert_eq!(answer["result"]["content"][0]["text"], r#"{"name":{"action":"accept"}}"#, "{answer}");
    let calls = books(&gateway, &agent.session);
    assert_eq!(lines(&calls), [(ELICIT, "allow", ""), (CONTACTS, "allow", "")]);
    assert_eq!(calls[0].entry["detail"]["during"], calls[1].entry["call_id"]);
    let rounds: Vec<Value> = tool.of("tools/call").iter().map(tests::http::Message::json).collect();
    assert_eq!(rounds.len(), 2);
    assert_ne!(rounds[0]["id"], rounds[1]["id"]);
    let can = &rounds[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(can, &able(), "the server is told what the agent can be asked");
}

#[test]
fn a_server_that_wants_input_without_end_is_a_fault() {
    let tool = server(true);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["elicitation"]));
    let agent = LegacyAgent::start(&gateway, &able());
    let mut events = agent.call(5);
    let answer = loop {
        let message = events.next_json();
        if message["method"] != ELICIT {
            break message;
        }
        assert_eq!(agent.respond(&message["id"], &json!({"action": "accept"})), 202);
    };
    assert_eq!(answer["error"]["data"]["error_code"], "UPSTREAM_INVALID", "{answer}");
    let calls = books(&gateway, &agent.session);
    assert_eq!(lines(&calls).last(), Some(&(CONTACTS, "fault", "UPSTREAM_INVALID")));
    assert_eq!(tool.of("tools/call").len(), 9, "the call, and eight rounds more");
}

#[test]
fn a_denied_request_for_input_reaches_no_agent() {
    let tool = server(false);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["elicitation"]).forbid("elicit"));
    let answer = Modern::call("denied").answer(&gateway);
    assert_eq!(answer.error_code(), "POLICY_DENY", "{}", answer.text());
    assert!(!answer.text().contains("who?"), "{}", answer.text());
    assert_eq!(lines(&books(&gateway, "denied")), [(CONTACTS, "fault", "POLICY_DENY")]);

    let agent = LegacyAgent::start(&gateway, &able());
    let answer = agent.call(5).next_json_or_body();
    assert_eq!(answer["error"]["data"]["error_code"], "UPSTREAM_INVALID", "{answer}");
    let calls = books(&gateway, &agent.session);
    assert_eq!(lines(&calls), [(ELICIT, "deny", ""), (CONTACTS, "fault", "UPSTREAM_INVALID")]);
}

#[test]
fn what_the_catalog_does_not_approve_of_is_not_asked_in_a_result_either() {
    let tool = server(false);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let answer = Modern::call("catalog").answer(&gateway);
    assert_eq!(answer.error_code(), "POLICY_DENY", "{}", answer.text());
    assert_eq!(lines(&books(&gateway, "catalog")), [(CONTACTS, "fault", "POLICY_DENY")]);
}

#[test]
fn a_modern_agent_s_rounds_are_linked_in_the_audit() {
    let tool = server(false);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["elicitation"]));
    let first = Modern::call("linked").answer(&gateway).json();
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let input = json!({"name": {"action": "accept"}});
    let second = Modern::call("linked").with("inputResponses", input.clone()).with("requestState", json!("state-1"));
    let second = second.answer(&gateway).json();
    assert_eq!(second["result"]["content"][0]["text"], input.to_string(), "{second}");
    // Who invents a state continues nothing.
    let invented = Modern::call("linked").with("inputResponses", input.clone()).with("requestState", json!("other"));
    assert_eq!(invented.answer(&gateway).status(), 200);

    let calls = books(&gateway, "linked");
    assert_eq!(lines(&calls)[..2], [(CONTACTS, "allow", ""), (CONTACTS, "allow", "")]);
    let (one, two, three) = (&calls[0].entry, &calls[1].entry, &calls[2].entry);
    assert_eq!(one["detail"]["input_required"], json!([ELICIT]));
    assert_eq!(two["detail"]["continues"], one["call_id"]);
    let hash = format!("sha256:{}", sha256_hex(input.to_string().as_bytes()));
    assert_eq!(two["detail"]["input_responses_hash"], json!(hash));
    assert_eq!(three["detail"]["continues"], Value::Null);
}
