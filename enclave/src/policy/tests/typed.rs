//! Arguments as Cedar sees them.

use std::collections::BTreeMap;

use cedar_policy::Schema;
use cedar_policy_core::ast::RequestSchema;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::ValidatorSchema;
use claim::json::Json;
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::RefusalCode;

use super::{bundle, catalog, question};
use crate::catalog::Catalog;
use crate::policy::{Policy, Question, Verdict, schema_of};

const PERMIT: &str = "permit (principal, action, resource);";

/// A catalog of these tools with these `input_schema`s.
fn tools(schemas: &[(&str, Value)]) -> Catalog {
    let mut entry: Value = serde_json::from_str::<Value>(super::CATALOG).unwrap()[0].clone();
    let entries = schemas.iter().map(|(name, schema)| {
        entry["tool_name"] = json!(name);
        entry["approved_definition"]["input_schema"] = schema.clone();
        let definition = claim::json::parse(entry["approved_definition"].to_string().as_bytes()).unwrap();
        entry["definition_hash"] = json!(claim::hashes::definition_hash(&definition).prefixed());
        entry.clone()
    });
    Catalog::parse(entries.collect::<Value>().to_string().as_bytes()).unwrap()
}

fn transfer() -> Value {
    json!({
        "type": "object",
        "required": ["amount", "to", "items"],
        "properties": {
            "amount": {"type": "integer"},
            "to": {"$ref": "#/$defs/account"},
            "note": {"type": "string"},
            "rush": {"type": "boolean"},
            "rate": {"type": "number"},
            "when": {"type": ["string", "null"]},
            "items": {"type": "array", "items": {"enum": ["book", "pen"]}},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
        },
        "$defs": {"account": {
            "type": "object",
            "required": ["iban"],
            "properties": {"iban": {"type": "string"}, "bic": {"type": "string"}, "meta": {"type": "object"}},
        }},
    })
}

/// A schema with `input` for `transfer`.
fn schema(input: &str) -> String {
    format!(
        "entity P; entity R; action call_tool appliesTo {{ principal: P, resource: R, context: {{}} }};
         action transfer in [call_tool] appliesTo {{ principal: P, resource: R, context: {{ time: Long, input: {input} }} }};"
    )
}

fn decide(cedar: &str, schema: &str, arguments: &Value) -> Verdict {
    let catalog = tools(&[("transfer", transfer())]);
    let policy = Policy::load(&bundle(cedar, schema), &catalog).unwrap_or_else(|refused| panic!("{refused:?}"));
    let arguments = claim::json::parse(arguments.to_string().as_bytes()).unwrap();
    policy.decide(&Question { arguments: Some(&arguments), ..question(&catalog.tools()[0]) })
}

#[test]
fn arguments_are_what_the_agent_sent() {
    let generated = schema_of(&tools(&[("transfer", transfer())]));
    let arguments = json!({
        "amount": 1500.0, "to": {"iban": "DE02", "meta": {"any": [1]}}, "items": ["pen", "book", "pen"], "rush": true,
        "rate": 1.25, "when": null, "pair": ["a", 1],
    });
    for condition in [
        "context.input.amount > 1000 && context.input.amount == 1500",
        r#"context.input.to.iban == "DE02" && !(context.input.to has bic)"#,
        r#"context.input.items == ["book", "pen"] && context.input.items.contains("pen")"#,
        "context.input has rush && context.input.rush",
        "!(context.input has note)",
        r#"resource == cMCP::Resource::"transfer" && action in cMCP::Action::"call_tool""#,
    ] {
        let permit =
            format!("permit (principal, action == cMCP::Action::\"transfer\", resource) when {{ {condition} }};");
        let verdict = decide(&permit, &generated, &arguments);
        assert!(verdict.allowed(), "{condition}: {verdict:?}\n{generated}");
        let forbid = format!(
            "{PERMIT} forbid (principal, action in cMCP::Action::\"call_tool\", resource) when {{ {condition} }};"
        );
        assert!(!decide(&forbid, &generated, &arguments).allowed(), "{condition}");
    }
}

#[test]
fn what_does_not_fit_is_denied_by_name() {
    let generated = schema_of(&tools(&[("transfer", transfer())]));
    let good = json!({"amount": 1, "to": {"iban": "x"}, "items": []});
    assert!(decide(PERMIT, &generated, &good).allowed());
    for (pointer, value, misfit) in [
        ("/amount", json!("1"), "input.amount: expected Long, found text"),
        ("/amount", json!(1.5), "input.amount: expected Long, found a number that is not whole"),
        ("/amount", json!(1e300), "input.amount: expected Long, found a number that is not whole"),
        ("/amount", json!(u64::MAX), "input.amount: expected Long, found a number beyond 64 bits"),
        ("/amount", Value::Null, "input.amount: expected Long, found null"),
        ("/to", json!([]), "input.to: expected a record, found an array"),
        ("/to", json!({}), "input.to.iban: expected String, found nothing"),
        (
            "/to",
            json!({"iban": "x", "secret": 1}),
            "input.to: expected the members of the tool's input_schema, found another one",
        ),
        ("/to", json!({"iban": "x", "bic": 1}), "input.to.bic: expected String, found a whole number"),
        ("/items", json!(["a", 1]), "input.items[]: expected String, found a whole number"),
        ("/items", json!({"a": 1}), "input.items: expected Set, found an object"),
    ] {
        let mut arguments = good.clone();
        *arguments.pointer_mut(pointer).unwrap() = value;
        let verdict = decide(PERMIT, &generated, &arguments);
        assert!(!verdict.allowed() && verdict.failed && verdict.determining.is_empty(), "{arguments}");
        assert_eq!(verdict.misfit.unwrap().to_string(), misfit);
    }
    for (arguments, misfit) in [
        (json!({"amount": 1, "to": {"iban": "x"}}), "input.items: expected Set, found nothing"),
        (
            json!({"amount": 1, "to": {"iban": "x"}, "items": [], "x": 1}),
            "input: expected the members of the tool's input_schema, found another one",
        ),
    ] {
        assert_eq!(decide(PERMIT, &generated, &arguments).misfit.unwrap().to_string(), misfit);
    }
    let catalog = tools(&[("transfer", transfer())]);
    let policy = Policy::load(&bundle(PERMIT, &generated), &catalog).unwrap();
    assert!(policy.decide(&question(&catalog.tools()[0])).misfit.is_some(), "no arguments are no excuse");
}

#[test]
fn types_are_held_against_the_input_schema() {
    let load = |input: &str| Policy::load(&bundle(PERMIT, &schema(input)), &tools(&[("transfer", transfer())]));
    for (input, field, found, expected) in [
        (
            "{ note: String }",
            "input.note",
            "note",
            "note?: the input_schema of the tool \"transfer\" does not require it",
        ),
        ("{ nota?: String }", "input.nota", "nota?", "of the arguments of the tool \"transfer\": amount, items, note"),
        ("{ amount: String }", "input.amount", "amount: String", "a type for the JSON type integer of the tool"),
        ("{ amount: Set<Long> }", "input.amount", "amount: Set<Long>", "the JSON type integer"),
        ("{ items: Set<Long> }", "input.items[]", "items: Long", "the JSON type string"),
        ("{ to: { bic: String } }", "input.to.bic", "bic", "bic?: the input_schema"),
        ("{ to: { bic?: Long } }", "input.to.bic", "bic: Long", "the JSON type string"),
        ("{ amount: R }", "input.amount", "amount: R", "String, Long, Bool, a Set or a record"),
        ("Long", "input", "input: Long", "the JSON type object"),
        ("Set<String>", "input", "input: Set<String>", "the JSON type object"),
    ] {
        let refused = load(input).unwrap_err();
        assert_eq!(refused.code, RefusalCode::Unsupported, "{refused:?}");
        assert_eq!(refused.field.0, format!("Action::\"transfer\".context.{field}"), "{refused:?}");
        assert_eq!(refused.found.0, found, "{refused:?}");
        assert!(refused.expected.0.contains(expected), "{}", refused.expected.0);
    }
    for input in ["{}", "{ amount?: Long }", "{ rate?: Long }", "{ when?: String }", "{ to: { meta?: { a?: Long } } }"]
    {
        assert!(load(input).is_ok(), "{input}: {:?}", load(input).err());
    }
}

#[test]
fn one_action_for_all_tools_types_what_they_share() {
    let catalog = tools(&[
        (
            "a",
            json!({"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}),
        ),
        ("b", json!({"type": "object", "properties": {"q": {"type": "string"}}})),
    ]);
    let schema = |arguments: &str| {
        format!(
            "entity P; entity R; action call_tool appliesTo {{ principal: P, resource: R, context: {{ arguments: {arguments} }} }};"
        )
    };
    let refused = Policy::load(&bundle(PERMIT, &schema("{ q: String }")), &catalog).unwrap_err();
    assert!(refused.expected.0.starts_with("q?: the input_schema of the tool \"b\""), "{refused:?}");
    let rule =
        r#"permit (principal, action, resource) when { context.arguments has q && context.arguments.q == "x" };"#;
    let policy = Policy::load(&bundle(rule, &schema("{ q?: String, n?: Long }")), &catalog).unwrap();
    for (tool, arguments, allowed, misfit) in [
        ("a", json!({"q": "x", "n": 1}), true, false),
        ("a", json!({"q": "y"}), false, false),
        ("b", json!({}), false, false),
        ("b", json!({"q": "x"}), true, false),
        ("b", json!({"q": "x", "z": 1}), false, true),
        ("a", json!({"q": "x", "n": "1"}), false, true),
    ] {
        let parsed = claim::json::parse(arguments.to_string().as_bytes()).unwrap();
        let verdict = policy.decide(&Question { arguments: Some(&parsed), ..question(catalog.tool(tool).unwrap()) });
        assert_eq!((verdict.allowed(), verdict.misfit.is_some()), (allowed, misfit), "{tool} {arguments}");
    }
}

#[test]
fn an_action_of_its_own_goes_before_call_tool() {
    let catalog = catalog();
    let [contacts, echo] = ["salesforce.contacts", "echo"].map(|name| catalog.tool(name).unwrap());
    let both = "namespace A { entity P; entity R;
                  action call_tool, echo appliesTo { principal: P, resource: R, context: {} }; }
                namespace B { entity P; entity R;
                  action \"salesforce.contacts\" appliesTo { principal: P, resource: R, context: {} }; }";
    let policy = |cedar: &str, schema: &str| Policy::load(&bundle(cedar, schema), &catalog).unwrap();
    let calls = policy(r#"permit (principal, action == A::Action::"call_tool", resource);"#, both);
    assert_eq!((calls.may_allow(contacts), calls.may_allow(echo)), (true, false), "another namespace is not asked");
    let own = policy(r#"permit (principal, action == A::Action::"echo", resource);"#, both);
    assert_eq!((own.may_allow(contacts), own.may_allow(echo)), (false, true));
    assert!(own.decide(&question(echo)).allowed());

    let lost = policy(r#"forbid (principal, action == A::Action::"call_tool", resource == A::R::"echo");"#, both);
    let warning = "demo.cedar:1: never matches: \"echo\" is asked as an action of its own";
    assert!(lost.warnings().iter().any(|text| text.starts_with(warning)), "{:?}", lost.warnings());

    let group = "entity P; entity R; action call_tool;
                 action echo in [call_tool] appliesTo { principal: P, resource: R, context: {} };";
    let grouped = policy(r#"permit (principal, action in Action::"call_tool", resource);"#, group);
    assert!(grouped.decide(&question(echo)).allowed());
    let other = grouped.decide(&question(contacts));
    assert!(!other.allowed() && other.asked == 0, "a tool that the schema does not speak of is denied");
    assert!(!grouped.may_allow(contacts));
}

#[test]
fn a_generated_schema_loads_whatever_the_tools_say() {
    let node = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}});
    let catalog = tools(&[
        ("plain", json!({})),
        ("read_resource", json!({"type": "object", "properties": {"a": {"type": "string"}}})),
        (
            "odd \"name\\",
            json!({"type": "object", "properties": {"ä \"\\\n\u{0}": {"type": "string"}, "": {"type": "integer"}}}),
        ),
        ("loop", json!({"properties": {"a": {"$ref": "#/properties/a"}, "b": {"$ref": "x.json"}}})),
        ("deep", json!({"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})),
        ("transfer", transfer()),
    ]);
    let generated = schema_of(&catalog);
    let policy =
        Policy::load(&bundle(PERMIT, &generated), &catalog).unwrap_or_else(|error| panic!("{error:?}\n{generated}"));
    for tool in catalog.tools() {
        assert_eq!(policy.may_allow(tool), tool.name != "read_resource", "{}", tool.name);
    }
    assert!(generated.contains("\"rate\" is left out: it may be a fraction"), "{generated}");
}

/// An `input_schema` of a few members, each of a few kinds.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = proptest::sample::select(vec![
        json!({"type": "string"}),
        json!({"type": "integer"}),
        json!({"type": "boolean"}),
        json!({"type": "number"}),
        json!({"type": "array", "items": {"type": "integer"}}),
        json!({"enum": ["x", "y"]}),
        json!({}),
    ]);
    leaf.prop_recursive(2, 12, 3, |inner| {
        let members = proptest::collection::btree_map("[abc]", (inner, any::<bool>()), 0..3);
        members.prop_map(|members| {
            let required: Vec<_> =
                members.iter().filter(|(_, (_, needed))| *needed).map(|(name, _)| name.clone()).collect();
            let properties: BTreeMap<_, _> = members.into_iter().map(|(name, (schema, _))| (name, schema)).collect();
            json!({"type": "object", "required": required, "properties": properties})
        })
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        Just(json!(0.5)),
        "[xyz]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Arguments become what Cedar's validator says that they are, or nothing; then no policy can fail on them.
    #[test]
    fn what_cedar_validated_never_fails_on_arguments(input in any_schema(), arguments in any_json()) {
        let catalog = tools(&[("t", json!({"type": "object", "properties": {"a": input.clone()}, "required": ["a"]})), ("u", input)]);
        let generated = schema_of(&catalog);
        let schema: Schema = generated.parse().unwrap();
        let policy = Policy::load(&bundle(PERMIT, &generated), &catalog).unwrap_or_else(|error| panic!("{error:?}\n{generated}"));
        let wrapped = json!({"a": arguments});
        for (tool, arguments) in catalog.tools().iter().zip([wrapped, arguments]) {
            let parsed = claim::json::parse(arguments.to_string().as_bytes()).unwrap();
            let question = Question { arguments: Some(&parsed), ..question(tool) };
            let verdict = policy.decide(&question);
            prop_assert_eq!(verdict.allowed(), verdict.misfit.is_none());
            if let Ok(input) = policy.requests.input(&question) {
                let request = policy.requests.request(&question, crate::labels::Label::Public, input.as_ref()).unwrap();
                let core: &ValidatorSchema = schema.as_ref();
                let checked = core.validate_request(&request, Extensions::all_available());
                prop_assert!(checked.is_ok(), "{}\n{}", arguments, generated);
            }
        }
    }
}

#[test]
fn a_misfit_says_nothing_that_the_agent_chose() {
    let catalog = tools(&[("transfer", transfer())]);
    let policy = Policy::load(&bundle(PERMIT, &schema_of(&catalog)), &catalog).unwrap();
    let secret = Json::from([("4111-1111", Json::String("swordfish".to_owned()))]);
    let verdict = policy.decide(&Question { arguments: Some(&secret), ..question(&catalog.tools()[0]) });
    let text = verdict.misfit.unwrap().to_string();
    assert!(!text.contains("4111") && !text.contains("swordfish"), "{text}");
}
