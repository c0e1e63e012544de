//! `auth`: who may call; `sensitivity`: how far labels reach.

use std::collections::BTreeMap;

use claim::Digest;
use serde::{Deserialize, Deserializer};
use wire::{BootRefusal, Document, RefusalCode};

use super::invalid;
use super::jwt::Jwt;
use super::mtls::Mtls;
use super::operator::Operator;
use crate::document::refusal;
use crate::identity::jwt::Rules;
use crate::identity::resource::Resource;
use crate::identity::{ANONYMOUS, names};

/// Tokens of one configuration: each is compared with every request's.
const MAX_TOKENS: usize = 1000;
/// Longest issuer or group of a token's holder in bytes.
const LONGEST_NAME: usize = names::LONGEST;
/// Groups of one subject.
const MAX_GROUPS: usize = 64;

/// Who may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How callers say who they are.
    pub mode: AuthMode,
    /// The agents of mode `bearer`, at most 1000.
    #[cfg_attr(test, schemars(length(max = 1000)))]
    pub tokens: Vec<Token>,
    /// Whose tokens count in mode `jwt`.
    pub jwt: Option<Jwt>,
    /// Whose client certificates count in mode `mtls`.
    pub mtls: Option<Mtls>,
    /// URL of this gateway's `/mcp`, for agents that ask where to get a token (RFC 9728).
    pub resource: Option<String>,
    /// Where they get one; `jwt.issuer` if it is left out.
    #[cfg_attr(test, schemars(length(max = 8)))]
    pub authorization_servers: Vec<String>,
}

/// `auth.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// They do not: everybody is `anonymous`. Dev mode only.
    #[default]
    None,
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// `Authorization: Bearer TOKEN`, a JSON Web Token that an issuer signed.
    Jwt,
    /// A client certificate with a SPIFFE ID, in the TLS handshake.
    Mtls,
}

impl AuthMode {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
        }
    }
}

/// Without the permission for dev mode, callers say who they are.
pub(crate) fn no_authentication() -> BootRefusal {
    let expected = "bearer, jwt or mtls: only in dev mode may everybody call (docs/identity.md)";
    refusal(RefusalCode::Missing, &Document::Config, "auth.mode", "none", expected)
}

/// An agent, and the token that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name, unique: the principal's id in policies. 1 to 256 letters, digits and `._:@/+~|-`.
    pub subject: String,
    /// Who vouches for it: `principal.issuer` in policies.
    #[serde(default)]
    pub issuer: String,
    /// `principal.groups` in policies.
    #[serde(default)]
    pub groups: Vec<String>,
    /// SHA-256 of the token: `sha256:` and 64 lower-case digits.
    pub token_sha256: TokenHash,
}

/// Labels of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sensitivity {
    /// How far a label reaches; `identity` if `auth.mode` is not `none`, else `session`.
    pub scope: Option<Scope>,
}

/// `sensitivity.scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The session that it was joined in. Dev mode only: an agent sheds its labels by choosing a new session id.
    Session,
    /// All sessions of the identity, until an operator resets one.
    Identity,
}

impl Scope {
    /// The name in the configuration and in audit entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Identity => "identity",
        }
    }
}

/// SHA-256 of a token. Nothing if the text is none, which [`check`] refuses without repeating it: it may be the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash(Option<Digest>);

impl TokenHash {
    /// The digest; nothing only before the configuration has been checked.
    pub fn digest(self) -> Option<Digest> {
        self.0
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Digest::parse_prefixed(&text).ok()))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for TokenHash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TokenHash".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
    }
}

/// Refuses names and tokens that could be mistaken for each other.
pub(super) fn check(auth: &Auth, operator: &Operator) -> Result<(), BootRefusal> {
    check_mode(auth)?;
    if let Some(jwt) = &auth.jwt {
        jwt.check()?;
        Rules::of(jwt)?;
    }
    if let Some(mtls) = &auth.mtls {
        mtls.check()?;
    }
    Resource::of(auth)?;
    let mut seen = Seen::default();
    for (index, token) in auth.tokens.iter().enumerate() {
        let at = format!("auth.tokens[{index}]");
        check_names(&at, token)?;
        seen.subject(&at, &token.subject)?;
        seen.token(&at, token.token_sha256)?;
    }
    operator.token_sha256.map_or(Ok(()), |hash| seen.token("operator", hash))
}

/// Refuses settings of a mode that is not the one, and a mode without its settings.
fn check_mode(auth: &Auth) -> Result<(), BootRefusal> {
    let missing = |field, expected| refusal(RefusalCode::Missing, &Document::Config, field, "nothing", expected);
    let mode = format!("{:?}", auth.mode.as_str());
    if auth.mode != AuthMode::Bearer && !auth.tokens.is_empty() {
        return Err(invalid("auth.mode", &mode, "bearer, because auth.tokens has tokens"));
    }
    if auth.mode != AuthMode::Jwt && auth.jwt.is_some() {
        return Err(invalid("auth.mode", &mode, "jwt, because auth.jwt is there"));
    }
    if auth.mode != AuthMode::Mtls && auth.mtls.is_some() {
        return Err(invalid("auth.mode", &mode, "mtls, because auth.mtls is there"));
    }
    match auth.mode {
        AuthMode::Bearer if auth.tokens.is_empty() => {
            Err(missing("auth.tokens", "at least one {subject, token_sha256}"))
        }
        AuthMode::Bearer if auth.tokens.len() > MAX_TOKENS => {
            Err(invalid("auth.tokens", &auth.tokens.len().to_string(), &format!("at most {MAX_TOKENS}")))
        }
        AuthMode::Jwt if auth.jwt.is_none() => Err(missing("auth.jwt", "{issuer, audience, jwks: {keys: [...]}}")),
        AuthMode::Mtls if auth.mtls.is_none() => Err(missing("auth.mtls", "{client_ca, trust_domain}")),
        AuthMode::None | AuthMode::Bearer | AuthMode::Jwt | AuthMode::Mtls => Ok(()),
    }
}

fn check_names(at: &str, token: &Token) -> Result<(), BootRefusal> {
    let short = |text: &str| (1..=LONGEST_NAME).contains(&text.len());
    let printable = |text: &str| short(text) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let subject = &token.subject;
    if !names::is_subject(subject) {
        let (longest, marks) = (names::LONGEST, names::MARKS);
        let expected = format!("1 to {longest} letters, digits and {marks}, and not {ANONYMOUS}, who has no token");
        return Err(invalid(&format!("{at}.subject"), &format!("{subject:?}"), &expected));
    }
    let expected = format!("1 to {LONGEST_NAME} bytes of printable ASCII");
    if !token.issuer.is_empty() && !printable(&token.issuer) {
        return Err(invalid(&format!("{at}.issuer"), &format!("{:?}", token.issuer), &expected));
    }
    if token.groups.len() > MAX_GROUPS {
        let found = token.groups.len().to_string();
        return Err(invalid(&format!("{at}.groups"), &found, &format!("at most {MAX_GROUPS}")));
    }
    match token.groups.iter().position(|group| !printable(group)) {
        Some(group) => {
            let found = format!("{:?}", token.groups.get(group));
            Err(invalid(&format!("{at}.groups[{group}]"), &found, &expected))
        }
        None => Ok(()),
    }
}

/// What the configuration has named so far, and where.
#[derive(Default)]
struct Seen<'a> {
    subjects: BTreeMap<&'a str, String>,
    tokens: BTreeMap<Digest, String>,
}

impl<'a> Seen<'a> {
    fn subject(&mut self, at: &str, subject: &'a str) -> Result<(), BootRefusal> {
        let Some(other) = self.subjects.insert(subject, at.to_owned()) else { return Ok(()) };
        let expected = format!("a subject of its own; {other} has this one");
        let field = format!("{at}.subject");
        Err(refusal(RefusalCode::Duplicate, &Document::Config, &field, &format!("{subject:?}"), &expected))
    }

    fn token(&mut self, at: &str, hash: TokenHash) -> Result<(), BootRefusal> {
        let field = format!("{at}.token_sha256");
        let Some(digest) = hash.digest() else {
            let expected = "sha256: and the 64 lower-case digits of printf %s TOKEN | sha256sum";
            return Err(invalid(&field, "something else, which is not repeated here", expected));
        };
        let Some(other) = self.tokens.insert(digest, at.to_owned()) else { return Ok(()) };
        let expected = format!("a token of its own; {other} has this one");
        Err(refusal(RefusalCode::Duplicate, &Document::Config, &field, &digest.prefixed(), &expected))
    }
}
