//! Members of a structured result that the approved definition does not have.

use super::schema::{Id, Schema};
use super::text::is_container;
use super::tree::{Edits, Kind, Tree, Unreadable, is_json};

/// A result without them, and how many there were; nothing if there were none. The text beside a structured result is usually
/// the same as JSON, so that is treated alike.
///
/// # Errors
/// The result is not JSON that everybody reads alike.
pub(super) fn drop_surplus(result: &str, schema: &Schema) -> Result<Option<(String, u64)>, Unreadable> {
    let tree = Tree::parse(result)?;
    let (mut edits, mut count) = (Edits::default(), 0);
    let whole = schema.whole();
    if let Some(structured) = tree.get("structuredContent") {
        count += prune(structured, schema, &whole, &mut edits);
    }
    for block in tree.get("content").map_or(&[][..], Tree::elements) {
        let Some(place) = block.get("text") else { continue };
        let Some(text) = place.text().filter(|text| is_container(text)) else { continue };
        if !is_json(text) {
            continue;
        }
        let inner = Tree::of_json(text)?;
        let mut inside = Edits::default();
        count += prune(&inner, schema, &whole, &mut inside);
        edits.replace_inside(place, text, inside);
    }
    Ok((!edits.is_empty()).then(|| (edits.apply(result), count)))
}

fn prune(value: &Tree, schema: &Schema, ids: &[Id], edits: &mut Edits) -> u64 {
    match &value.kind {
        Kind::Object(members) => {
            let said: Vec<_> = members.iter().map(|member| schema.member(ids, &member.key)).collect();
            let kept: Vec<bool> = said.iter().map(Option::is_some).collect();
            let mut taken = edits.retain(members, &kept);
            for (member, ids) in members.iter().zip(said) {
                taken += ids.map_or(0, |ids| prune(&member.value, schema, &ids, edits));
            }
            taken
        }
        Kind::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered.map(|(place, item)| prune(item, schema, &schema.item(ids, place), edits)).sum()
        }
        Kind::Text(_) | Kind::Other => 0,
    }
}

#[cfg(test)]
mod tests {
    use claim::json;
    use proptest::prelude::*;
    use serde_json::json;

    use super::drop_surplus;
    use crate::inspect::schema::Schema;
    use crate::inspect::tests::any_json;

    fn dropped(result: &str, schema: &serde_json::Value) -> String {
        let schema = Schema::compile(&json::parse(schema.to_string().as_bytes()).unwrap()).unwrap();
        drop_surplus(result, &schema).unwrap().map_or_else(|| result.to_owned(), |(text, _)| text)
    }

    #[test]
    fn only_what_the_definition_has_stays() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/p"}}, "open": {"type": "object"}},
            "$defs": {"p": {"properties": {"name": {}}, "allOf": [{"properties": {"more": {}}}]}},
        });
        let result =
            r#"{ "structuredContent" : {"a":[{"name":1, "more":2 ,"x":3}],"open":{"y":4},"z":5 }, "other":[1] }"#;
        assert_eq!(
            dropped(result, &schema),
            r#"{ "structuredContent" : {"a":[{"name":1, "more":2}],"open":{"y":4} }, "other":[1] }"#
        );
        let text =
            json!({"content": [{"type": "text", "text": r#"{"z":1,"open":{}}"#}, {"type": "text", "text": "z: 1"}]});
        let after: serde_json::Value = serde_json::from_str(&dropped(&text.to_string(), &schema)).unwrap();
        assert_eq!(
            after,
            json!({"content": [{"type": "text", "text": r#"{"open":{}}"#}, {"type": "text", "text": "z: 1"}]})
        );
    }

    #[test]
    fn text_that_hides_a_member_behind_another_is_no_result() {
        let schema = Schema::compile(&json::parse(br#"{"properties":{"a":{}}}"#).unwrap()).unwrap();
        let with = |text: &str| json!({"content": [{"type": "text", "text": text}]}).to_string();
        assert!(drop_surplus(&with(r#"{"a":{"x":1,"x":2}}"#), &schema).is_err());
        assert_eq!(drop_surplus(&with("{a: no JSON}"), &schema), Ok(None));
    }

    #[test]
    fn other_members_stay_where_they_are_allowed() {
        let result = r#"{"structuredContent":{"a":1,"b":{"c":2}}}"#;
        for open in [json!(true), json!({"type": "object"}), json!({})] {
            assert_eq!(dropped(result, &json!({"properties": {"a": {}}, "additionalProperties": open})), result);
        }
        assert_eq!(dropped(result, &json!({"type": "object"})), result);
        assert_eq!(dropped(result, &json!({"patternProperties": {"^[ab]$": {}}})), result);
        let closed = json!({"properties": {"a": {}}, "additionalProperties": false});
        assert_eq!(dropped(result, &closed), r#"{"structuredContent":{"a":1}}"#);
        let closed = json!({"additionalProperties": {"properties": {"d": {}}}});
        assert_eq!(dropped(result, &closed), r#"{"structuredContent":{"a":1,"b":{}}}"#);
    }

    proptest! {
        #[test]
        fn nothing_is_left_and_nothing_else_goes(value in any_json(), other in any_json()) {
            let schema = json!({
                "properties": {"a": {"$ref": "#"}, "ssn": {"items": {"$ref": "#"}}},
                "anyOf": [{"properties": {"b": {}}}, true],
            });
            let schema = Schema::compile(&json::parse(schema.to_string().as_bytes()).unwrap()).unwrap();
            let text = json!([{"type": "text", "text": value.to_string()}]);
            let before = json!({"structuredContent": value, "content": text, "other": other}).to_string();
            if let Ok(Some((after, count))) = drop_surplus(&before, &schema) {
                prop_assert!(count > 0);
                prop_assert_eq!(drop_surplus(&after, &schema), Ok(None));
                let after: serde_json::Value = serde_json::from_str(&after).unwrap();
                prop_assert_eq!(&after["other"], &other);
            }
        }
    }
}
