//! `auth.jwt`: whose tokens count.

use serde::{Deserialize, Deserializer};
use wire::BootRefusal;

use super::invalid;

/// Longest issuer, audience, claim name or key id in bytes.
pub const LONGEST_TEXT: usize = 256;
/// How far clocks may be apart, in seconds.
const MAX_TOLERANCE: u64 = 300;

/// Whose JSON Web Tokens (RFC 7519) count, and what they must say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// `iss` of every token, character by character: `principal.issuer` in policies.
    pub issuer: String,
    /// What `aud` of every token names: this gateway, as the authorization server calls it.
    pub audience: String,
    /// The issuer's keys; no URL is ever fetched.
    pub jwks: Jwks,
    /// Claim that names the agent: `principal.subject`, and the principal's id.
    #[serde(default = "subject_claim")]
    pub subject_claim: String,
    /// Claim that lists its groups: `principal.groups`. A token without it has none.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// How far the clocks of issuer and gateway may be apart: for `exp` and `nbf`.
    #[serde(default = "tolerance_seconds")]
    #[cfg_attr(test, schemars(range(max = 300)))]
    pub tolerance_seconds: u64,
}

/// A JSON Web Key Set (RFC 7517), as the authorization server publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    /// 1 to 32 public keys for signatures.
    #[cfg_attr(test, schemars(length(min = 1, max = 32)))]
    pub keys: Vec<Jwk>,
}

/// A public key: `RSA` (RS256), `EC` with `P-256` (ES256) or `OKP` with `Ed25519` (EdDSA). Members that are not listed do not matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// Its name in tokens.
    pub kid: Option<String>,
    /// `RS256`, `ES256` or `EdDSA`, as follows from `kty`.
    pub alg: Option<String>,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: Option<String>,
    /// With `verify` among them.
    pub key_ops: Option<Vec<String>>,
    /// `P-256` or `Ed25519`.
    pub crv: Option<String>,
    /// Modulus of an RSA key, at least 2048 bits.
    pub n: Option<String>,
    /// Exponent of an RSA key.
    pub e: Option<String>,
    /// Public key, or its first coordinate.
    pub x: Option<String>,
    /// Second coordinate of a point.
    pub y: Option<String>,
    #[cfg_attr(test, schemars(skip))]
    d: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    p: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    q: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    dp: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    dq: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    qi: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    oth: Option<Secret>,
    #[cfg_attr(test, schemars(skip))]
    k: Option<Secret>,
}

/// A member that only private keys have; what it says is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Secret;

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Jwk {
    /// A member that only private keys have, if there is one.
    pub fn private_member(&self) -> Option<&'static str> {
        let members = [
            ("d", self.d),
            ("p", self.p),
            ("q", self.q),
            ("dp", self.dp),
            ("dq", self.dq),
            ("qi", self.qi),
            ("oth", self.oth),
            ("k", self.k),
        ];
        members.into_iter().find(|(_, member)| member.is_some()).map(|(name, _)| name)
    }
}

impl Jwt {
    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        for (name, value) in [
            ("issuer", &self.issuer),
            ("audience", &self.audience),
            ("subject_claim", &self.subject_claim),
            ("groups_claim", &self.groups_claim),
        ] {
            let printable = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
            if value.is_empty() || value.len() > LONGEST_TEXT || !printable {
                let expected = format!("1 to {LONGEST_TEXT} bytes of printable ASCII");
                return Err(invalid(&format!("auth.jwt.{name}"), &format!("{value:?}"), &expected));
            }
        }
        if self.tolerance_seconds > MAX_TOLERANCE {
            let expected = format!("at most {MAX_TOLERANCE}: clocks that are further apart want mending");
            return Err(invalid("auth.jwt.tolerance_seconds", &self.tolerance_seconds.to_string(), &expected));
        }
        Ok(())
    }
}

fn subject_claim() -> String {
    "sub".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

fn tolerance_seconds() -> u64 {
    60
}
