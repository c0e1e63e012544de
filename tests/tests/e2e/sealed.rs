//! Sealed records: the store says nothing to whoever keeps it, and everything to the auditor.

use std::fs::File;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup, rpc};
use tests::store::{self, Auditor, cmcp_verify, kind};
use tests::upstream::Upstream;

use crate::receipt;

/// In every place that an agent or a tool server can write to.
const MARKER: &str = "kestrel-9f2c";
const SESSION: &str = "session-kestrel-9f2c";

/// A gateway with a call that carries the marker wherever it can.
fn marked(setup: &Setup) -> (Gateway, Value) {
    let gateway = Gateway::start(setup);
    let params = json!({
        "name": CONTACTS, "arguments": {"query": MARKER, "max_records": 10},
        "_cmcp": {"session_id": SESSION, "workflow_id": format!("workflow-{MARKER}")},
    });
    let answer = gateway.post("/mcp", &rpc(1, "tools/call", &params));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    (gateway, receipt(&answer))
}

fn tool() -> Upstream {
    Upstream::fixed(&json!({"content": [{"type": "text", "text": MARKER}], "isError": false}).to_string())
}

/// Which of the words a store's files hold.
fn found<'w>(store: &Path, words: &[&'w str]) -> Vec<&'w str> {
    let entries = std::fs::read_dir(store).expect("a store");
    let files: Vec<Vec<u8>> =
        entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect();
    let holds = |word: &&str| files.iter().any(|file| file.windows(word.len()).any(|window| window == word.as_bytes()));
    words.iter().copied().filter(holds).collect()
}

fn verify(store: &Path, more: &[&str]) -> (Option<i32>, String) {
    said(&cmcp_verify(&[&["store", "verify", &store.to_string_lossy()], more].concat()))
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_sealed_store_says_nothing_to_its_host() {
    let auditor = Auditor::new();
    let tool = tool();
    let sealed = marked(&Setup::quickstart(&tool.url()).sealed_to(&auditor.key)).0;
    let clear = marked(&Setup::quickstart(&tool.url())).0;
    for gateway in [&sealed, &clear] {
        assert_eq!(gateway.post(&format!("/sessions/{SESSION}/close"), b"").status(), 200);
    }
    let hash = sealed.entries(SESSION)[1]["request_payload_hash"].as_str().expect("a hash").to_owned();
    let words =
        [MARKER, SESSION, CONTACTS, "session_start", "tool_call", "entry_hash", "policy_decision", "cmcp_version"];
    assert_eq!(found(&clear.store(), &words), words, "where it is in the clear, the search finds it");
    assert_eq!(found(&sealed.store(), &words), Vec::<&str>::new());
    assert_eq!(found(&sealed.store(), &[&hash]), Vec::<&str>::new());
    let kinds =
        |gateway: &Gateway| store::records(&gateway.store()).iter().map(|record| record.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&sealed), kinds(&clear), "what is recorded is the same");
    assert_eq!(kinds(&sealed).iter().position(|kind| *kind == kind::BOOT), Some(0));
}

/// Claims and audit bundles come back from the store, through the enclave that sealed them, as ever.
#[test]
fn what_was_sealed_is_served_within_its_boot() {
    let auditor = Auditor::new();
    let tool = tool();
    let (gateway, _) = marked(&Setup::quickstart(&tool.url()).sealed_to(&auditor.key));
    let open = gateway.claim(SESSION);
    assert_eq!(gateway.claim(SESSION), open, "read back");
    let closed = gateway.post(&format!("/sessions/{SESSION}/close"), b"");
    assert_eq!(closed.status(), 200);
    let folder = tempfile::tempdir().expect("a folder");
    let (claim, bundle) = (folder.path().join("claim.json"), folder.path().join("bundle.json"));
    std::fs::write(&claim, gateway.get(&format!("/session/{SESSION}/claim")).body).expect("a file");
    assert_eq!(std::fs::read(&claim).expect("a file"), closed.body, "after the session has left memory");
    std::fs::write(&bundle, gateway.get(&format!("/audit/export?session_id={SESSION}")).body).expect("a file");
    let output = cmcp_verify(&[&claim.to_string_lossy(), "--audit-bundle", &bundle.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(gateway.entries(SESSION).len(), 3);
    assert_eq!(gateway.claim(SESSION)["gateway"]["call_summary"]["tool_calls_allowed"], 1);
}

#[test]
fn integrity_needs_no_key_and_the_rest_needs_the_right_one() {
    let (auditor, stranger) = (Auditor::new(), Auditor::new());
    let tool = tool();
    let (gateway, receipt) = marked(&Setup::quickstart(&tool.url()).sealed_to(&auditor.key));
    let _ = gateway.claim(SESSION);
    let (_, folder) = gateway.stop();
    let store = folder.path().join("audit-store");
    let file = folder.path().join("receipt.json");
    std::fs::write(&file, receipt.to_string()).expect("a file");
    let head = ["--head", &file.to_string_lossy()].map(str::to_owned);
    let head = [head[0].as_str(), head[1].as_str()];

    let (code, text) = verify(&store, &head);
    assert_eq!(code, Some(3), "{text}");
    for part in [
        "RESULT: partially_verified",
        "counted, not looked into",
        &auditor.key,
        "reached; its entry was not looked for, it is sealed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = verify(&store, &[&head[..], &["--key", &auditor.file()]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("opened") && text.contains("RESULT: verified") && text.contains(": reached\n"), "{text}");
    let (code, text) = verify(&store, &["--key", &stranger.file()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("AUDITOR_KEY_WRONG") && text.contains(&stranger.key), "{text}");
    assert_eq!(
        verify(&store, &["--key", &stranger.file(), "--key", &auditor.file()]).0,
        Some(0),
        "one of them is right"
    );
    let (code, text) = verify(&store, &["--key", &file.to_string_lossy()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("cmcp-auditor-key-v1:") && text.contains("auditor new-key"), "{text}");

    // A receipt of an entry that is not there, and a store that ends before the receipt's batch.
    let (boot, batch) = (receipt["boot_id"].as_str().expect("an id"), receipt["batch"].as_u64().expect("a number"));
    let other = format!("{boot}:{batch}:{}", "0".repeat(64));
    let (code, text) = verify(&store, &["--head", &other, "--key", &auditor.file()]);
    assert!(code == Some(1) && text.contains("HEAD_ENTRY_MISSING"), "{text}");
    let segment = store::segments(&store).pop().expect("a segment");
    let bytes = std::fs::read(&segment).expect("a segment");
    let cut = store::frames(&bytes)[usize::try_from(batch).expect("a small number")].start;
    File::options().write(true).open(&segment).and_then(|file| file.set_len(cut as u64)).expect("a cut");
    let (code, text) = verify(&store, &head);
    assert!(code == Some(1) && text.contains("STORE_OLDER_THAN_HEAD"), "{text}");
}

#[test]
fn altered_ciphertext_is_found_without_a_key() {
    let tool = tool();
    let (gateway, _) = marked(&Setup::quickstart(&tool.url()).sealed_to(&Auditor::new().key));
    let (_, folder) = gateway.stop();
    let store = folder.path().join("audit-store");
    let segment = store::segments(&store).pop().expect("a segment");
    let original = std::fs::read(&segment).expect("a segment");
    let frame = store::frames(&original)[1].clone();
    let mut bytes = original.clone();
    bytes[frame.end - 1] ^= 1;
    let checksum = claim::Digest::of(&bytes[frame.start + 12..frame.end]);
    bytes[frame.start + 4..frame.start + 12].copy_from_slice(&checksum.bytes()[..8]);
    std::fs::write(&segment, bytes).expect("a segment");
    let (code, text) = verify(&store, &[]);
    assert!(code == Some(1) && text.contains("BATCH_SIGNATURE_INVALID"), "{text}");
}

/// A restart: what an earlier boot sealed only the auditor can open, the enclave that follows cannot.
#[test]
fn earlier_boots_are_for_the_auditor_alone() {
    let auditor = Auditor::new();
    let tool = tool();
    let setup = Setup::quickstart(&tool.url()).sealed_to(&auditor.key);
    let (gateway, _) = marked(&setup);
    let bundle = gateway.get(&format!("/audit/export?session_id={SESSION}")).json();
    let again = Gateway::start_in(gateway.into_folder());
    let answer = again.get(&format!("/session/{SESSION}/claim"));
    assert_eq!((answer.status(), answer.error_code()), (404, "SESSION_UNKNOWN".to_owned()));
    assert_eq!(again.call("later", CONTACTS).status(), 200);
    let (_, folder) = again.stop();
    let (store, out) = (folder.path().join("audit-store"), folder.path().join("out"));
    let boots: Vec<Value> =
        store::records(&store).iter().filter(|record| record.kind == kind::BOOT).map(store::Record::json).collect();
    assert_eq!(boots.len(), 2);
    assert_ne!(boots[0]["sealing"]["wrapped"], boots[1]["sealing"]["wrapped"], "a new key for each boot");
    assert!(boots.iter().all(|boot| boot["sealing"]["auditor_key"] == auditor.key.as_str()));

    let (store, out) = (store.to_string_lossy(), out.to_string_lossy());
    let export = ["store", "export", &store, "--session", SESSION, "--out", &out, "--json"];
    let (code, text) = said(&cmcp_verify(&export));
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, answer["sessions"].as_array().map(Vec::len)), (Some(3), Some(0)), "without a key: {text}");
    assert_eq!(answer["store"]["boots"][0]["open_sessions"], Value::Null, "nobody looked");
    let file = auditor.file();
    let output = cmcp_verify(&[&export[..], &["--key", &file]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let session = &answer["sessions"][0];
    let path = |name: &str| session[name].as_str().expect("a path").to_owned();
    let exported: Value = serde_json::from_slice(&std::fs::read(path("bundle")).expect("a bundle")).expect("JSON");
    assert_eq!(exported["entries"], bundle["entries"], "the auditor reads what the enclave said");
    let check = ["bundle", &path("bundle"), "--proof", &path("proof")].map(str::to_owned);
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    let (code, text) = said(&cmcp_verify(&check));
    assert!(code == Some(2) && text.contains(&auditor.key), "the proof is sealed too: {text}");
    assert_eq!(cmcp_verify(&[&check[..], &["--key", &file]].concat()).status.code(), Some(3), "nothing is wrong");
}

/// The key of the configuration is hashed with it: an auditor of the host's choosing is another `config_hash`.
#[test]
fn another_auditor_is_another_configuration() {
    let tool = tool();
    let hash = |auditor: &Auditor| {
        let gateway = Gateway::start(&Setup::quickstart(&tool.url()).sealed_to(&auditor.key));
        assert_eq!(gateway.call("one", CONTACTS).status(), 200);
        let records = store::records(&gateway.store());
        records[0].json()["config_hash"].clone()
    };
    let (one, two) = (Auditor::new(), Auditor::new());
    assert_eq!(hash(&one), hash(&one));
    assert_ne!(hash(&one), hash(&two));
}
