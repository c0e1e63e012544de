//! The compiled rules against Cedar's own authorizer over the whole policy set, on requests that Cedar validates.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cedar_policy::{Authorizer, Decision, Entities, PolicySet, Request, Schema, ValidationMode, Validator};
use cedar_policy_core::ast::RequestSchema;
use cedar_policy_core::entities::{self, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::{CoreSchema, ValidatorSchema};
use claim::json::Json;
use proptest::prelude::*;

use super::{SCHEMA_ALL, bundle, catalog, question};
use crate::catalog::{Catalog, Tool};
use crate::labels::{Domain, Domains, Label, Labels};
use crate::policy::bundle::Bundle;
use crate::policy::{Action, Object, Policy, Question, policies};

const PRINCIPALS: [&str; 6] = [
    "principal",
    r#"principal == Agent::"alice""#,
    "principal is Agent",
    "principal is Robot",
    r#"principal in Agent::"alice""#,
    r#"principal is Robot in Robot::"bob""#,
];

const ACTIONS: [&str; 10] = [
    "action",
    r#"action == Action::"call_tool""#,
    r#"action in Action::"calls""#,
    r#"action in [Action::"call_tool"]"#,
    r#"action == Action::"read_resource""#,
    r#"action == Action::"echo""#,
    r#"action in [Action::"echo", Action::"reads"]"#,
    r#"action in Action::"reads""#,
    r#"action in [Action::"calls", Action::"reads", Action::"list_roots"]"#,
    r#"action in [Action::"get_prompt", Action::"list_roots", Action::"sample"]"#,
];

const RESOURCES: [&str; 9] = [
    "resource",
    r#"resource == Tool::"echo""#,
    r#"resource == Tool::"salesforce.contacts""#,
    r#"resource in Tool::"echo""#,
    r#"resource is Tool in Tool::"salesforce.contacts""#,
    r#"resource == Doc::"file:///a b?\"\u{1F600}""#,
    "resource is Doc",
    r#"resource in Doc::"file:///a""#,
    "resource is Server",
];

const CONDITIONS: [&str; 15] = [
    "",
    r#"when { context.session_max_sensitivity == "mnpi" }"#,
    r#"unless { context.session_labels.contains("pii") }"#,
    "when { principal.workflow_id == context.workflow_id }",
    r#"when { principal.subject == "alice" && context.call_count < 3 }"#,
    r#"when { resource.sensitivity_level == "pii" || context.egress }"#,
    "when { context.call_count + 9223372036854775805 > 0 }",
    r#"when { context.domains_touched.containsAny(["mnpi", "pii"]) }"#,
    r#"unless { principal has groups && principal.groups.contains("traders") }"#,
    r#"when { Agent::"alice".workflow_id == "demo-agent" }"#,
    r#"when { [principal, Agent::"bob"].contains(Agent::"alice") }"#,
    r#"when { resource.kind == "tool" || resource.name like "file:*" }"#,
    r#"unless { resource.tool_name == "" && resource.compliance_domain == "" }"#,
    r#"when { context.input.query like "a*" || (context.input has max_records && context.input.max_records > 3) }"#,
    "when { context.sensitivity_level_int < 2 && context.time > 0 }",
];

fn any_policy() -> impl Strategy<Value = String> {
    let pick = |list: &'static [&'static str]| proptest::sample::select(list);
    (any::<bool>(), pick(&PRINCIPALS), pick(&ACTIONS), pick(&RESOURCES), pick(&CONDITIONS)).prop_map(
        |(permit, principal, action, resource, condition)| {
            let effect = if permit { "permit" } else { "forbid" };
            format!("{effect} ({principal}, {action}, {resource}) {condition};")
        },
    )
}

#[derive(Clone, Debug)]
struct Call {
    action: Action,
    tool: usize,
    arguments: Json,
    id: &'static str,
    subject: Option<&'static str>,
    groups: Vec<String>,
    labels: Vec<Label>,
    calls: u64,
    domains: Vec<Domain>,
    egress: bool,
}

prop_compose! {
    fn any_call()(
        action in proptest::sample::select(&Action::ALL[..]),
        tool in 0..2_usize,
        arguments in proptest::sample::select(&[
            r#"{"query": "abc"}"#, r#"{"query": "x", "max_records": 9}"#, r#"{"query": 1}"#, "{}",
        ][..]),
        id in proptest::sample::select(&["file:///a", "file:///a b?\"\u{1F600}", "echo", ""][..]),
        subject in proptest::sample::select(&[None, Some("alice"), Some("bob")][..]),
        groups in proptest::sample::subsequence(vec!["traders".to_owned(), "auditors".to_owned()], 0..=2),
        labels in proptest::sample::subsequence(Label::ALL.to_vec(), 0..=6),
        calls in 0..5_u64,
        domains in proptest::sample::subsequence(Domain::ALL.to_vec(), 0..=7),
        egress in any::<bool>(),
    ) -> Call {
        let arguments = claim::json::parse(arguments.as_bytes()).unwrap();
        Call { action, tool, arguments, id, subject, groups, labels, calls, domains, egress }
    }
}

impl Call {
    fn question<'a>(&'a self, catalog: &'a Catalog) -> Question<'a> {
        let tool = &catalog.tools()[self.tool];
        Question {
            object: self.object(tool),
            arguments: Some(&self.arguments),
            subject: self.subject,
            groups: &self.groups,
            labels: self.labels.iter().copied().collect::<Labels>(),
            call_count: self.calls,
            domains_touched: self.domains.iter().fold(Domains::NONE, |set, domain| set.with(*domain)),
            egress: self.egress,
            ..question(tool)
        }
    }

    fn object<'a>(&'a self, tool: &'a Tool) -> Object<'a> {
        match self.action {
            Action::CallTool => Object::Tool(tool),
            Action::ReadResource | Action::SubscribeResource | Action::Complete => {
                Object::resource(self.action, &tool.server, self.id)
            }
            Action::GetPrompt => Object::prompt(self.action, &tool.server, self.id),
            _ => Object::server(self.action, &tool.server),
        }
    }
}

fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| SCHEMA_ALL.parse().unwrap());
    &SCHEMA
}

/// Some scopes name an action and a type that it does not have.
fn is_valid(cedar: &str, schema: &Schema) -> bool {
    let policies = cedar.parse().unwrap();
    Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict).validation_passed()
}

/// What Cedar says for one top label: nothing if a policy failed, else the decision and its reasons.
fn cedar(set: &PolicySet, request: &Request, entities: &Entities) -> Option<(bool, BTreeSet<String>)> {
    let response = Authorizer::new().is_authorized(request, set, entities);
    let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
    let failed = response.diagnostics().errors().next().is_some();
    (!failed).then_some((response.decision() == Decision::Allow, reasons))
}

/// The entities with every action of the schema, as Cedar would have them; refused if they do not fit it.
fn validated(found: &entities::Entities, schema: &Schema) -> Entities {
    let core: &ValidatorSchema = schema.as_ref();
    let entities = found.iter().filter(|entity| !entity.uid().is_action()).cloned();
    let checked = CoreSchema::new(core);
    let all = Extensions::all_available();
    entities::Entities::from_entities(entities, Some(&checked), TCComputation::ComputeNow, all).unwrap().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn rules_decide_as_cedar_does(cedars in proptest::collection::vec(any_policy(), 1..12), call in any_call()) {
        let catalog = catalog();
        let schema = schema();
        let cedars: Vec<_> = cedars.into_iter().filter(|cedar| is_valid(cedar, schema)).collect();
        let files = bundle(&cedars.join("\n"), SCHEMA_ALL);
        let policy = Policy::load(&files, &catalog).unwrap();
        let bundle = Bundle::read(&files).unwrap();
        let set = policies::parse(&bundle).unwrap();
        let core: &ValidatorSchema = schema.as_ref();

        let question = call.question(&catalog);
        let entities = validated(&policy.requests.entities(&question, true).unwrap(), schema);
        let Ok(input) = policy.requests.input(&question) else {
            let verdict = policy.decide(&question);
            prop_assert!(!verdict.allowed() && verdict.misfit.is_some());
            return Ok(());
        };
        let answers: Vec<_> = policy.requests.tops(&question).map(|top| {
            let request = policy.requests.request(&question, top, input.as_ref()).unwrap();
            core.validate_request(&request, Extensions::all_available()).unwrap();
            cedar(set.set(), &request.into(), &entities)
        }).collect();

        let verdict = policy.decide(&question);
        prop_assert_eq!(verdict.asked, answers.len());
        prop_assert_eq!(verdict.failed, answers.iter().any(Option::is_none));
        prop_assert_eq!(verdict.allowed(), answers.iter().all(|answer| matches!(answer, Some((true, _)))));
        if let [Some((_, reasons))] = answers.as_slice() {
            let determining: BTreeSet<_> = verdict.determining.iter().map(ToString::to_string).collect();
            prop_assert_eq!(&determining, reasons);
        }
        if verdict.allowed() {
            prop_assert!(policy.may_allow_action(call.action));
            if let Object::Tool(tool) = question.object {
                prop_assert!(policy.may_allow(tool));
            }
        }
    }
}
