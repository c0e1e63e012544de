//! Agents that call without pause, and what must be in the store of what they were answered.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tests::gateway::Gateway;
use tests::http::Connection;
use tests::setup::{CONTACTS, bearer, call_params, rpc};
use tests::store::{Auditor, cmcp_verify};
use tests::tls::{self, Trust};
use tests::wait_for;

const AGENTS: usize = 4;
/// Answers before anything happens.
const WARM: usize = 20;

/// Sessions and hashes of the entries that answers named.
pub(crate) type Answered = Vec<(String, String)>;

/// Calls from several agents until `strike` has returned, and gives what was answered.
pub(crate) fn under_load(gateway: &Gateway, name: &str, strike: impl FnOnce()) -> Answered {
    let (stop, answered) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for number in 0..AGENTS {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || agent(gateway, &format!("{name}-{number}"), stop, answered));
        }
        let warm = || answered.lock().is_ok_and(|answered| answered.len() >= WARM).then_some(());
        wait_for("answers", Duration::from_mins(1), warm);
        strike();
        stop.store(true, Ordering::Relaxed);
    });
    answered.into_inner().expect("not poisoned")
}

fn agent(gateway: &Gateway, session: &str, stop: &AtomicBool, answered: &Mutex<Answered>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(met) = tls::connect(gateway.address, None, &Trust::Anybody) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut connection = met.connection;
        while !stop.load(Ordering::Relaxed) {
            let Some(hash) = call(&mut connection, session) else { break };
            answered.lock().expect("not poisoned").push((session.to_owned(), hash));
        }
    }
}

/// Hash of the entry that an answer names; nothing without an answer.
fn call(connection: &mut Connection, session: &str) -> Option<String> {
    let authorization = bearer("alice");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let answer =
        connection.request("POST", "/mcp", &headers, &rpc(1, "tools/call", &call_params(CONTACTS, session))).ok()?;
    answer.json()["result"]["_cmcp"]["audit_entry_hash"].as_str().map(str::to_owned)
}

/// The store is whole, and everything that was answered is in it.
pub(crate) fn all_stored(store: &Path, auditor: &Auditor, answered: &Answered) {
    assert!(!answered.is_empty(), "something was answered");
    let (folder, key) = (tempfile::tempdir().expect("a folder"), auditor.file());
    let store = store.to_string_lossy();
    let whole = cmcp_verify(&["store", "verify", &store, "--key", &key]);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stdout));
    let sessions: HashSet<&String> = answered.iter().map(|(session, _)| session).collect();
    for session in sessions {
        let out = folder.path().to_string_lossy();
        let done = cmcp_verify(&["store", "export", &store, "--session", session, "--key", &key, "--out", &out]);
        assert!(done.status.success(), "{session}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let stored = entries(folder.path());
    let missing: Vec<_> = answered.iter().filter(|(_, hash)| !stored.contains(hash)).collect();
    assert!(missing.is_empty(), "{} of {} answers are not in the store", missing.len(), answered.len());
}

/// Hashes of the entries in all exported bundles.
fn entries(folder: &Path) -> HashSet<String> {
    let files = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let bundles = files.filter(|path| path.to_string_lossy().ends_with(".audit.json"));
    let mut hashes = HashSet::new();
    for bundle in bundles {
        let bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle).expect("a file")).expect("JSON");
        let entries = bundle["entries"].as_array().expect("entries");
        hashes.extend(entries.iter().filter_map(|entry| entry["entry_hash"].as_str()).map(str::to_owned));
    }
    hashes
}
