//! What a legacy tool server asks of an agent during a call: decided, recorded, and answered whatever becomes of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::agent::LegacyAgent;
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};

use crate::{booked, books, lines, sha256_hex};

const METHODS: [(&str, &str); 3] =
    [("sampling/createMessage", "sampling"), ("elicitation/create", "elicitation"), ("roots/list", "roots")];
const ELICIT: (&str, &str) = METHODS[1];

/// A server that asks one thing during each call, and whose result is what it was told.
fn asking(method: &'static str) -> McpServer {
    McpServer::start(Speaks::Legacy, move |turn| {
        if turn.is_call() {
            turn.ask("q", method, &json!({"message": "who?"}));
            let told = turn.asked("q");
            let told = told.get("result").unwrap_or(&told["error"]["message"]).to_string();
            turn.text(&told);
        }
    })
}

/// An agent that can be asked everything.
fn able() -> Value {
    json!({"sampling": {}, "elicitation": {}, "roots": {}})
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no result: {answer}"))
}

#[test]
fn what_a_server_asks_is_answered_by_the_agent_and_recorded() {
    for (method, capability) in METHODS {
        let tool = asking(method);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[capability]));
        let agent = LegacyAgent::start(&gateway, &able());
        let mut events = agent.call(5);
        let asked = events.next_json();
        assert_eq!((&asked["method"], &asked["params"]), (&json!(method), &json!({"message": "who?"})));
        assert_ne!(asked["id"], "q", "ids are the gateway's own");
        assert_eq!(agent.respond(&json!(4711), &json!({})), 400, "nobody asked this");
        let other = LegacyAgent::start(&gateway, &able());
        assert_eq!(other.respond(&asked["id"], &json!({"from": "another"})), 400, "nor this agent");
        assert_eq!(agent.respond(&asked["id"], &json!({"from": "me"})), 202);
        assert_eq!(agent.respond(&asked["id"], &json!({"from": "me"})), 400, "once is enough");
        assert_eq!(text(&events.next_json()), r#"{"from":"me"}"#);
        let calls = books(&gateway, &agent.session);
        assert_eq!(lines(&calls), [(method, "allow", ""), (CONTACTS, "allow", "")]);
        assert_eq!(calls[0].entry["detail"]["during"], calls[1].entry["call_id"]);
        let hash = calls[0].entry["response_payload_hash"].as_str().expect("a hash");
        assert!(hash.ends_with(&sha256_hex(br#"{"from":"me"}"#)), "{hash}");
    }
}

#[test]
fn what_the_policy_denies_never_reaches_the_agent() {
    for ((method, capability), action) in METHODS.into_iter().zip(["sample", "elicit", "list_roots"]) {
        let tool = asking(method);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[capability]).forbid(action));
        let agent = LegacyAgent::start(&gateway, &able());
        let answer = agent.call(5).next_json_or_body();
        assert!(text(&answer).contains("policy denies"), "{answer}");
        let calls = books(&gateway, &agent.session);
        assert_eq!(lines(&calls), [(method, "deny", ""), (CONTACTS, "allow", "")]);
        assert_eq!(calls[0].entry["detail"]["during"], calls[1].entry["call_id"]);
    }
}

#[test]
fn catalog_and_agent_must_both_have_the_capability() {
    let (method, capability) = ELICIT;
    let tool = asking(method);
    for (approved, able) in [(vec![], able()), (vec![capability], json!({"sampling": {}}))] {
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &approved));
        let agent = LegacyAgent::start(&gateway, &able);
        let answer = agent.call(5).next_json_or_body();
        assert!(text(&answer).contains(capability), "{answer}");
        assert_eq!(lines(&books(&gateway, &agent.session)), [(CONTACTS, "allow", "")]);
        let told = tool.of("initialize").pop().expect("a handshake").json()["params"]["capabilities"].clone();
        assert!(told.get(capability).is_none(), "a server is not told of what it may not use: {told}");
    }
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[capability]));
    let mut agent = LegacyAgent::start(&gateway, &json!({"elicitation": {}}));
    agent.accept = "application/json";
    let deaf = agent.call(5).message().expect("an answer").json();
    assert!(text(&deaf).contains("the agent has no elicitation"), "{deaf}");
}

#[test]
fn what_is_not_answered_ends_with_the_call() {
    let (method, capability) = ELICIT;
    let tool = McpServer::start(Speaks::Legacy, move |turn| {
        if turn.is_call() {
            turn.ask("q", method, &json!({}));
            turn.wait("notifications/roots/list_changed");
            turn.text("gave up");
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[capability, "roots"]));
    let agent = LegacyAgent::start(&gateway, &able());
    let mut events = agent.call(5);
    let asked = events.next_json();
    agent.notify("notifications/roots/list_changed", &json!({}));
    assert_eq!(text(&events.next_json()), "gave up");
    assert_eq!(agent.respond(&asked["id"], &json!({})), 400, "too late");
    let calls = books(&gateway, &agent.session);
    assert_eq!(lines(&calls), [(method, "fault", "CALL_CANCELLED"), (CONTACTS, "allow", "")]);
    assert_eq!(calls[0].entry["detail"]["during"], calls[1].entry["call_id"]);
}

#[test]
fn a_session_ends_promptly_while_its_agent_is_asked() {
    let tool = asking(ELICIT.0);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[ELICIT.1]));
    let agent = LegacyAgent::start(&gateway, &able());
    let mut events = agent.call(5);
    events.next_json();
    let started = Instant::now();
    assert_eq!(agent.end(), 204);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let calls = booked(&gateway, &agent.session, 2);
    assert_eq!(calls[0].what, ELICIT.0);
    assert!(calls.iter().all(|call| call.code == "CALL_CANCELLED" && call.decision == "fault"), "{calls:#?}");
}

#[test]
fn an_agent_is_asked_only_so_much_at_once() {
    const ALL: usize = 66;
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.is_call() {
            (0..ALL).for_each(|number| turn.ask(&format!("q{number}"), ELICIT.0, &json!({})));
            let refused = turn.asked(&format!("q{}", ALL - 1))["error"]["message"].to_string();
            turn.text(&refused);
        }
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[ELICIT.1]));
    let agent = LegacyAgent::start(&gateway, &able());
    let answer = agent.call(5).message().expect("an answer").json();
    assert!(text(&answer).contains("too many"), "{answer}");
    let calls = books(&gateway, &agent.session);
    assert_eq!(calls.len(), ALL + 1);
    assert!(calls[..ALL].iter().all(|call| call.code == "CALL_CANCELLED"), "{calls:#?}");
    let too_many = calls.iter().filter(|call| call.entry["detail"]["reason"].to_string().contains("too many"));
    assert_eq!(too_many.count(), ALL - 64);
}
