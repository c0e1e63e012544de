//! `POST /sessions/{id}/reset`: an operator clears labels, on record, and no label that a call still brings is lost.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::{Gateway, Named};
use tests::setup::{CONTACTS, Setup};
use tests::store::{assert_verifies, cmcp_verify};
use tests::upstream::{Reply, Upstream};
use tests::wait_for;

const OK: &str = r#"{"content":[]}"#;

/// Has `cmcp-verify` judge a session's claim and audit bundle together.
pub(crate) fn verifies(caller: &Named<'_>, session: &str, more: &str) {
    let folder = caller.gateway.folder();
    let (claim, bundle) = (folder.join("verify-claim.json"), folder.join("verify-bundle.json"));
    let query = more.trim_start_matches('&');
    let answer = caller.get(&format!("/session/{session}/claim?{query}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    std::fs::write(&claim, answer.body).expect("a file");
    std::fs::write(&bundle, caller.get(&format!("/audit/export?session_id={session}&{query}")).body).expect("a file");
    let words = [&claim.to_string_lossy(), "--audit-bundle", &bundle.to_string_lossy()];
    let output = cmcp_verify(&words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "nothing is wrong, dev mode cannot be judged: {text}");
}

/// The same, where everybody may ask.
pub(crate) fn verifies_for(gateway: &Gateway, session: &str) {
    verifies(&Named { gateway, authorization: String::new() }, session, "");
}

fn reset(operator: &Named<'_>, path: &str) -> Value {
    let answer = operator.post(path, b"");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn resets(entries: &[Value]) -> Vec<&Value> {
    entries.iter().filter(|entry| entry["entry_type"] == "session_reset").collect()
}

#[test]
fn a_reset_clears_the_session_and_is_in_its_chain() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing").operated());
    gateway.call("s", CONTACTS);
    gateway.call("other", CONTACTS);
    assert_eq!(gateway.call("s", CONTACTS).status(), 403);
    let operator = gateway.caller("operator");
    let done = reset(&operator, "/sessions/s/reset");
    assert_eq!(
        (&done["session_id"], &done["identity"], &done["scope"]),
        (&json!("s"), &Value::Null, &json!("session"))
    );
    assert_eq!((&done["labels_before"], &done["labels"]), (&json!(["public", "pii"]), &json!(["public"])));
    assert_eq!((&done["in_flight"], &done["sessions"]), (&json!(0), &json!(1)));
    verifies(&operator, "s", "");
    let claim = gateway.claim("s");
    assert_eq!(
        claim["gateway"]["call_summary"]["session_max_sensitivity"], "pii",
        "a reset does not undo what was touched"
    );
    assert_eq!(claim["trace"]["data_class"], "pii");
    assert_eq!(gateway.call("s", CONTACTS).status(), 200, "the same session, without its label");
    assert_eq!(gateway.call("s", CONTACTS).status(), 403);
    assert_eq!(gateway.call("other", CONTACTS).status(), 403, "another session keeps its own");

    let entries = gateway.entries("s");
    let [entry] = resets(&entries)[..] else { panic!("{entries:#?}") };
    assert_eq!(entry["entry_hash"], done["audit_entry_hash"]);
    assert_eq!(
        (&entry["session_sensitivity_before"], &entry["session_sensitivity_after"]),
        (&json!("pii"), &json!("public"))
    );
    assert_eq!((&entry["session_id"], &entry["policy_decision"]), (&json!("s"), &json!("n/a")));
    assert_eq!(entry["detail"]["by"], "operator");
    for member in ["closed_session_id", "successor_session_id"] {
        assert_eq!(entry["detail"][member], "s", "the session succeeds itself");
    }
    assert_eq!(entry["detail"]["labels_before"], json!(["public", "pii"]));
    assert_eq!(gateway.claim("s")["gateway"]["call_summary"]["tool_calls_total"], 4);
    verifies(&operator, "s", "");
    gateway.post("/sessions/s/close", b"");
    verifies(&operator, "s", "");

    let receipt = gateway.folder().join("reset.json");
    std::fs::write(&receipt, done.to_string()).expect("a file");
    let (_, folder) = gateway.stop();
    let store = folder.path().join("audit-store");
    assert_verifies(&store);
    let receipt = folder.path().join("reset.json");
    let words = ["store", "verify", &store.to_string_lossy(), "--head", &receipt.to_string_lossy()];
    assert!(cmcp_verify(&words).status.success(), "the answer is a receipt");
}

#[test]
fn a_reset_reaches_all_sessions_of_its_identity_and_of_no_other() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url())
        .mode("enforcing")
        .tool("notes", &tool.url(), "public", "public")
        .agents(&["a", "b"]);
    let gateway = Gateway::start(&setup);
    let (a, b, operator) = (gateway.caller("a"), gateway.caller("b"), gateway.caller("operator"));
    a.call("untouched", "notes");
    for (caller, session) in [(&a, "one"), (&b, "one")] {
        assert_eq!(caller.call(session, CONTACTS).status(), 200);
    }
    assert_eq!(a.call("two", CONTACTS).status(), 403);
    let ambiguous = operator.post("/sessions/one/reset", b"");
    assert_eq!((ambiguous.status(), ambiguous.error_code().as_str()), (400, "INVALID_QUERY"));
    let done = reset(&operator, "/sessions/one/reset?identity=a");
    assert_eq!((&done["identity"], &done["scope"], &done["sessions"]), (&json!("a"), &json!("identity"), &json!(2)));
    for (session, count) in [("one", 1), ("two", 1), ("untouched", 0)] {
        assert_eq!(resets(&a.entries(session)).len(), count, "{session}");
    }
    assert_eq!(resets(&a.entries("two"))[0]["detail"]["requested_for"], "one");
    assert_eq!(b.call("two", CONTACTS).status(), 403, "b keeps its labels");
    assert_eq!(a.call("two", CONTACTS).status(), 200);
    assert_eq!(a.call("three", CONTACTS).status(), 403, "and they gather again");
    for session in ["one", "two", "three", "untouched"] {
        verifies(&a, session, "");
        a.post(&format!("/sessions/{session}/close"), b"");
        verifies(&operator, session, "&identity=a");
    }
}

#[test]
fn an_identity_without_open_sessions_is_reset_on_record_too() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing").agents(&["a", "b"]));
    let (a, operator) = (gateway.caller("a"), gateway.caller("operator"));
    a.call("one", CONTACTS);
    a.post("/sessions/one/close", b"");
    for path in ["/sessions/one/reset", "/sessions/never/reset"] {
        let refused = operator.post(path, b"");
        assert_eq!((refused.status(), refused.error_code().as_str()), (404, "SESSION_UNKNOWN"), "{path}");
        assert!(refused.text().contains("identity=SUBJECT"), "{}", refused.text());
    }
    assert_eq!(operator.post("/sessions/no%20id/reset?identity=a", b"").status(), 400);
    assert_eq!(a.call("two", CONTACTS).status(), 403);
    a.post("/sessions/two/close", b"");
    let done = reset(&operator, "/sessions/desk-7/reset?identity=a");
    assert_eq!(done["labels_before"], json!(["public", "pii"]));
    let entries = a.entries("desk-7");
    assert_eq!(entries[0]["detail"]["session_id_source"], "operator:reset");
    assert_eq!(entries[0]["session_sensitivity_after"], "pii");
    assert_eq!(entries[1]["entry_type"], "session_reset");
    verifies(&a, "desk-7", "");
    assert_eq!(a.call("three", CONTACTS).status(), 200);
}

/// A tool server that answers when it is told to.
fn gated() -> (Upstream, impl Fn()) {
    let (open, gate) = channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let tool = Upstream::scripted(move |_| {
        let _ = gate.lock().expect("not poisoned").recv_timeout(Duration::from_secs(20));
        Reply::Result(OK.to_owned())
    });
    (tool, move || open.send(()).expect("a server"))
}

#[test]
fn a_call_under_way_brings_its_label_back() {
    let (tool, open) = gated();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing").agents(&["a"]));
    let (a, operator) = (gateway.caller("a"), gateway.caller("operator"));
    thread::scope(|scope| {
        let call = scope.spawn(|| a.call("one", CONTACTS).status());
        wait_for("call", Duration::from_secs(10), || (tool.calls().len() == 1).then_some(()));
        verifies(&operator, "one", "");
        let done = reset(&operator, "/sessions/one/reset");
        assert_eq!((&done["labels_before"], &done["labels"]), (&json!(["public", "pii"]), &json!(["public"])));
        assert_eq!(done["in_flight"], 1);
        verifies(&operator, "one", "");
        open();
        assert_eq!(call.join().expect("a call"), 200);
    });
    assert_eq!(a.call("one", CONTACTS).status(), 403, "what the agent learned after the reset");
    assert_eq!(a.call("two", CONTACTS).status(), 403, "it holds in every session");
    let entries = a.entries("one");
    let last = entries.iter().rfind(|entry| entry["policy_decision"] == "allow").expect("the call");
    assert_eq!(
        (&last["session_sensitivity_before"], &last["session_sensitivity_after"]),
        (&json!("public"), &json!("pii"))
    );
    for session in ["one", "two"] {
        verifies(&a, session, "");
    }
    a.post("/sessions/one/close", b"");
    verifies(&a, "one", "");
}

#[test]
fn a_public_call_under_way_brings_nothing_back() {
    let (tool, open) = gated();
    let contacts = Upstream::plain();
    let setup = Setup::quickstart(&contacts.url())
        .mode("enforcing")
        .tool("slow.notes", &tool.url(), "public", "public")
        .operated();
    let gateway = Gateway::start(&setup);
    let operator = gateway.caller("operator");
    gateway.call("s", CONTACTS);
    thread::scope(|scope| {
        let call = scope.spawn(|| gateway.call("s", "slow.notes").status());
        wait_for("call", Duration::from_secs(10), || (tool.calls().len() == 1).then_some(()));
        reset(&operator, "/sessions/s/reset");
        open();
        assert_eq!(call.join().expect("a call"), 200);
    });
    let entries = gateway.entries("s");
    let last = entries.last().expect("the call");
    assert_eq!(
        (&last["session_sensitivity_before"], &last["session_sensitivity_after"]),
        (&json!("public"), &json!("public"))
    );
    assert_eq!(last["detail"]["sensitivity_before_reset"], "pii", "what the decision saw");
    verifies(&operator, "s", "");
    assert_eq!(gateway.call("s", CONTACTS).status(), 200);
}

#[test]
fn a_chain_that_has_ended_takes_no_reset() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing").operated());
    gateway.call("s", CONTACTS);
    gateway.post("/sessions/s/close", b"");
    for path in ["/sessions/s/reset", "/sessions/s/reset?identity=s", "/sessions/never/reset", "/sessions//reset"] {
        let refused = gateway.caller("operator").post(path, b"");
        let (status, code) = if path.contains('?') { (400, "INVALID_QUERY") } else { (404, "SESSION_UNKNOWN") };
        assert_eq!((refused.status(), refused.error_code().as_str()), (status, code), "{path}");
    }
    assert_eq!(resets(&gateway.entries("s")).len(), 0);
}

#[test]
fn a_restart_forgets_labels() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing").agents(&["a"]));
    assert_eq!(gateway.caller("a").call("one", CONTACTS).status(), 200);
    assert_eq!(gateway.caller("a").call("two", CONTACTS).status(), 403);
    let (_, folder) = gateway.stop();
    let gateway = Gateway::start_in(folder);
    assert_eq!(gateway.caller("a").call("two", CONTACTS).status(), 200, "as docs/limits.md says");
}
