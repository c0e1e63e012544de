//! An authorization server, as far as a gateway hears of it: a key, and tokens that it signs.

use std::time::{SystemTime, UNIX_EPOCH};

use claim::b64u;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use crate::setup::Setup;

/// `iss` of its tokens.
pub const ISSUER: &str = "https://login.tests.example";
/// `aud` of its tokens: the gateway.
pub const AUDIENCE: &str = "https://gateway.tests.example/mcp";
/// No gateway's clock shows an earlier second.
const EARLIEST: u64 = 1_795_305_600;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x1d; 32])
}

/// Seconds since 1970 by the gateway's clock.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    now.max(EARLIEST)
}

/// A token of this subject, with claims added or replaced; null takes one out.
pub fn token(subject: &str, changes: &Value) -> String {
    let mut claims = json!({"iss": ISSUER, "aud": [AUDIENCE], "sub": subject, "iat": now(), "exp": now() + 600});
    let members = claims.as_object_mut().expect("an object");
    members.extend(changes.as_object().expect("an object").clone());
    members.retain(|_, value| !value.is_null());
    let header = json!({"alg": "EdDSA", "kid": "tests-1", "typ": "at+jwt"});
    let input = [header, claims].map(|part| b64u::encode(part.to_string().as_bytes())).join(".");
    let signature = b64u::encode(&key().sign(input.as_bytes()).to_bytes());
    format!("{input}.{signature}")
}

impl Setup {
    /// Lets in whoever has a token of this issuer, by clocks that agree, and `operator`.
    #[must_use]
    pub fn issued(self) -> Self {
        let x = b64u::encode(key().verifying_key().as_bytes());
        let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "tests-1", "use": "sig", "x": x}]});
        let jwt = json!({"issuer": ISSUER, "audience": AUDIENCE, "tolerance_seconds": 0, "jwks": jwks});
        self.with("/auth", json!({"mode": "jwt", "jwt": jwt})).operated()
    }
}
