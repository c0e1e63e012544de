//! Controls that hold in every mode: ceilings on sensitivity, rate limits, the kill switch, the halted start.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use claim::operator::OperatorKey;
use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};
use tests::store::{assert_verifies, kind, records};
use tests::upstream::{Reply, Upstream};
use tests::wait_for;

use crate::controls::assert_proven;
use crate::{Booked, books, lines};

const PERMIT: &str = "permit (principal, action, resource);";
const MODES: [&str; 3] = ["enforcing", "advisory", "silent"];

fn key() -> OperatorKey {
    OperatorKey::from_seed([0x0a; 32])
}

/// A tool that brings personal data and one that sends mail, both allowed.
fn setup(upstream: &str, mode: &str) -> Setup {
    Setup::quickstart(upstream).mode(mode).policy("demo.cedar", PERMIT).tool("mail", upstream, "external", "public")
}

fn outcome(answer: &Message) -> (u16, String) {
    (answer.status(), if answer.status() == 200 { String::new() } else { answer.error_code() })
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// The one call of a session that was refused by this code, with nothing forwarded.
fn denied<'a>(calls: &'a [Booked], code: &str) -> &'a Value {
    let found: Vec<_> = calls.iter().filter(|call| call.code == code).collect();
    assert_eq!((found.len(), found[0].decision.as_str()), (1, "deny"), "{calls:#?}");
    &found[0].entry
}

#[test]
fn what_a_session_holds_does_not_reach_a_lower_sink_in_any_mode() {
    for mode in MODES {
        let tool = Upstream::plain();
        let gateway = Gateway::start(&setup(&tool.url(), mode).with("/sink_policy/tools/mail", json!("public")));
        assert_eq!(gateway.call("s", "mail").status(), 200);
        assert_eq!(gateway.call("s", CONTACTS).status(), 200);
        assert_eq!(outcome(&gateway.call("s", "mail")), refused(403, "SINK_CEILING"), "{mode}");
        assert_eq!(gateway.call("other", "mail").status(), 200, "the other session holds nothing");
        assert_eq!(tool.calls().len(), 3, "{mode}");
        let calls = books(&gateway, "s");
        let entry = denied(&calls, "SINK_CEILING");
        assert_eq!(entry["policy_rule_matched"], "sink_policy.tools");
        assert_eq!(entry["detail"]["reason"], "session holds pii");
        assert_eq!(entry["response_payload_hash"], Value::Null);
        assert_proven(&gateway, "s");
        let (_, folder) = gateway.stop();
        assert_verifies(&folder.path().join("audit-store"));
    }
}

#[test]
fn labels_of_equal_rank_are_different_secrets() {
    let tool = Upstream::plain();
    let setup = setup(&tool.url(), "advisory")
        .tool("health", &tool.url(), "hipaa_phi", "hipaa_phi")
        .tool("trades", &tool.url(), "mnpi", "mnpi")
        .with("/sink_policy/tools/trades", json!("mnpi"));
    let gateway = Gateway::start(&setup);
    for name in [CONTACTS, "trades", "trades"] {
        assert_eq!(gateway.call("trader", name).status(), 200, "{name}");
    }
    assert_eq!(gateway.call("nurse", "health").status(), 200);
    assert_eq!(outcome(&gateway.call("nurse", "trades")), refused(403, "SINK_CEILING"));
    assert_eq!(outcome(&gateway.call("trader", "health")), refused(200, ""), "no ceiling");
    assert_eq!(outcome(&gateway.call("trader", "trades")), refused(403, "SINK_CEILING"));
}

#[test]
fn clients_of_mcp_hear_of_a_ceiling_in_their_session() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&setup(&tool.url(), "enforcing").with("/sink_policy/tools/mail", json!("public")));
    let mail = json!({"name": "mail", "arguments": {"query": "x"}});
    assert_eq!(Modern::call("m").answer(&gateway).status(), 200);
    let answer = Modern::new("m", "tools/call", &mail).answer(&gateway);
    assert_eq!((answer.status(), answer.error_code()), (200, "SINK_CEILING".to_owned()));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    agent.call(1).message().expect("an answer");
    let answer = agent.request(2, "tools/call", &mail).message().expect("an answer");
    assert_eq!((answer.status(), answer.error_code()), (200, "SINK_CEILING".to_owned()));
    assert_proven(&gateway, &agent.session);
}

/// Other methods carry words to a server too: what none of its tools may be told, none of them brings there.
#[test]
fn a_ceiling_holds_for_every_way_to_the_server() {
    let server = McpServer::plain(Speaks::Legacy);
    let setup = Setup::governed(&server.url(), &["resources", "prompts"])
        .with(&format!("/sink_policy/tools/{CONTACTS}"), json!("public"));
    let gateway = Gateway::start(&setup);
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let read = |id| {
        let answer = agent.request(id, "resources/read", &json!({"uri": "test://static-text"}));
        answer.message().expect("an answer").json()["error"]["data"]["error_code"].clone()
    };
    assert_eq!(agent.call(1).message().expect("an answer").json()["error"], Value::Null);
    assert_eq!(read(2), "SINK_CEILING");
    assert_eq!(agent.call(3).message().expect("an answer").error_code(), "SINK_CEILING");
}

#[test]
fn a_result_above_the_ceiling_is_withheld_in_every_mode() {
    for mode in MODES {
        let tool = Upstream::fixed(r#"{"content":[{"type":"text","text":"0xSECRET"}]}"#);
        let config = setup(&tool.url(), mode).with("/sink_policy/response_max_sensitivity", json!("public"));
        let gateway = Gateway::start(&config);
        let answer = gateway.call("s", CONTACTS);
        assert_eq!(outcome(&answer), refused(403, "RESPONSE_CEILING"), "{mode}");
        assert!(!answer.text().contains("SECRET") && answer.text().contains("has run"), "{}", answer.text());
        assert_eq!(gateway.call("s", "mail").status(), 200);
        // An error of the tool server is its words as well.
        tool.set(|_| Reply::Error(r#"{"code":-1,"message":"0xSECRET"}"#.to_owned()));
        let answer = gateway.call("e", CONTACTS);
        assert_eq!(outcome(&answer), refused(403, "RESPONSE_CEILING"), "{mode}");
        assert!(!answer.text().contains("SECRET"), "{}", answer.text());
        assert_eq!(tool.calls().len(), 3);
        let calls = books(&gateway, "s");
        let entry = denied(&calls, "RESPONSE_CEILING");
        assert_eq!((&entry["entry_type"], &entry["detail"]["forwarded"]), (&json!("tool_call"), &json!(true)));
        assert_eq!(entry["policy_rule_matched"], "sink_policy.response_max_sensitivity");
        assert!(entry["response_payload_hash"].is_string(), "{entry}");
        assert_proven(&gateway, "s");
        let (_, folder) = gateway.stop();
        assert_verifies(&folder.path().join("audit-store"));
    }
}

#[test]
fn rates_hold_in_every_mode_and_for_all_sessions_of_an_identity() {
    for mode in MODES {
        let tool = Upstream::plain();
        let limits = json!([{"tool": CONTACTS, "calls": 3, "per_seconds": 3600}, {"calls": 6, "per_seconds": 3600}]);
        let gateway = Gateway::start(&setup(&tool.url(), mode).with("/rate_limits", limits));
        for session in ["a", "b", "c"] {
            assert_eq!(gateway.call(session, CONTACTS).status(), 200);
        }
        let answer = gateway.call("d", CONTACTS);
        assert_eq!(outcome(&answer), refused(429, "RATE_LIMITED"), "{mode}");
        let wait = answer.json()["error"]["data"]["retry_after_ms"].as_u64().expect("a time");
        assert!((1_000_000..=1_200_000).contains(&wait), "a third of an hour: {wait}");
        let seconds: u64 = answer.header("retry-after").expect("a header").parse().expect("seconds");
        assert_eq!(seconds, wait.div_ceil(1000));
        // What is refused costs nothing of the other limit; what passes does.
        for _ in 0..3 {
            assert_eq!(gateway.call("d", "mail").status(), 200);
        }
        assert_eq!(outcome(&gateway.call("d", "mail")), refused(429, "RATE_LIMITED"));
        assert_eq!(outcome(&gateway.call("d", "no such tool")), refused(429, "RATE_LIMITED"));
        let answer = Modern::call("m").answer(&gateway);
        assert_eq!((answer.status(), answer.error_code()), (200, "RATE_LIMITED".to_owned()));
        assert!(answer.json()["error"]["data"]["retry_after_ms"].is_u64());
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(tool.calls().len(), 6);
        let calls = books(&gateway, "d");
        let rules: Vec<_> =
            calls.iter().map(|call| (call.decision.as_str(), &call.entry["policy_rule_matched"])).collect();
        assert_eq!(rules.first(), Some(&("deny", &json!("rate_limits[0]"))));
        assert_eq!(rules.iter().filter(|(decision, _)| *decision == "allow").count(), 3);
        assert_eq!(rules.last(), Some(&("deny", &json!("rate_limits[1]"))));
        assert_proven(&gateway, "d");
    }
}

#[test]
fn a_rush_takes_no_more_than_the_bucket_holds_and_it_fills_again() {
    let tool = Upstream::plain();
    let limits = json!([{"calls": 4, "per_seconds": 4}]);
    let gateway = Gateway::start(&setup(&tool.url(), "enforcing").with("/rate_limits", limits));
    let start = Barrier::new(16);
    let passed = thread::scope(|scope| {
        let (gateway, start) = (&gateway, &start);
        let call = move |number: usize| {
            start.wait();
            gateway.call(&format!("s{number}"), CONTACTS).status()
        };
        let calls: Vec<_> = (0..16).map(|number| scope.spawn(move || call(number))).collect();
        calls.into_iter().map(|call| call.join().expect("a call")).filter(|status| *status == 200).count()
    });
    assert!((4..=5).contains(&passed), "{passed}");
    wait_for("a call to come back", Duration::from_secs(10), || {
        (gateway.call("later", CONTACTS).status() == 200).then_some(())
    });
}

#[test]
fn settings_that_name_nothing_are_refused() {
    let check = |setup: &Setup| {
        let folder = tempfile::tempdir().expect("a folder");
        setup.write(folder.path());
        let args = ["check", "--config", "cmcp-config.yaml"];
        let output =
            std::process::Command::new(tests::bin::path("host")).args(args).current_dir(folder.path()).output();
        String::from_utf8(output.expect("the host runs").stderr).expect("text")
    };
    let base = setup("http://localhost:9001/mcp", "enforcing");
    for (pointer, value, words) in [
        (
            "/sink_policy/tools/nowhere",
            json!("public"),
            "sink_policy.tools.nowhere: found \"nowhere\", expected a tool_name",
        ),
        ("/sink_policy/tools/mail", json!("top"), "sink_policy.tools.mail: found \"top\", expected one of public, pii"),
        ("/sink_policy/response_max_sensitivity", json!("x"), "sink_policy.response_max_sensitivity: found \"x\""),
        ("/rate_limits", json!([{"tool": "x", "calls": 1, "per_seconds": 1}]), "rate_limits[0].tool: found \"x\""),
        (
            "/rate_limits",
            json!([{"subject": "x", "calls": 1, "per_seconds": 1}]),
            "rate_limits[0].subject: found \"x\"",
        ),
        (
            "/rate_limits",
            json!([{"calls": 0, "per_seconds": 1}]),
            "rate_limits[0].calls: found 0, expected 1 to 1000000",
        ),
        ("/rate_limits", json!([{"calls": 1, "per_seconds": 0}]), "rate_limits[0].per_seconds: found 0"),
        ("/rate_limits", json!([{"calls": 1}]), "rate_limits[0].per_seconds"),
        ("/kill_switch/deny_rate_percent", json!(101), "kill_switch.deny_rate_percent: found 101, expected 1 to 100"),
        ("/kill_switch/window_seconds", json!(0), "kill_switch.window_seconds: found 0"),
        ("/kill_switch/enable", json!(true), "did you mean enabled?"),
    ] {
        let text = check(&base.clone().with(pointer, value));
        assert!(text.contains(words), "{pointer}: {text}");
    }
}

/// A gateway whose kill switch is enabled, with controls.
fn switched(upstream: &str, mode: &str, controls: &Value) -> Setup {
    setup(upstream, mode)
        .policy("forbid.cedar", r#"forbid (principal, action, resource == cMCP::Resource::"mail");"#)
        .operated_by(&key())
        .controls(&key(), controls)
        .with("/kill_switch", json!({"enabled": true, "min_calls": 4, "deny_rate_percent": 50}))
}

#[test]
fn too_many_denials_trip_the_switch_for_the_identity() {
    for mode in MODES {
        let tool = Upstream::plain();
        let gateway = Gateway::start(&switched(&tool.url(), mode, &json!({"epoch": 1})));
        let before = gateway.call("bystander", CONTACTS).status();
        assert_eq!((before, gateway.call("s", CONTACTS).status()), (200, 200));
        let denied = if mode == "enforcing" { 403 } else { 200 };
        for _ in 0..2 {
            assert_eq!(gateway.call("s", "mail").status(), denied, "{mode}");
        }
        let forwarded = tool.calls().len();
        for session in ["s", "bystander", "later"] {
            assert_eq!(outcome(&gateway.call(session, CONTACTS)), refused(403, "KILL_SWITCH"), "{session}, {mode}");
        }
        assert_eq!(outcome(&gateway.call("later", "no such tool")), refused(403, "KILL_SWITCH"));
        assert_eq!(tool.calls().len(), forwarded);
        assert_eq!(gateway.get("/readyz").status(), 200, "others may call");
        for (session, triggered) in [("s", json!(true)), ("bystander", json!(true)), ("later", Value::Null)] {
            let claim = gateway.claim(session);
            assert_eq!(claim["gateway"]["kill_switch_triggered"], triggered, "{session}");
            let trips: Vec<_> = gateway
                .entries(session)
                .into_iter()
                .filter(|entry| entry["entry_type"] == "suspicious_call_sequence")
                .map(|entry| entry["detail"].clone())
                .collect();
            let expected = json!({"control": "kill_switch", "trigger": "deny_rate", "calls": 4, "denied": 2,
                "window_seconds": 300, "deny_rate_percent": 50, "min_calls": 4});
            assert_eq!(trips, if triggered.is_null() { vec![] } else { vec![expected] });
            assert_proven(&gateway, session);
        }
        let calls = books(&gateway, "later");
        assert_eq!(lines(&calls), [(CONTACTS, "deny", "KILL_SWITCH"), ("", "deny", "KILL_SWITCH")]);
        let (_, folder) = gateway.stop();
        let store = folder.path().join("audit-store");
        let text = assert_verifies(&store);
        assert!(text.contains("kill switch tripped for anonymous at"), "{text}");
        let control = records(&store).into_iter().find(|record| record.kind == kind::CONTROL).expect("a record");
        assert_eq!(
            (&control.json()["action"], &control.json()["trigger"]),
            (&json!("kill_switch_trip"), &json!("deny_rate"))
        );
    }
}

#[test]
fn a_flood_of_rate_limited_calls_does_not_trip_the_switch() {
    let tool = Upstream::plain();
    let setup = switched(&tool.url(), "enforcing", &json!({"epoch": 1}))
        .with("/rate_limits", json!([{"tool": CONTACTS, "calls": 1, "per_seconds": 3600}]));
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.call("s", CONTACTS).status(), 200);
    for _ in 0..20 {
        assert_eq!(gateway.call("s", CONTACTS).error_code(), "RATE_LIMITED");
    }
    assert_eq!(gateway.claim("s")["gateway"]["kill_switch_triggered"], Value::Null);
}

#[test]
fn whom_the_controls_block_makes_no_call() {
    let tool = Upstream::plain();
    let controls = json!({"epoch": 9, "blocked": [{"subject": "anonymous"}]});
    for enabled in [true, false] {
        let setup = switched(&tool.url(), "silent", &controls).with("/kill_switch/enabled", json!(enabled));
        let gateway = Gateway::start(&setup);
        assert_eq!(outcome(&gateway.call("s", CONTACTS)), refused(403, "KILL_SWITCH"));
        let calls = books(&gateway, "s");
        assert!(denied(&calls, "KILL_SWITCH")["detail"]["reason"].as_str().expect("text").contains("controls"));
        assert_eq!(gateway.claim("s")["gateway"]["kill_switch_triggered"], Value::Null, "nothing tripped");
        assert_eq!(gateway.entries("s")[0]["detail"]["controls_epoch"], 9);
        assert_proven(&gateway, "s");
    }
    assert_eq!(tool.calls().len(), 0);
}

#[test]
fn a_kill_switch_without_controls_starts_halted() {
    for mode in MODES {
        let tool = Upstream::plain();
        let mut setup = switched(&tool.url(), mode, &json!({"epoch": 1}));
        setup.controls = None;
        for setup in [setup.clone(), setup.clone().without("controls_path")] {
            let gateway = Gateway::start_halted(&setup);
            assert!(gateway.log().contains("halted, every call is refused"), "{}", gateway.log());
            assert_eq!(outcome(&gateway.get("/readyz")), refused(503, "GATEWAY_HALTED"));
            assert_eq!(outcome(&gateway.call("s", CONTACTS)), refused(503, "GATEWAY_HALTED"), "{mode}");
            assert_eq!(outcome(&gateway.call("s", "no such tool")), refused(503, "GATEWAY_HALTED"));
            let calls = books(&gateway, "s");
            assert_eq!(lines(&calls), [(CONTACTS, "deny", "GATEWAY_HALTED"), ("", "deny", "GATEWAY_HALTED")]);
            assert_proven(&gateway, "s");
            assert_eq!(tool.calls().len(), 0);
        }
    }
}

const ALICE: &str = "alice-token-0123456789abcdef0123456789";
const BOB: &str = "bob-token-0123456789abcdef0123456789ab";
const OPERATOR: &str = "operator-token-0123456789abcdef012345";

/// The same with two agents and an operator, told apart by their tokens.
fn identified(setup: &Setup) -> Setup {
    let hash = |token: &str| claim::Digest::of(token).prefixed();
    let agent = |subject: &str, token: &str| json!({"subject": subject, "issuer": "corp", "token_sha256": hash(token)});
    let auth = json!({"mode": "bearer", "tokens": [agent("alice", ALICE), agent("bob", BOB)]});
    setup.clone().with("/auth", auth).with("/operator/token_sha256", json!(hash(OPERATOR)))
}

fn post(gateway: &Gateway, token: &str, path: &str, body: &Value) -> Message {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    gateway
        .connect()
        .request("POST", path, if token.is_empty() { &headers[..1] } else { &headers }, &body)
        .expect("an answer")
}

fn call_as(gateway: &Gateway, token: &str, session: &str, tool: &str) -> (u16, String) {
    let params = json!({"name": tool, "arguments": {"query": "x"}, "_cmcp": {"session_id": session}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    outcome(&post(gateway, token, "/mcp", &body))
}

/// Claim and audit bundle of a session, as its own agent gets them; they prove each other.
fn proof_as(gateway: &Gateway, token: &str, session: &str) -> (Value, Vec<Value>) {
    let bearer = format!("Bearer {token}");
    let get = |path: &str| {
        let answer = gateway.connect().request("GET", path, &[("authorization", &bearer)], b"").expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer
    };
    let claim = get(&format!("/session/{session}/claim"));
    let bundle = get(&format!("/audit/export?session_id={session}"));
    let options = verify::BundleOptions::default();
    let verdict = verify::verify_audit_bundle(bundle.text().as_bytes(), Some(claim.text().as_bytes()), options);
    assert!(verdict.verified, "{:?}", verdict.failures);
    (claim.json(), bundle.json()["entries"].as_array().expect("entries").clone())
}

#[test]
fn the_operator_trips_and_unblocks_one_identity() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&identified(&switched(&tool.url(), "advisory", &json!({"epoch": 1}))));
    for (token, session) in [(ALICE, "a1"), (ALICE, "a2"), (BOB, "b")] {
        assert_eq!(call_as(&gateway, token, session, CONTACTS), refused(200, ""));
    }
    let trip = |token: &str, body: &Value| post(&gateway, token, "/kill-switch/trip", body);
    let alice = json!({"subject": "alice", "issuer": "corp", "reason": "incident 7"});
    assert_eq!(outcome(&trip(ALICE, &alice)), refused(403, "OPERATOR_REQUIRED"));
    assert_eq!(outcome(&trip("", &alice)), refused(401, "UNAUTHENTICATED"));
    for body in [
        json!({"subject": "mallory"}),
        json!({"subject": "alice", "issuer": "other"}),
        json!({"subject": "alice", "reasons": "x"}),
        json!({"subject": "alice", "reason": "caf\u{e9}"}),
        json!({"subject": "anonymous"}),
        Value::Null,
        json!([]),
        json!({"subject": "alice", "reason": "x".repeat(20_000)}),
    ] {
        assert_eq!(outcome(&trip(OPERATOR, &body)), refused(400, "MCP_INVALID_PARAMS"), "{body}");
    }
    assert_eq!(call_as(&gateway, ALICE, "a1", CONTACTS), refused(200, ""), "nothing has happened yet");

    let done = trip(OPERATOR, &alice);
    assert_eq!(done.status(), 200, "{}", done.text());
    assert_eq!(done.json()["sessions"], 2);
    let line = done.json()["add_to_controls_blocked"].as_str().expect("a line").to_owned();
    assert_eq!(line, r#"{"issuer":"corp","subject":"alice"}"#);
    assert_eq!(outcome(&trip(OPERATOR, &alice)), refused(409, "KILL_SWITCH_STATE"));
    for session in ["a1", "a3"] {
        assert_eq!(call_as(&gateway, ALICE, session, CONTACTS), refused(403, "KILL_SWITCH"), "{session}");
    }
    assert_eq!(call_as(&gateway, BOB, "b", CONTACTS), refused(200, ""));
    for (token, session, triggered) in
        [(ALICE, "a1", true), (ALICE, "a2", true), (ALICE, "a3", false), (BOB, "b", false)]
    {
        let (claim, entries) = proof_as(&gateway, token, session);
        assert_eq!(claim["gateway"]["kill_switch_triggered"] == true, triggered, "{session}");
        let trip = json!({"control": "kill_switch", "trigger": "operator", "reason": "incident 7"});
        assert_eq!(entries.iter().filter(|entry| entry["detail"] == trip).count(), usize::from(triggered), "{session}");
    }

    let unblock = |body: &Value| outcome(&post(&gateway, OPERATOR, "/kill-switch/unblock", body));
    assert_eq!(unblock(&json!({"subject": "bob"})), refused(409, "KILL_SWITCH_STATE"));
    assert_eq!(unblock(&json!({"subject": "alice", "reason": "closed"})), refused(200, ""));
    assert_eq!(call_as(&gateway, ALICE, "a1", CONTACTS), refused(200, ""));
    assert_eq!(tool.calls().len(), 6);

    // The line holds over a restart once it is signed.
    let (_, folder) = gateway.stop();
    let text = assert_verifies(&folder.path().join("audit-store"));
    for part in [
        "kill switch tripped for alice of corp at",
        "by operator: incident 7",
        "alice of corp unblocked at",
        ": closed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let controls = json!({"epoch": 2, "blocked": [line, {"subject": "gone"}]});
    let setup = identified(&switched(&tool.url(), "advisory", &controls));
    setup.write(folder.path());
    let gateway = Gateway::start_in(folder);
    assert_eq!(call_as(&gateway, ALICE, "a1", CONTACTS), refused(403, "KILL_SWITCH"));
    assert_eq!(call_as(&gateway, BOB, "b", CONTACTS), refused(200, ""));
    let answer = post(&gateway, OPERATOR, "/kill-switch/unblock", &json!({"subject": "alice"}));
    assert_eq!(outcome(&answer), refused(409, "KILL_SWITCH_STATE"));
    assert!(answer.text().contains("controls.json blocks this identity"), "{}", answer.text());
    assert!(gateway.log().contains("warnings about the documents"), "{}", gateway.log());
}

#[test]
fn what_one_identity_does_is_not_held_against_another() {
    let tool = Upstream::plain();
    let limits = json!([{"calls": 5, "per_seconds": 3600}, {"subject": "bob", "tool": CONTACTS, "calls": 1, "per_seconds": 3600}]);
    let gateway = Gateway::start(
        &identified(&switched(&tool.url(), "enforcing", &json!({"epoch": 1}))).with("/rate_limits", limits),
    );
    for _ in 0..4 {
        assert_eq!(call_as(&gateway, ALICE, "a", "mail"), refused(403, "POLICY_DENY"));
    }
    assert_eq!(call_as(&gateway, ALICE, "a", CONTACTS), refused(403, "KILL_SWITCH"));
    assert_eq!(call_as(&gateway, BOB, "b", CONTACTS), refused(200, ""));
    assert_eq!(call_as(&gateway, BOB, "b2", CONTACTS), refused(429, "RATE_LIMITED"), "bob's own limit");
    assert_eq!(call_as(&gateway, BOB, "b2", "no such tool"), refused(403, "TOOL_NOT_IN_CATALOG"));
    assert_eq!(proof_as(&gateway, ALICE, "a").0["gateway"]["kill_switch_triggered"], true);
    assert_eq!(proof_as(&gateway, BOB, "b").0["gateway"]["kill_switch_triggered"], Value::Null);
}

/// Labels follow the identity, and so does what they keep from reaching a tool.
#[test]
fn a_new_session_does_not_get_below_a_ceiling() {
    let tool = Upstream::plain();
    let setup = setup(&tool.url(), "advisory").with("/sink_policy/tools/mail", json!("public"));
    let gateway = Gateway::start(&identified(&setup));
    assert_eq!(call_as(&gateway, ALICE, "a", CONTACTS), refused(200, ""));
    assert_eq!(call_as(&gateway, ALICE, "another", "mail"), refused(403, "SINK_CEILING"));
    assert_eq!(call_as(&gateway, BOB, "a", "mail"), refused(200, ""));
}

#[test]
fn without_authentication_there_is_one_identity_to_block() {
    let tool = Upstream::plain();
    let hash = claim::Digest::of(OPERATOR).prefixed();
    let setup = switched(&tool.url(), "enforcing", &json!({"epoch": 1})).with("/operator/token_sha256", json!(hash));
    let gateway = Gateway::start(&setup);
    assert_eq!(outcome(&post(&gateway, "", "/kill-switch/trip", &Value::Null)), refused(403, "OPERATOR_REQUIRED"));
    // A call that is under way ends as it would have.
    tool.set(|_| Reply::Late(Duration::from_secs(2), r#"{"content":[]}"#.to_owned()));
    thread::scope(|scope| {
        let call = scope.spawn(|| gateway.call("s", CONTACTS).status());
        wait_for("the call at its tool", Duration::from_secs(10), || (!tool.calls().is_empty()).then_some(()));
        let done = post(&gateway, OPERATOR, "/kill-switch/trip", &Value::Null);
        assert_eq!(done.json()["add_to_controls_blocked"], r#"{"subject":"anonymous"}"#);
        assert_eq!(outcome(&gateway.call("s", CONTACTS)), refused(403, "KILL_SWITCH"));
        assert_eq!(call.join().expect("an answer"), 200);
    });
    assert_proven(&gateway, "s");
    assert_eq!(outcome(&post(&gateway, OPERATOR, "/kill-switch/unblock", &json!({}))), refused(200, ""));
    assert_eq!(gateway.call("s", CONTACTS).status(), 200);

    let off = Gateway::start(&setup.with("/kill_switch/enabled", json!(false)));
    let answer = post(&off, OPERATOR, "/kill-switch/trip", &Value::Null);
    assert_eq!(outcome(&answer), refused(409, "KILL_SWITCH_STATE"));
    assert!(answer.text().contains("kill_switch.enabled is false"), "{}", answer.text());
    assert_eq!(off.get("/kill-switch/trip").status(), 405);
}
