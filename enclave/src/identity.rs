//! Who calls: the agents of the configuration and the operator, told apart by their bearer tokens.
//!
//! A token is compared by its SHA-256, in constant time and with every configured one. It is looked at here and nowhere
//! else: it is not forwarded, recorded or logged.

use std::cell::Cell;
use std::rc::Rc;

use claim::Digest;
use claim::json::Json;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::{AuthMode, Config, Scope, Token};
use crate::error::Code;
use crate::evidence::DevMode;
use crate::labels::Labels;

/// The subject of callers without authentication, and their id in policies.
pub const ANONYMOUS: &str = "anonymous";

/// Lengths of a token: what is shorter can be guessed, what is longer is none.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 32..=1024;
const SCHEME: &str = "bearer ";

/// An agent, as far as the gateway knows it. There is one for each of `auth.tokens`, or a single anonymous one.
#[derive(Debug)]
pub struct Identity {
    /// Its place among the identities of this boot, from 0: for tables with a place for each.
    pub number: usize,
    /// What the configuration says of it; nothing for the anonymous one.
    named: Option<Named>,
    scope: Scope,
    /// What all its sessions hold together, in scope `identity`.
    labels: Cell<Labels>,
}

#[derive(Debug)]
struct Named {
    subject: String,
    issuer: String,
    groups: Vec<String>,
}

impl Identity {
    fn new(number: usize, named: Option<Named>, scope: Scope) -> Rc<Self> {
        Rc::new(Self { number, named, scope, labels: Cell::new(Labels::PUBLIC) })
    }

    /// The authenticated subject; unique in this boot.
    pub fn subject(&self) -> Option<&str> {
        self.named.as_ref().map(|named| named.subject.as_str())
    }

    /// Who vouches for it, perhaps empty.
    pub fn issuer(&self) -> Option<&str> {
        self.named.as_ref().map(|named| named.issuer.as_str())
    }

    /// Its groups.
    pub fn groups(&self) -> &[String] {
        self.named.as_ref().map_or(&[], |named| &named.groups)
    }

    /// How far its labels reach.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Labels that every session of it holds: none in scope `session`.
    pub fn labels(&self) -> Labels {
        self.labels.get()
    }

    /// All its sessions hold these from now on, if the scope is theirs.
    pub fn join(&self, labels: Labels) {
        if self.scope == Scope::Identity {
            self.labels.set(self.labels.get().join(labels));
        }
    }

    /// Forgets its labels, on record (`reset`).
    pub fn clear(&self) {
        self.labels.set(Labels::PUBLIC);
    }

    /// Subject and issuer, if it has one, for records of the kill switch.
    pub fn name(&self) -> (String, Option<String>) {
        let issuer = self.issuer().filter(|issuer| !issuer.is_empty());
        (self.subject().unwrap_or(ANONYMOUS).to_owned(), issuer.map(str::to_owned))
    }

    /// `{subject, issuer}`, as a session's first entry names it.
    pub fn detail(&self) -> Option<Json> {
        let named = self.named.as_ref()?;
        Some(Json::from([("subject", Json::from(&*named.subject)), ("issuer", Json::from(&*named.issuer))]))
    }
}

/// Who is behind a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An agent.
    Agent(Rc<Identity>),
    /// The operator.
    Operator,
}

/// Why a caller was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token.
    NoToken,
    /// No token that is known.
    BadToken,
    /// The operator's token where an agent's belongs.
    NotAgent,
    /// Another caller than the operator.
    NotOperator,
    /// Nobody is the operator.
    NoOperator,
}

impl Denied {
    /// The error code.
    pub fn code(self) -> Code {
        match self {
            Self::NoToken | Self::BadToken => Code::Unauthenticated,
            Self::NotAgent => Code::AgentRequired,
            Self::NotOperator | Self::NoOperator => Code::OperatorRequired,
        }
    }

    /// What to do about it.
    pub fn detail(self) -> &'static str {
        match self {
            Self::NoToken => "send Authorization: Bearer TOKEN",
            Self::BadToken => "the token is none of auth.tokens (one header, 32 to 1024 characters)",
            Self::NotAgent => "agents have tokens of their own",
            Self::NotOperator => "send the operator's token",
            Self::NoOperator => "this gateway has no operator; set operator.token_sha256",
        }
    }

    /// `WWW-Authenticate` (RFC 6750 section 3), for those that could say who they are.
    pub fn challenge(self) -> Option<HeaderValue> {
        match self {
            Self::NoToken => Some(HeaderValue::from_static(r#"Bearer realm="cmcp""#)),
            Self::BadToken => Some(HeaderValue::from_static(r#"Bearer realm="cmcp", error="invalid_token""#)),
            Self::NotAgent | Self::NotOperator | Self::NoOperator => None,
        }
    }
}

/// Who may call this gateway.
pub struct Access {
    /// By number; the anonymous one alone without authentication.
    identities: Vec<Rc<Identity>>,
    /// Hash and identity of each agent's token; nothing without authentication.
    tokens: Option<Vec<Digest>>,
    operator: Option<Digest>,
}

impl Access {
    /// Whom the configuration names. Callers without authentication need dev mode.
    pub fn new(config: &Config, _dev: &DevMode) -> Self {
        let scope = config.scope();
        let named = |(number, token): (usize, &Token)| {
            let (subject, issuer, groups) = (token.subject.clone(), token.issuer.clone(), token.groups.clone());
            Identity::new(number, Some(Named { subject, issuer, groups }), scope)
        };
        let operator = config.operator.token_sha256.and_then(crate::config::TokenHash::digest);
        match config.auth.mode {
            AuthMode::None => Self { identities: vec![Identity::new(0, None, scope)], tokens: None, operator },
            AuthMode::Bearer => {
                let tokens = &config.auth.tokens;
                let identities = tokens.iter().enumerate().map(named).collect();
                // Checked configurations have one for each. Without, nobody gets in: no tokens at all would let everybody in.
                let hashes: Option<Vec<_>> = tokens.iter().map(|token| token.token_sha256.digest()).collect();
                Self { identities, tokens: Some(hashes.unwrap_or_default()), operator }
            }
        }
    }

    /// How many identities there are.
    pub fn identities(&self) -> usize {
        self.identities.len()
    }

    /// The identity of this subject.
    pub fn identity(&self, subject: &str) -> Option<Rc<Identity>> {
        self.identities.iter().find(|identity| identity.subject() == Some(subject)).cloned()
    }

    /// The identity of this subject, or the one that everybody is without authentication.
    pub fn identity_or_anonymous(&self, subject: &str) -> Option<Rc<Identity>> {
        match self.tokens {
            None => self.identities.first().filter(|_| subject == ANONYMOUS).cloned(),
            Some(_) => self.identity(subject),
        }
    }

    /// Who sent these header fields.
    ///
    /// # Errors
    /// [`Denied::NoToken`], [`Denied::BadToken`].
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        // Nothing to compare with: the common case in dev mode.
        let nobody_has_one = self.tokens.is_none() && self.operator.is_none();
        let token = if nobody_has_one { Err(Denied::NoToken) } else { bearer(headers) };
        match (&self.tokens, token) {
            (Some(tokens), token) => self.holder(tokens, &token?),
            (None, Ok(hash)) if self.is_operator(&hash) => Ok(Caller::Operator),
            // Without authentication a token says nothing, unless it is the operator's.
            (None, _) => self.anybody(),
        }
    }

    /// The agent that sent these header fields.
    ///
    /// # Errors
    /// As [`Self::caller`], and [`Denied::NotAgent`] for the operator.
    pub fn agent(&self, headers: &HeaderMap) -> Result<Rc<Identity>, Denied> {
        match self.caller(headers)? {
            Caller::Agent(identity) => Ok(identity),
            Caller::Operator => Err(Denied::NotAgent),
        }
    }

    /// Passes the operator, and nobody else.
    ///
    /// # Errors
    /// As [`Self::caller`], [`Denied::NotOperator`] for agents, [`Denied::NoOperator`] if there is none.
    pub fn operator(&self, headers: &HeaderMap) -> Result<(), Denied> {
        self.admit_operator(&self.caller(headers)?)
    }

    /// Passes the operator, and nobody else.
    ///
    /// # Errors
    /// [`Denied::NotOperator`] for agents, [`Denied::NoOperator`] if there is no operator.
    pub fn admit_operator(&self, caller: &Caller) -> Result<(), Denied> {
        match caller {
            Caller::Operator => Ok(()),
            Caller::Agent(_) if self.operator.is_none() => Err(Denied::NoOperator),
            Caller::Agent(_) => Err(Denied::NotOperator),
        }
    }

    fn anybody(&self) -> Result<Caller, Denied> {
        self.identities.first().cloned().map(Caller::Agent).ok_or(Denied::NoToken)
    }

    fn is_operator(&self, hash: &Digest) -> bool {
        self.operator.is_some_and(|operator| same(&operator, hash).into())
    }

    /// Whose token has this hash. Every configured one is looked at, whichever it is.
    fn holder(&self, tokens: &[Digest], hash: &Digest) -> Result<Caller, Denied> {
        let mut found = u32::MAX;
        for (number, token) in (0..).zip(tokens) {
            found.conditional_assign(&number, same(token, hash));
        }
        if self.is_operator(hash) {
            return Ok(Caller::Operator);
        }
        let identity = usize::try_from(found).ok().and_then(|number| self.identities.get(number));
        identity.cloned().map(Caller::Agent).ok_or(Denied::BadToken)
    }
}

fn same(one: &Digest, other: &Digest) -> Choice {
    one.bytes().as_slice().ct_eq(other.bytes().as_slice())
}

/// SHA-256 of the one bearer token (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Result<Digest, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::NoToken)?;
    let value = value.to_str().ok().filter(|_| values.next().is_none()).ok_or(Denied::BadToken)?;
    let scheme = value.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let token = scheme.and_then(|scheme| value.get(scheme.len()..)).unwrap_or_default().trim_matches(' ');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if TOKEN_BYTES.contains(&token.len()) && token.bytes().all(known) {
        Ok(Digest::of(token))
    } else {
        Err(Denied::BadToken)
    }
}

#[cfg(test)]
pub(crate) mod tests;
