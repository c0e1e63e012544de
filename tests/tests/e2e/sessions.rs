//! Sessions: apart from each other, decided and joined in one step, closed, forgotten and still provable.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::upstream::{Reply, Upstream};
use tests::wait_for;

use crate::{receipt, sha256_hex};

const OK: &str = r#"{"content":[]}"#;

#[test]
fn sessions_do_not_see_each_other() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    for session in ["a", "b", "c"] {
        assert_eq!(gateway.call(session, CONTACTS).status(), 200, "first call of {session}");
        assert_eq!(gateway.call(session, CONTACTS).status(), 403, "second call of {session}");
    }
    let roots: Vec<_> = ["a", "b", "c"].map(|s| gateway.claim(s)["gateway"]["audit_chain"]["root"].clone()).into();
    assert!(roots[0] != roots[1] && roots[1] != roots[2], "{roots:?}");
}

#[test]
fn concurrent_first_calls_cannot_both_see_public() {
    const CALLERS: usize = 16;
    let tool = Upstream::scripted(|_| Reply::Late(Duration::from_millis(100), OK.into()));
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    for round in 0..5 {
        let (session, barrier) = (format!("race-{round}"), Barrier::new(CALLERS));
        let call = || {
            barrier.wait();
            gateway.call(&session, CONTACTS).status()
        };
        let statuses: Vec<u16> = thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
            callers.into_iter().map(|caller| caller.join().expect("a caller")).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(tool.calls().len(), round + 1, "only the allowed call reached the tool");
    }
}

#[test]
fn labels_of_equal_rank_are_each_asked() {
    let tool = Upstream::plain();
    let forbid = r#"forbid (principal, action == cMCP::Action::"call_tool", resource == cMCP::Resource::"notes")
        when { context.session_max_sensitivity == "mnpi" };"#;
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").policy("mnpi.cedar", forbid);
    let setup = ["hipaa_phi", "mnpi", "trade_secret"]
        .iter()
        .fold(setup, |setup, label| setup.tool(&format!("read.{label}"), &tool.url(), "internal", label))
        .tool("notes", &tool.url(), "public", "public");
    let gateway = Gateway::start(&setup);
    for label in ["hipaa_phi", "trade_secret"] {
        assert_eq!(gateway.call("ties", &format!("read.{label}")).status(), 200);
        assert_eq!(gateway.call("ties", "notes").status(), 200, "after {label}");
    }
    assert_eq!(gateway.call("ties", "read.mnpi").status(), 200);
    assert_eq!(gateway.call("ties", "notes").status(), 403, "mnpi is held beside its equals");
}

#[test]
fn claims_are_numbered_chained_and_repeatable() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    gateway.call("numbered", CONTACTS);
    let first = gateway.get("/session/numbered/claim").body;
    assert_eq!(gateway.get("/session/numbered/claim").body, first, "no new entry, the same bytes");
    gateway.call("numbered", CONTACTS);
    let second = gateway.claim("numbered");
    assert_eq!(second["gateway"]["sequence_number"], 2);
    assert_eq!(second["gateway"]["prev_claim_hash"], json!(format!("sha256:{}", sha256_hex(&first))));
}

#[test]
fn closing_freezes_and_a_reused_id_is_a_new_session() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    gateway.call("again", CONTACTS);
    let closed = gateway.post("/sessions/again/close", b"");
    assert_eq!(closed.status(), 200, "{}", closed.text());
    assert_eq!(gateway.post("/sessions/again/close", b"").body, closed.body, "closing twice answers the same");
    let entries = gateway.entries("again");
    assert_eq!(entries.last().expect("an entry")["entry_type"], "session_end");

    assert_eq!(gateway.call("again", CONTACTS).status(), 200, "a new session starts without labels");
    let claim = gateway.claim("again");
    assert_eq!(claim["gateway"]["call_summary"]["tool_calls_total"], 1);
    let start = |entries: &[Value]| entries[0]["detail"].clone();
    let (before, after) = (start(&entries), start(&gateway.entries("again")));
    assert!(after["session_number"].as_u64() > before["session_number"].as_u64(), "{before} {after}");
    assert_ne!(closed.json()["gateway"]["audit_chain"]["root"], claim["gateway"]["audit_chain"]["root"]);
}

#[test]
fn idle_sessions_leave_memory_and_keep_their_claims() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).limit("session_idle_seconds", 1).limit("closed_sessions", 10);
    let gateway = Gateway::start(&setup);
    let sessions: Vec<String> = (0..6).map(|n| format!("idle-{n}")).collect();
    let hashes: Vec<Value> =
        sessions.iter().map(|session| receipt(&gateway.call(session, CONTACTS))["audit_entry_hash"].clone()).collect();
    for (session, hash) in sessions.iter().zip(&hashes) {
        wait_for("end of an idle session", Duration::from_secs(10), || {
            let entries = gateway.entries(session);
            (entries.last()?["entry_type"] == "session_end").then_some(())
        });
        let claim = gateway.claim(session);
        assert_eq!(claim["gateway"]["call_summary"]["tool_calls_total"], 1, "{session}");
        let held = gateway.entries(session);
        assert!(held.iter().any(|entry| entry["entry_hash"] == *hash), "{session}");
    }
}

#[test]
fn a_full_session_table_refuses_new_ones() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).limit("max_sessions", 3));
    for session in ["1", "2", "3"] {
        assert_eq!(gateway.call(session, CONTACTS).status(), 200);
    }
    let refused = gateway.call("4", CONTACTS);
    assert_eq!((refused.status(), refused.error_code().as_str()), (503, "SESSION_LIMIT"));
    assert_eq!(gateway.call("2", CONTACTS).status(), 200, "those that are open go on");
    gateway.post("/sessions/1/close", b"");
    assert_eq!(gateway.call("4", CONTACTS).status(), 200, "closing makes room");
}

#[test]
fn cross_boundary_events_come_from_calls_that_ran() {
    let tool = Upstream::plain();
    let down = format!("http://127.0.0.1:{}/mcp", tests::bin::free_port());
    let setup = Setup::quickstart(&tool.url()).tool("ehr.lookup", &tool.url(), "hipaa_phi", "hipaa_phi").tool(
        "ledger.read",
        &down,
        "mnpi",
        "mnpi",
    );
    let gateway = Gateway::start(&setup);
    for tool in [CONTACTS, "ledger.read", "ehr.lookup"] {
        gateway.call("graph", tool);
    }
    let graph = &gateway.claim("graph")["gateway"]["call_summary"]["call_graph_summary"];
    assert_eq!(graph["compliance_domains_touched"], json!(["hipaa_phi", "pii"]));
    assert_eq!(graph["cross_boundary_events"].as_array().expect("a list").len(), 1, "{graph}");
}
