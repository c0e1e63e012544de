//! Reads a JSON document of the boot bundle into a type and, if it does not fit, says where, what was found and what was
//! expected.
//!
//! serde knows all of that but tells it as prose; a [`Deserializer`] over the parsed tree with an error type of its own keeps
//! the parts apart. The tree comes from the strict parser, so duplicate keys never get here.

use std::fmt::{self, Write as _};

use claim::json::{Json, JsonError};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use wire::{BootRefusal, Document, RefusalCode, Text};

/// Longest excerpt of a document in a refusal, in characters.
const EXCERPT: usize = 160;

/// The refusal of a document.
pub(crate) fn refusal(code: RefusalCode, document: &Document, field: &str, found: &str, expected: &str) -> BootRefusal {
    BootRefusal {
        code,
        document: document.clone(),
        field: field.into(),
        found: found.into(),
        expected: Text::from(expected),
    }
}

/// Parses strictly: no duplicate keys, nothing after the document, bounded depth.
pub(crate) fn parse(bytes: &[u8], document: &Document) -> Result<Json, BootRefusal> {
    claim::json::parse(bytes).map_err(|error| {
        let code =
            if matches!(error, JsonError::DuplicateKey(_)) { RefusalCode::Duplicate } else { RefusalCode::Malformed };
        refusal(code, document, "", &error.to_string(), "one JSON document in UTF-8 in which no object repeats a key")
    })
}

/// Reads the value at `at` (its own path inside the document, or empty) into a type.
pub(crate) fn read<'a, T: Deserialize<'a>>(value: &'a Json, document: &Document, at: &str) -> Result<T, BootRefusal> {
    T::deserialize(Node(value)).map_err(|fault| {
        let found = fault.found.unwrap_or_else(|| text(value));
        refusal(fault.code, document, &join(at, &fault.path), &found, &fault.expected)
    })
}

/// The value as JSON, for a refusal.
pub(crate) fn text(value: &Json) -> String {
    excerpt(&value.sorted_ascii())
}

/// `a.b[0]` from `a` and `b[0]`.
pub(crate) fn join(at: &str, path: &str) -> String {
    let dot = if at.is_empty() || path.is_empty() || path.starts_with('[') { "" } else { "." };
    format!("{at}{dot}{path}")
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What does not fit, and where.
#[derive(Debug)]
struct Fault {
    code: RefusalCode,
    path: String,
    found: Option<String>,
    expected: String,
}

impl Fault {
    fn new(code: RefusalCode, found: Option<String>, expected: String) -> Self {
        Self { code, path: String::new(), found, expected }
    }

    /// The fault as seen from one level further out.
    fn inside(mut self, step: &str, value: &Json) -> Self {
        self.path = join(step, &self.path);
        self.found.get_or_insert_with(|| text(value));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: expected {}", self.path, self.expected)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(RefusalCode::InvalidValue, None, message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(RefusalCode::InvalidValue, None, plain(&expected.to_string()))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self::new(RefusalCode::InvalidValue, None, one_of(names))
    }

    fn unknown_field(key: &str, names: &'static [&'static str]) -> Self {
        let mut expected = format!("one of the keys {}", names.join(", "));
        if let Some(name) = nearest(key, names) {
            _ = write!(expected, "; did you mean {name}?");
        }
        Self { path: key.to_owned(), ..Self::new(RefusalCode::UnknownKey, Some(key.to_owned()), expected) }
    }

    fn missing_field(key: &'static str) -> Self {
        let expected = format!("the required key {key}");
        Self { path: key.to_owned(), ..Self::new(RefusalCode::Missing, Some("nothing".to_owned()), expected) }
    }
}

/// serde's names of Rust types as a reader of JSON would say them.
fn plain(expected: &str) -> String {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}

/// `a`, `a or b`, `one of a, b, c`.
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [a, b] => format!("{a} or {b}"),
        more => format!("one of {}", more.join(", ")),
    }
}

/// The name within two typing mistakes of `key`, if one is.
pub(crate) fn nearest<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    /// Longer keys are not typing mistakes, and are not worth the time.
    const LONGEST: usize = 64;
    if key.len() > LONGEST {
        return None;
    }
    let distance = |name: &&str| edits(key.as_bytes(), name.as_bytes());
    names
        .iter()
        .copied()
        .map(|name| (distance(&name), name))
        .min()
        .filter(|(edits, _)| *edits <= 2)
        .map(|(_, name)| name)
}

/// Levenshtein distance, one row at a time.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, x) in a.iter().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (place, y) in row.iter_mut().skip(1).zip(b) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*place + 1);
            diagonal = *place;
            *place = next;
            left = next;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// A value of the parsed tree.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Json);

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Int(value) => visitor.visit_i64(*value),
            Json::UInt(value) => visitor.visit_u64(*value),
            Json::Float(value) => visitor.visit_f64(*value),
            Json::String(value) => visitor.visit_borrowed_str(value),
            Json::Array(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Json::Object(members) => visitor.visit_map(Members { left: members.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Json::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if !matches!(self.0, Json::Object(_)) {
            let expected = format!("an object with keys of {}", keys.join(", "));
            return Err(Fault::new(RefusalCode::InvalidValue, None, expected));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Json::String(name) => visitor.visit_enum(StrDeserializer::new(name)),
            _ => Err(Fault::new(RefusalCode::InvalidValue, None, one_of(names))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Json>>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, value)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Node(value)).map(Some).map_err(|fault| fault.inside(&format!("[{index}]"), value))
    }
}

struct Members<'de> {
    left: std::collections::btree_map::Iter<'de, String, Json>,
    value: Option<(&'de str, &'de Json)>,
}

impl<'de> de::MapAccess<'de> for Members<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.left.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.value.take() else { return Err(de::Error::custom("a value after its key")) };
        seed.deserialize(Node(value)).map_err(|fault| fault.inside(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest, one_of};

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits(b"", b"abc"), 3);
        assert_eq!(edits(b"kitten", b"sitting"), 3);
        assert_eq!(edits(b"same", b"same"), 0);
    }

    #[test]
    fn only_typing_mistakes_are_near() {
        assert_eq!(nearest("provder", &["provider", "enforcement_mode"]), Some("provider"));
        assert_eq!(nearest("listen", &["provider", "enforcement_mode"]), None);
        assert_eq!(nearest(&"p".repeat(100_000), &["provider"]), None);
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(one_of(&["a"]), "a");
        assert_eq!(one_of(&["a", "b"]), "a or b");
        assert_eq!(one_of(&["a", "b", "c"]), "one of a, b, c");
    }
}
