//! What the operator brings: a secret, the server that it is for, and the signature over both.

use claim::json::{Json, from_json};
use claim::{Digest, b64u, json};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

const SHAPE: &str =
    "a JSON object with value and signature in base64url, and server and pin as in the catalog (pin \"\" without one)";

/// An order to take a secret, as it was sent. It cannot be copied or shown, and its value is cleared.
pub struct Order {
    pub(super) value: Zeroizing<Vec<u8>>,
    /// The url of the server that it is for.
    pub server: String,
    pub(super) pin: String,
    pub(super) signature: String,
}

/// A body that is no order. What it says is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {SHAPE}")]
pub struct Malformed;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    value: String,
    server: String,
    pin: String,
    signature: String,
}

impl Order {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let tree = json::parse(body).map_err(|_| Malformed)?;
        let read = from_json::<Body>(&tree);
        clear(tree);
        let Body { mut value, server, pin, signature } = read.map_err(|_| Malformed)?;
        let bytes = b64u::decode(&value).map(Zeroizing::new);
        value.zeroize();
        Ok(Self { value: bytes.ok_or(Malformed)?, server, pin, signature })
    }

    /// SHA-256 of the secret, which the signature is over.
    pub(super) fn sha256(&self) -> Digest {
        Digest::of(&*self.value)
    }
}

fn clear(tree: Json) {
    if let Json::Object(members) = tree {
        for value in members.into_values() {
            if let Json::String(mut text) = value {
                text.zeroize();
            }
        }
    }
}
