//! Names that reach claims. What is refused here never has to be escaped there.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

/// Longest name in bytes.
pub const MAX_NAME: usize = 128;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty or longer than [`MAX_NAME`].
    #[error("a name has 1 to {MAX_NAME} bytes")]
    Length,
    /// A byte outside the name's alphabet, at this offset.
    #[error("byte {0} is not allowed in this name")]
    Byte(usize),
}

/// Checks a session or workflow id: `[A-Za-z0-9._:-]{1,128}`.
pub fn check_id(text: &str) -> Result<(), NameError> {
    check(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

/// Checks a tool name: 1 to 128 bytes of printable ASCII.
pub fn check_tool(text: &str) -> Result<(), NameError> {
    check(text, |byte| (0x20..=0x7e).contains(&byte))
}

fn check(text: &str, allowed: fn(u8) -> bool) -> Result<(), NameError> {
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(NameError::Length);
    }
    text.bytes().position(|byte| !allowed(byte)).map_or(Ok(()), |offset| Err(NameError::Byte(offset)))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Checks and copies.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                $check(text).map(|()| Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// Which session of an agent a call belongs to.
    SessionId,
    check_id
);
name!(
    /// Which workflow an agent says it runs.
    WorkflowId,
    check_id
);
name!(
    /// A tool, as the catalog names it.
    ToolName,
    check_tool
);
