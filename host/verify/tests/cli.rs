//! The command line: exit codes, tables and JSON.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod fixture;

use std::path::Path;

use fixture::store::{first_boot, segment, write};
use fixture::{CHALLENGE, SESSION, bundle_hash, catalog_hash, key, story};
use serde_json::Value;
use verify::cli::{Exit, run};

/// A time at which the story is a minute old.
const AT: &str = "2026-11-22T08:01:00Z";

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

fn cmcp_verify(args: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(["cmcp-verify"].iter().chain(args).map(Into::into), &mut out, &mut err);
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The story's files, and their folder.
fn files() -> (tempfile::TempDir, [String; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let story = story();
    let files = [("claim", story.claim), ("audit", story.bundle), ("record", story.record)].map(|(name, bytes)| {
        let file = folder.path().join(format!("{name}.json"));
        std::fs::write(&file, bytes).unwrap();
        path(&file).to_owned()
    });
    (folder, files)
}

#[test]
fn a_dev_claim_with_everything_is_partially_verified() {
    let (_folder, [claim, audit, record]) = files();
    let (policy, catalog, trusted) = (bundle_hash().prefixed(), catalog_hash().prefixed(), key().public().hex());
    let args = [
        &claim,
        "--at",
        AT,
        "--policy-hash",
        &policy,
        "--catalog-hash",
        &catalog,
        "--audit-bundle",
        &audit,
        "--record",
        &record,
        "--nonce",
        CHALLENGE,
        "--trusted-key",
        &trusted,
    ];
    let ran = cmcp_verify(&args);
    assert_eq!((ran.exit, ran.exit.code()), (Exit::PartiallyVerified, 3), "{}", ran.out);
    assert!(ran.out.contains("RESULT: partially_verified\n"), "{}", ran.out);
    assert!(!ran.out.contains("FAIL"), "{}", ran.out);
    assert!(ran.out.lines().count() < 50, "short enough to read: {}", ran.out);
    let json = cmcp_verify(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(json["status"], "partially_verified");
    assert_eq!(json["failure_reason"], Value::Null);
    assert_eq!(json["verified_fields"][0], "schema");
    assert_eq!(json["details"]["hardware_attestation"], "software-only mode - not hardware-backed");
    assert_eq!((&json["audit_bundle"]["verified"], &json["audit_bundle"]["finality"]), (&true.into(), &"final".into()));
    assert_eq!(json["record"]["status"], "partially_verified");
    assert!(json["checks"].as_array().unwrap().iter().all(|check| check["outcome"] != "fail"));
    assert_eq!(cmcp_verify(&[&["claim"], &args[..]].concat()).exit, Exit::PartiallyVerified);
}

#[test]
fn what_is_wrong_anywhere_is_the_exit_code() {
    let (folder, [claim, audit, record]) = files();
    let zeros = "0".repeat(64);
    let wrong = cmcp_verify(&[&claim, "--at", AT, "--policy-hash", &zeros]);
    assert_eq!((wrong.exit, wrong.exit.code()), (Exit::Unverified, 1));
    assert!(wrong.out.contains("RESULT: unverified (POLICY_HASH_MISMATCH)"), "{}", wrong.out);
    assert!(wrong.out.contains("expected:"), "{}", wrong.out);

    let spoilt = folder.path().join("spoilt.json");
    std::fs::write(&spoilt, std::fs::read_to_string(&audit).unwrap().replacen("echo", "ecHo", 1)).unwrap();
    let bundle = cmcp_verify(&[&claim, "--at", AT, "--audit-bundle", path(&spoilt), "--json"]);
    assert_eq!(bundle.exit, Exit::Unverified);
    assert_eq!(bundle.json()["failure_reason"], "ENTRY_HASH_MISMATCH");
    assert_eq!(bundle.json()["audit_bundle"]["failures"][0]["entry"], 2);

    let nonce = cmcp_verify(&[&claim, "--at", AT, "--record", &record, "--nonce", "AAAA", "--json"]);
    assert_eq!((nonce.exit, nonce.json()["failure_reason"].clone()), (Exit::Unverified, "NONCE_MISMATCH".into()));
    assert_eq!(cmcp_verify(&[&claim]).exit, cmcp_verify(&[&claim, "--profile", "trace-v0.2"]).exit);
    assert_eq!(cmcp_verify(&[&claim, "--at", AT, "--profile", "trace-v0.1"]).exit, Exit::Unverified);
    assert_eq!(cmcp_verify(&[&claim, "--at", AT, "--max-age", "59"]).exit, Exit::Unverified);
}

#[test]
fn unreadable_input_and_wrong_usage_have_codes_of_their_own() {
    let (folder, [claim, ..]) = files();
    for args in [
        ["nowhere.json"].as_slice(),
        &[&claim, "--audit-bundle", "nowhere.json"],
        &["store", "verify", "nowhere"],
        &["store", "verify", path(folder.path()), "--head", "nonsense"],
        &["bundle", "nowhere.json"],
        &["bundle", &claim, "--proof", &claim],
    ] {
        let ran = cmcp_verify(args);
        assert_eq!((ran.exit, ran.exit.code()), (Exit::NotJudged, 2), "{args:?}");
        assert!(ran.err.starts_with("cmcp-verify: "), "{}", ran.err);
    }
    for args in [
        [].as_slice(),
        &["--frobnicate"],
        &[&claim, "--policy-hash", "nonsense"],
        &[&claim, "--trusted-key", "00"],
        &[&claim, "--max-age", "-1"],
        &[&claim, "--nonce", "x"],
        &[&claim, "--at", "yesterday"],
        &["store"],
        &["store", "export", "x"],
    ] {
        let ran = cmcp_verify(args);
        assert_eq!((ran.exit, ran.exit.code()), (Exit::Usage, 64), "{args:?}: {}", ran.out);
        assert!(!ran.err.is_empty());
    }
}

#[test]
fn help_teaches() {
    for (args, taught) in [
        (["--help"].as_slice(), ["--policy-hash", "Exit code", "store verify"]),
        (&["evidence", "--help"], ["genuine", "--reference", "Exit code"]),
        (&["store", "verify", "--help"], ["BOOT_ID:BATCH:ENTRY_HASH", "Exit code", "torn tail"]),
        (&["store", "export", "--help"], ["--proof", "Exit code", "other sessions"]),
    ] {
        let ran = cmcp_verify(args);
        assert_eq!(ran.exit.code(), 0);
        for words in taught {
            assert!(ran.out.contains(words), "{words}: {}", ran.out);
        }
    }
    assert!(cmcp_verify(&["--version"]).out.starts_with("cmcp-verify "));
}

#[test]
fn a_store_is_verified_and_a_session_exported() {
    let folder = tempfile::tempdir().unwrap();
    let batches = first_boot().batches;
    write(folder.path(), &[segment(&batches)]);
    let store = path(folder.path());
    let ran = cmcp_verify(&["store", "verify", store]);
    assert_eq!(ran.exit, Exit::Verified, "{}", ran.out);
    for words in
        ["development mode", "outcome unknown: call call-x", "3 calls were refused", "RESULT: verified", "No head"]
    {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let json = cmcp_verify(&["store", "verify", store, "--json"]).json();
    assert_eq!((&json["status"], &json["boots"][0]["sessions"]), (&"verified".into(), &3.into()));

    let out = folder.path().join("out");
    let exported = cmcp_verify(&["store", "export", store, "--session", SESSION, "--out", path(&out), "--json"]);
    assert_eq!(exported.exit, Exit::Verified);
    let exported = exported.json()["sessions"][0].clone();
    let file = |name: &str| exported[name].as_str().unwrap().to_owned();
    let claim = exported["claims"][1].as_str().unwrap();
    let judged =
        cmcp_verify(&[claim, "--at", AT, "--audit-bundle", &file("bundle"), "--proof", &file("proof"), "--json"]);
    assert_eq!(judged.exit, Exit::PartiallyVerified, "{}", judged.out);
    let alone = cmcp_verify(&["bundle", &file("bundle"), "--proof", &file("proof")]);
    assert_eq!(alone.exit, Exit::PartiallyVerified, "{}", alone.out);
    assert!(alone.out.contains("signed batches of boot"), "{}", alone.out);
    let unproven = cmcp_verify(&[claim, "--at", AT, "--audit-bundle", &file("bundle")]);
    assert_eq!(unproven.exit, Exit::Unverified);
    let nobody = cmcp_verify(&["store", "export", store, "--session", "nobody", "--out", path(&out)]);
    assert_eq!(nobody.exit, Exit::Unverified);
    assert!(nobody.out.contains("No session"));
}

#[test]
fn an_older_store_is_refused_by_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let batches = first_boot().batches;
    let record = fixture::store::records(&batches[7].batch).remove(0);
    let hash = fixture::store::json(&record).get("entry_hash").unwrap().as_str().unwrap().to_owned();
    let receipt = folder.path().join("receipt.json");
    let body = serde_json::json!({"result": {"_cmcp":
        {"boot_id": fixture::boot_id().to_string(), "batch": 7, "audit_entry_hash": hash}}});
    std::fs::write(&receipt, body.to_string()).unwrap();
    for (kept, exit) in [(batches.len(), Exit::Verified), (7, Exit::Unverified)] {
        write(folder.path(), &[segment(&batches[..kept])]);
        let ran = cmcp_verify(&["store", "verify", path(folder.path()), "--head", path(&receipt)]);
        assert_eq!(ran.exit, exit, "{}", ran.out);
        assert_eq!(ran.out.contains("STORE_OLDER_THAN_HEAD"), exit == Exit::Unverified, "{}", ran.out);
    }
}

#[test]
fn a_torn_tail_is_said_and_damage_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = segment(&first_boot().batches);
    write(folder.path(), &[bytes[..bytes.len() - 3].to_vec()]);
    let ran = cmcp_verify(&["store", "verify", path(folder.path())]);
    assert_eq!(ran.exit, Exit::Verified);
    assert!(ran.out.contains("torn tail: 00000000.log"), "{}", ran.out);
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    write(folder.path(), &[damaged]);
    let ran = cmcp_verify(&["store", "verify", path(folder.path())]);
    assert_eq!(ran.exit, Exit::Unverified);
    assert!(ran.out.contains("FAIL STORE_DAMAGED"), "{}", ran.out);
}

#[test]
fn a_claim_cannot_move_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("claim.json");
    let text = String::from_utf8(story().claim).unwrap().replace("\"spiffe://", "\"spiffe://\\u001b[2J");
    std::fs::write(&file, fixture::spoil::resigned(text.as_bytes(), fixture::SEED, |_| {})).unwrap();
    let ran = cmcp_verify(&[path(&file), "--at", AT]);
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
}

/// A folder with a policy bundle and a key; the key's file.
fn operator() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("manifest.json", r#"{"version": "1.0.0", "authored_at": "2026-06-05T00:00:00Z"}"#);
    write("schema.cedarschema", "entity E;\r\n");
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    write("sub/a.cedar", "permit (principal, action, resource);");
    write("README.md", "not part of it");
    let key = path(&folder.path().join("key")).to_owned();
    let made = cmcp_verify(&["operator", "new-key", "--out", &key]);
    assert_eq!(made.exit, Exit::Verified, "{}", made.err);
    (folder, key)
}

/// What `new-key` and the signing commands print last: the key's id.
fn public_key(text: &str) -> claim::key::PublicKey {
    let line = text.lines().find_map(|line| line.strip_prefix("operator.public_key: ")).unwrap();
    claim::key::PublicKey::from_x(line).unwrap()
}

#[test]
fn an_operators_key_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, key) = operator();
    let kept = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = cmcp_verify(&["operator", "new-key", "--out", &key]);
    assert_eq!((again.exit, std::fs::read(&key).unwrap()), (Exit::NotJudged, kept.clone()));
    let other = path(&folder.path().join("other")).to_owned();
    let printed = cmcp_verify(&["operator", "new-key", "--out", &other]).out;
    assert!(!printed.contains(std::str::from_utf8(&kept).unwrap().trim()), "{printed}");
    assert_ne!(std::fs::read(&other).unwrap(), kept);
}

#[test]
fn signed_bundles_and_controls_verify_under_the_printed_key() {
    let (folder, _) = operator();
    let (bundle, key) = (path(folder.path()).to_owned(), path(&folder.path().join("mine")).to_owned());
    let public = public_key(&cmcp_verify(&["operator", "new-key", "--out", &key]).out);
    let sign = || cmcp_verify(&["operator", "sign-policy", &bundle, "--key", &key]);
    let read = |name: &str| claim::json::parse(&std::fs::read(folder.path().join(name)).unwrap()).unwrap();
    let hash = || {
        let files = [("sub/a.cedar", "permit (principal, action, resource);")];
        claim::hashes::bundle_hash(&read("manifest.json"), files, "entity E;\n").unwrap()
    };
    let signed = sign();
    assert_eq!(signed.exit, Exit::Verified, "{}", signed.err);
    assert!(
        signed.out.contains(&hash().prefixed()) && signed.out.contains(&public.key_id().prefixed()),
        "{}",
        signed.out
    );
    let signature = |name| read(name).get("signature").and_then(|text| text.as_str().map(str::to_owned)).unwrap();
    assert_eq!(public.verify_policy(hash(), &signature("manifest.json")), Ok(()));
    let first = signature("manifest.json");
    assert_eq!((sign().exit, signature("manifest.json")), (Exit::Verified, first), "signing again changes nothing");

    let controls = path(&folder.path().join("controls.json")).to_owned();
    std::fs::write(&controls, r#"{"epoch": 1, "blocked": [{"subject": "a"}]}"#).unwrap();
    let signed = cmcp_verify(&["operator", "sign-controls", &controls, "--key", &key]);
    assert_eq!(signed.exit, Exit::Verified, "{}", signed.err);
    assert_eq!(public.verify_controls(&read("controls.json")), Ok(()));
}

#[test]
fn what_cannot_be_signed_is_named_and_left_alone() {
    let (folder, key) = operator();
    let controls = path(&folder.path().join("controls.json")).to_owned();
    for (text, named) in [
        ("{", "controls.json"),
        (r#"{"blocked": []}"#, "epoch"),
        (r#"{"epoch": 0}"#, "epoch: found 0"),
        (r#"{"epoch": 1, "blocks": []}"#, "blocks"),
        (r#"{"epoch": 1, "epoch": 2}"#, "epoch"),
        (r#"{"epoch": 1, "min_policy_version": "latest"}"#, "1.10.0"),
    ] {
        std::fs::write(&controls, text).unwrap();
        let ran = cmcp_verify(&["operator", "sign-controls", &controls, "--key", &key]);
        assert_eq!(ran.exit, Exit::NotJudged, "{text}");
        assert!(ran.err.contains(named), "{text}: {}", ran.err);
        assert_eq!(std::fs::read_to_string(&controls).unwrap(), text);
    }
    let manifest = path(&folder.path().join("manifest.json")).to_owned();
    let ran = cmcp_verify(&["operator", "sign-policy", path(folder.path()), "--key", &manifest]);
    assert!(ran.exit == Exit::NotJudged && ran.err.contains("operator new-key"), "{}", ran.err);
    let ran = cmcp_verify(&["operator", "sign-policy", &controls, "--key", &key]);
    assert!(ran.exit == Exit::NotJudged && ran.err.contains("manifest.json"), "{}", ran.err);
}

#[test]
fn an_auditors_key_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder.path().join("auditor.key")).to_owned();
    let made = cmcp_verify(&["auditor", "new-key", "--out", &file]);
    assert_eq!(made.exit, Exit::Verified, "{}", made.err);
    let key = made.out.trim_end().strip_prefix("audit.auditor_key: ").unwrap();
    assert!(verify::AuditorKey::parse(key).is_ok(), "{key}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.starts_with("cmcp-auditor-key-v1:") && !kept.contains(key), "{kept}");
    assert_eq!(cmcp_verify(&["auditor", "new-key", "--out", &file]).exit, Exit::NotJudged, "never overwritten");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
    // A key does not open what was never sealed, and does no harm.
    write(folder.path(), &[segment(&first_boot().batches)]);
    assert_eq!(cmcp_verify(&["store", "verify", path(folder.path()), "--key", &file]).exit, Exit::Verified);
    let operator = path(&folder.path().join("operator.key")).to_owned();
    assert_eq!(cmcp_verify(&["operator", "new-key", "--out", &operator]).exit, Exit::Verified);
    let other = cmcp_verify(&["store", "verify", path(folder.path()), "--key", &operator]);
    assert_eq!(other.exit, Exit::NotJudged);
    assert!(other.err.contains("cmcp-verify auditor new-key"), "{}", other.err);
}
