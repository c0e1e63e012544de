//! Who calls: agents and the operator, told apart by what they show of themselves.
//!
//! A token is looked at here and nowhere else: it is not forwarded, recorded or logged.

mod bearer;
mod issuer;
mod jwk;
pub mod jwt;
pub mod names;
mod registry;
pub mod resource;
pub mod spiffe;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use claim::Digest;
use claim::json::Json;
use claim::time::Timestamp;
use hyper::header::{HeaderMap, HeaderValue};
use wire::BootRefusal;

use self::bearer::Tokens;
use self::issuer::Issuer;
use self::names::is_subject;
use self::registry::Registry;
use self::resource::Resource;
use self::spiffe::{Certificate, Members};
use crate::config::{AuthMode, Config, Scope, TokenHash, no_authentication};
use crate::controls::Held;
use crate::error::Code;
use crate::evidence::DevMode;
use crate::gateway::Clock;
use crate::labels::Labels;

/// The subject of callers without authentication, and their id in policies.
pub const ANONYMOUS: &str = "anonymous";

/// An agent, as far as the gateway knows it: a subject of an issuer, or the anonymous one.
#[derive(Debug)]
pub struct Identity {
    /// Never another's in this boot.
    pub number: u64,
    /// Nothing for the anonymous one.
    named: Option<Named>,
    scope: Scope,
    /// What all its sessions hold together, in scope `identity`.
    labels: Cell<Labels>,
    /// What the controls keep of it, from its first call on.
    pub held: OnceCell<Held>,
}

#[derive(Debug)]
struct Named {
    subject: String,
    issuer: String,
}

/// What an agent has shown of itself with a request. Its groups are the request's: another token of the same identity may say
/// others.
#[derive(Debug)]
pub struct Credential {
    /// Whose it is.
    pub identity: Rc<Identity>,
    /// `principal.groups` in policies.
    pub groups: Vec<String>,
    /// Nothing it shows counts from then on; nothing for what does not end.
    pub until: Option<Timestamp>,
}

impl Identity {
    fn new(number: u64, named: Option<Named>, scope: Scope) -> Rc<Self> {
        Rc::new(Self { number, named, scope, labels: Cell::new(Labels::PUBLIC), held: OnceCell::new() })
    }

    /// The authenticated subject; unique in this boot.
    pub fn subject(&self) -> Option<&str> {
        self.named.as_ref().map(|named| named.subject.as_str())
    }

    /// Who vouches for it, perhaps empty.
    pub fn issuer(&self) -> Option<&str> {
        self.named.as_ref().map(|named| named.issuer.as_str())
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

    /// Whether something would be lost with it: labels, blocks, counted calls.
    fn holds(&self) -> bool {
        self.labels() != Labels::PUBLIC || self.held.get().is_some_and(|held| !held.is_idle())
    }
}

impl Credential {
    /// Of an identity itself, without anything that says more of it.
    pub fn of(identity: Rc<Identity>) -> Rc<Self> {
        Rc::new(Self { identity, groups: Vec::new(), until: None })
    }

    /// For how long it counts from now on; nothing if it does not any more.
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        let Some(until) = self.until else { return Some(Duration::MAX) };
        let left = until.micros().saturating_sub(now.micros());
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_micros)
    }
}

/// Who is behind a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An agent.
    Agent(Rc<Credential>),
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
    /// A token that does not count.
    Token(jwt::Refusal),
    /// No certificate.
    NoCertificate,
    /// A certificate that does not count.
    Certificate(spiffe::Refusal),
    /// The operator's token where an agent's belongs.
    NotAgent,
    /// Another caller than the operator.
    NotOperator,
    /// Nobody is the operator.
    NoOperator,
    /// An identity that has not called before, and no room for it.
    Full,
}

impl Denied {
    /// The error code.
    pub fn code(self) -> Code {
        match self {
            Self::NoToken | Self::BadToken | Self::Token(_) | Self::NoCertificate | Self::Certificate(_) => {
                Code::Unauthenticated
            }
            Self::NotAgent => Code::AgentRequired,
            Self::NotOperator | Self::NoOperator => Code::OperatorRequired,
            Self::Full => Code::IdentityLimit,
        }
    }

    /// What to do about it.
    pub fn detail(self) -> &'static str {
        match self {
            Self::NoToken => "send Authorization: Bearer TOKEN",
            Self::BadToken => "no such token: one Authorization header, Bearer and 32 to 1024 characters",
            Self::Token(refusal) => refusal.detail(),
            Self::NoCertificate => "connect with a client certificate of auth.mtls.client_ca",
            Self::Certificate(refusal) => refusal.detail(),
            Self::NotAgent => "agents have tokens of their own",
            Self::NotOperator => "send the operator's token",
            Self::NoOperator => "this gateway has no operator; set operator.token_sha256",
            Self::Full => "every place holds sessions, labels, blocks or counted calls; raise limits.max_identities",
        }
    }
}

/// Who may call this gateway.
pub struct Access {
    scheme: Scheme,
    operator: Option<Digest>,
    registry: Registry,
    resource: Option<Resource>,
}

/// How agents show who they are.
enum Scheme {
    /// They do not.
    Anonymous(Rc<Credential>),
    /// One of the tokens of the configuration.
    Bearer(Tokens),
    /// Tokens that an issuer signs.
    Jwt(Box<Issuer>, Clock),
    /// Certificates of a trust domain.
    Mtls(Members, Clock),
}

/// What a request shows of whom it is from.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its connection's certificate.
    pub certificate: Option<&'a Certificate>,
}

impl<'a> From<&'a HeaderMap> for Shown<'a> {
    fn from(headers: &'a HeaderMap) -> Self {
        Self { headers, certificate: None }
    }
}

impl Access {
    /// Whom the configuration lets in, by this clock. Callers without authentication need dev mode.
    ///
    /// # Errors
    /// Keys or URLs that cannot be used.
    pub fn new(config: &Config, dev: Option<&DevMode>, clock: Clock) -> Result<Self, BootRefusal> {
        let registry = Registry::new(config.limits.max_identities, config.scope());
        let scheme = match config.auth.mode {
            AuthMode::None => match dev {
                Some(_) => Scheme::Anonymous(Credential::of(registry.anonymous())),
                None => return Err(no_authentication()),
            },
            AuthMode::Bearer => Scheme::Bearer(Tokens::new(&config.auth.tokens, &registry)),
            AuthMode::Jwt => match &config.auth.jwt {
                Some(jwt) => Scheme::Jwt(Box::new(Issuer::new(jwt)?), clock),
                // Checked configurations have it. Without, nobody gets in.
                None => Scheme::Bearer(Tokens::new(&[], &registry)),
            },
            AuthMode::Mtls => {
                let domain = config.auth.mtls.as_ref().map_or("", |mtls| mtls.trust_domain.as_str());
                Scheme::Mtls(Members::of(domain), clock)
            }
        };
        let operator = config.operator.token_sha256.and_then(TokenHash::digest);
        Ok(Self { scheme, operator, registry, resource: Resource::of(&config.auth)? })
    }

    /// The identity of this subject, if there is one: `anonymous` is nobody's subject, and the one that everybody is without
    /// authentication.
    pub fn identity(&self, subject: &str) -> Option<Rc<Identity>> {
        match &self.scheme {
            Scheme::Anonymous(everybody) => Some(everybody.identity.clone()).filter(|_| subject == ANONYMOUS),
            Scheme::Bearer(_) | Scheme::Jwt(..) | Scheme::Mtls(..) => self.registry.find(subject),
        }
    }

    /// The same; where identities show themselves at run time, also of a subject that has not called yet. Nothing if there cannot
    /// be one.
    ///
    /// # Errors
    /// [`Denied::Full`].
    pub fn named(&self, subject: &str) -> Result<Option<Rc<Identity>>, Denied> {
        match &self.scheme {
            Scheme::Jwt(issuer, _) if is_subject(subject) => issuer.identity(subject, &self.registry).map(Some),
            Scheme::Mtls(members, _) => members.identity(subject, &self.registry),
            _ => Ok(self.identity(subject)),
        }
    }

    /// What the gateway says of itself as a protected resource, if the configuration says where tokens come from.
    pub fn resource(&self) -> Option<&Resource> {
        self.resource.as_ref()
    }

    /// `WWW-Authenticate` for those that could say who they are (RFC 6750 section 3, RFC 9728 section 5.1).
    pub fn challenge(&self, denied: Denied) -> Option<HeaderValue> {
        let error = match denied {
            Denied::NoToken | Denied::NoCertificate | Denied::Certificate(_) => String::new(),
            Denied::BadToken | Denied::Token(_) => {
                format!(r#", error="invalid_token", error_description="{}""#, denied.detail())
            }
            Denied::NotAgent | Denied::NotOperator | Denied::NoOperator | Denied::Full => return None,
        };
        let metadata = |resource: &Resource| format!(r#", resource_metadata="{}""#, resource.url);
        let metadata = self.resource.as_ref().map(metadata).unwrap_or_default();
        HeaderValue::from_str(&format!(r#"Bearer realm="cmcp"{error}{metadata}"#)).ok()
    }

    /// Who shows this.
    ///
    /// # Errors
    /// [`Denied::NoToken`], [`Denied::BadToken`], [`Denied::Token`], [`Denied::NoCertificate`], [`Denied::Certificate`],
    /// [`Denied::Full`].
    pub fn caller<'a>(&self, shown: impl Into<Shown<'a>>) -> Result<Caller, Denied> {
        let Shown { headers, certificate } = shown.into();
        match &self.scheme {
            // Nothing to compare with: the common case in dev mode.
            Scheme::Anonymous(everybody) if self.operator.is_none() => Ok(Caller::Agent(everybody.clone())),
            // Without authentication a token says nothing, unless it is the operator's.
            Scheme::Anonymous(everybody) => match bearer::token(headers).and_then(bearer::hash) {
                Ok(hash) if self.is_operator(&hash) => Ok(Caller::Operator),
                _ => Ok(Caller::Agent(everybody.clone())),
            },
            Scheme::Bearer(tokens) => {
                let hash = bearer::hash(bearer::token(headers)?)?;
                let holder = tokens.holder(&hash);
                if self.is_operator(&hash) {
                    return Ok(Caller::Operator);
                }
                holder.map(Caller::Agent).ok_or(Denied::BadToken)
            }
            Scheme::Jwt(issuer, clock) => {
                let token = bearer::token(headers).map_err(|denied| match denied {
                    Denied::BadToken => Denied::Token(jwt::Refusal::Shape),
                    other => other,
                })?;
                let hash = Digest::of(token);
                if bearer::is_secret(token) && self.is_operator(&hash) {
                    return Ok(Caller::Operator);
                }
                issuer.holder((token, hash), clock.now(), &self.registry).map(Caller::Agent)
            }
            Scheme::Mtls(members, clock) => match bearer::token(headers) {
                // The operator alone has a token.
                Ok(token) if bearer::hash(token).is_ok_and(|hash| self.is_operator(&hash)) => Ok(Caller::Operator),
                Err(Denied::NoToken) => {
                    let certificate = certificate.ok_or(Denied::NoCertificate)?;
                    members.holder(certificate, clock.now(), &self.registry).map(Caller::Agent)
                }
                Ok(_) | Err(_) => Err(Denied::BadToken),
            },
        }
    }

    /// The agent that shows this.
    ///
    /// # Errors
    /// As [`Self::caller`], and [`Denied::NotAgent`] for the operator.
    pub fn agent<'a>(&self, shown: impl Into<Shown<'a>>) -> Result<Rc<Credential>, Denied> {
        match self.caller(shown)? {
            Caller::Agent(credential) => Ok(credential),
            Caller::Operator => Err(Denied::NotAgent),
        }
    }

    /// Passes the operator, and nobody else.
    ///
    /// # Errors
    /// As [`Self::caller`], [`Denied::NotOperator`] for agents, [`Denied::NoOperator`] if there is none.
    pub fn operator<'a>(&self, shown: impl Into<Shown<'a>>) -> Result<(), Denied> {
        self.admit_operator(&self.caller(shown)?)
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

    fn is_operator(&self, hash: &Digest) -> bool {
        self.operator.is_some_and(|operator| bearer::same(&operator, hash).into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
