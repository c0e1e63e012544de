//! Tokens from agents: no panic, and nothing counts that the key has not signed.
#![no_main]

use std::sync::OnceLock;

use enclave::identity::jwt::Rules;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Signed with a key that nobody has; the corpus begins with it.
const SIGNED: &str = include_str!("../corpus/jwt/signed");

static RULES: OnceLock<Rules> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let rules = RULES.get_or_init(|| {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA-1", "x": "AuuQRBDT6L2-09_Ri-Lk6AssgYbIcvfr7nRaQf3gZRA"});
        let jwt = json!({"issuer": "https://login.bank.example/", "audience": "https://gateway.bank.example/mcp",
                         "jwks": {"keys": [jwk]}});
        Rules::of(&serde_json::from_value(jwt).expect("a configuration")).expect("a key")
    });
    if let Ok(token) = std::str::from_utf8(bytes)
        && rules.check(token, 1_800_000_000).is_ok()
    {
        assert_eq!(token, SIGNED);
    }
});
