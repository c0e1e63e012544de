//! The bank's story in `policies/bfsi/README.md`, played: what the README prints is what comes out.

use serde_json::{Value, json};
use tests::bin;
use tests::gateway::Gateway;
use tests::setup::Setup;
use tests::store::cmcp_verify;

use crate::quickstart::DemoServer;
use crate::{books, call_entries};

const SESSION: &str = "case-4711";

fn file(name: &str) -> String {
    std::fs::read_to_string(bin::root().join("policies/bfsi").join(name)).expect("a file of the story")
}

fn parsed(name: &str) -> Value {
    serde_json::from_str(&file(name)).expect("JSON")
}

/// The story's documents, with the tool server at this address.
fn setup(url: &str) -> Setup {
    let mut setup = Setup::quickstart(url).mode("enforcing").with("/claim/entries", json!(true));
    setup.catalog = parsed("catalog.json");
    for tool in setup.catalog.as_array_mut().expect("a list") {
        tool["server"]["url"] = json!(url);
    }
    let names = ["manifest.json", "schema.cedarschema", "bank.cedar"];
    setup.policies = names.map(|name| (name.to_owned(), file(&format!("policies/{name}")))).into();
    setup
}

/// Lines of the README that are JSON arrays of this length.
fn printed(readme: &str, length: usize) -> Vec<Value> {
    let arrays = readme.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    arrays.filter(|value| value.as_array().is_some_and(|array| array.len() == length)).collect()
}

/// What the README's first `jq` makes of an answer.
fn in_short(answer: &Value) -> Value {
    let data = &answer["error"]["data"];
    let code = data["error_code"].as_str().unwrap_or("ok");
    let said = [&data["detail"], &data["advice"], &answer["result"]["structuredContent"]];
    let said = said.into_iter().find(|value| !value.is_null()).unwrap_or(&Value::Null);
    json!([answer["id"], code, data["decision"], said])
}

#[test]
fn the_readme_tells_what_happens() {
    let folder = bin::root().join("policies/bfsi");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let server = DemoServer::with(&["--catalog", &path("catalog.json"), "--answers", &path("answers.json")]);
    let gateway = Gateway::start(&setup(&server.url()));
    let answers =
        file("story.jsonl").lines().map(|line| gateway.post("/mcp", line.as_bytes()).json()).collect::<Vec<_>>();
    let readme = file("README.md");
    assert_eq!(answers.iter().map(in_short).collect::<Vec<_>>(), printed(&readme, 4));
    for secret in ["078-05-1120", "1984-05-17", "officer_notes", "press@acme.example"] {
        assert!(answers.iter().all(|answer| !answer.to_string().contains(secret)), "{secret}");
    }

    let entries = call_entries(&gateway.entries(SESSION));
    let told = |entry: &Value| {
        let keys = [
            "tool_name",
            "policy_decision",
            "policy_rule_matched",
            "response_inspection_result",
            "session_sensitivity_after",
        ];
        let mut told: Vec<Value> = keys.iter().map(|key| entry[key].clone()).collect();
        told.push(entry["detail"]["inspection"].clone());
        Value::from(told)
    };
    assert_eq!(entries.iter().map(told).collect::<Vec<_>>(), printed(&readme, 6));

    let mut summary = gateway.claim(SESSION)["gateway"]["call_summary"].clone();
    for event in summary["call_graph_summary"]["cross_boundary_events"].as_array_mut().expect("a list") {
        assert!(event.as_object_mut().expect("an object").remove("call_id").is_some());
    }
    let start = readme.find("\n{\n").expect("the summary") + 1;
    let end = start + readme[start..].find("\n}\n").expect("its end") + 3;
    assert_eq!(summary, serde_json::from_str::<Value>(&readme[start..end]).expect("JSON"));
}

#[test]
fn the_story_verifies() {
    let folder = bin::root().join("policies/bfsi");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let server = DemoServer::with(&["--catalog", &path("catalog.json"), "--answers", &path("answers.json")]);
    let gateway = Gateway::start(&setup(&server.url()));
    file("story.jsonl").lines().for_each(|line| drop(gateway.post("/mcp", line.as_bytes())));
    for session in [SESSION, "desk-7", "desk-8"] {
        books(&gateway, session);
        let save = |name: &str, path: &str| {
            let file = gateway.folder().join(name);
            std::fs::write(&file, gateway.get(path).body).expect("a file");
            file.to_string_lossy().into_owned()
        };
        let claim = save("claim.json", &format!("/session/{session}/claim"));
        let bundle = save("bundle.json", &format!("/audit/export?session_id={session}"));
        let output = cmcp_verify(&[&claim, "--audit-bundle", &bundle, "--json"]);
        let verdict: Value = serde_json::from_slice(&output.stdout).expect("a verdict");
        assert_eq!(verdict["status"], "partially_verified", "{verdict}");
        assert!(verdict["failure_reason"].is_null(), "{verdict}");
    }
}
