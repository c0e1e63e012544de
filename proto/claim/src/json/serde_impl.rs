//! Between JSON values and Rust types.

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Deserializer};

use super::{Json, JsonError, parse};

/// Any serialisable value as JSON. The result obeys the rules of [`parse`].
pub fn to_json(value: &(impl Serialize + ?Sized)) -> Result<Json, JsonError> {
    let text = serde_json::to_vec(value).map_err(|error| JsonError::Shape(error.to_string()))?;
    parse(&text)
}

/// A typed value from JSON.
pub fn from_json<T: DeserializeOwned>(value: &Json) -> Result<T, JsonError> {
    let mut text = Vec::new();
    value.write_sorted_ascii(&mut text);
    serde_json::from_slice(&text).map_err(|error| JsonError::Shape(error.to_string()))
}

/// A typed value from bytes, under the rules of [`parse`].
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    from_json(&parse(bytes)?)
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::UInt(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => {
                let mut array = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| array.serialize_element(item))?;
                array.end()
            }
            Self::Object(members) => {
                let mut object = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(key, member)| object.serialize_entry(key, member))?;
                object.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    /// As a member of a typed value; for whole documents use [`parse`], which also checks depth and numbers.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse::deserialize(deserializer)
    }
}
