//! The host between the enclave and a process: it may refuse, lie about the entrypoint, or cut the process off; each is a
//! named fault of one call, and none is a wrong record.

use claim::Digest;
use serde_json::{Value, json};
use tests::hostile::{HostileHost, Spawning};
use tests::setup::{CONTACTS, Setup};
use wire::{EnclaveOpen, OpenRefusal, Text};

use crate::{call, get, outcome, summary};

const PINNED: [u8; 32] = [7; 32];

fn start() -> HostileHost {
    let server = json!({
        "display_name": "S", "transport": "stdio", "command": ["/bin/server", "--fast"], "env": ["HOME"],
        "entrypoint_digest": Digest::from_bytes(PINNED).prefixed(),
    });
    HostileHost::start(&Setup::quickstart("http://localhost/").server(&server).limit("upstream_timeout_ms", 1500))
}

fn last_entry(host: &HostileHost, session: &str) -> Value {
    let entries = get(host, &format!("/audit/export?session_id={session}")).json()["entries"].clone();
    entries.as_array().expect("entries").last().expect("an entry").clone()
}

#[test]
fn spawn_lies_are_named_faults() {
    let mut other = PINNED;
    other[31] ^= 1;
    let cases = [
        ("mismatch", Spawning::Plain(other), 502, "UPSTREAM_ENTRYPOINT_MISMATCH", false),
        ("unreachable", Spawning::Refuse(OpenRefusal::Unreachable), 502, "UPSTREAM_UNAVAILABLE", false),
        ("not-allowed", Spawning::Refuse(OpenRefusal::NotAllowed), 502, "UPSTREAM_UNAVAILABLE", false),
        ("busy", Spawning::Refuse(OpenRefusal::Busy), 503, "UPSTREAM_PROCESS_LIMIT", false),
        ("no-frame", Spawning::NoFrame, 502, "UPSTREAM_UNAVAILABLE", false),
        ("silent", Spawning::Silent, 504, "UPSTREAM_TIMEOUT", false),
        (
            "mid-line",
            Spawning::Cut(PINNED, r#"{"jsonrpc":"2.0","id":3,"result":{"content":[]}}"#),
            502,
            "UPSTREAM_INVALID",
            true,
        ),
        ("garbage", Spawning::Cut(PINNED, "so long\n"), 502, "UPSTREAM_INVALID", true),
        (
            "other-id",
            Spawning::Cut(PINNED, "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}\n"),
            502,
            "UPSTREAM_INVALID",
            true,
        ),
        (
            "forged",
            Spawning::Cut(PINNED, "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"_cmcp\":{}}}\n"),
            502,
            "UPSTREAM_FORGED_RECEIPT",
            true,
        ),
    ];
    let host = start();
    for (name, spawning, status, code, forwarded) in cases {
        host.set_spawning(spawning);
        assert_eq!(outcome(&call(&host, name)), (status, code.to_owned()), "{name}");
        let entry = last_entry(&host, name);
        assert_eq!(entry["detail"]["forwarded"], forwarded, "{entry}");
        assert_eq!(entry["evidence_class"], "host-spawned");
        assert_eq!(entry["detail"].get("entrypoint_digest").is_some(), forwarded, "{entry}");
        assert_eq!(summary(&host, name)["tool_calls_faulted"], 1, "{name}");
        host.set_spawning(Spawning::Plain(PINNED));
        assert_eq!(call(&host, name).status(), 200, "the next call after {name}");
        let entry = last_entry(&host, name);
        assert_eq!(entry["detail"]["entrypoint_digest"], Digest::from_bytes(PINNED).prefixed());
        assert_eq!(summary(&host, name)["tool_calls_total"], 2, "{name}");
    }
}

#[test]
fn what_is_asked_for_is_what_the_catalog_has() {
    let host = start();
    host.set_spawning(Spawning::Plain(PINNED));
    assert_eq!(call(&host, "one").status(), 200);
    assert_eq!(call(&host, "one").status(), 200);
    assert_eq!(call(&host, "two").status(), 200);
    let texts = |texts: &[&str]| texts.iter().map(|text| Text::from(*text)).collect();
    let expected = EnclaveOpen::Spawn {
        tool: 0,
        command: texts(&["/bin/server", "--fast"]),
        env: texts(&["HOME"]),
        entrypoint: None,
    };
    assert_eq!(host.spawned(), [expected.clone(), expected], "one process for each session");
    assert!(host.dialled().is_empty());
    assert_eq!(last_entry(&host, "two")["tool_name"], CONTACTS);
}
