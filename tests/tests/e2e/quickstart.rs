//! The user's own document, step by step.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Connection;
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::store::cmcp_verify;
use tests::upstream::Upstream;
use tests::{bin, wait_for};

use crate::{call_entries, receipt};

const SESSION: &str = "demo-session-001";

/// `host demo-server` on a port of its own, ended with the test.
pub(crate) struct DemoServer(std::process::Child, u16);

impl DemoServer {
    fn start() -> Self {
        Self::with(&[])
    }

    /// With further options.
    pub(crate) fn with(options: &[&str]) -> Self {
        let port = bin::free_port();
        let child = Command::new(bin::path("host"))
            .args(["demo-server", "--listen", &format!("127.0.0.1:{port}")])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("the demo server starts");
        wait_for("demo server", Duration::from_secs(10), || Connection::open(([127, 0, 0, 1], port).into()).ok());
        Self(child, port)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}/mcp", self.1)
    }
}

impl Drop for DemoServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The hash after `label` in the start-up lines.
fn logged_hash(log: &str, label: &str) -> String {
    let line = log.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("no {label} in {log}"));
    line[line.find("sha256:").expect("a hash")..][..71].to_owned()
}

/// Writes claim and audit bundle beside the configuration and verifies them as an outsider would.
pub(super) fn verify(gateway: &Gateway, session: &str) -> (bool, Value) {
    let claim = gateway.folder().join("claim.json");
    let bundle = gateway.folder().join("bundle.json");
    std::fs::write(&claim, gateway.get(&format!("/session/{session}/claim")).body).expect("a file");
    std::fs::write(&bundle, gateway.get(&format!("/audit/export?session_id={session}")).body).expect("a file");
    let log = gateway.log();
    let output = cmcp_verify(&[
        &claim.to_string_lossy(),
        "--policy-hash",
        &logged_hash(&log, "policy bundle loaded"),
        "--catalog-hash",
        &logged_hash(&log, "catalog loaded"),
        "--audit-bundle",
        &bundle.to_string_lossy(),
        "--json",
    ]);
    let verdict = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), verdict)
}

#[test]
fn quickstart_as_written() {
    let server = DemoServer::start();
    let gateway = Gateway::start(&Setup::quickstart(&server.url()).durability("strict"));
    let log = gateway.log();
    assert!(log.contains("[cmcp] provider=software-only enforcement_mode=advisory"), "{log}");
    assert!(log.contains("[cmcp] catalog loaded: 1 tools, sha256:"), "{log}");
    assert!(log.contains(&format!("[cmcp] listening on {}", gateway.address)), "{log}");
    assert!(log.contains("curl"), "the start-up shows what to try: {log}");

    let first = gateway.call(SESSION, CONTACTS);
    assert_eq!(first.status(), 200, "{}", first.text());
    let first_receipt = receipt(&first);
    assert_eq!(first_receipt["would_have_denied"], false);
    assert_eq!(first_receipt["session_id"], SESSION);
    assert_eq!(first_receipt["workflow_id"], "demo-agent");
    for key in ["call_id", "audit_entry_hash", "latency_us"] {
        assert!(!first_receipt[key].is_null(), "{key} is in the receipt: {first_receipt}");
    }

    let claim = gateway.claim(SESSION);
    assert_eq!(claim["trace"]["runtime"]["platform"], "software-only");
    assert_eq!(claim["trace"]["policy"]["enforcement_mode"], "advisory");
    assert_eq!(claim["trace"]["data_class"], "pii");
    assert_eq!(claim["trace"]["tool_transcript"]["call_count"], 1);
    assert_eq!(claim["gateway"]["audit_chain"]["tip"], first_receipt["audit_entry_hash"]);
    assert_eq!(claim["gateway"]["call_summary"]["tools_invoked"], json!([CONTACTS]));
    assert_eq!(claim["gateway"]["call_summary"]["call_graph_summary"]["compliance_domains_touched"], json!(["pii"]));

    let (_, verdict) = verify(&gateway, SESSION);
    assert_eq!(verdict["status"], "partially_verified", "{verdict}");
    let six =
        ["schema", "signature", "policy_bundle.hash", "tool_catalog.hash", "attestation_freshness", "audit_chain"];
    let fields: Vec<_> = verdict["verified_fields"].as_array().expect("fields").iter().take(6).cloned().collect();
    assert_eq!(json!(fields), json!(six), "{verdict}");
}

#[test]
fn advisory_marks_what_it_would_have_denied() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    assert_eq!(receipt(&gateway.call(SESSION, CONTACTS))["would_have_denied"], false);
    let second = gateway.call(SESSION, CONTACTS);
    assert_eq!(second.status(), 200);
    assert_eq!(receipt(&second)["would_have_denied"], true);
    assert_eq!(tool.calls().len(), 2);
    let entries = call_entries(&gateway.entries(SESSION));
    let decisions: Vec<_> = entries.iter().map(|entry| entry["policy_decision"].clone()).collect();
    assert_eq!(decisions, ["allow", "advisory_deny"]);
}

#[test]
fn enforcing_refuses_and_does_not_forward() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("enforcing"));
    assert_eq!(gateway.call(SESSION, CONTACTS).status(), 200);
    let denied = gateway.call(SESSION, CONTACTS);
    assert_eq!(denied.status(), 403);
    let error = &denied.json()["error"];
    assert_eq!(error["code"], -32000);
    assert_eq!(error["data"]["error_code"], "POLICY_DENY");
    assert!(error["data"]["call_id"].is_string(), "{error}");
    assert_eq!(denied.json()["id"], 1);
    assert_eq!(tool.calls().len(), 1, "the denied call did not reach the tool");

    let entries = call_entries(&gateway.entries(SESSION));
    assert_eq!(entries[1]["policy_decision"], "deny");
    assert_eq!(entries[1]["call_id"], error["data"]["call_id"]);
    let summary = &gateway.claim(SESSION)["gateway"]["call_summary"];
    assert_eq!((&summary["tool_calls_total"], &summary["tool_calls_denied"]), (&json!(2), &json!(1)));
    assert_eq!(gateway.claim(SESSION)["trace"]["policy"]["enforcement_mode"], "enforce");
}

#[test]
fn silent_says_nothing_and_keeps_the_evidence() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()).mode("silent"));
    let quiet = gateway.log();
    gateway.call(SESSION, CONTACTS);
    assert_eq!(receipt(&gateway.call(SESSION, CONTACTS))["would_have_denied"], true);
    assert_eq!(tool.calls().len(), 2);
    assert_eq!(call_entries(&gateway.entries(SESSION))[1]["policy_decision"], "advisory_deny");
    assert_eq!(gateway.log(), quiet, "silent mode logs no decision");
}

#[test]
fn tool_outside_the_catalog_is_refused_and_recorded() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    let answer = gateway.call(SESSION, "salesforce.delete_everything");
    assert_eq!((answer.status(), answer.error_code().as_str()), (403, "TOOL_NOT_IN_CATALOG"));
    assert_eq!(tool.calls().len(), 0);
    let entries = call_entries(&gateway.entries(SESSION));
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["policy_decision"], "deny");
}

#[test]
fn wrong_approved_hash_is_a_named_failure() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&Setup::quickstart(&tool.url()));
    gateway.call(SESSION, CONTACTS);
    let claim = gateway.folder().join("claim.json");
    std::fs::write(&claim, gateway.get(&format!("/session/{SESSION}/claim")).body).expect("a file");
    let zeros = format!("sha256:{}", "0".repeat(64));
    let catalog = logged_hash(&gateway.log(), "catalog loaded");
    let output =
        cmcp_verify(&[&claim.to_string_lossy(), "--policy-hash", &zeros, "--catalog-hash", &catalog, "--json"]);
    assert!(!output.status.success());
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("a verdict");
    assert_eq!(verdict["status"], "unverified");
    assert!(verdict["failure_reason"].is_string(), "{verdict}");
}

#[test]
fn without_configuration_the_first_curl_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start_default(folder);
    let body = rpc(1, "tools/call", &call_params(CONTACTS, SESSION));
    let answer = gateway.post("/mcp", &body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(receipt(&answer)["session_id"], SESSION);
}
