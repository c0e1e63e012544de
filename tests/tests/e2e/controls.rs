//! What an operator's key decides: which policy bundles are loaded, at the start and while the gateway runs.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use claim::operator::OperatorKey;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::store::{assert_verifies, cmcp_verify, kind, records};
use tests::upstream::Upstream;
use tests::{bin, proc, wait_for};
use verify::{BundleOptions, verify_audit_bundle};

use crate::books;

const PERMIT: &str = "permit (principal, action, resource);";
const FORBID: &str = "forbid (principal, action, resource);";

fn key() -> OperatorKey {
    OperatorKey::from_seed([0x0a; 32])
}

/// A gateway whose policies need a signature, and allow everything.
fn operated(upstream: &str) -> Setup {
    Setup::quickstart(upstream).mode("enforcing").policy("demo.cedar", PERMIT).version("1.2.0").operated_by(&key())
}

fn check(folder: &Path) -> Output {
    let args = ["check", "--config", "cmcp-config.yaml"];
    Command::new(bin::path("host")).args(args).current_dir(folder).output().expect("the host runs")
}

/// What `host check` says is wrong, or right.
fn checked(setup: &Setup) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    setup.write(folder.path());
    let output = check(folder.path());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Session, claim and audit bundle agree.
pub(crate) fn assert_proven(gateway: &Gateway, session: &str) {
    let claim = gateway.get(&format!("/session/{session}/claim")).text();
    let bundle = gateway.get(&format!("/audit/export?session_id={session}")).text();
    let verdict = verify_audit_bundle(bundle.as_bytes(), Some(claim.as_bytes()), BundleOptions::default());
    assert!(verdict.verified, "{:?}", verdict.failures);
}

#[test]
fn the_tools_of_an_operator_make_what_the_gateway_accepts() {
    let tool = Upstream::plain();
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::quickstart(&tool.url());
    setup.write(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |args: &[&str]| {
        let output = cmcp_verify(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let made = run(&["operator", "new-key", "--out", &at("operator.key")]);
    let public = made.lines().find_map(|line| line.strip_prefix("operator.public_key: ")).expect("a key");
    setup
        .clone()
        .with("/operator/public_key", json!(public))
        .with("/controls_path", json!("controls.json"))
        .write(folder.path());

    let refused = |words: &[&str]| {
        let output = check(folder.path());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    refused(&["cmcp-config.yaml: controls_path", "sign-controls"]);
    std::fs::write(at("controls.json"), r#"{"epoch": 4, "min_policy_version": "0.1"}"#).expect("a file");
    refused(&["controls.json: signature: found nothing", "sign-controls"]);
    run(&["operator", "sign-controls", &at("controls.json"), "--key", &at("operator.key")]);
    refused(&["manifest.json: signature: found nothing", "sign-policy"]);
    run(&["operator", "sign-policy", &at("policies"), "--key", &at("operator.key")]);
    let output = check(folder.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("operator controls    epoch 4"), "{text}");

    let gateway = Gateway::start_in(folder);
    assert_eq!(gateway.call("s", CONTACTS).status(), 200);
    let start = gateway.entries("s")[0]["detail"].clone();
    let file = std::fs::read(gateway.folder().join("controls.json")).expect("a file");
    assert_eq!(start["controls_hash"], claim::Digest::of(file).prefixed());
    assert_eq!(start["controls_epoch"], 4);
    assert!(made.contains(start["policy_signed_by"].as_str().expect("a key id")), "{made}");
    assert_proven(&gateway, "s");
    assert_verifies(&gateway.store());
}

#[test]
fn without_a_key_nothing_changes_and_the_report_says_unsigned() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url());
    let text = checked(&setup).expect("good");
    assert!(text.contains("policy signed by     unsigned") && !text.contains("warning: manifest"), "{text}");
    let text = checked(&setup.clone().sign_policy(&key())).expect("good");
    assert!(text.contains("signature is not checked: the configuration has no operator.public_key"), "{text}");
    let gateway = Gateway::start(&setup);
    gateway.call("s", CONTACTS);
    let start = gateway.entries("s")[0]["detail"].clone();
    for absent in ["policy_signed_by", "controls_epoch", "controls_hash"] {
        assert_eq!(start.get(absent), None, "{absent}");
    }
}

#[test]
fn bundles_that_the_operator_has_not_signed_are_refused() {
    let other = OperatorKey::from_seed([0x0b; 32]);
    let (id, good) = (key().public().key_id().prefixed(), operated("http://localhost:9001/mcp"));
    let text = checked(&good).expect("good");
    assert!(text.contains(&id), "{text}");
    let unsigned =
        Setup::quickstart("http://localhost:9001/mcp").with("/operator/public_key", json!(key().public().x()));
    let floor = |version: &str| json!({"epoch": 1, "min_policy_version": version});
    let author = json!([other.public().x()]);
    for (setup, words) in [
        (unsigned, vec!["policies/manifest.json: signature: found nothing", "cmcp-verify operator sign-policy"]),
        (good.clone().sign_policy(&other), vec!["manifest.json: signature: found a signature that no key"]),
        (good.clone().policy("demo.cedar", FORBID), vec!["manifest.json: signature: found a signature that no key"]),
        (good.clone().version("9.0"), vec!["manifest.json: signature: found a signature that no key"]),
        (good.clone().controls(&key(), &floor("1.10")), vec!["manifest.json: version: found 1.2.0", "1.10 or higher"]),
        (
            good.clone().version("1.10-rc1").sign_policy(&key()).controls(&key(), &floor("1.0")),
            vec!["manifest.json: version: found 1.10-rc1", "numbers with dots"],
        ),
        (
            good.clone().controls(&key(), &json!({"epoch": 2, "revoked_keys": [id]})),
            vec!["manifest.json: signature: found a signature by the key", "revoke"],
        ),
        (
            good.clone().with("/operator/public_key", json!("short")),
            vec!["operator.public_key: found short", "new-key"],
        ),
        (
            Setup::quickstart("http://localhost:9001/mcp").with("/operator/policy_keys", author.clone()),
            vec!["operator.policy_keys: found", "operator.public_key"],
        ),
    ] {
        let text = checked(&setup).expect_err(words[0]);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    }
    // Authors sign with keys of their own, which controls revoke one by one.
    let authored = good.clone().with("/operator/policy_keys", author).sign_policy(&other);
    assert!(checked(&authored).expect("good").contains(&other.public().key_id().prefixed()));
    let revoked = json!({"epoch": 2, "revoked_keys": [other.public().key_id().prefixed()]});
    assert!(checked(&authored.clone().controls(&key(), &revoked)).is_err());
    assert!(checked(&authored.sign_policy(&key()).controls(&key(), &revoked)).is_ok());
    assert!(checked(&good.controls(&key(), &floor("1.2"))).is_ok(), "1.2 is 1.2.0");
}

fn hang_up(gateway: &Gateway, answer: &str) -> String {
    let before = gateway.log().matches(answer).count();
    proc::signal(gateway.host_pid(), Signal::HUP);
    wait_for(answer, Duration::from_secs(20), || {
        let log = gateway.log();
        (log.matches(answer).count() > before).then_some(log)
    })
}

/// `policy_load` records of a store.
fn loads(gateway: &Gateway) -> Vec<Value> {
    let controls = records(&gateway.store()).into_iter().filter(|record| record.kind == kind::CONTROL);
    controls.map(|record| record.json()).collect()
}

#[test]
fn a_hangup_reloads_the_policy_for_new_sessions_only() {
    let tool = Upstream::plain();
    let setup = operated(&tool.url());
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.call("old", CONTACTS).status(), 200);
    let newer = setup.clone().policy("demo.cedar", FORBID).version("1.10").sign_policy(&key());
    newer.write(gateway.folder());
    let log = hang_up(&gateway, "policy bundle reloaded");
    assert!(log.contains(&newer.bundle_hash().prefixed()), "{log}");

    assert_eq!(gateway.call("old", CONTACTS).status(), 200, "a session keeps its policy");
    assert_eq!(gateway.call("new", CONTACTS).error_code(), "POLICY_DENY");
    for (session, setup, version) in [("old", &setup, "1.2.0"), ("new", &newer, "1.10")] {
        let hash = setup.bundle_hash().prefixed();
        assert_eq!(gateway.entries(session)[0]["detail"]["policy_bundle_hash"], hash);
        let policy = gateway.claim(session)["trace"]["policy"].clone();
        assert_eq!((&policy["bundle_hash"], &policy["version"]), (&json!(hash), &json!(version)));
        assert_proven(&gateway, session);
    }
    assert_eq!(books(&gateway, "old").len(), 2);
    let loaded = loads(&gateway);
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0]["action"], "policy_load");
    assert_eq!(loaded[0]["bundle_hash"], newer.bundle_hash().prefixed());
    assert_eq!(loaded[0]["signed_by"], key().public().key_id().prefixed());

    // The same again is no newer version; nor is what is broken. Nothing changes.
    let log = hang_up(&gateway, "policy bundle not reloaded");
    assert!(log.contains("a version higher than 1.10"), "{log}");
    setup.clone().version("2.0").policy("demo.cedar", "permit (").sign_policy(&key()).write(gateway.folder());
    hang_up(&gateway, "policy bundle not reloaded");
    std::fs::remove_file(gateway.folder().join("policies/manifest.json")).expect("it is there");
    hang_up(&gateway, "policy bundle not reloaded");
    assert_eq!(gateway.call("newest", CONTACTS).error_code(), "POLICY_DENY");
    assert_eq!(loads(&gateway).len(), 1);

    // A restart begins with what was reloaded.
    let pid = gateway.kill_enclave();
    wait_for("another enclave", Duration::from_secs(20), || (!proc::alive(pid)).then_some(()));
    gateway.wait_ready();
    assert_eq!(gateway.call("after", CONTACTS).error_code(), "POLICY_DENY");
    let text = assert_verifies(&gateway.store());
    assert!(text.contains("policy 1.10 loaded at"), "{text}");
}

#[test]
fn without_a_key_a_hangup_changes_nothing() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").policy("demo.cedar", PERMIT);
    let gateway = Gateway::start(&setup);
    setup.policy("demo.cedar", FORBID).version("9.9").write(gateway.folder());
    let log = hang_up(&gateway, "policy bundle not reloaded");
    assert!(log.contains("reload needs operator.public_key"), "{log}");
    assert_eq!(gateway.call("s", CONTACTS).status(), 200);
    assert_eq!(loads(&gateway), Vec::<Value>::new());
}
