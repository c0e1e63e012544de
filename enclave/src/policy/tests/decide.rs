use super::{CATALOG, DEMO, SCHEMA, SCHEMA_FULL, SCHEMA_TEXT, allows, bundle, catalog, load, question};
use crate::catalog::Catalog;
use crate::labels::{Domain, Domains, Label, Labels};
use crate::policy::{Policy, Question};

fn with_labels<'a>(question: Question<'a>, labels: &[Label]) -> Question<'a> {
    Question { labels: labels.iter().copied().collect(), ..question }
}

#[test]
fn the_three_rules_of_the_quickstart() {
    for schema in [SCHEMA, SCHEMA_TEXT] {
        let catalog = catalog();
        let policy = Policy::load(&bundle(DEMO, schema), &catalog).unwrap();
        let contacts = question(catalog.tool("salesforce.contacts").unwrap());
        let echo = question(catalog.tool("echo").unwrap());

        let first = policy.decide(&contacts);
        assert!(first.allowed() && !first.failed);
        assert_eq!(
            first.determining.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            ["demo.cedar:1", "demo.cedar:3"]
        );

        let second = policy.decide(&with_labels(contacts, &[Label::Pii]));
        assert!(!second.allowed() && !second.failed);
        assert_eq!(second.determining.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["demo.cedar:2"]);

        assert!(policy.decide(&with_labels(echo, &[Label::Pii])).allowed());
        assert_eq!(policy.policies(), 3);
        assert_eq!(policy.version(), "0.1.0");
    }
}

#[test]
fn nothing_permitted_is_denied() {
    let forbid = "forbid (principal, action, resource) when { context.workflow_id == \"other\" };";
    let catalog = catalog();
    let policy = load(forbid, SCHEMA).unwrap();
    let verdict = policy.decide(&question(catalog.tool("echo").unwrap()));
    assert!(!verdict.allowed() && !verdict.failed && verdict.determining.is_empty());
    assert_eq!(verdict.asked, 1);
}

#[test]
fn every_word_of_the_vocabulary_arrives() {
    let groups = ["auditors".to_owned(), "traders".to_owned()];
    let catalog = catalog();
    let question = Question {
        subject: Some("alice"),
        issuer: Some("https://issuer.example"),
        groups: &groups,
        labels: Labels::of(Label::Pii),
        call_count: 7,
        domains_touched: Domains::NONE.with(Domain::Pii).with(Domain::External),
        now: 1_780_000_001,
        ..question(catalog.tool("echo").unwrap())
    };
    let decide = |rules: &str| Policy::load(&bundle(rules, SCHEMA_FULL), &catalog).unwrap().decide(&question).allowed();
    for condition in [
        r#"principal == Agent::"alice""#,
        r#"principal.session_id == "s-1""#,
        r#"principal.workflow_id == "demo-agent""#,
        r#"principal.subject == "alice""#,
        r#"principal.issuer == "https://issuer.example""#,
        r#"principal has groups && principal.groups == ["traders", "auditors"]"#,
        r#"resource == Tool::"echo""#,
        r#"resource.tool_name == "echo""#,
        r#"resource.server == "Salesforce Contacts MCP Server (mock)""#,
        r#"resource.compliance_domain == "internal""#,
        r#"resource.sensitivity_level == "public""#,
        r#"resource.transport == "http-sse""#,
        r#"resource.evidence_class == "hash-only""#,
        r#"resource.kind == "tool" && resource.name == "echo""#,
        r#"action in Action::"calls""#,
        r#"context.session_max_sensitivity == "pii""#,
        r#"context.session_labels == ["public", "pii"]"#,
        r#"context.session_labels.contains("pii")"#,
        r"context.sensitivity_level_int == 1",
        r#"context.workflow_id == "demo-agent""#,
        r"context.call_count == 7",
        r#"context.domains_touched == ["pii", "external"]"#,
        r"!context.egress",
        r#"context.attestation_platform == "software-only""#,
        r"context.time == 1780000001",
    ] {
        let permit = format!("permit (principal, action, resource) when {{ {condition} }};");
        let forbid = format!(
            "permit (principal, action, resource);\nforbid (principal, action, resource) when {{ {condition} }};"
        );
        assert!(decide(&permit), "{condition}");
        assert!(!decide(&forbid), "{condition}");
    }
}

#[test]
fn without_a_value_there_is_the_empty_one() {
    for condition in [
        r#"principal == Agent::"anonymous""#,
        r#"principal.subject == """#,
        r#"principal.issuer == """#,
        r"principal has groups && principal.groups.isEmpty()",
        r#"principal.workflow_id == "" && context.workflow_id == """#,
        r#"context.session_labels == ["public"] && context.session_max_sensitivity == "public""#,
        r"context.domains_touched.isEmpty()",
    ] {
        let permit = format!("permit (principal, action, resource) when {{ {condition} }};");
        assert!(allows(&permit, SCHEMA_FULL, |question| question.workflow_id = ""), "{condition}");
    }
}

#[test]
fn any_deny_among_tied_labels_wins() {
    let tied = |question: &mut Question<'_>| {
        question.labels = [Label::Mnpi, Label::HipaaPhi, Label::Pii].into_iter().collect();
    };
    for label in ["hipaa_phi", "mnpi"] {
        let rules = format!(
            "permit (principal, action, resource);
             forbid (principal, action, resource) when {{ context.session_max_sensitivity == \"{label}\" }};"
        );
        assert!(!allows(&rules, SCHEMA, tied), "{label}");
        let permit =
            format!("permit (principal, action, resource) when {{ context.session_max_sensitivity == \"{label}\" }};");
        assert!(!allows(&permit, SCHEMA, tied), "a permit for one of two equals is not enough: {label}");
    }
    for label in ["trade_secret", "pii", "public"] {
        let rules = format!(
            "permit (principal, action, resource);
             forbid (principal, action, resource) when {{ context.session_max_sensitivity == \"{label}\" }};"
        );
        assert!(allows(&rules, SCHEMA, tied), "{label}");
    }
}

#[test]
fn tied_labels_are_asked_only_if_the_schema_has_them() {
    let catalog = catalog();
    let tied = [Label::Mnpi, Label::HipaaPhi, Label::TradeSecret];
    let permit = "permit (principal, action, resource);";
    let plain = "entity P; entity R; action call_tool appliesTo { principal: P, resource: R, context: {} };";
    for (schema, asked) in [(SCHEMA, 3), (plain, 1)] {
        let policy = load(permit, schema).unwrap();
        let verdict = policy.decide(&with_labels(question(catalog.tool("echo").unwrap()), &tied));
        assert!(verdict.allowed());
        assert_eq!(verdict.asked, asked);
    }
}

#[test]
fn a_failed_policy_denies() {
    let overflow = "9223372036854775807 + context.call_count > 0";
    for rules in [
        format!("permit (principal, action, resource); permit (principal, action, resource) when {{ {overflow} }};"),
        format!("permit (principal, action, resource); forbid (principal, action, resource) when {{ {overflow} }};"),
    ] {
        let catalog = catalog();
        let policy = load(&rules, SCHEMA_FULL).unwrap();
        let question = question(catalog.tool("echo").unwrap());
        let verdict = policy.decide(&Question { call_count: 1, ..question });
        assert!(!verdict.allowed() && verdict.failed);
        assert_eq!(verdict.determining.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["demo.cedar:2"]);
        assert!(!policy.decide(&question).failed);
    }
}

#[test]
fn a_tool_of_another_catalog_is_denied() {
    let policy = load("permit (principal, action, resource);", SCHEMA).unwrap();
    let other = Catalog::parse(CATALOG.as_bytes()).unwrap();
    let verdict = policy.decide(&question(&other.tools()[0]));
    assert!(!verdict.allowed() && verdict.failed);
    assert_eq!(verdict.asked, 0);
    assert!(!policy.may_allow(&other.tools()[0]));
}

#[test]
fn annotations_of_the_deciding_policies_are_the_advice() {
    let rules = r#"
        @id("default") @note("x")
        permit (principal, action, resource);
        @id("no-contacts") @reason("personal data is in this session") @contact("dpo@example.com")
        forbid (principal, action, resource == cMCP::Resource::"salesforce.contacts")
        when { context.session_max_sensitivity == "pii" };
    "#;
    let catalog = catalog();
    let policy = load(rules, SCHEMA).unwrap();
    let contacts = question(catalog.tool("salesforce.contacts").unwrap());
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let denied = policy.decide(&with_labels(contacts, &[Label::Pii]));
    assert_eq!(denied.determining.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["no-contacts"]);
    assert_eq!(denied.advice, pairs(&[("contact", "dpo@example.com"), ("reason", "personal data is in this session")]));
    let allowed = policy.decide(&contacts);
    assert_eq!(allowed.advice, pairs(&[("note", "x")]));
}

#[test]
fn tools_that_no_policy_permits_are_known() {
    let catalog = catalog();
    let [contacts, echo] = ["salesforce.contacts", "echo"].map(|name| catalog.tool(name).unwrap());
    let resource = r#"resource == cMCP::Resource::"echo""#;
    for (rules, expected) in [
        ("permit (principal, action, resource);".to_owned(), (true, true)),
        (format!("permit (principal, action, {resource});"), (false, true)),
        (format!("permit (principal, action, resource); forbid (principal, action, {resource});"), (true, false)),
        (
            format!(
                "permit (principal, action, resource); forbid (principal, action, {resource}) when {{ context.workflow_id == \"x\" }};"
            ),
            (true, true),
        ),
        (
            format!(
                "permit (principal, action, resource); forbid (principal == cMCP::Principal::\"eve\", action, {resource});"
            ),
            (true, true),
        ),
    ] {
        let policy = load(&rules, SCHEMA).unwrap();
        assert_eq!((policy.may_allow(contacts), policy.may_allow(echo)), expected, "{rules}");
    }
}
