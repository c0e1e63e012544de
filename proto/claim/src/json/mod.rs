//! JSON values, read strictly and written canonically.
//!
//! Two canonical forms are in use (`SPEC.md`, section 1): *sorted ASCII* (SA), which is what Python's
//! `json.dumps(value, sort_keys=True, separators=(",", ":"))` writes, and *JCS*, which is RFC 8785. Both sort by
//! themselves: a map type that keeps insertion order anywhere in the binary changes nothing here.

mod canonical;
mod number;
mod parse;
mod serde_impl;

use std::collections::BTreeMap;

use thiserror::Error;

pub(crate) use canonical::write_string;
pub use parse::{MAX_DEPTH, parse};
pub use serde_impl::{from_json, read, to_json};

/// Largest magnitude of an integer that every JSON implementation reads exactly (RFC 8785, section 3.2.2.3).
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer literal.
    Int(i64),
    /// An integer literal above `i64::MAX`; never a smaller one.
    UInt(u64),
    /// A literal with a fraction or an exponent; finite.
    Float(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in code point order of its keys.
    Object(BTreeMap<String, Json>),
}

/// Why bytes are not a JSON value that we accept, or a value not one that we write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Not JSON, not UTF-8, a lone surrogate, or something after the value.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// The same key twice in one object, after unescaping.
    #[error("duplicate key {0:?}")]
    DuplicateKey(String),
    /// More than [`MAX_DEPTH`] arrays and objects inside each other.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A number that implementations read differently: `-0`, an integer beyond 64 bits, a float beyond binary64.
    #[error("number {0} is not portable")]
    Number(String),
    /// A float where the format has integers only.
    #[error("a float where only integers are allowed")]
    Float,
    /// An integer beyond [`MAX_SAFE_INTEGER`].
    #[error("integer {0} is beyond +-(2^53-1)")]
    UnsafeInteger(i128),
    /// A null where absent members are omitted.
    #[error("a null where absent members are omitted")]
    Null,
    /// A character outside printable ASCII where the two canonical forms must agree.
    #[error("string {0:?} is not printable ASCII")]
    NotPrintable(String),
    /// Valid JSON, but not of the expected type.
    #[error("unexpected shape: {0}")]
    Shape(String),
}

impl Json {
    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object().and_then(|members| members.get(key))
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it is one and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::UInt(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// An object without one of its members; anything else as it is.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let mut copy = self.clone();
        if let Self::Object(members) = &mut copy {
            members.remove(key);
        }
        copy
    }

    /// An object with one more member; anything else as it is.
    #[must_use]
    pub fn with(mut self, key: &str, value: Self) -> Self {
        if let Self::Object(members) = &mut self {
            members.insert(key.to_owned(), value);
        }
        self
    }

    /// Refuses what must not be in a signed document: floats, integers beyond [`MAX_SAFE_INTEGER`], nulls.
    pub fn require_signable(&self) -> Result<(), JsonError> {
        self.check(&|value| match value {
            Self::Null => Err(JsonError::Null),
            Self::Float(_) => Err(JsonError::Float),
            other => number::require_safe(other),
        })
    }

    /// Refuses keys and strings outside printable ASCII (U+0020 to U+007E). Without them SA and JCS are the same bytes.
    pub fn require_printable(&self) -> Result<(), JsonError> {
        self.check(&|value| match value {
            Self::String(text) => require_printable(text),
            Self::Object(members) => members.keys().try_for_each(|key| require_printable(key)),
            _ => Ok(()),
        })
    }

    /// Runs `rule` on this value and on everything in it.
    fn check(&self, rule: &impl Fn(&Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        rule(self)?;
        match self {
            Self::Array(items) => items.iter().try_for_each(|item| item.check(rule)),
            Self::Object(members) => members.values().try_for_each(|member| member.check(rule)),
            _ => Ok(()),
        }
    }
}

fn require_printable(text: &str) -> Result<(), JsonError> {
    if text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Ok(());
    }
    Err(JsonError::NotPrintable(text.chars().take(64).collect()))
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::UInt(value), Self::Int)
    }
}

impl<const N: usize> From<[(&str, Json); N]> for Json {
    /// An object.
    fn from(members: [(&str, Json); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}
