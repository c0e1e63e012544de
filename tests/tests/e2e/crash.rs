//! `kill -9` under load: what was answered is in the store, and in strict mode what reached a tool has an intent.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::{Connection, Message};
use tests::setup::{CONTACTS, Setup, rpc};
use tests::store;
use tests::upstream::Upstream;
use tests::wait_for;

use crate::sha256_hex;

/// Agents at once.
const AGENTS: usize = 8;
/// Every `audit.durability`.
const DURABILITIES: [&str; 3] = ["strict", "answer", "process"];

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Host,
    Enclave,
    Both,
}

/// A number up to this one, different in each run.
fn random(limit: u64) -> u64 {
    RandomState::new().hash_one(limit) % limit
}

/// Calls without pause until told to stop, and notes the entry hash of every answer.
fn agent(gateway: &Gateway, number: usize, stop: &AtomicBool, answered: &Mutex<Vec<String>>) {
    let mut calls = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(gateway.address) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            calls += 1;
            let Some(answer) = call(&mut connection, &format!("agent-{number}"), &format!("m-{number}-{calls}")) else {
                break;
            };
            if let Some(hash) = answer.json()["result"]["_cmcp"]["audit_entry_hash"].as_str() {
                answered.lock().expect("not poisoned").push(hash.to_owned());
            }
        }
    }
}

fn call(connection: &mut Connection, session: &str, marker: &str) -> Option<Message> {
    let params = json!({
        "name": CONTACTS, "arguments": {"query": marker}, "_cmcp": {"session_id": session, "workflow_id": "demo-agent"},
    });
    connection.request("POST", "/mcp", &[("content-type", "application/json")], &rpc(1, "tools/call", &params)).ok()
}

/// `request_payload_hash` of what a call that reached the tool carried.
fn arrived_hash(call: &Message) -> String {
    let arguments = &call.json()["params"]["arguments"];
    format!("sha256:{}", sha256_hex(json!({"query": arguments["query"]}).to_string().as_bytes()))
}

fn strings(records: &[Value], key: &str) -> HashSet<String> {
    records.iter().filter_map(|record| record[key].as_str()).map(str::to_owned).collect()
}

/// One crash at a random point, and the checks after it.
fn crash(durability: &str, victim: Victim) {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).durability(durability));
    let (stop, answered) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let gateway = &gateway;
        for number in 0..AGENTS {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || agent(gateway, number, stop, answered));
        }
        let first = || answered.lock().is_ok_and(|answered| !answered.is_empty()).then_some(());
        wait_for("a first answer", Duration::from_secs(30), first);
        thread::sleep(Duration::from_millis(50 + random(400)));
        match victim {
            Victim::Host => gateway.kill_host(),
            Victim::Both => gateway.kill_both(),
            Victim::Enclave => {
                gateway.kill_enclave();
                thread::sleep(Duration::from_secs(1));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let folder = gateway.into_folder();
    let store = folder.path().join("audit-store");

    store::assert_verifies(&store);
    let answered = answered.into_inner().expect("not poisoned");
    assert!(!answered.is_empty(), "{durability} {victim:?}: some calls were answered before the crash");
    let stored = strings(&store::entries(&store), "entry_hash");
    let missing: Vec<_> = answered.iter().filter(|hash| !stored.contains(*hash)).collect();
    assert!(missing.is_empty(), "{durability} {victim:?}: {} of {} answers not stored", missing.len(), answered.len());
    if durability == "strict" {
        let intents = strings(&store::intents(&store), "request_payload_hash");
        for arrived in tool.calls() {
            assert!(
                intents.contains(&arrived_hash(&arrived)),
                "{victim:?}: reached the tool without intent: {}",
                arrived.text()
            );
        }
    }

    let again = Gateway::start_in(folder);
    assert_eq!(again.call("afterwards", CONTACTS).status(), 200);
    let (status, folder) = again.stop();
    assert!(status.success());
    store::assert_verifies(&folder.path().join("audit-store"));
}

#[test]
fn killing_the_host_loses_no_answer() {
    for durability in DURABILITIES {
        crash(durability, Victim::Host);
    }
}

#[test]
fn killing_the_enclave_loses_no_answer() {
    for durability in DURABILITIES {
        crash(durability, Victim::Enclave);
    }
}

#[test]
fn killing_both_loses_no_answer() {
    for durability in DURABILITIES {
        crash(durability, Victim::Both);
    }
}

/// A store with a few calls in it, and its last segment.
fn stored_run() -> (tempfile::TempDir, std::path::PathBuf) {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).durability("strict"));
    for _ in 0..20 {
        gateway.call("stored", CONTACTS);
    }
    gateway.kill_both();
    let folder = gateway.into_folder();
    let segment = store::segments(&folder.path().join("audit-store")).pop().expect("a segment");
    (folder, segment)
}

#[test]
fn a_torn_tail_is_reported_and_cut_at_a_batch() {
    let (folder, segment) = stored_run();
    let store = folder.path().join("audit-store");
    let whole = std::fs::read(&segment).expect("a segment");
    let frames = store::frames(&whole);
    let last = frames.last().expect("a batch").clone();
    let kept = store::records(&store).len() - store::batch_records(store::batch_of_frame(&whole[last.clone()])).len();
    for cut in [last.start + 1, last.start + 20, last.end - 1] {
        std::fs::write(&segment, &whole[..cut]).expect("a segment");
        let said = store::assert_verifies(&store);
        assert!(said.contains("torn"), "a torn tail is said: {said}");
        assert_eq!(store::records(&store).len(), kept);
    }
    let again = Gateway::start_in(folder);
    assert_eq!(again.call("afterwards", CONTACTS).status(), 200);
    store::assert_verifies(&again.stop().1.path().join("audit-store"));
}

#[test]
fn a_changed_byte_inside_the_store_is_found() {
    let (folder, segment) = stored_run();
    let store = folder.path().join("audit-store");
    let whole = std::fs::read(&segment).expect("a segment");
    let frames = store::frames(&whole);
    let middle = frames[frames.len() / 2].clone();
    for at in [middle.start + 5, middle.start + 40, middle.end - 3] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&segment, &changed).expect("a segment");
        let output = store::cmcp_verify(&["store", "verify", &store.to_string_lossy()]);
        assert!(!output.status.success(), "byte {at} changed and not found");
    }
}

#[test]
fn an_older_store_is_refused_by_a_later_head() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).durability("strict"));
    gateway.call("heads", CONTACTS);
    let copy = tempfile::tempdir().expect("a folder");
    for segment in store::segments(&gateway.store()) {
        std::fs::copy(&segment, copy.path().join(segment.file_name().expect("a name"))).expect("a copy");
    }
    let receipt = crate::receipt(&gateway.call("heads", CONTACTS));
    let head = gateway.folder().join("receipt.json");
    std::fs::write(&head, receipt.to_string()).expect("a file");
    let check = |store: &std::path::Path| {
        store::cmcp_verify(&["store", "verify", &store.to_string_lossy(), "--head", &head.to_string_lossy()])
    };
    let newer = check(&gateway.store());
    assert!(
        newer.status.success(),
        "{}{}",
        String::from_utf8_lossy(&newer.stdout),
        String::from_utf8_lossy(&newer.stderr)
    );
    assert!(!check(copy.path()).status.success(), "a store that lacks the call is refused");
}
