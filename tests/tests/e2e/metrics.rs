//! What an operator sees: the metrics of a running gateway, and `host status`.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Connection;
use tests::setup::{CONTACTS, Setup};
use tests::upstream::{Reply, Upstream};
use tests::{bin, wait_for};

const SESSION: &str = "watched-session";

const POLICIES: &str = r#"
permit (principal, action, resource);
forbid (principal, action == cMCP::Action::"call_tool", resource == cMCP::Resource::"salesforce.contacts")
when { context.session_max_sensitivity == "pii" };
"#;

/// Values by name and labels, all as written.
type Page = BTreeMap<String, String>;

fn page(gateway: &Gateway) -> Page {
    let answer = get(gateway, "/metrics");
    assert_eq!(answer.status(), 200);
    assert!(answer.header("content-type").is_some_and(|format| format.starts_with("text/plain; version=0.0.4")));
    let text = answer.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.rsplit_once(' ').expect("a sample"));
    samples.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn get(gateway: &Gateway, path: &str) -> tests::http::Message {
    let mut connection = Connection::open(gateway.metrics()).expect("the host accepts");
    connection.request("GET", path, &[], b"").expect("an answer")
}

/// The page once it counts so many calls.
fn page_after(gateway: &Gateway, calls: u64) -> Page {
    wait_for("the calls in the metrics", Duration::from_secs(10), || {
        Some(page(gateway)).filter(|page| sum(page, "cmcp_calls_total{") >= calls)
    })
}

/// Of all counters with this in their name and labels.
fn sum(page: &Page, part: &str) -> u64 {
    let counters = page.iter().filter(|(name, _)| name.contains(part));
    counters.map(|(_, value)| value.parse::<u64>().expect("a whole number")).sum()
}

fn value(page: &Page, name: &str) -> u64 {
    page.get(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page:?}"))
}

fn status(args: &[&str]) -> Output {
    Command::new(bin::path("host")).arg("status").args(args).output().expect("the host runs")
}

fn setup(tool: &Upstream) -> Setup {
    Setup::quickstart(&tool.url())
        .mode("enforcing")
        .tool("errors", &tool.url(), "internal", "public")
        .tool("never \"called\"", &tool.url(), "internal", "public")
        .policy("demo.cedar", POLICIES)
}

#[test]
fn metrics_agree_with_the_claim() {
    let tool = Upstream::scripted(|request| match request["params"]["name"].as_str() {
        Some("errors") => Reply::Error(r#"{"code":-32000,"message":"no"}"#.to_owned()),
        _ => Reply::Late(Duration::from_millis(12), r#"{"content":[]}"#.to_owned()),
    });
    let gateway = Gateway::start_with_metrics(&setup(&tool));
    let answers: Vec<_> = [CONTACTS, CONTACTS, CONTACTS, "errors", "unknown"]
        .map(|tool| gateway.call(SESSION, tool).json()["error"]["data"]["error_code"].clone())
        .into();
    assert_eq!(
        answers,
        [json!(null), json!("POLICY_DENY"), json!("POLICY_DENY"), json!(null), json!("TOOL_NOT_IN_CATALOG")]
    );
    assert_eq!(gateway.get("/nowhere").error_code(), "NOT_FOUND");

    let summary = gateway.claim(SESSION)["gateway"]["call_summary"].clone();
    let page = page_after(&gateway, 5);
    let counted = |name: &str| summary[name].as_u64().expect("a number");
    assert_eq!(sum(&page, "cmcp_calls_total{"), counted("tool_calls_total"));
    for (decision, name) in
        [("allow", "tool_calls_allowed"), ("deny", "tool_calls_denied"), ("fault", "tool_calls_faulted")]
    {
        assert_eq!(sum(&page, &format!("decision=\"{decision}\"")), counted(name), "{decision}");
    }
    for (name, expected) in [
        ("cmcp_calls_total{tool=\"salesforce.contacts\",decision=\"allow\"}", 1),
        ("cmcp_calls_total{tool=\"salesforce.contacts\",decision=\"deny\"}", 2),
        ("cmcp_calls_total{tool=\"errors\",decision=\"fault\"}", 1),
        ("cmcp_calls_total{tool=\"never \\\"called\\\"\",decision=\"allow\"}", 0),
        ("cmcp_calls_total{tool=\"\",decision=\"deny\"}", 1),
        ("cmcp_call_latency_seconds_bucket{tool=\"salesforce.contacts\",le=\"+Inf\"}", 3),
        ("cmcp_call_latency_seconds_count{tool=\"salesforce.contacts\"}", 3),
        ("cmcp_sessions_open", 1),
        ("cmcp_sessions_total", 1),
        ("cmcp_enclave_up", 1),
        ("cmcp_enclave_restarts_total", 0),
        ("cmcp_audit_unavailable_total", 0),
    ] {
        assert_eq!(value(&page, name), expected, "{name}");
    }
    let seconds: f64 = page["cmcp_call_latency_seconds_sum{tool=\"salesforce.contacts\"}"].parse().expect("a number");
    assert!(seconds >= 0.012, "{seconds}");
    assert!(
        value(&page, "cmcp_call_latency_seconds_bucket{tool=\"salesforce.contacts\",le=\"0.01\"}") <= 2,
        "one is slower"
    );
    assert!(value(&page, "cmcp_audit_records_total") >= 6 && value(&page, "cmcp_connections_total") >= 5);
    assert!(!page.keys().any(|name| name.contains("latency") && name.contains("never")), "no histogram without calls");
    let refusals = ["POLICY_DENY", "TOOL_NOT_IN_CATALOG", "UPSTREAM_TOOL_ERROR", "NOT_FOUND"]
        .map(|code| value(&page, &format!("cmcp_refusals_total{{code=\"{code}\"}}")));
    assert_eq!(refusals, [2, 1, 1, 1]);
    shown(&gateway);
}

/// `host status` says the same.
fn shown(gateway: &Gateway) {
    let address = gateway.metrics().to_string();
    let output = status(&["--metrics", &address]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row(CONTACTS)[..4], ["1", "2", "0", "0"]);
    assert_eq!(row("errors")[..4], ["0", "0", "0", "1"]);
    assert_eq!(row("POLICY_DENY"), ["2"]);
    assert!(text.contains("1 open, 1 in all") && !text.contains("never"), "{text}");

    let output = status(&["--metrics", &address, "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let calls = json!({"allow": 1, "deny": 2, "advisory_deny": 0, "fault": 0});
    let tools = json["tools"].as_array().expect("a list");
    assert_eq!(tools.iter().find(|tool| tool["tool"] == CONTACTS).expect("the tool")["calls"], calls);
    assert_eq!(tools.iter().find(|tool| tool["tool"].is_null()).expect("the rest")["calls"]["deny"], 1);
    assert!(tools[0]["p99_seconds"].is_number() || tools[1]["p99_seconds"].is_number(), "{json}");
    assert_eq!(json["refusals"]["TOOL_NOT_IN_CATALOG"], 1);
}

#[test]
fn counters_outlive_an_enclave() {
    let tool = Upstream::plain();
    let gateway = Gateway::start_with_metrics(&setup(&tool));
    gateway.call(SESSION, CONTACTS);
    page_after(&gateway, 1);
    let killed = gateway.kill_enclave();
    wait_for("new enclave", Duration::from_secs(20), || (gateway.enclave_pid() != killed).then_some(()));
    gateway.wait_ready();
    let page = page(&gateway);
    assert_eq!(sum(&page, "cmcp_calls_total{"), 1, "kept");
    assert_eq!((value(&page, "cmcp_sessions_open"), value(&page, "cmcp_sessions_lost_total")), (0, 1));
    gateway.call(SESSION, CONTACTS);
    let page = page_after(&gateway, 2);
    assert_eq!(value(&page, "cmcp_calls_total{tool=\"salesforce.contacts\",decision=\"allow\"}"), 2);
    assert_eq!(value(&page, "cmcp_call_latency_seconds_count{tool=\"salesforce.contacts\"}"), 2);
    assert_eq!((value(&page, "cmcp_sessions_total"), value(&page, "cmcp_enclave_restarts_total")), (2, 1));
}

#[test]
fn the_listener_serves_metrics_and_nothing_else() {
    let gateway = Gateway::start_with_metrics(&setup(&Upstream::plain()));
    for path in ["/", "/mcp", "/metrics/x", "/session/x/claim"] {
        assert_eq!(get(&gateway, path).status(), 404, "{path}");
    }
    let mut connection = Connection::open(gateway.metrics()).expect("the host accepts");
    assert_eq!(connection.request("POST", "/metrics", &[], b"x").expect("an answer").status(), 405);
    assert_eq!(gateway.get("/metrics").status(), 404, "not where agents connect");
}

#[test]
fn metrics_are_off_and_local_by_default() {
    let nobody = format!("127.0.0.1:{}", bin::free_port());
    let output = status(&["--metrics", &nobody]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("nothing listens") && said.contains(&nobody) && said.contains("--metrics"), "{said}");

    let gateway = Gateway::start(&setup(&Upstream::plain()));
    let output = status(&["--metrics", &gateway.address.to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("does not serve the metrics"), "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(bin::path("host"))
        .args(["--dev-enclave", "--listen", "127.0.0.1:0", "--metrics", "0.0.0.0:9464"])
        .env("XDG_STATE_HOME", folder.path())
        .output()
        .expect("the host runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("loopback"), "{said}");
}
