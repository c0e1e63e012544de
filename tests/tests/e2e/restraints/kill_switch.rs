//! The kill switch: what trips it, whom it stops, and the halted start.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::store::{assert_verifies, kind, records};
use tests::upstream::{Reply, Upstream};
use tests::wait_for;

use super::{ALICE, BOB, MODES, OPERATOR, call_as, denied, identified, key, outcome, post, proof_as, refused, setup};
use crate::controls::assert_proven;
use crate::{books, lines};

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
