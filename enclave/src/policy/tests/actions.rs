//! Actions other than tool calls, and what forbids say.

use super::{SCHEMA, SCHEMA_ALL, bundle, catalog, load, question};
use crate::catalog::{Catalog, Server};
use crate::policy::{Action, Decision, Object, Policy, Question, Verdict};

const PERMIT: &str = "permit (principal, action, resource);";

fn server(catalog: &Catalog) -> &Server {
    &catalog.tools()[0].server
}

fn decide(cedar: &str, schema: &str, object: impl for<'a> FnOnce(&'a Server) -> Object<'a>) -> Verdict {
    let catalog = catalog();
    let policy = Policy::load(&bundle(cedar, schema), &catalog).unwrap_or_else(|refused| panic!("{refused:?}"));
    policy.decide(&Question { object: object(server(&catalog)), ..question(&catalog.tools()[0]) })
}

#[test]
fn names_are_the_documented_ones() {
    let names = Action::ALL.map(Action::as_str);
    let readme = include_str!("../../../../policies/README.md");
    assert!(names.iter().all(|name| readme.contains(&format!("| `{name}` |"))), "{names:?}");
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), Action::ALL.len());
}

#[test]
fn an_action_that_the_schema_does_not_declare_is_denied() {
    for action in Action::ALL {
        let verdict = decide(PERMIT, SCHEMA, |server| Object::server(action, server));
        assert!(!verdict.allowed() && verdict.determining.is_empty() && verdict.asked == 0, "{action}");
        let declared = decide(PERMIT, SCHEMA_ALL, |server| Object::server(action, server));
        assert_eq!(declared.allowed(), action != Action::CallTool, "{action}");
    }
    let policy = load(PERMIT, SCHEMA).unwrap();
    let may: Vec<_> = Action::ALL.into_iter().filter(|action| policy.may_allow_action(*action)).collect();
    assert_eq!(may, [Action::CallTool]);
    assert!(policy.declares(Action::CallTool) && !policy.declares(Action::Sample));
}

#[test]
fn a_server_that_the_catalog_does_not_have_is_denied() {
    let catalog = catalog();
    let policy = load(PERMIT, SCHEMA_ALL).unwrap();
    let stranger = Server { identity: "http://localhost:9/other".to_owned(), ..server(&catalog).clone() };
    for action in Action::ALL.into_iter().filter(|action| *action != Action::CallTool) {
        let object = Object::server(action, &stranger);
        let verdict = policy.decide(&Question { object, ..question(&catalog.tools()[0]) });
        assert!(!verdict.allowed() && verdict.failed, "{action}");
    }
}

#[test]
fn what_policies_know_of_a_resource_a_prompt_and_a_server() {
    for condition in [
        r#"resource.kind == "resource" && resource.name == "file:///etc/hosts""#,
        r#"resource.tool_name == "" && resource.server like "Salesforce*""#,
        r#"resource.sensitivity_level == "pii" && resource.compliance_domain == """#,
        r#"resource == Doc::"file:///etc/hosts" && action == Action::"read_resource""#,
        r#"action in Action::"reads" && principal == Agent::"anonymous""#,
    ] {
        let cedar =
            format!("permit (principal, action == Action::\"read_resource\", resource) when {{ {condition} }};");
        let verdict =
            decide(&cedar, SCHEMA_ALL, |server| Object::resource(Action::ReadResource, server, "file:///etc/hosts"));
        assert!(verdict.allowed(), "{condition}");
    }
    let prompt = r#"permit (principal, action, resource == Tool::"review") when { resource.kind == "prompt" };"#;
    assert!(decide(prompt, SCHEMA_ALL, |server| Object::prompt(Action::GetPrompt, server, "review")).allowed());
    assert!(!decide(prompt, SCHEMA_ALL, |server| Object::prompt(Action::GetPrompt, server, "Review")).allowed());
    let lists = r#"permit (principal, action, resource == Server::"Salesforce Contacts MCP Server (mock)")
                   when { resource.kind == "server" && resource.name == resource.server };"#;
    assert!(decide(lists, SCHEMA_ALL, |server| Object::server(Action::ListPrompts, server)).allowed());
}

#[test]
fn ids_are_compared_and_never_parsed() {
    let catalog = catalog();
    let read = |cedar: &str, id: &str| {
        let object = Object::resource(Action::ReadResource, server(&catalog), id);
        load(cedar, SCHEMA_ALL).unwrap().decide(&Question { object, ..question(&catalog.tools()[0]) })
    };
    let long = "x".repeat(1 << 20);
    for id in ["\"::\"", "Doc::\"x\"", "a\0b\u{202e}\n", "", "*", "??", long.as_str()] {
        let permitted = read(PERMIT, id);
        assert!(permitted.allowed() && !permitted.failed, "{id:.20}");
        assert!(!read(r#"permit (principal, action, resource == Doc::"x");"#, id).allowed());
    }
    let odd = r#"permit (principal, action, resource == Doc::"\"::\"\u{202e}");"#;
    assert!(read(odd, "\"::\"\u{202e}").allowed());
}

#[test]
fn actions_that_no_policy_permits_are_known() {
    for (cedar, expected) in [
        (PERMIT.to_owned(), true),
        (r#"permit (principal, action == Action::"call_tool", resource);"#.to_owned(), false),
        (r#"permit (principal, action, resource == Doc::"a");"#.to_owned(), true),
        ("permit (principal, action, resource is Server);".to_owned(), false),
        (format!("{PERMIT} forbid (principal, action in Action::\"reads\", resource);"), false),
        (format!("{PERMIT} forbid (principal, action, resource == Doc::\"a\");"), true),
        (format!("{PERMIT} forbid (principal == Agent::\"eve\", action, resource);"), true),
        (format!("{PERMIT} forbid (principal, action, resource is Doc) when {{ context.call_count > 3 }};"), true),
    ] {
        let policy = load(&cedar, SCHEMA_ALL).unwrap();
        assert_eq!(policy.may_allow_action(Action::ReadResource), expected, "{cedar}");
    }
}

#[test]
fn a_forbid_says_what_it_means() {
    let call = |cedar: &str| {
        let catalog = catalog();
        load(cedar, SCHEMA).unwrap().decide(&question(catalog.tool("echo").unwrap()))
    };
    let forbid = |decision: &str| format!("@decision(\"{decision}\") forbid (principal, action, resource);");
    let plain = "forbid (principal, action, resource);";
    let (deny, step_up, defer) = (forbid("deny"), forbid("step_up"), forbid("defer"));
    for (cedar, expected) in [
        (format!("{PERMIT} {plain}"), Decision::Deny),
        (format!("{PERMIT} {deny}"), Decision::Deny),
        (format!("{PERMIT} {step_up}"), Decision::StepUp),
        (format!("{PERMIT} {defer}"), Decision::Defer),
        (format!("{PERMIT} {defer} {step_up}"), Decision::StepUp),
        (format!("{PERMIT} {defer} {step_up} {plain}"), Decision::Deny),
        (format!("{PERMIT} {step_up} forbid (principal, action, resource) when {{ false }};"), Decision::StepUp),
        // No approval would make this allowed.
        (step_up.clone(), Decision::Deny),
        (format!("{PERMIT} forbid (principal, action, resource) when {{ false }};"), Decision::Allow),
    ] {
        let verdict = call(&cedar);
        assert_eq!(verdict.decision, expected, "{cedar}");
        assert!(verdict.advice.is_empty(), "{:?}", verdict.advice);
    }
}
