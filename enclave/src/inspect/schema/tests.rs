//! Compared with another implementation, `jsonschema`, on everything that is supported.

use claim::json;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Schema, Violation};

fn compile(schema: &Value) -> Schema {
    let tree = json::parse(schema.to_string().as_bytes()).unwrap();
    Schema::compile(&tree).unwrap_or_else(|wrong| panic!("{wrong:?}: {schema}"))
}

fn check(schema: &Value, value: &Value) -> Result<(), Violation> {
    let text = value.to_string();
    compile(schema).check(&json::parse(text.as_bytes()).unwrap(), text.len())
}

fn oracle(schema: &Value, value: &Value) -> bool {
    jsonschema::draft202012::options().build(schema).unwrap_or_else(|error| panic!("{error}: {schema}")).is_valid(value)
}

#[test]
fn violations_name_the_place_and_the_keyword() {
    let schema = json!({
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/item"}}, "to": {"type": "string", "pattern": "^[A-Z]{2}$"}},
        "required": ["list"],
        "additionalProperties": {"type": "integer"},
        "$defs": {"item": {"type": "object", "properties": {"n": {"maximum": 3}}, "propertyNames": {"maxLength": 3}}},
    });
    for (value, at, keyword) in [
        (json!(1), "", "type"),
        (json!({}), "/list", "required"),
        (json!({"list": 1}), "/list", "type"),
        (json!({"list": [{}, {"n": 4}]}), "/list/1/n", "maximum"),
        (json!({"list": [{"hidden": 1}]}), "/list/0", "propertyNames"),
        (json!({"list": [], "to": "de"}), "/to", "pattern"),
        (json!({"list": [], "secret": "value"}), "/*", "type"),
    ] {
        assert_eq!(check(&schema, &value).unwrap_err(), Violation { at: at.to_owned(), keyword }, "{value}");
    }
    assert_eq!(check(&schema, &json!({"list": [{"n": 3.0}], "to": "DE", "x": 1})), Ok(()));
}

#[test]
fn a_schema_that_explodes_runs_out_of_steps() {
    let schema = json!({"anyOf": [
        {"required": ["b"], "properties": {"a": {"$ref": "#"}}},
        {"required": ["c"], "properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#"}}, "not": {"$ref": "#/anyOf/3"}},
        {"properties": {"a": {"$ref": "#/anyOf/4"}}, "required": ["d"]},
        {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["e"]}, {"properties": {"a": {"$ref": "#"}}, "required": ["f"]}]},
    ]});
    let both = json!({"allOf": [
        {"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}},
    ]});
    let mut value = json!({});
    for _ in 0..50 {
        value = json!({"a": value});
    }
    let _ = check(&schema, &value);
    assert_eq!(check(&both, &value).unwrap_err().keyword, "too many steps");
}

#[test]
fn keywords_agree_with_another_implementation() {
    let long = "é".repeat(3);
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-3),
        json!(7),
        json!(0.0075),
        json!(250_000.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("a"),
        json!("ab12"),
        json!("12"),
        json!(long),
        json!("a-b"),
        json!("~["),
        json!([]),
        json!([1]),
        json!([1, 1.0]),
        json!([1, "a"]),
        json!([1, 2, 3]),
        json!([[], []]),
        json!([{"a": 1}, {"a": 1.0}]),
        json!({}),
        json!({"a": 1}),
        json!({"a": "x", "b": 1}),
        json!({"b": [1]}),
        json!({"ab": {"a": null}}),
        json!({"a": {"a": {}}}),
    ];
    for schema in [
        json!(true),
        json!(false),
        json!({}),
        json!({"type": "integer"}),
        json!({"type": ["number", "null"]}),
        json!({"type": "object"}),
        json!({"enum": [1, "a", [1], {"a": 1}]}),
        json!({"const": 1.0}),
        json!({"const": {"a": 1.0}}),
        json!({"minimum": 1}),
        json!({"exclusiveMinimum": 1}),
        json!({"maximum": 1.5}),
        json!({"exclusiveMaximum": 7}),
        json!({"multipleOf": 0.5}),
        json!({"multipleOf": 0.0001}),
        json!({"multipleOf": 3}),
        json!({"minLength": 3}),
        json!({"maxLength": 2}),
        json!({"minLength": 2.0}),
        json!({"pattern": "^\\d+$"}),
        json!({"pattern": "b"}),
        json!({"pattern": "^[\\w~\\-&[]+$"}),
        json!({"pattern": "^\\S\\D"}),
        json!({"minItems": 1}),
        json!({"maxItems": 1}),
        json!({"uniqueItems": true}),
        json!({"uniqueItems": false}),
        json!({"items": {"type": "integer"}}),
        json!({"items": false}),
        json!({"prefixItems": [{"type": "integer"}]}),
        json!({"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}),
        json!({"prefixItems": [true], "items": false}),
        json!({"contains": {"const": 1}}),
        json!({"contains": {"const": 1}, "minContains": 2}),
        json!({"contains": {"type": "integer"}, "maxContains": 2}),
        json!({"contains": {"const": 9}, "minContains": 0}),
        json!({"minProperties": 1}),
        json!({"maxProperties": 1}),
        json!({"required": ["a"]}),
        json!({"dependentRequired": {"a": ["b"]}}),
        json!({"dependentSchemas": {"a": {"maxProperties": 1}}}),
        json!({"properties": {"a": {"type": "integer"}}}),
        json!({"properties": {"a": true}, "additionalProperties": false}),
        json!({"patternProperties": {"^a": {"type": "integer"}}}),
        json!({"patternProperties": {"b": {}}, "additionalProperties": {"type": "string"}}),
        json!({"propertyNames": {"maxLength": 1}}),
        json!({"propertyNames": false}),
        json!({"not": {"type": "integer"}}),
        json!({"allOf": [{"minimum": 1}, {"maximum": 1}]}),
        json!({"anyOf": [{"type": "string"}, {"minimum": 1}]}),
        json!({"oneOf": [{"type": "integer"}, {"minimum": 1}]}),
        json!({"if": {"type": "integer"}, "then": {"minimum": 1}, "else": {"type": "string"}}),
        json!({"then": false}),
        json!({"if": true, "then": {"type": "array"}}),
        json!({"properties": {"a": {"$ref": "#"}}, "maxProperties": 1}),
        json!({"$ref": "#/$defs/x~1y%25", "$defs": {"x/y%": {"type": "array"}}}),
        json!({"$defs": {"a": {"type": "string"}}, "anyOf": [{"$ref": "#/$defs/a"}], "minLength": 1}),
        json!({"definitions": {"a": {"type": "object"}}, "$ref": "#/definitions/a", "title": "t", "format": "email", "x-mcp-header": "h"}),
    ] {
        for value in &values {
            assert_eq!(check(&schema, value).is_ok(), oracle(&schema, value), "{schema} {value}");
        }
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("ab")];
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(false)),
        prop_oneof![Just("integer"), Just("number"), Just("string"), Just("object"), Just("array"), Just("null")]
            .prop_map(|kind| json!({"type": kind})),
        (-3..4_i64).prop_map(|bound| json!({"minimum": bound})),
        (-3..4_i64).prop_map(|bound| json!({"exclusiveMaximum": bound})),
        (0..3_u8).prop_map(|bound| json!({"minItems": bound, "maxLength": bound, "maxProperties": bound})),
        Just(json!({"uniqueItems": true})),
        Just(json!({"pattern": "^a"})),
        name().prop_map(|name| json!({"required": [name]})),
        Just(json!({"$ref": "#/$defs/shared"})),
        (-2..3_i64).prop_map(|value| json!({"const": value})),
    ];
    leaf.prop_recursive(3, 24, 3, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 1..3);
        let map = proptest::collection::btree_map(name(), inner.clone(), 0..3);
        prop_oneof![
            list.clone().prop_map(|schemas| json!({"allOf": schemas})),
            list.clone().prop_map(|schemas| json!({"anyOf": schemas})),
            list.clone().prop_map(|schemas| json!({"oneOf": schemas})),
            inner.clone().prop_map(|schema| json!({"not": schema})),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            (map.clone(), inner.clone())
                .prop_map(|(named, rest)| json!({"properties": named, "additionalProperties": rest})),
            (list, inner.clone()).prop_map(|(first, rest)| json!({"prefixItems": first, "items": rest})),
            (inner.clone(), 0..3_u8).prop_map(|(item, least)| json!({"contains": item, "minContains": least})),
            (map, inner).prop_map(|(named, names)| json!({"dependentSchemas": named, "propertyNames": names})),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (-3..4_i64).prop_map(Value::from),
        (-3..4_i32).prop_map(|number| json!(f64::from(number) / 2.0)),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[ab]{1,2}", inner, 0..3).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn verdicts_agree_with_another_implementation(schema in any_schema(), shared in any_value(), value in any_value()) {
        let mut schema = if schema.is_object() { schema } else { json!({"allOf": [schema]}) };
        schema["$defs"] = json!({"shared": {"enum": [shared, 1, "a"]}});
        prop_assert_eq!(check(&schema, &value).is_ok(), oracle(&schema, &value), "{} {}", schema, value);
    }
}
