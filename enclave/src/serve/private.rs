//! What concerns one agent, or the operator: claims, audit bundles, the ends and resets of sessions.

use std::rc::Rc;

use hyper::{Method, Response, StatusCode};

use super::routes::parameter;
use crate::claims;
use crate::config::Scope;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::http::{self, Body};
use crate::identity::{Caller, Credential, Denied, Identity};
use crate::mcp;
use crate::mcp::era::Era;
use crate::mcp::members::Members;
use crate::session::{Find, Session, Source};

/// A refusal: its code, and what more there is to say.
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) detail: Option<String>,
}
/// An answer, or its refusal.
pub(super) type Answer = Result<Response<Body>, Refused>;

impl Refused {
    pub(super) fn saying(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: Some(detail.into()) }
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self { code, detail: None }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::saying(denied.code(), denied.detail())
    }
}

/// What is asked for.
pub(super) enum Route<'a> {
    Tools,
    Claim(&'a str),
    Close(&'a str),
    Reset(&'a str),
    Record(&'a str),
    Evidence(&'a str),
    Export,
}

/// The method and route of a path's parts.
pub(super) fn route<'a>(parts: &[&'a str]) -> Option<(Method, Route<'a>)> {
    Some(match *parts {
        ["tools", "list"] => (Method::GET, Route::Tools),
        ["session", id, "claim"] | ["sessions", id, "trace-claim"] => (Method::GET, Route::Claim(id)),
        ["sessions", id, "close"] => (Method::POST, Route::Close(id)),
        ["sessions", id, "reset"] => (Method::POST, Route::Reset(id)),
        ["session", id, "trust-record"] => (Method::GET, Route::Record(id)),
        ["session", id, "evidence"] => (Method::GET, Route::Evidence(id)),
        ["audit", "export"] => (Method::GET, Route::Export),
        _ => return None,
    })
}

/// Answers one request.
pub(super) async fn serve(gateway: &Rc<Gateway>, asking: &Asking<'_>, route: Route<'_>) -> Answer {
    match route {
        Route::Tools => tools(gateway),
        Route::Claim(id) => claim(gateway, asking.find(gateway, id)?).await,
        Route::Close(id) => close(gateway, asking.find(gateway, id)?).await,
        Route::Reset(id) => reset(gateway, asking, id).await,
        Route::Record(id) => record(gateway, asking, id).await,
        Route::Evidence(id) => evidence(gateway, &asking.find(gateway, id)?).await,
        Route::Export => export(gateway, asking).await,
    }
}

/// Who asks, and the query.
pub(super) struct Asking<'a> {
    pub(super) caller: Caller,
    pub(super) query: &'a str,
}

impl Asking<'_> {
    /// The session of this id: an agent's own, or for the operator anybody's.
    fn find(&self, gateway: &Gateway, id: &str) -> Result<Find, Refused> {
        let sessions = gateway.sessions.borrow();
        match self.identity(gateway)? {
            Some(identity) => sessions.find(&identity, id).ok_or(Code::SessionUnknown.into()),
            None => only(sessions.find_all(id)),
        }
    }

    /// The open session of this id. If the operator names an identity whose labels reach over all its sessions, there need be none: one
    /// is begun to hold the record.
    fn open(&self, gateway: &Gateway, id: &str) -> Result<Rc<Session>, Refused> {
        let open = |found: Vec<Find>| {
            let open = found.into_iter().filter(|found| matches!(found, Find::Open(_)));
            match only(open.collect())? {
                Find::Open(session) => Ok(session),
                Find::Closed(_) => Err(Code::SessionUnknown.into()),
            }
        };
        let Some(identity) = self.identity(gateway)? else {
            return open(gateway.sessions.borrow().find_all(id)).map_err(|Refused { code, detail }| {
                let hint = "it is not open; with identity=SUBJECT in the query the identity's labels are cleared";
                Refused { code, detail: detail.or_else(|| Some(hint.to_owned())) }
            });
        };
        if identity.scope() == Scope::Session {
            return open(gateway.sessions.borrow().find(&identity, id).into_iter().collect());
        }
        let (credential, source) = (Credential::of(identity), Source::Operator);
        let wanted = SessionRef { credential, id: id.to_owned(), source, challenge: None };
        Ok(gateway.session(&wanted)?)
    }

    /// Whose sessions are meant; anybody's if the operator names none.
    fn identity(&self, gateway: &Gateway) -> Result<Option<Rc<Identity>>, Refused> {
        match (&self.caller, parameter(self.query, "identity")) {
            (Caller::Agent(credential), _) => Ok(Some(credential.identity.clone())),
            (Caller::Operator, None) => Ok(None),
            (Caller::Operator, Some(subject)) => {
                let subject = decoded(subject);
                let unknown = || format!("identity: nobody of subject {subject:?} has called");
                let named = gateway.access.identity(&subject).map(Some);
                named.ok_or_else(|| Refused::saying(Code::InvalidQuery, unknown()))
            }
        }
    }
}

/// The one of several identities' sessions of the same id, if there is only one.
fn only(mut found: Vec<Find>) -> Result<Find, Refused> {
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Code::SessionUnknown.into()),
        (Some(_), false) => {
            let detail = "several identities have a session of this id; add identity=SUBJECT to the query";
            Err(Refused::saying(Code::InvalidQuery, detail))
        }
    }
}

fn tools(gateway: &Gateway) -> Answer {
    let none = Members::default();
    let list = mcp::hello::tools(gateway, &gateway.policy(), &none, Era::Legacy).map_err(|problem| problem.code)?;
    Ok(http::json(StatusCode::OK, list))
}

async fn claim(gateway: &Gateway, found: Find) -> Answer {
    let bytes = match found {
        Find::Open(session) => claims::issue(gateway, &session).await.map(|(bytes, _)| bytes),
        Find::Closed(closed) => crate::recall::claim(gateway, closed.number, &closed.claim).await,
    };
    Ok(http::json(StatusCode::OK, bytes?))
}

async fn evidence(gateway: &Gateway, found: &Find) -> Answer {
    Ok(http::json(StatusCode::OK, claims::attachment(gateway, found).await?))
}

async fn close(gateway: &Rc<Gateway>, found: Find) -> Answer {
    let bytes = match found {
        Find::Open(session) => claims::close(gateway, &session, "closed by request").await,
        // Asked again after a lost answer: the same claim.
        Find::Closed(closed) => crate::recall::claim(gateway, closed.number, &closed.claim).await,
    };
    Ok(http::json(StatusCode::OK, bytes?))
}

async fn reset(gateway: &Gateway, asking: &Asking<'_>, id: &str) -> Answer {
    gateway.access.admit_operator(&asking.caller)?;
    if gateway.stopping.get() {
        return Err(Code::ShuttingDown.into());
    }
    gateway.audit.admit()?;
    let session = asking.open(gateway, id)?;
    let done = crate::reset::reset(gateway, &session).await?;
    Ok(http::json(StatusCode::OK, done.sorted_ascii()))
}

async fn record(gateway: &Gateway, asking: &Asking<'_>, id: &str) -> Answer {
    let nonce = parameter(asking.query, "nonce");
    if let Some(nonce) = nonce {
        claims::check_nonce(nonce).map_err(|text| Refused::saying(Code::InvalidQuery, text))?;
    }
    let found = asking.find(gateway, id)?;
    let record = claims::trust_record(gateway, &found, nonce).await?;
    Ok(http::json(StatusCode::OK, record))
}

async fn export(gateway: &Rc<Gateway>, asking: &Asking<'_>) -> Answer {
    let missing = || Refused::saying(Code::InvalidQuery, "session_id is missing: /audit/export?session_id=ID");
    let id = parameter(asking.query, "session_id").ok_or_else(missing)?;
    let found = asking.find(gateway, id)?;
    Ok(claims::export(gateway, &found).await?)
}

/// A value without percent-encoding: subjects have characters that some clients encode. What is no encoding stays.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = tail.get(if byte.is_some() { 2.. } else { 0.. }).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn subjects_are_decoded() {
        assert_eq!(decoded("spiffe%3A%2f%2Fbank/a"), "spiffe://bank/a");
        assert_eq!(decoded("a%+1%4%"), "a%+1%4%");
    }
}
