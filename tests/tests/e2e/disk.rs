//! A disk that is full: calls are refused by name, none that was answered is lost, and space that returns is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::store::{self, kind};
use tests::upstream::Upstream;
use tests::wait_for;

use crate::receipt;

/// The store on a file system of 2 MiB, most of it taken, in a mount namespace of the host's own.
const SMALL_DISK: [&str; 7] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mkdir audit-store && mount -t tmpfs -o size=2m tmpfs audit-store && head -c 1700000 /dev/zero > audit-store/ballast && \
     exec \"$0\" \"$@\"",
];

/// The store as the host sees it.
fn seen_by_host(gateway: &Gateway) -> PathBuf {
    let folder = gateway.store();
    Path::new("/proc")
        .join(gateway.host_pid().to_string())
        .join("root")
        .join(folder.strip_prefix("/").expect("absolute"))
}

#[test]
fn a_full_disk_refuses_calls_and_loses_none() {
    let tool = Upstream::plain();
    let gateway = Gateway::start_under(&Setup::quickstart(&tool.url()).mode("advisory"), &SMALL_DISK);
    let mut answered = Vec::new();
    let refused = loop {
        let answer = gateway.call("full", CONTACTS);
        if answer.status() != 200 {
            break answer;
        }
        answered.push(receipt(&answer)["audit_entry_hash"].as_str().expect("a hash").to_owned());
        assert!(answered.len() < 5_000, "the disk does not fill up");
    };
    assert!(!answered.is_empty(), "some calls were answered before the disk was full");
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert_eq!(refused.json()["error"]["data"]["error_code"], "AUDIT_UNAVAILABLE");
    assert_eq!(gateway.get("/readyz").status(), 503);
    assert_eq!(gateway.get("/health").status(), 200);
    let forwarded = tool.calls().len();
    assert_eq!(gateway.call("other", CONTACTS).status(), 503);
    assert_eq!(tool.calls().len(), forwarded, "nothing is forwarded that cannot be recorded");
    let log = gateway.log();
    assert!(log.contains("no space is left"), "the operator hears why: {log}");

    std::fs::remove_file(seen_by_host(&gateway).join("ballast")).expect("the ballast");
    let again = wait_for("recovery", Duration::from_secs(20), || {
        Some(gateway.call("full", CONTACTS)).filter(|answer| answer.status() == 200)
    });
    answered.push(receipt(&again)["audit_entry_hash"].as_str().expect("a hash").to_owned());
    assert_eq!(gateway.claim("full")["gateway"]["session_id"], "full");

    let copy = tempfile::tempdir().expect("a temporary folder");
    for segment in store::segments(&seen_by_host(&gateway)) {
        std::fs::copy(&segment, copy.path().join(segment.file_name().expect("a name"))).expect("a copy");
    }
    store::assert_verifies(copy.path());
    let entries = store::entries(copy.path());
    let stored = |hash: &String| entries.iter().any(|entry| entry["entry_hash"] == hash.as_str());
    assert!(answered.iter().all(stored), "every answered call is stored");
    assert!(
        store::records(copy.path()).iter().any(|record| record.kind == kind::GAP),
        "the refused calls are on record"
    );
}
