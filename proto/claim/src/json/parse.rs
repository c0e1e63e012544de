//! The strict reader. The grammar is serde_json's; what JSON leaves open is refused here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::{Json, JsonError, number};

/// Most arrays and objects inside each other. Deep enough for any tool's arguments, shallow enough for any stack.
pub const MAX_DEPTH: usize = 64;

/// Reads one JSON value that fills `bytes`.
///
/// Refuses duplicate keys (compared after unescaping), nesting beyond [`MAX_DEPTH`], invalid UTF-8, lone surrogates,
/// anything after the value, and numbers that implementations read differently.
pub fn parse(bytes: &[u8]) -> Result<Json, JsonError> {
    scan(bytes)?;
    let duplicate = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { duplicate: &duplicate }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| match duplicate.take() {
        Some(key) => JsonError::DuplicateKey(key),
        None => JsonError::Syntax(error.to_string()),
    })
}

/// One value from any deserializer, refusing duplicate keys.
pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
    Seed { duplicate: &RefCell::new(None) }.deserialize(deserializer)
}

/// Checks depth and number literals in one pass before anything is allocated. On bytes that are no JSON it may miss
/// either; the parser then refuses them.
fn scan(bytes: &[u8]) -> Result<(), JsonError> {
    let mut depth = 0_usize;
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'"' => after_string(tail),
            b'-' | b'0'..=b'9' => {
                let end = rest.iter().position(|byte| !is_number_byte(*byte)).unwrap_or(rest.len());
                let (literal, after) = rest.split_at(end);
                number::check_literal(literal)?;
                after
            }
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep);
                }
                tail
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                tail
            }
            _ => tail,
        };
    }
    Ok(())
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// What follows a string whose opening quote is already consumed.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        let Some(stop) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else { return &[] };
        match rest.get(stop..) {
            Some([b'\\', _, tail @ ..]) => rest = tail,
            Some([b'"', tail @ ..]) => return tail,
            _ => return &[],
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::from(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = members.next_key::<String>()? {
            match object.entry(key) {
                Entry::Vacant(slot) => slot.insert(members.next_value_seed(self)?),
                Entry::Occupied(slot) => {
                    self.duplicate.replace(Some(slot.key().chars().take(64).collect()));
                    return Err(A::Error::custom("duplicate key"));
                }
            };
        }
        Ok(Json::Object(object))
    }
}
