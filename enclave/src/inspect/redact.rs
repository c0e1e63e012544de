//! `@redact`: fields that an allowed answer goes out without.

use std::sync::Arc;

use super::text::{folded, is_container, is_json_like};
use super::tree::{Edits, Kind, Member, Tree, Unreadable, is_json};
use crate::limits;

/// What stands in place of a value, as JSON.
const REDACTED: &str = "\"[redacted]\"";
/// What stands in place of content that has no fields.
const REDACTED_BLOCK: &str = "{\"type\":\"text\",\"text\":\"[redacted]\"}";

/// The fields of one `@redact`: names, or paths of names; without case and disguise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<Vec<String>>);

impl Fields {
    /// Reads `name, outer.inner`. Nothing if that names no field.
    pub fn parse(text: &str) -> Option<Self> {
        let paths = text.split(',').map(|path| path.split('.').map(folded).collect::<Vec<_>>());
        let paths: Vec<_> = paths.collect();
        let named = paths.iter().flatten().all(|name| !name.is_empty());
        named.then_some(Self(paths))
    }

    /// Whether a place ends with one of the paths.
    fn name(&self, place: &[String]) -> bool {
        self.0.iter().any(|path| place.ends_with(path))
    }
}

/// A result without the fields, and how many places were changed. Every other byte is as received; nothing if nothing changed.
///
/// # Errors
/// The result is not JSON that everybody reads alike.
pub(crate) fn redact(result: &str, fields: &[Arc<Fields>]) -> Result<Option<(String, u64)>, Unreadable> {
    let tree = Tree::parse(result)?;
    let mut redaction = Redaction { fields, edits: Edits::default(), count: 0 };
    redaction.result(&tree)?;
    let Redaction { edits, count, .. } = redaction;
    Ok((!edits.is_empty()).then(|| (edits.apply(result), count)))
}

struct Redaction<'f> {
    fields: &'f [Arc<Fields>],
    edits: Edits,
    count: u64,
}

impl Redaction<'_> {
    fn replace(&mut self, tree: &Tree, with: impl Into<String>) {
        self.edits.replace(tree.span.clone(), with);
        self.count += 1;
    }

    fn result(&mut self, result: &Tree) -> Result<(), Unreadable> {
        for member in result.members() {
            let value = &member.value;
            match member.key.as_str() {
                "content" => value.elements().iter().try_for_each(|block| self.block(block))?,
                "messages" => value.elements().iter().try_for_each(|message| self.message(message))?,
                "contents" => value.elements().iter().try_for_each(|contents| self.contents(contents))?,
                "structuredContent" if !matches!(value.kind, Kind::Object(_) | Kind::Array(_)) => {
                    self.replace(value, REDACTED);
                }
                _ => self.member(member, &mut Vec::new(), 0)?,
            }
        }
        Ok(())
    }

    /// A content block: text that is JSON loses its fields, everything else is replaced, because nobody can say where
    /// in it a field would be.
    fn block(&mut self, block: &Tree) -> Result<(), Unreadable> {
        let text = block.get("text").filter(|_| block.get("type").and_then(Tree::text) == Some("text"));
        if text.is_some() {
            return self.with_text(block);
        }
        self.replace(block, REDACTED_BLOCK);
        Ok(())
    }

    /// A message of a prompt.
    fn message(&mut self, message: &Tree) -> Result<(), Unreadable> {
        message.members().iter().try_for_each(|member| match member.key.as_str() {
            "content" => member.value.elements().iter().try_for_each(|block| self.block(block)),
            _ => self.member(member, &mut Vec::new(), 0),
        })
    }

    /// Contents of a resource.
    fn contents(&mut self, contents: &Tree) -> Result<(), Unreadable> {
        if let Some(blob) = contents.get("blob") {
            self.replace(blob, "\"\"");
        }
        self.with_text(contents)
    }

    fn with_text(&mut self, object: &Tree) -> Result<(), Unreadable> {
        object.members().iter().try_for_each(|member| match member.value.text() {
            Some(text) if member.key == "text" && is_container(text) => {
                if !self.inside(&member.value, text, &mut Vec::new(), 0)? {
                    self.replace(&member.value, REDACTED);
                }
                Ok(())
            }
            _ if member.key == "text" => {
                self.replace(&member.value, REDACTED);
                Ok(())
            }
            _ => self.member(member, &mut Vec::new(), 0),
        })
    }

    fn member(&mut self, member: &Member, place: &mut Vec<String>, level: usize) -> Result<(), Unreadable> {
        place.push(folded(&member.key));
        if self.fields.iter().any(|fields| fields.name(place)) {
            self.replace(&member.value, REDACTED);
        } else {
            self.value(&member.value, place, level)?;
        }
        place.pop();
        Ok(())
    }

    fn value(&mut self, value: &Tree, place: &mut Vec<String>, level: usize) -> Result<(), Unreadable> {
        match &value.kind {
            Kind::Object(members) => members.iter().try_for_each(|member| self.member(member, place, level)),
            Kind::Array(items) => items.iter().try_for_each(|item| self.value(item, place, level)),
            Kind::Text(text) => self.inside(value, text, place, level).map(drop),
            Kind::Other => Ok(()),
        }
    }

    /// JSON inside a string loses its fields too; false if it is none. What is nested too deeply to be sure goes.
    fn inside(&mut self, string: &Tree, text: &str, place: &mut Vec<String>, level: usize) -> Result<bool, Unreadable> {
        if !is_json_like(text) || !is_json(text) {
            return Ok(false);
        }
        let tree = match Tree::of_json(text) {
            Ok(tree) if level < limits::MAX_JSON_IN_TEXT => tree,
            _ => {
                self.replace(string, REDACTED);
                return Ok(true);
            }
        };
        let mut inner = Redaction { fields: self.fields, edits: Edits::default(), count: 0 };
        inner.value(&tree, place, level + 1)?;
        self.count += inner.count;
        self.edits.replace_inside(string, text, inner.edits);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Fields, redact};
    use crate::inspect::tests::any_json;

    fn redacted(result: &str, fields: &str) -> String {
        let fields = [Arc::new(Fields::parse(fields).unwrap())];
        redact(result, &fields).unwrap().map_or_else(|| result.to_owned(), |(text, _)| text)
    }

    #[test]
    fn fields_are_names_and_paths() {
        for wrong in ["", " ", "a,", "a..b", ".", "a, ,b"] {
            assert_eq!(Fields::parse(wrong), None, "{wrong:?}");
        }
        let result =
            r#"{"structuredContent": { "ssn" : "1" ,"a":[{"SSN":2,"b":{"c":3,"d":4}}],"c":5,"b":{"c":{"x":6}}}}"#;
        assert_eq!(
            redacted(result, " ssn , b.c"),
            r#"{"structuredContent": { "ssn" : "[redacted]" ,"a":[{"SSN":"[redacted]","b":{"c":"[redacted]","d":4}}],"c":5,"b":{"c":"[redacted]"}}}"#
        );
        assert_eq!(redacted(result, "nothing"), result);
    }

    #[test]
    fn names_in_disguise_are_found() {
        for key in ["SSN", "\\u0073sn", "s\u{200b}sn", "ｓｓｎ", " ssn", "S\\u0053N"] {
            let result = format!(r#"{{"structuredContent":{{"{key}":"078-05-1120"}}}}"#);
            assert!(!redacted(&result, "ssn").contains("078"), "{key}");
        }
    }

    #[test]
    fn text_that_is_json_keeps_the_rest() {
        let inner = r#"{"ssn": "1", "name":"Ada", "x":"{\"ssn\":2,\"y\":[1.50]}"}"#;
        let result = json!({"content": [{"type": "text", "text": inner}], "isError": false}).to_string();
        let after: Value = serde_json::from_str(&redacted(&result, "ssn")).unwrap();
        assert_eq!(
            after["content"][0]["text"],
            r#"{"ssn": "[redacted]", "name":"Ada", "x":"{\"ssn\":\"[redacted]\",\"y\":[1.50]}"}"#
        );
    }

    #[test]
    fn content_without_fields_is_replaced() {
        let result = r#"{"content":[{"type":"text","text":"her ssn is 1"},{"type":"image","data":"AA==","mimeType":"image/png"},
            {"text":"1","type":"other"},{"type":"text","text":1},7,{"type":"text","text":"12"},
            {"type":"resource_link","uri":"a:1","name":"1"},{"type":"resource","resource":{"uri":"a:b","text":"1"}}]}"#;
        let after: Value = serde_json::from_str(&redacted(result, "ssn")).unwrap();
        for block in after["content"].as_array().unwrap() {
            assert_eq!(*block, json!({"type": "text", "text": "[redacted]"}), "{after}");
        }
        assert_eq!(redacted(r#"{"structuredContent":"ssn 1"}"#, "ssn"), r#"{"structuredContent":"[redacted]"}"#);
        assert_eq!(redacted(r#"{"content":"ssn 1"}"#, "ssn"), r#"{"content":{"type":"text","text":"[redacted]"}}"#);
    }

    #[test]
    fn resources_and_prompts_too() {
        let read = r#"{"contents":[{"uri":"a:b","text":"{\"ssn\":1}"},{"uri":"a:c","blob":"QUE="},{"uri":"a:d","text":"plain"}]}"#;
        assert_eq!(
            redacted(read, "ssn"),
            r#"{"contents":[{"uri":"a:b","text":"{\"ssn\":\"[redacted]\"}"},{"uri":"a:c","blob":""},{"uri":"a:d","text":"[redacted]"}]}"#
        );
        let prompt = r#"{"messages":[{"role":"user","content":{"type":"text","text":"hello"}}]}"#;
        assert!(!redacted(prompt, "ssn").contains("hello"));
    }

    #[test]
    fn what_cannot_be_read_alike_by_all_is_no_result() {
        let fields = [Arc::new(Fields::parse("ssn").unwrap())];
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
        for result in [r#"{"a":{"ssn":1,"ssn":2}}"#, r#"{"a":{"ssn":1,"\u0073sn":2}}"#, &deep] {
            assert!(redact(result, &fields).is_err(), "{result}");
        }
        let inside = json!({"content": [{"type": "text", "text": r#"{"ssn":1,"ssn":2}"#}]}).to_string();
        assert!(!redacted(&inside, "ssn").contains("ssn"));
    }

    /// Whether a member of this name has another value than `[redacted]`, in JSON inside strings too.
    fn leaks(value: &Value, name: &str) -> bool {
        match value {
            Value::Object(members) => members
                .iter()
                .any(|(key, value)| (key.eq_ignore_ascii_case(name) && value != "[redacted]") || leaks(value, name)),
            Value::Array(items) => items.iter().any(|item| leaks(item, name)),
            Value::String(text) => serde_json::from_str::<Value>(text)
                .is_ok_and(|inner| (inner.is_object() || inner.is_array()) && leaks(&inner, name)),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn a_field_never_gets_through(value in any_json(), nested in 0..4_u8, pretty in any::<bool>()) {
            let mut inner = value;
            for _ in 0..nested {
                inner = json!({"t": inner.to_string(), "x": 1});
            }
            let result = json!({"structuredContent": {"v": inner}, "content": [{"type": "text", "text": inner.to_string()}]});
            let text = if pretty { serde_json::to_string_pretty(&result).unwrap() } else { result.to_string() };
            let after: Value = serde_json::from_str(&redacted(&text, "ssn")).unwrap();
            prop_assert!(!leaks(&after, "ssn"), "{}", after);
        }

        #[test]
        fn what_has_no_such_field_keeps_its_bytes(value in any_json(), pretty in any::<bool>()) {
            let result = json!({"structuredContent": {"v": value}, "content": []});
            let text = if pretty { serde_json::to_string_pretty(&result).unwrap() } else { result.to_string() };
            prop_assert_eq!(redacted(&text, "no such name"), text);
        }
    }
}
