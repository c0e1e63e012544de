//! A legacy tool server asks in the middle of a modern agent's call: the agent is asked in a result, and its next round goes on
//! with the call that waits.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::agent::Modern;
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};
use tests::stdio::StdioServer;
use tests::{store, wait_for};

use crate::quickstart::verify;
use crate::{Booked, booked, books, lines, sha256_hex};

const ELICIT: &str = "elicitation/create";
const REFUSED: (&str, &str, &str) = (CONTACTS, "fault", "MCP_INVALID_PARAMS");
const CALLED: (&str, &str, &str) = (CONTACTS, "allow", "");
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A server that asks these things during each call, one after the other, and whose result is what it was told.
fn asking(methods: &'static [&'static str]) -> McpServer {
    McpServer::start(Speaks::Legacy, move |turn| {
        if turn.is_call() {
            let mut told = Vec::new();
            for (number, method) in methods.iter().enumerate() {
                let id = format!("{}-{number}", turn.body["id"]);
                turn.ask(&id, method, &json!({"message": "who?"}));
                let answer = turn.asked(&id);
                told.push(answer.get("result").unwrap_or(&answer["error"]["message"]).clone());
            }
            turn.text(&Value::from(told).to_string());
        }
    })
}

fn elicits() -> McpServer {
    asking(&[ELICIT])
}

fn governed(tool: &McpServer) -> Setup {
    Setup::governed(&tool.url(), &["elicitation"])
}

/// A call of an agent that can be asked this.
fn able(session: &str, capabilities: &Value) -> Modern {
    let mut call = Modern::call(session);
    call.body["params"]["_meta"][CAPABILITIES] = capabilities.clone();
    call
}

/// The state of a round that asks this.
fn state(answer: &Value, method: &str) -> Value {
    let (result, params) = (&answer["result"], json!({"message": "who?"}));
    assert_eq!(result["resultType"], "input_required", "{answer}");
    assert_eq!(result["inputRequests"], json!({"input": {"method": method, "params": params}}));
    assert!(result["_meta"]["io.cmcp/receipt"]["call_id"].is_string(), "{answer}");
    result["requestState"].clone()
}

/// The same call again, with the input.
fn round(call: &Modern, state: &Value, input: &Value) -> Modern {
    call.clone().with("inputResponses", json!({"input": input})).with("requestState", state.clone())
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no result: {answer}"))
}

fn detail<'a>(call: &'a Booked, key: &str) -> &'a Value {
    &call.entry["detail"][key]
}

/// Claim and bundle verify as far as they can without a TEE.
fn assert_verifies(gateway: &Gateway, session: &str) {
    let (_, verdict) = verify(gateway, session);
    assert_eq!(
        (&verdict["status"], &verdict["audit_bundle"]["verified"]),
        (&json!("partially_verified"), &json!(true))
    );
    assert_eq!(verdict["unverified_fields"], json!(["hardware_attestation"]), "{verdict}");
}

#[test]
fn what_a_legacy_server_asks_is_asked_in_a_result() {
    const METHODS: [(&[&str], &str); 3] =
        [(&["sampling/createMessage"], "sampling"), (&[ELICIT], "elicitation"), (&["roots/list"], "roots")];
    for (methods, capability) in METHODS {
        let tool = asking(methods);
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[capability]));
        let call = able("asked", &json!({"sampling": {}, "elicitation": {"form": {}, "x": {}}, "roots": {}}));
        let state = state(&call.answer(&gateway).json(), methods[0]);
        let answers = |tool: &McpServer| tool.seen().iter().filter(|seen| seen.text().contains("from")).count();
        assert_eq!(answers(&tool), 0, "nobody has answered");
        let input = json!({"from": "me"});
        let answer = round(&call, &state, &input).answer(&gateway).json();
        assert_eq!(text(&answer), r#"[{"from":"me"}]"#);
        assert_eq!((tool.of("tools/call").len(), answers(&tool)), (1, 1));
        let told = tool.of("initialize").pop().expect("a handshake").json()["params"]["capabilities"].clone();
        let form = if capability == "elicitation" { json!({"form": {}}) } else { json!({}) };
        assert_eq!(told, json!({capability: form}), "a server is told what it may use");

        let calls = books(&gateway, "asked");
        assert_eq!(lines(&calls), [CALLED, (methods[0], "allow", ""), CALLED]);
        let (first, asked, second) = (&calls[0], &calls[1], &calls[2]);
        assert_eq!(detail(first, "input_required"), &json!(methods));
        assert_eq!(detail(asked, "during"), &first.entry["call_id"]);
        assert_eq!(detail(second, "continues"), &first.entry["call_id"]);
        let hash = |text: &str| json!(format!("sha256:{}", sha256_hex(text.as_bytes())));
        assert_eq!(detail(second, "input_responses_hash"), &hash(&json!({"input": input}).to_string()));
        assert_eq!(asked.entry["response_payload_hash"], hash(&input.to_string()));
        let result = tests::mcp_server::tool_result(r#"[{"from":"me"}]"#);
        assert_eq!(second.entry["response_payload_hash"], hash(&result));
        assert_verifies(&gateway, "asked");
    }
}

#[test]
fn two_questions_are_two_rounds_and_a_declined_one_is_an_answer() {
    let tool = asking(&[ELICIT, "roots/list"]);
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &["elicitation", "roots"]));
    let call = able("twice", &json!({"elicitation": {}, "roots": {}}));
    let one = state(&call.answer(&gateway).json(), ELICIT);
    let two = state(&round(&call, &one, &json!({"action": "decline"})).answer(&gateway).json(), "roots/list");
    assert_ne!(one, two);
    let answer = round(&call, &two, &json!({"roots": []})).answer(&gateway).json();
    assert_eq!(text(&answer), r#"[{"action":"decline"},{"roots":[]}]"#);
    assert_eq!(tool.of("tools/call").len(), 1);
    let calls = books(&gateway, "twice");
    assert_eq!(lines(&calls), [CALLED, (ELICIT, "allow", ""), CALLED, ("roots/list", "allow", ""), CALLED]);
    for later in [&calls[2], &calls[4]] {
        assert_eq!(detail(later, "continues"), &calls[0].entry["call_id"], "one logical call");
    }
    assert_eq!(detail(&calls[3], "during"), &calls[2].entry["call_id"]);
}

#[test]
fn intents_are_durable_before_the_server_sees_the_answer() {
    let place: Arc<OnceLock<PathBuf>> = Arc::default();
    let seen = place.clone();
    let tool = McpServer::start(Speaks::Legacy, move |turn| {
        let stored = || {
            let store = seen.get().expect("a store");
            let calls = store::entries(store).iter().filter(|entry| entry["entry_type"] == "tool_call").count();
            json!([store::intents(store).len(), calls])
        };
        if turn.is_call() {
            let before = stored();
            turn.ask("q", ELICIT, &json!({"message": "who?"}));
            turn.asked("q");
            turn.text(&json!([before, stored()]).to_string());
        }
    });
    let gateway = Gateway::start(&governed(&tool).durability("strict"));
    place.set(gateway.store()).expect("once");
    let call = Modern::call("strict");
    let state = state(&call.answer(&gateway).json(), ELICIT);
    let answer = round(&call, &state, &json!({"action": "accept"})).answer(&gateway).json();
    assert_eq!(text(&answer), "[[1,0],[3,2]]", "call; call, question and round, of which two have ended");
    store::assert_verifies(&gateway.stop().1.path().join("audit-store"));
}

#[test]
fn catalog_agent_and_policy_must_all_let_the_server_ask() {
    let tool = elicits();
    let unable = json!({"sampling": {}});
    for (setup, capabilities, reason) in [
        (Setup::governed(&tool.url(), &[]), json!({"elicitation": {}}), "does not approve of elicitation"),
        (governed(&tool), unable, "the agent has no elicitation"),
        (governed(&tool).forbid("elicit"), json!({"elicitation": {}}), "policy denies"),
    ] {
        let gateway = Gateway::start(&setup);
        let answer = able("unasked", &capabilities).answer(&gateway).json();
        assert!(text(&answer).contains(reason), "{answer}");
        let calls = books(&gateway, "unasked");
        match reason {
            "policy denies" => assert_eq!(lines(&calls), [(ELICIT, "deny", ""), CALLED]),
            _ => assert_eq!(lines(&calls), [CALLED]),
        }
    }
    let gateway = Gateway::start(&governed(&tool));
    assert!(gateway.call("bare", CONTACTS).text().contains("the agent has no elicitation"));
}

#[test]
fn only_the_same_call_goes_on_and_only_once() {
    let tool = elicits();
    let gateway = Gateway::start(&governed(&tool));
    let call = Modern::call("owner");
    let mine = state(&call.answer(&gateway).json(), ELICIT);
    let input = json!({"action": "accept"});
    let mut other = round(&call, &mine, &input);
    other.body["params"]["arguments"]["query"] = json!("another");
    let invented = json!(format!("io.cmcp/{}", "0".repeat(32)));
    let wrong = [
        ("another session", round(&Modern::call("thief"), &mine, &input)),
        ("other arguments", other),
        ("an invented state", round(&call, &invented, &input)),
        ("a state of nobody", round(&call, &json!("mine"), &input)),
        ("no state", call.clone().with("inputResponses", json!({"input": input}))),
        ("no input", call.clone().with("requestState", mine.clone())),
        ("another input", call.clone().with("requestState", mine.clone()).with("inputResponses", json!({"x": {}}))),
        ("no object", round(&call, &mine, &json!("accept"))),
    ];
    for (what, wrong) in &wrong {
        let refused = wrong.answer(&gateway);
        let error = &refused.json()["error"];
        assert_eq!((&error["code"], refused.error_code().as_str()), (&json!(-32602), "MCP_INVALID_PARAMS"), "{what}");
        assert!(
            error["data"]["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("input") || detail.contains("requestState")),
            "{what}: {error}"
        );
    }
    assert_eq!(text(&round(&call, &mine, &input).answer(&gateway).json()), r#"[{"action":"accept"}]"#);
    let replayed = round(&call, &mine, &input).answer(&gateway);
    assert_eq!(replayed.error_code(), "MCP_INVALID_PARAMS", "{}", replayed.text());
    assert_eq!(tool.of("tools/call").len(), 1, "nothing was forwarded");
    let calls = books(&gateway, "owner");
    let mut expected = vec![REFUSED; 7];
    expected.insert(0, CALLED);
    expected.extend([(ELICIT, "allow", ""), CALLED, REFUSED]);
    assert_eq!(lines(&calls), expected);
    assert!(calls.iter().filter(|call| call.code == REFUSED.2).all(|call| detail(call, "forwarded") == false));
    assert_eq!(lines(&books(&gateway, "thief")), [REFUSED]);
    assert_verifies(&gateway, "owner");
}

#[test]
fn who_names_no_session_may_come_over_another_connection() {
    let tool = elicits();
    let gateway = Gateway::start(&governed(&tool));
    let mut call = Modern::call("");
    call.body["params"]["_meta"].as_object_mut().expect("an object").remove("io.cmcp/session_id");
    let first = call.answer(&gateway).json();
    let session = first["result"]["_meta"]["io.cmcp/receipt"]["session_id"].as_str().expect("a session");
    let mine = state(&first, ELICIT);
    let input = json!({"action": "accept"});
    let thief = round(&Modern::call("thief"), &mine, &input).answer(&gateway);
    assert_eq!(thief.error_code(), "MCP_INVALID_PARAMS", "{}", thief.text());
    let second = round(&call, &mine, &input).answer(&gateway).json();
    assert_eq!(text(&second), r#"[{"action":"accept"}]"#);
    assert_eq!(second["result"]["_meta"]["io.cmcp/receipt"]["session_id"], session);
    assert_eq!(lines(&books(&gateway, session)), [CALLED, (ELICIT, "allow", ""), CALLED]);
    let named = Modern::call("named");
    let state = state(&named.answer(&gateway).json(), ELICIT);
    let unnamed = round(&call, &state, &input).answer(&gateway);
    assert_eq!(unnamed.error_code(), "MCP_INVALID_PARAMS", "a session that has a name is found by it alone");
}

#[test]
fn the_policy_is_asked_again_before_the_answer_leaves() {
    const PERMIT: &str = r#"permit (principal, action, resource) unless
      { action == cMCP::Action::"call_tool" && context.session_max_sensitivity == "mnpi" };"#;
    let tool = elicits();
    let other = McpServer::plain(Speaks::Legacy);
    let setup = governed(&tool).policy("demo.cedar", PERMIT).tool("market.news", &other.url(), "internal", "mnpi");
    let gateway = Gateway::start(&setup);
    let call = Modern::call("changed");
    let state = state(&call.answer(&gateway).json(), ELICIT);
    let news = Modern::new("changed", "tools/call", &json!({"name": "market.news", "arguments": {}}));
    assert_eq!(text(&news.answer(&gateway).json()), "ok");
    let denied = round(&call, &state, &json!({"action": "accept"})).answer(&gateway);
    assert_eq!(denied.error_code(), "POLICY_DENY", "{}", denied.text());
    assert!(!tool.seen().iter().any(|seen| seen.text().contains("accept")), "the answer has not left");
    assert_eq!(gateway.post("/sessions/changed/close", b"").status(), 200);
}

#[test]
fn a_call_waits_only_so_long() {
    let tool = elicits();
    let gateway = Gateway::start(&governed(&tool).limit("input_timeout_ms", 300));
    let call = Modern::call("late");
    let state = state(&call.answer(&gateway).json(), ELICIT);
    let calls = booked(&gateway, "late", 2);
    assert_eq!(lines(&calls), [CALLED, (ELICIT, "fault", "CALL_CANCELLED")]);
    assert_eq!(detail(&calls[1], "during"), &calls[0].entry["call_id"]);
    tool.wait("notifications/cancelled");
    let told = || tool.seen().into_iter().find(|seen| seen.text().contains("did not answer in time"));
    wait_for("answer to the server", Duration::from_secs(5), told);
    let late = round(&call, &state, &json!({"action": "accept"})).answer(&gateway);
    assert_eq!(late.error_code(), "MCP_INVALID_PARAMS", "{}", late.text());
    assert_eq!(lines(&books(&gateway, "late"))[2..], [REFUSED]);
}

#[test]
fn only_so_many_calls_wait_and_they_keep_no_others_waiting() {
    let tool = elicits();
    let gateway = Gateway::start(&governed(&tool));
    for _ in 0..16 {
        state(&Modern::call("flood").answer(&gateway).json(), ELICIT);
    }
    let answer = Modern::call("flood").answer(&gateway).json();
    assert!(text(&answer).contains("too many"), "{answer}");
    let calls = books(&gateway, "flood");
    assert_eq!(lines(&calls)[16..], [(ELICIT, "fault", "CALL_CANCELLED"), CALLED]);
    state(&Modern::call("another").answer(&gateway).json(), ELICIT);

    let gateway = Gateway::start(&governed(&tool).limit("upstream_connections_per_server", 1));
    let first = Modern::call("first");
    let mine = state(&first.answer(&gateway).json(), ELICIT);
    let answer = Modern::call("second").answer(&gateway).json();
    assert!(text(&answer).contains("too many"), "the connection for calls is free: {answer}");
    let answer = round(&first, &mine, &json!({"action": "accept"})).answer(&gateway).json();
    assert_eq!(text(&answer), r#"[{"action":"accept"}]"#);
    state(&Modern::call("second").answer(&gateway).json(), ELICIT);
}

#[test]
fn a_call_that_waits_ends_with_its_session() {
    let tool = elicits();
    let gateway = Gateway::start(&governed(&tool));
    let ended = [CALLED, (ELICIT, "fault", "CALL_CANCELLED")];
    for session in ["closed", "stopped"] {
        state(&Modern::call(session).answer(&gateway).json(), ELICIT);
    }
    let started = Instant::now();
    assert_eq!(gateway.post("/sessions/closed/close", b"").status(), 200);
    assert_eq!(lines(&books(&gateway, "closed")), ended);
    tool.wait("notifications/cancelled");
    let (status, folder) = gateway.stop();
    assert!(status.success() && started.elapsed() < Duration::from_secs(4), "{status} {:?}", started.elapsed());
    let store = folder.path().join("audit-store");
    store::assert_verifies(&store);
    let entries: Vec<Value> =
        store::entries(&store).into_iter().filter(|entry| entry["session_id"] == "stopped").collect();
    let kinds: Vec<_> = entries.iter().map(|entry| (&entry["entry_type"], &entry["detail"]["error_code"])).collect();
    assert_eq!(kinds.len(), 4, "{entries:#?}");
    assert_eq!((kinds[2].1, kinds[3].0), (&json!("CALL_CANCELLED"), &json!("session_end")));
}

#[test]
fn a_server_that_goes_away_meanwhile_is_a_fault_of_the_round() {
    let tool = McpServer::start(Speaks::Legacy, |turn| {
        if turn.is_call() {
            turn.ask("q", ELICIT, &json!({"message": "who?"}));
        }
    });
    let gateway = Gateway::start(&governed(&tool));
    let call = Modern::call("gone");
    let state = state(&call.answer(&gateway).json(), ELICIT);
    let answer = round(&call, &state, &json!({"action": "accept"})).answer(&gateway);
    assert_eq!(answer.error_code(), "UPSTREAM_INVALID", "{}", answer.text());
    let calls = books(&gateway, "gone");
    assert_eq!(lines(&calls), [CALLED, (ELICIT, "allow", ""), (CONTACTS, "fault", "UPSTREAM_INVALID")]);
    assert_eq!(detail(&calls[2], "forwarded"), true);
}

#[test]
fn a_process_asks_in_a_result_too() {
    let tool = StdioServer::start(crate::stdio::PUPPET, Speaks::Legacy, |line| {
        if line.is_call() {
            line.send(Some("e"), ELICIT, &json!({"message": "who?"}));
            line.answer_with_reply("e");
        }
    });
    let gateway = Gateway::start(&crate::stdio::setup(&tool, &json!({"capabilities": ["elicitation"]})));
    let call = Modern::call("process");
    let state = state(&call.answer(&gateway).json(), ELICIT);
    let answer = round(&call, &state, &json!({"action": "accept"})).answer(&gateway).json();
    assert_eq!(text(&answer), r#"{"action":"accept"}"#);
    assert_eq!((tool.of("tools/call").len(), tool.processes().len()), (1, 1));
    assert_eq!(tool.of("initialize")[0]["params"]["capabilities"], json!({"elicitation": {}}));
    assert_eq!(lines(&books(&gateway, "process")), [CALLED, (ELICIT, "allow", ""), CALLED]);
}
