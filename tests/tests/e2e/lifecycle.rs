//! Starting, restarting, stopping, and what refuses to start.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::upstream::{Reply, Upstream};
use tests::{bin, proc, store, wait_for};

fn host(folder: &Path, args: &[&str]) -> Output {
    Command::new(bin::path("host"))
        .args(args)
        .current_dir(folder)
        .env_remove("CMCP_DEV_MODE")
        .output()
        .expect("the host runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `host check` on these documents: whether it passed, and what it said.
fn check(setup: &Setup) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    setup.write(folder.path());
    let output = host(folder.path(), &["check", "--config", "cmcp-config.yaml"]);
    (output.status.success(), text(&output))
}

fn quickstart() -> Setup {
    Setup::quickstart("http://localhost:9001/mcp")
}

#[test]
fn sigterm_closes_sessions_and_ends_with_success() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).durability("strict"));
    gateway.call("stopped", CONTACTS);
    let (enclave, store_path) = (gateway.enclave_pid(), gateway.store());
    let (status, folder) = gateway.stop();
    assert!(status.success(), "{status}");
    assert!(!proc::alive(enclave), "the enclave ends with the host");
    assert_eq!(store_path, folder.path().join("audit-store"));
    store::assert_verifies(&store_path);
    let entries = store::entries(&store_path);
    assert_eq!(entries.last().expect("an entry")["entry_type"], "session_end");
    let claims = store::records(&store_path).iter().filter(|record| record.kind == store::kind::CLAIM).count();
    assert!(claims >= 1, "the last claim of each session is stored");
}

#[test]
fn a_dead_enclave_is_restarted_under_a_new_key() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    gateway.call("lost", CONTACTS);
    let before = gateway.claim("lost")["trace"]["cnf"]["jwk"]["x"].clone();
    std::thread::sleep(Duration::from_millis(1500));
    let killed = gateway.kill_enclave();
    wait_for("new enclave", Duration::from_secs(20), || (gateway.enclave_pid() != killed).then_some(()));
    gateway.wait_ready();
    assert_eq!(gateway.get("/session/lost/claim").status(), 404, "a lost session is not continued");
    gateway.call("lost", CONTACTS);
    assert_ne!(gateway.claim("lost")["trace"]["cnf"]["jwk"]["x"], before);
    assert!(gateway.log().contains("lost"), "the loss is reported: {}", gateway.log());
    store::assert_verifies(&gateway.store());
}

#[test]
fn the_enclave_socket_is_private() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", gateway.enclave_pid())).expect("a command line");
    let socket = command.split('\0').find_map(|word| word.strip_prefix("unix:")).expect("a socket path").to_owned();
    let folder = Path::new(&socket).parent().expect("a folder");
    let mode = std::fs::metadata(folder).expect("the folder").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", folder.display());
    let environment = std::fs::read(format!("/proc/{}/environ", gateway.enclave_pid())).expect("an environment");
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert_eq!(
        environment, "GLIBC_TUNABLES=glibc.malloc.tcache_count=128\0",
        "nothing else reaches the enclave by environment"
    );
}

#[test]
fn dev_mode_binds_loopback_only() {
    let folder = tempfile::tempdir().expect("a folder");
    quickstart().write(folder.path());
    for address in ["0.0.0.0:8443", "[::]:8443", "192.0.2.1:8443"] {
        let output = host(folder.path(), &["--dev-enclave", "--config", "cmcp-config.yaml", "--listen", address]);
        assert!(!output.status.success(), "{address}");
        assert!(text(&output).contains("loopback"), "{}", text(&output));
    }
}

#[test]
fn without_a_tee_only_dev_mode_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    quickstart().write(folder.path());
    let output = host(folder.path(), &["--config", "cmcp-config.yaml"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("--dev-enclave"), "it says how to go on: {}", text(&output));
}

#[test]
fn check_prints_the_hashes_without_serving() {
    let (passed, said) = check(&quickstart());
    assert!(passed, "{said}");
    assert!(said.matches("sha256:").count() >= 2, "{said}");
}

#[test]
fn refusals_name_file_field_and_fix() {
    let mut duplicate = quickstart();
    let tool = duplicate.catalog[0].clone();
    duplicate.catalog.as_array_mut().expect("a list").push(tool);
    let mut wrong_hash = quickstart();
    wrong_hash.catalog[0]["approved_definition"]["description"] = json!("Something else.");
    let mut missing_file = quickstart();
    missing_file.config["catalog_path"] = json!("./nowhere.json");
    let cases: Vec<(&str, Setup, Vec<&str>)> = vec![
        ("unknown key", quickstart().with("/attestation/provder", json!("auto")), vec!["cmcp-config.yaml", "provder"]),
        (
            "unknown top key",
            quickstart().with("/enforcement_mode", json!("enforcing")),
            vec!["cmcp-config.yaml", "enforcement_mode", "attestation"],
        ),
        ("bad mode", quickstart().mode("strict"), vec!["cmcp-config.yaml", "enforcement_mode", "strict", "enforcing"]),
        (
            "bad provider",
            quickstart().with("/attestation/provider", json!("sgx")),
            vec!["cmcp-config.yaml", "provider", "sgx"],
        ),
        ("bad durability", quickstart().durability("eventually"), vec!["durability", "eventually"]),
        ("missing file", missing_file, vec!["nowhere.json"]),
        ("bad Cedar", quickstart().policy("broken.cedar", "permit (principal, action"), vec!["broken.cedar"]),
        (
            "unknown attribute",
            quickstart().policy("typo.cedar", r"permit (principal, action, resource) when { context.workflow == 1 };"),
            vec!["typo.cedar", "workflow"],
        ),
        ("wrong hash", wrong_hash, vec!["catalog.json", "definition_hash", "sha256:"]),
        ("duplicate tool", duplicate, vec!["catalog.json", CONTACTS]),
    ];
    for (name, setup, words) in cases {
        let (passed, said) = check(&setup);
        assert!(!passed, "{name} passed: {said}");
        for word in words {
            assert!(said.contains(word), "{name} does not say {word}: {said}");
        }
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
}

#[test]
fn definition_hashes_are_the_quickstarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = quickstart();
    std::fs::write(folder.path().join("definition.json"), setup.catalog[0]["approved_definition"].to_string())
        .expect("a file");
    let output = host(folder.path(), &["hash-definition", "definition.json"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("sha256:b42ecf14612f23456b5b0794864a00288d4038ac444cedb87fc214cefee89e35"),
        "{}",
        text(&output)
    );
}

#[test]
fn help_teaches() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = text(&host(folder.path(), &["--help"]));
    for word in [
        "--dev-enclave",
        "--config",
        "--listen",
        "--metrics",
        "--log-format",
        "check",
        "hash-definition",
        "demo-server",
        "status",
    ] {
        assert!(help.contains(word), "--help does not mention {word}: {help}");
    }
}

/// Polling lasts a moment: while a call waits for a slow tool, and after it, both processes sleep.
#[test]
fn whoever_waits_long_sleeps() {
    let tool = Upstream::scripted(|_| Reply::Late(Duration::from_millis(1500), "{\"content\":[]}".to_owned()));
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let processes = [gateway.host_pid(), gateway.enclave_pid()];
    let cpu_us = || processes.iter().filter_map(|pid| proc::cpu_us(*pid)).sum::<u64>();
    let before = cpu_us();
    assert_eq!(gateway.call("slow", CONTACTS).status(), 200);
    std::thread::sleep(Duration::from_millis(500));
    let used = cpu_us() - before;
    assert!(used < 300_000, "{used} us of two seconds");
}
