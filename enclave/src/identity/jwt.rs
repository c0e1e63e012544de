//! JSON Web Tokens (RFC 7519) as access tokens, by the rules of RFC 8725: one issuer, one audience, keys that fit one algorithm each,
//! and nothing in a token that says where its key comes from.

use claim::b64u;
use claim::json::{self, Json};
use wire::BootRefusal;

use super::jwk::{Algorithm, Keys};
use super::names::is_subject;
use crate::config;

/// Longest token: issuers that list hundreds of groups fill it.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Groups of one token.
const MAX_GROUPS: usize = 256;
/// Longest name of a group in bytes.
const LONGEST_GROUP: usize = 256;
/// `exp` beyond the year 9999 is as good as this.
const LATEST: i64 = 253_402_300_799;
/// What `typ` may say (RFC 7519 section 5.1, RFC 9068 section 2.1); other kinds of tokens are for other uses.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// What a token must be to count.
pub struct Rules {
    keys: Keys,
    issuer: String,
    audience: String,
    subject_claim: String,
    groups_claim: String,
    tolerance: i64,
}

/// What a token says that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The agent.
    pub subject: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// Seconds since 1970 from which on the token does not count.
    pub until: i64,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Longer than any token.
    TooLong,
    /// Not three parts.
    Shape,
    /// A header that cannot be read.
    Header,
    /// `alg` is none of ours.
    Algorithm,
    /// An extension that must be understood.
    Critical,
    /// A token for another use.
    Type,
    /// No key of this `kid`.
    UnknownKey,
    /// No `kid`, and several keys fit.
    NoKeyId,
    /// `alg` is not the key's.
    KeyAlgorithm,
    /// Not signed by the key.
    Signature,
    /// Claims that cannot be read.
    Claims,
    /// Another `iss`.
    Issuer,
    /// Another `aud`.
    Audience,
    /// `exp` is missing.
    NoExpiry,
    /// `exp` or `nbf` is no time.
    Time,
    /// `exp` is past.
    Expired,
    /// `nbf` is to come.
    NotYet,
    /// No subject, or one that cannot be.
    Subject,
    /// Groups that are no list of names.
    Groups,
    /// Bound to a key that the sender would have to show.
    Bound,
}

impl Refusal {
    /// What is wrong, for the sender: nothing of the token, and nothing that a quoted header field cannot hold.
    pub fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "the token is longer than 8192 characters",
            Self::Shape => "not a JWT: one Authorization header with three base64url parts between dots",
            Self::Header => "the token's header is not a JSON object with each key once",
            Self::Algorithm => "alg is not RS256, ES256 or EdDSA",
            Self::Critical => "crit names extensions, and none is understood",
            Self::Type => "typ is not JWT or at+jwt",
            Self::UnknownKey => "kid is not the name of a key in auth.jwt.jwks",
            Self::NoKeyId => "kid is missing, and several keys of auth.jwt.jwks fit",
            Self::KeyAlgorithm => "alg is not that of the key in auth.jwt.jwks",
            Self::Signature => "the signature is not that of the key in auth.jwt.jwks",
            Self::Claims => "the token's claims are not a JSON object with each key once",
            Self::Issuer => "iss is not auth.jwt.issuer",
            Self::Audience => "aud does not name auth.jwt.audience",
            Self::NoExpiry => "exp is missing",
            Self::Time => "exp and nbf must be whole seconds since 1970",
            Self::Expired => "the token has expired (exp)",
            Self::NotYet => "the token is not valid yet (nbf)",
            Self::Subject => "the claim auth.jwt.subject_claim is not 1 to 256 letters, digits and ._:@/+~|-",
            Self::Groups => "the claim auth.jwt.groups_claim is not a list of at most 256 names",
            Self::Bound => "the token is bound to a key (cnf), which cannot be checked here",
        }
    }
}

impl Rules {
    /// As configured.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn of(jwt: &config::Jwt) -> Result<Self, BootRefusal> {
        let config::Jwt { issuer, audience, jwks, subject_claim, groups_claim, tolerance_seconds } = jwt;
        Ok(Self {
            keys: Keys::of(jwks)?,
            issuer: issuer.clone(),
            audience: audience.clone(),
            subject_claim: subject_claim.clone(),
            groups_claim: groups_claim.clone(),
            tolerance: i64::try_from(*tolerance_seconds).unwrap_or_default(),
        })
    }

    /// What this token says, if it counts at this second since 1970. Nothing of its claims is looked at before its signature.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self, token: &str, now: i64) -> Result<Claims, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Shape)?;
        let (header, claims) =
            signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(Refusal::Shape)?;
        let signature = b64u::decode(signature).ok_or(Refusal::Shape)?;
        let header = object(header).ok_or(Refusal::Header)?;
        let (kid, algorithm) = read_header(&header)?;
        self.keys.verify(kid, algorithm, signed.as_bytes(), &signature)?;
        self.read(&object(claims).ok_or(Refusal::Claims)?, now)
    }

    fn read(&self, claims: &Json, now: i64) -> Result<Claims, Refusal> {
        if claims.get("iss").and_then(Json::as_str) != Some(&self.issuer) {
            return Err(Refusal::Issuer);
        }
        if !self.names_us(claims.get("aud")) {
            return Err(Refusal::Audience);
        }
        let until = time(claims, "exp")?.ok_or(Refusal::NoExpiry)?.saturating_add(self.tolerance).min(LATEST);
        if now >= until {
            return Err(Refusal::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|from| now < from.saturating_sub(self.tolerance)) {
            return Err(Refusal::NotYet);
        }
        // Whoever merely has it is not whom it was made for (RFC 7800, RFC 8705, RFC 9449).
        if claims.get("cnf").is_some() {
            return Err(Refusal::Bound);
        }
        let subject = claims.get(&self.subject_claim).and_then(Json::as_str).filter(|subject| is_subject(subject));
        let groups = claims.get(&self.groups_claim).map_or(Some(Vec::new()), groups);
        Ok(Claims {
            subject: subject.ok_or(Refusal::Subject)?.to_owned(),
            groups: groups.ok_or(Refusal::Groups)?,
            until,
        })
    }

    /// RFC 7519 section 4.1.3: one name, or a list of them.
    fn names_us(&self, audience: Option<&Json>) -> bool {
        let is_us = |name: &Json| name.as_str() == Some(&self.audience);
        match audience {
            Some(Json::Array(names)) => names.iter().all(|name| name.as_str().is_some()) && names.iter().any(is_us),
            Some(name) => is_us(name),
            None => false,
        }
    }
}

/// The key's name and the algorithm. Members that name keys elsewhere (`jku`, `jwk`, `x5u`, `x5c`) are not looked at.
fn read_header(header: &Json) -> Result<(Option<&str>, Algorithm), Refusal> {
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Refusal::Header),
    };
    let algorithm = text("alg")?.and_then(Algorithm::parse).ok_or(Refusal::Algorithm)?;
    if header.get("crit").is_some() {
        return Err(Refusal::Critical);
    }
    if let Some(kind) = text("typ")? {
        let kind = kind.to_ascii_lowercase();
        if !TYPES.contains(&kind.strip_prefix("application/").unwrap_or(&kind)) {
            return Err(Refusal::Type);
        }
    }
    Ok((text("kid")?, algorithm))
}

/// A part of a token, if it is an object.
fn object(part: &str) -> Option<Json> {
    json::parse(&b64u::decode(part)?).ok().filter(|value| value.as_object().is_some())
}

/// A NumericDate in whole seconds: no issuer of access tokens writes fractions.
fn time(claims: &Json, name: &str) -> Result<Option<i64>, Refusal> {
    claims.get(name).map(|value| value.as_i64().ok_or(Refusal::Time)).transpose()
}

/// All names, or nothing: a group that is left out would be one that no policy forbids anything.
fn groups(value: &Json) -> Option<Vec<String>> {
    let names = value.as_array().filter(|names| names.len() <= MAX_GROUPS)?;
    let name = |name: &Json| name.as_str().filter(|name| is_group(name)).map(str::to_owned);
    names.iter().map(name).collect()
}

fn is_group(name: &str) -> bool {
    (1..=LONGEST_GROUP).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
