//! A JSON text with the places of its parts, so that some can be replaced and every other byte stays as received.

use std::collections::BTreeSet;
use std::ops::Range;

use claim::json::MAX_DEPTH;
use serde_json::value::RawValue;

use crate::mcp::members::push_string;

/// A value and where it is.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Object(Vec<Member>),
    Array(Vec<Tree>),
    /// The decoded string.
    Text(String),
    Other,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member {
    /// Where its key begins.
    pub(super) start: usize,
    pub(super) key: String,
    pub(super) value: Tree,
}

/// A text that cannot be taken apart: not JSON, a key twice, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Whether a text is JSON, of any depth.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

impl Tree {
    /// Takes a JSON text apart.
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        if is_json(text) { Self::of_json(text) } else { Err(Unreadable) }
    }

    /// Takes a text apart that is JSON ([`is_json`]).
    pub(super) fn of_json(text: &str) -> Result<Self, Unreadable> {
        let mut cursor = Cursor { text, at: 0 };
        cursor.value(0)
    }

    /// The value of a member.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|member| member.key == key).map(|member| &member.value)
    }

    /// The members of an object; none of anything else.
    pub(super) fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(members) => members,
            _ => &[],
        }
    }

    /// The decoded string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array; of anything else, itself.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.kind {
            Kind::Array(items) => items,
            _ => std::slice::from_ref(self),
        }
    }
}

/// Reads a text that is valid JSON.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, Unreadable> {
        let space = self.rest().bytes().position(|byte| !byte.is_ascii_whitespace()).ok_or(Unreadable)?;
        self.at += space;
        self.rest().bytes().next().ok_or(Unreadable)
    }

    fn value(&mut self, depth: usize) -> Result<Tree, Unreadable> {
        let first = self.peek()?;
        let start = self.at;
        let kind = match first {
            b'{' | b'[' if depth >= MAX_DEPTH => return Err(Unreadable),
            b'{' => self.object(depth)?,
            b'[' => self.array(depth)?,
            b'"' => Kind::Text(self.string()?),
            _ => self.scalar(),
        };
        Ok(Tree { span: start..self.at, kind })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, Unreadable> {
        let mut members = Vec::new();
        let mut keys = BTreeSet::new();
        self.at += 1;
        while self.peek()? != b'}' {
            let start = self.at;
            let key = self.string()?;
            if !keys.insert(key.clone()) {
                return Err(Unreadable);
            }
            self.skip(b':')?;
            let value = self.value(depth + 1)?;
            members.push(Member { start, key, value });
            self.separator(b'}')?;
        }
        self.at += 1;
        Ok(Kind::Object(members))
    }

    fn array(&mut self, depth: usize) -> Result<Kind, Unreadable> {
        let mut items = Vec::new();
        self.at += 1;
        while self.peek()? != b']' {
            items.push(self.value(depth + 1)?);
            self.separator(b']')?;
        }
        self.at += 1;
        Ok(Kind::Array(items))
    }

    fn skip(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.peek()? != byte {
            return Err(Unreadable);
        }
        self.at += 1;
        self.peek().map(drop)
    }

    /// A comma and what follows, or the end.
    fn separator(&mut self, end: u8) -> Result<(), Unreadable> {
        if self.peek()? == end { Ok(()) } else { self.skip(b',') }
    }

    /// A string; half a surrogate pair in it is no text that anybody reads alike.
    fn string(&mut self) -> Result<String, Unreadable> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<String>();
        let string = values.next().ok_or(Unreadable)?.map_err(|_| Unreadable)?;
        let length = values.byte_offset();
        self.at += length;
        Ok(string)
    }

    fn scalar(&mut self) -> Kind {
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let rest = self.rest();
        self.at += rest.bytes().position(ends).unwrap_or(rest.len());
        Kind::Other
    }
}

/// Replacements of parts of one text, in the order of their places.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub(super) fn replace(&mut self, place: Range<usize>, with: impl Into<String>) {
        self.0.push((place, with.into()));
    }

    /// Replaces a string by its text with the edits inside of it.
    pub(super) fn replace_inside(&mut self, string: &Tree, text: &str, inside: Self) {
        if !inside.is_empty() {
            let mut literal = String::new();
            push_string(&mut literal, &inside.apply(text));
            self.replace(string.span.clone(), literal);
        }
    }

    /// Takes out the members of an object that are not kept, with their commas; how many.
    pub(super) fn retain(&mut self, members: &[Member], keep: &[bool]) -> u64 {
        let (mut any, mut taken) = (false, 0);
        for ((place, member), keep) in members.iter().enumerate().zip(keep) {
            if *keep {
                any = true;
                continue;
            }
            taken += 1;
            let before = place.checked_sub(1).and_then(|before| members.get(before)).filter(|_| any);
            let from = before.map_or(member.start, |before| before.value.span.end);
            let after = members.get(place + 1).filter(|_| !any).map(|next| next.start);
            self.replace(from..after.unwrap_or(member.value.span.end), "");
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with the replacements. Those inside another are covered by it.
    pub(super) fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
        let mut edited = String::with_capacity(text.len());
        let mut at = 0;
        for (place, with) in self.0 {
            if place.start < at {
                continue;
            }
            edited.push_str(text.get(at..place.start).unwrap_or_default());
            edited.push_str(&with);
            at = place.end;
        }
        edited.push_str(text.get(at..).unwrap_or_default());
        edited
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{Edits, Kind, Tree, Unreadable};

    fn without(text: &str, names: &[&str]) -> String {
        let tree = Tree::parse(text).unwrap();
        let mut edits = Edits::default();
        let keep: Vec<_> = tree.members().iter().map(|member| !names.contains(&member.key.as_str())).collect();
        edits.retain(tree.members(), &keep);
        edits.apply(text)
    }

    #[test]
    fn members_go_with_their_commas() {
        let text = r#"{ "a" : 1 , "b" :[2], "c": "}" }"#;
        assert_eq!(without(text, &[]), text);
        assert_eq!(without(text, &["a"]), r#"{ "b" :[2], "c": "}" }"#);
        assert_eq!(without(text, &["b"]), r#"{ "a" : 1, "c": "}" }"#);
        assert_eq!(without(text, &["c"]), r#"{ "a" : 1 , "b" :[2] }"#);
        assert_eq!(without(text, &["a", "b"]), r#"{ "c": "}" }"#);
        assert_eq!(without(text, &["b", "c"]), r#"{ "a" : 1 }"#);
        assert_eq!(without(text, &["a", "c"]), r#"{ "b" :[2] }"#);
        assert_eq!(without(text, &["a", "b", "c"]), "{  }");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_unreadable() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for text in [r#"{"a":1,"\u0061":2}"#, r#"{"b":[{"a":1,"a":1}]}"#, r#"{"\ud800":1}"#, "{", "[1,]", "", &deep(65)]
        {
            assert_eq!(Tree::parse(text).err(), Some(Unreadable), "{text}");
        }
        assert!(Tree::parse(&deep(64)).is_ok());
    }

    fn same(tree: &Tree, value: &Value, text: &str) -> bool {
        let whole: Value = serde_json::from_str(&text[tree.span.clone()]).unwrap();
        whole == *value
            && match &tree.kind {
                Kind::Object(members) => {
                    members.len() == value.as_object().unwrap().len()
                        && members.iter().all(|member| same(&member.value, &value[&member.key], text))
                }
                Kind::Array(items) => {
                    items.len() == value.as_array().unwrap().len()
                        && items.iter().zip(value.as_array().unwrap()).all(|(item, value)| same(item, value, text))
                }
                Kind::Text(found) => value.as_str() == Some(found),
                Kind::Other => !value.is_object() && !value.is_array() && !value.is_string(),
            }
    }

    proptest! {
        #[test]
        fn parts_are_where_they_are_said_to_be(value in crate::inspect::tests::any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let tree = Tree::parse(&text).unwrap();
            prop_assert!(same(&tree, &value, &text));
            prop_assert_eq!(Edits::default().apply(&text), text);
        }
    }
}
