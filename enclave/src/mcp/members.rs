//! The members of a JSON object as received: decoded keys, raw values, no key twice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one object, in the order received. Values are untouched text.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads one object.
    ///
    /// # Errors
    /// Not an object, not JSON, or a key twice.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of a key.
    pub fn find(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The text of a key whose value is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.find(key).and_then(string)
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The object's text without the members that `drop` names, every other value as received.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> String {
        let mut text = String::from("{");
        for (name, value) in self.iter().filter(|(name, _)| !drop(name)) {
            push_received(&mut text, name, value.get());
        }
        text.push('}');
        text
    }
}

/// The value of a JSON string; `None` for any other value.
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Some(Cow::Borrowed(text)),
        _ => serde_json::from_str(value.get()).ok().map(Cow::Owned),
    }
}

/// Appends `"name":value` to an object's text that is not closed yet. The name is one of ours: nothing in it needs escaping.
pub fn push_member(object: &mut String, name: &'static str, value: &str) {
    separate(object);
    object.push('"');
    object.push_str(name);
    object.push_str("\":");
    object.push_str(value);
}

/// Appends `"name":"text"` to an object's text that is not closed yet.
pub fn push_text(object: &mut String, name: &'static str, text: &str) {
    push_member(object, name, "");
    push_string(object, text);
}

/// Appends `"name":value` with a name that was received.
pub fn push_received(object: &mut String, name: &str, value: &str) {
    separate(object);
    push_string(object, name);
    object.push(':');
    object.push_str(value);
}

/// Members are separated by a comma.
fn separate(object: &mut String) {
    if !object.ends_with('{') {
        object.push(',');
    }
}

/// Appends a JSON string.
pub fn push_string(text: &mut String, value: &str) {
    text.push('"');
    // Without an early end, the compiler looks at many bytes at once.
    if value.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        text.push_str(value);
    } else {
        value.chars().for_each(|c| push_escaped(text, c));
    }
    text.push('"');
}

fn is_plain(byte: u8) -> bool {
    byte >= b' ' && !matches!(byte, b'"' | b'\\')
}

fn push_escaped(text: &mut String, c: char) {
    match c {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        c if c < ' ' => {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
        c => text.push(c),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value()?));
        }
        match first_duplicate(&members) {
            None => Ok(members),
            Some(key) => Err(A::Error::custom(format_args!("key {key:?} appears twice"))),
        }
    }
}

/// Few members are compared pairwise, many through a set.
fn first_duplicate<'m>(members: &'m [(Cow<'_, str>, &RawValue)]) -> Option<&'m str> {
    if members.len() > 16 {
        let mut seen = HashSet::with_capacity(members.len());
        return members.iter().map(|(key, _)| key.as_ref()).find(|key| !seen.insert(*key));
    }
    members.iter().enumerate().find_map(|(index, (key, _))| {
        members.iter().take(index).any(|(earlier, _)| earlier == key).then_some(key.as_ref())
    })
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::Members;

    #[test]
    fn values_keep_their_bytes() {
        let members = Members::parse(r#"{ "a" : 1.50e1 ,"b":{ "x" : [ ] }, "\u0063":"\u00e9" }"#).unwrap();
        assert_eq!(members.find("a").unwrap().get(), "1.50e1");
        assert_eq!(members.find("b").unwrap().get(), r#"{ "x" : [ ] }"#);
        assert_eq!(members.find("c").unwrap().get(), r#""\u00e9""#);
        assert_eq!(members.without(|key| key == "b"), r#"{"a":1.50e1,"c":"\u00e9"}"#);
    }

    #[test]
    fn a_key_twice_is_refused_however_it_is_spelled() {
        assert!(Members::parse(r#"{"a":1,"\u0061":2}"#).is_err());
        let many = (0..40).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",") + ",";
        assert!(Members::parse(&format!("{{{many}\"z\":0}}")).is_ok());
        assert!(Members::parse(&format!("{{{many}\"k7\":0}}")).is_err());
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        let _ = Members::parse(&deep);
    }
}
