//! What an author of policies has: a schema, cases, explanations.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::bin;
use tests::setup::{CONTACTS, Setup};

fn host(folder: &Path, args: &[&str]) -> Output {
    Command::new(bin::path("host")).args(args).current_dir(folder).output().expect("the host runs")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The quickstart's documents, with what a test adds.
fn folder(setup: &Setup) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    setup.write(folder.path());
    folder
}

fn quickstart() -> Setup {
    Setup::quickstart("http://localhost:9001/mcp")
}

#[test]
fn every_case_of_every_bundle_holds() {
    let root = bin::root().join("policies");
    let mut cases = 0;
    for bundle in std::fs::read_dir(&root).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if bundle.is_dir() {
            let output = host(&bundle, &["policy", "test", "policies", "cases", "--json"]);
            let (stdout, stderr) = said(&output);
            assert!(output.status.success(), "{}: {stdout}{stderr}", bundle.display());
            let report: Value = serde_json::from_str(&stdout).expect("JSON");
            cases += report["cases"].as_array().expect("cases").len();
        }
    }
    assert!(cases >= 5, "only {cases} cases");
}

#[test]
fn a_case_that_fails_says_what_was_decided_and_by_whom() {
    let folder = folder(&quickstart());
    let request = json!({"tool": CONTACTS, "labels": ["pii"]});
    let cases = json!([
        {"name": "contacts stay open", "request": request, "expect": {"decision": "allow", "policies": ["demo.cedar:3"]}},
        {"name": "the first call", "request": {"tool": CONTACTS}, "expect": {"decision": "allow", "advice": []}},
    ]);
    std::fs::write(folder.path().join("cases.json"), cases.to_string()).expect("a file");
    let output = host(folder.path(), &["policy", "test", "policies", "cases.json"]);
    let (stdout, stderr) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    for line in [
        "FAIL  contacts stay open",
        "expected allow by demo.cedar:3",
        "found    deny by demo.cedar:2",
        "ok    the first call",
        "2 cases, 1 failed",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    assert!(stderr.contains("1 of 2 cases failed"), "{stderr}");
}

#[test]
fn what_is_not_understood_is_named() {
    let folder = folder(&quickstart());
    let case =
        |request: &Value| json!([{"name": "odd", "request": request, "expect": {"decision": "deny"}}]).to_string();
    for (cases, words) in [
        (case(&json!({"tool": "nowhere"})), vec!["odd: tool: found \"nowhere\"", "a tool of the catalog"]),
        (case(&json!({})), vec!["odd: tool: found nothing"]),
        (case(&json!({"tool": CONTACTS, "label": ["pii"]})), vec!["odd: label", "labels"]),
        (case(&json!({"tool": CONTACTS, "labels": ["top"]})), vec!["odd: labels: found \"top\"", "hipaa_phi"]),
        (case(&json!({"action": "read_resource"})), vec!["odd: uri: found nothing"]),
        (case(&json!({"action": "fly"})), vec!["odd: action: found \"fly\"", "read_resource"]),
        ("{}".to_owned(), vec!["cases.json", "an array of {name, request"]),
        (r#"[{"name": "odd", "request": {}, "expect": {"decision": "maybe"}}]"#.to_owned(), vec!["maybe", "step_up"]),
    ] {
        std::fs::write(folder.path().join("cases.json"), &cases).expect("a file");
        let output = host(folder.path(), &["policy", "test", "policies", "cases.json"]);
        let (stdout, stderr) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word}: {cases}: {stderr}");
        }
    }
    std::fs::write(folder.path().join("cases.json"), "[]").expect("a file");
    let (_, stderr) = said(&host(folder.path(), &["policy", "test", "nowhere", "cases.json"]));
    assert!(stderr.contains("nowhere: found no folder"), "{stderr}");
    std::fs::write(folder.path().join("policies/bad.cedar"), "permit (principal").expect("a file");
    let (_, stderr) = said(&host(folder.path(), &["policy", "explain", "policies", "--tool", CONTACTS]));
    assert!(stderr.contains("policies/bad.cedar: line 1"), "{stderr}");
}

#[test]
fn an_explanation_names_every_policy_that_could_match() {
    let approval = r#"@id("ask-first") @decision("step_up") @approver("dpo")
        forbid (principal, action, resource) when { context.session_max_sensitivity == "confidential" };
        @id("elsewhere") forbid (principal, action, resource == cMCP::Resource::"echo");"#;
    let setup = quickstart().tool("echo", "http://localhost:9001/mcp", "internal", "public");
    let folder = folder(&setup.policy("approval.cedar", approval));
    let explain = ["policy", "explain", "policies", "--tool", CONTACTS, "--label", "confidential"];
    let (stdout, stderr) = said(&host(folder.path(), &explain));
    assert!(stdout.starts_with("step_up by ask-first\nadvice: @approver(\"dpo\")\n"), "{stdout}{stderr}");
    for rule in
        ["ask-first     forbid  satisfied", "demo.cedar:2  forbid  not satisfied", "demo.cedar:3  permit  satisfied"]
    {
        assert!(stdout.contains(rule), "{rule}: {stdout}");
    }
    assert!(!stdout.contains("elsewhere"), "{stdout}");

    std::fs::write(folder.path().join("request.json"), json!({"tool": "echo", "labels": ["pii"]}).to_string())
        .expect("a file");
    let explain = ["policy", "explain", "policies", "--catalog", "catalog.json", "--request", "request.json", "--json"];
    let output = host(folder.path(), &explain);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{:?}", said(&output)));
    assert_eq!((&answer["decision"], &answer["policies"]), (&json!("deny"), &json!(["elsewhere"])));
    assert_eq!(answer["rules"].as_array().expect("rules").len(), 4);

    let read = ["policy", "explain", "policies", "--action", "read_resource", "--uri", "file:///x"];
    let (stdout, _) = said(&host(folder.path(), &read));
    assert_eq!(stdout, "deny\nreason: no policy permits it\n");
}

#[test]
fn a_schema_types_the_arguments_of_each_tool() {
    let folder = folder(&quickstart());
    let output = host(folder.path(), &["schema", "--catalog", "catalog.json"]);
    let (schema, stderr) = said(&output);
    assert!(output.status.success(), "{stderr}");
    std::fs::write(folder.path().join("policies/schema.cedarschema"), &schema).expect("a file");
    let rules = r#"
        permit (principal, action in cMCP::Action::"call_tool", resource);
        forbid (principal, action == cMCP::Action::"salesforce.contacts", resource)
        when { context.input has max_records && context.input.max_records > 50 };
    "#;
    std::fs::write(folder.path().join("policies/demo.cedar"), rules).expect("a file");
    let output = host(folder.path(), &["check", "--config", "cmcp-config.yaml"]);
    assert!(output.status.success(), "{:?}", said(&output));
    for (arguments, expected) in [
        (r#"{"query": "Acme", "max_records": 50}"#, "allow by demo.cedar:1\n"),
        (r#"{"query": "Acme", "max_records": 51}"#, "deny by demo.cedar:2\n"),
        (r#"{"query": 7}"#, "deny\nreason: input.query: expected String, found a whole number\n"),
    ] {
        let explain = ["policy", "explain", "policies", "--tool", CONTACTS, "--arguments", arguments];
        let (stdout, stderr) = said(&host(folder.path(), &explain));
        assert!(stdout.starts_with(expected), "{arguments}: {stdout}{stderr}");
    }
    std::fs::write(folder.path().join("catalog.json"), "[{}]").expect("a file");
    let (_, stderr) = said(&host(folder.path(), &["schema", "--catalog", "catalog.json"]));
    assert!(stderr.contains("catalog.json: [0]"), "{stderr}");
}

#[test]
fn help_teaches_authors() {
    let folder = tempfile::tempdir().expect("a folder");
    for (command, words) in [
        (&["--help"][..], &["schema", "policy", "host policy test"][..]),
        (&["schema", "--help"], &["--catalog", "context.input.amount"]),
        (&["policy", "test", "--help"], &["BUNDLE", "CASES", "--catalog", "Exit code", "\"expect\""]),
        (&["policy", "explain", "--help"], &["--request", "--label", "--arguments", "Examples"]),
    ] {
        let (stdout, _) = said(&host(folder.path(), command));
        for word in words {
            assert!(stdout.contains(word), "{command:?} does not mention {word}: {stdout}");
        }
    }
}
