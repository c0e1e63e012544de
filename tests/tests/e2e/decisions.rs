//! What a forbid says beyond no, from the bundle to the claim.

use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup, rpc};
use tests::store::cmcp_verify;
use tests::upstream::Upstream;

use crate::call_entries;

const SESSION: &str = "approvals";

const POLICIES: &str = r#"
permit (principal, action, resource);
@decision("step_up") @approver("dpo@example.com")
forbid (principal, action == cMCP::Action::"call_tool", resource == cMCP::Resource::"salesforce.contacts")
when { context.session_max_sensitivity == "pii" };
@decision("defer")
forbid (principal, action == cMCP::Action::"call_tool", resource == cMCP::Resource::"later");
"#;

fn verdict(gateway: &Gateway) -> Value {
    let save = |name: &str, path: &str| {
        let file = gateway.folder().join(name);
        std::fs::write(&file, gateway.get(path).body).expect("a file");
        file.to_string_lossy().into_owned()
    };
    let claim = save("claim.json", &format!("/session/{SESSION}/claim"));
    let bundle = save("bundle.json", &format!("/audit/export?session_id={SESSION}"));
    let output = cmcp_verify(&[&claim, "--audit-bundle", &bundle, "--json"]);
    serde_json::from_slice(&output.stdout).expect("a verdict")
}

#[test]
fn a_call_that_needs_approval_is_recorded_as_one() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url())
        .mode("enforcing")
        .with("/claim/entries", json!(true))
        .tool("later", &tool.url(), "internal", "public")
        .policy("demo.cedar", POLICIES);
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.call(SESSION, CONTACTS).status(), 200);
    for (tool_name, decision) in [(CONTACTS, "step_up"), ("later", "defer")] {
        let denied = gateway.call(SESSION, tool_name);
        let error = &denied.json()["error"];
        assert_eq!((denied.status(), denied.error_code().as_str()), (403, "POLICY_DENY"));
        assert_eq!(error["data"]["decision"], decision, "{error}");
        if decision == "step_up" {
            assert_eq!(error["data"]["advice"], json!({"approver": "dpo@example.com"}));
        }
    }
    assert_eq!(gateway.call(SESSION, "unknown").json()["error"]["data"]["decision"], Value::Null);
    assert_eq!(tool.calls().len(), 1, "only the allowed call reached the tool");

    let entries = call_entries(&gateway.entries(SESSION));
    let decisions: Vec<_> = entries.iter().map(|entry| entry["policy_decision"].clone()).collect();
    assert_eq!(decisions, ["allow", "step_up", "defer", "deny"]);
    let claim = gateway.claim(SESSION);
    let summary = &claim["gateway"]["call_summary"];
    assert_eq!((&summary["tool_calls_total"], &summary["tool_calls_denied"]), (&json!(4), &json!(1)));
    let listed: Vec<_> = claim["trace"]["tool_transcript"]["entries"].as_array().expect("a list").iter().collect();
    assert_eq!(listed.iter().map(|entry| entry["decision"].clone()).collect::<Vec<_>>(), ["allow", "deny", "deny"]);
    let verdict = verdict(&gateway);
    assert_eq!(verdict["status"], "partially_verified", "{verdict}");
    assert!(verdict["verified_fields"].as_array().expect("fields").contains(&json!("audit_chain")), "{verdict}");
}

const TYPED: &str = r#"
namespace cMCP {
  entity Principal;
  entity Resource;
  action "salesforce.contacts" appliesTo {
    principal: Principal, resource: Resource, context: { input: { query: String, max_records?: Long } },
  };
}
"#;

#[test]
fn arguments_are_judged_by_their_values() {
    let tool = Upstream::plain();
    let rules = r"
        permit (principal, action, resource);
        forbid (principal, action, resource) when { context.input has max_records && context.input.max_records > 50 };
    ";
    let setup = Setup::quickstart(&tool.url()).policy("schema.cedarschema", TYPED).policy("demo.cedar", rules);
    for (mode, status) in [("enforcing", 403), ("advisory", 200)] {
        let gateway = Gateway::start(&setup.clone().mode(mode));
        for (arguments, expected, reason) in [
            (json!({"query": "Acme", "max_records": 50}), 200, Value::Null),
            (json!({"query": "Acme", "max_records": 51}), status, Value::Null),
            (
                json!({"query": "Acme", "max_records": "all"}),
                status,
                json!("input.max_records: expected Long, found text"),
            ),
        ] {
            let params = json!({"name": CONTACTS, "arguments": arguments, "_cmcp": {"session_id": SESSION}});
            let answer = gateway.post("/mcp", &rpc(1, "tools/call", &params));
            assert_eq!(answer.status(), expected, "{mode} {arguments}: {}", answer.text());
            let last = call_entries(&gateway.entries(SESSION)).pop().expect("an entry");
            assert_eq!(last["detail"]["reason"], reason, "{last}");
        }
    }
}
