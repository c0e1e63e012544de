//! Paths and methods, and what answers them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::inbound::Connection;
use super::kill_switch::{self, Turn};
use crate::claims;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body, BodyError};
use crate::identity::{Caller, Denied, Identity};
use crate::mcp::era::Era;
use crate::mcp::members::{Members, push_string};
use crate::mcp::outbox::Outbox;
use crate::mcp::{self, Post};
use crate::session::Find;

/// Every endpoint, for the documentation and the tests: method, path, what it does.
pub const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("POST", "/mcp", "the Model Context Protocol, 2026-07-28 and 2024-11-05 to 2025-11-25"),
    ("GET", "/mcp", "event stream of the MCP session of header Mcp-Session-Id"),
    ("DELETE", "/mcp", "end the MCP session of header Mcp-Session-Id"),
    ("GET", "/health", "the process serves"),
    ("GET", "/readyz", "calls would be admitted: the audit store answers"),
    ("GET", "/tools/list", "the approved tools"),
    ("GET", "/session/{id}/claim", "the session's signed claim"),
    ("GET", "/sessions/{id}/trace-claim", "the same bytes"),
    ("POST", "/sessions/{id}/close", "end the session; its final claim"),
    ("GET", "/session/{id}/trust-record?nonce=", "the session's TRACE trust record"),
    ("GET", "/audit/export?session_id=", "the session's signed audit bundle"),
    ("POST", "/kill-switch/trip", "for the operator: refuse all calls of an identity"),
    ("POST", "/kill-switch/unblock", "for the operator: decide them again"),
    ("GET", "/attestation?nonce=", "evidence of this boot, bound to the caller's challenge"),
];

/// Answers one request.
pub(super) async fn serve(
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
    outbox: Rc<Outbox>,
) -> Response<Body> {
    let arrived = Instant::now();
    if !same_origin(request.headers()) {
        return refuse(Code::OriginRefused, None);
    }
    let path = request.uri().path().to_owned();
    if path == "/mcp" {
        return match gateway.access.agent(request.headers()) {
            Ok(identity) => mcp_endpoint(gateway, connection, identity, request, arrived, outbox).await,
            Err(denied) => mcp::refuse_caller(denied),
        };
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (method, wanted) = (request.method().clone(), route(&path));
    let Some((allowed, route)) = wanted else { return refuse(Code::NotFound, None) };
    if method != allowed {
        return not_allowed(allowed.as_str());
    }
    let answer = match route {
        Route::Health => Ok(http::json(StatusCode::OK, r#"{"status":"ok"}"#)),
        Route::Ready => ready(&gateway),
        Route::Attestation => attestation(&gateway, &query),
        Route::KillSwitch(turn) => match gateway.access.operator(request.headers()) {
            Ok(()) => Box::pin(kill_switch::turn(&gateway, turn, request)).await,
            Err(denied) => return turn_away(denied),
        },
        Route::Private(route) => match gateway.access.caller(request.headers()) {
            Ok(caller) => Box::pin(private(&gateway, &Asking { caller, query: &query }, route)).await,
            Err(denied) => return turn_away(denied),
        },
    };
    answer.unwrap_or_else(|(code, detail)| refuse(code, detail.as_deref()))
}

/// What concerns an agent or the operator alone.
async fn private(gateway: &Rc<Gateway>, asking: &Asking<'_>, route: Private<'_>) -> Answer {
    match route {
        Private::Tools => tools(gateway),
        Private::Claim(id) => claim(gateway, asking.find(gateway, id)?).await,
        Private::Close(id) => close(gateway, asking.find(gateway, id)?).await,
        Private::Record(id) => record(gateway, asking, id).await,
        Private::Export => export(gateway, asking).await,
    }
}

/// Who asks, and the query.
struct Asking<'a> {
    caller: Caller,
    query: &'a str,
}

impl Asking<'_> {
    /// The session of this id: an agent's own, or for the operator anybody's.
    fn find(&self, gateway: &Gateway, id: &str) -> Result<Find, Refused> {
        let unknown = || (Code::SessionUnknown, None);
        let sessions = gateway.sessions.borrow();
        if let Some(identity) = self.identity(gateway)? {
            return sessions.find(&identity, id).ok_or_else(unknown);
        }
        let mut found = sessions.find_all(id);
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(unknown()),
            (Some(_), false) => {
                let detail = "several identities have a session of this id; add identity=SUBJECT to the query";
                Err((Code::InvalidQuery, Some(detail.to_owned())))
            }
        }
    }

    /// Whose sessions are meant; anybody's if the operator names none.
    fn identity(&self, gateway: &Gateway) -> Result<Option<Rc<Identity>>, Refused> {
        match (&self.caller, parameter(self.query, "identity")) {
            (Caller::Agent(identity), _) => Ok(Some(identity.clone())),
            (Caller::Operator, None) => Ok(None),
            (Caller::Operator, Some(subject)) => {
                let subject = decoded(subject);
                let named = gateway.access.identity(&subject).map(Some);
                named.ok_or_else(|| (Code::InvalidQuery, Some(format!("identity: {subject:?} is not in auth.tokens"))))
            }
        }
    }
}

enum Route<'a> {
    Health,
    Ready,
    Attestation,
    KillSwitch(Turn),
    Private(Private<'a>),
}

enum Private<'a> {
    Tools,
    Claim(&'a str),
    Close(&'a str),
    Record(&'a str),
    Export,
}

fn route(path: &str) -> Option<(Method, Route<'_>)> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    Some(match parts.as_slice() {
        ["health"] => (Method::GET, Route::Health),
        ["readyz"] => (Method::GET, Route::Ready),
        ["attestation"] => (Method::GET, Route::Attestation),
        ["kill-switch", "trip"] => (Method::POST, Route::KillSwitch(Turn::Trip)),
        ["kill-switch", "unblock"] => (Method::POST, Route::KillSwitch(Turn::Unblock)),
        private => {
            let (method, private) = private_route(private)?;
            (method, Route::Private(private))
        }
    })
}

fn private_route<'a>(parts: &[&'a str]) -> Option<(Method, Private<'a>)> {
    Some(match *parts {
        ["tools", "list"] => (Method::GET, Private::Tools),
        ["session", id, "claim"] | ["sessions", id, "trace-claim"] => (Method::GET, Private::Claim(id)),
        ["sessions", id, "close"] => (Method::POST, Private::Close(id)),
        ["session", id, "trust-record"] => (Method::GET, Private::Record(id)),
        ["audit", "export"] => (Method::GET, Private::Export),
        _ => return None,
    })
}

/// Why not, and in which words.
pub(super) type Refused = (Code, Option<String>);
pub(super) type Answer = Result<Response<Body>, Refused>;

fn ready(gateway: &Gateway) -> Answer {
    if gateway.stopping.get() {
        return Err((Code::ShuttingDown, None));
    }
    if !gateway.audit.is_open() {
        return Err((Code::AuditUnavailable, None));
    }
    if gateway.controls.halted {
        return Err((Code::GatewayHalted, None));
    }
    Ok(http::json(StatusCode::OK, r#"{"status":"ready"}"#))
}

fn tools(gateway: &Gateway) -> Answer {
    let none = Members::default();
    let list =
        mcp::hello::tools(gateway, &gateway.policy(), &none, Era::Legacy).map_err(|problem| (problem.code, None))?;
    Ok(http::json(StatusCode::OK, list))
}

async fn claim(gateway: &Gateway, found: Find) -> Answer {
    let bytes = match found {
        Find::Open(session) => claims::issue(gateway, &session).await.map(|(bytes, _)| bytes),
        Find::Closed(closed) => crate::recall::claim(gateway, closed.number, &closed.claim).await,
    };
    Ok(http::json(StatusCode::OK, bytes.map_err(|code| (code, None))?))
}

async fn close(gateway: &Rc<Gateway>, found: Find) -> Answer {
    let bytes = match found {
        Find::Open(session) => claims::close(gateway, &session, "closed by request").await,
        // Asked again after a lost answer: the same claim.
        Find::Closed(closed) => crate::recall::claim(gateway, closed.number, &closed.claim).await,
    };
    Ok(http::json(StatusCode::OK, bytes.map_err(|code| (code, None))?))
}

async fn record(gateway: &Gateway, asking: &Asking<'_>, id: &str) -> Answer {
    let nonce = parameter(asking.query, "nonce");
    if let Some(nonce) = nonce {
        claims::check_nonce(nonce).map_err(|text| (Code::InvalidQuery, Some(text)))?;
    }
    let found = asking.find(gateway, id)?;
    let record = claims::trust_record(gateway, &found, nonce).await.map_err(|code| (code, None))?;
    Ok(http::json(StatusCode::OK, record))
}

async fn export(gateway: &Rc<Gateway>, asking: &Asking<'_>) -> Answer {
    let id = parameter(asking.query, "session_id")
        .ok_or_else(|| (Code::InvalidQuery, Some("session_id is missing: /audit/export?session_id=ID".to_owned())))?;
    let found = asking.find(gateway, id)?;
    claims::export(gateway, &found).await.map_err(|code| (code, None))
}

fn attestation(gateway: &Gateway, query: &str) -> Answer {
    let nonce = parameter(query, "nonce")
        .ok_or_else(|| (Code::InvalidQuery, Some("nonce is missing: 16 to 64 bytes in base64url".to_owned())))?;
    claims::check_nonce(nonce).map_err(|text| (Code::InvalidQuery, Some(text)))?;
    Ok(http::json(StatusCode::OK, claims::attestation(gateway, nonce)))
}

/// Value of a query parameter. Ids and nonces need no percent-encoding, so none is undone.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
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

async fn mcp_endpoint(
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
    identity: Rc<Identity>,
    request: Request<Incoming>,
    arrived: Instant,
    outbox: Rc<Outbox>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => {}
        Method::DELETE => return Box::pin(mcp::end_session(&gateway, &identity, &head.headers)).await,
        Method::GET if head.headers.contains_key(mcp::SESSION_HEADER) => {
            return mcp::stream(&gateway, &identity, &head.headers);
        }
        _ => return not_allowed("POST, DELETE"),
    }
    let limits = &gateway.config.limits;
    let bytes =
        match timeout(Duration::from_millis(limits.request_timeout_ms), http::collect(body, limits.max_body_bytes))
            .await
        {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(BodyError::TooLarge)) => return mcp::refuse_request(Code::BodyTooLarge),
            Ok(Err(BodyError::Broken(_))) => return mcp::refuse_request(Code::ParseError),
            Err(_) => return mcp::refuse_request(Code::SlowRequest),
        };
    let connection = &connection.session_id;
    let post = Post { identity: &identity, headers: &head.headers, body: &bytes, arrived, connection, outbox: &outbox };
    mcp::serve(&gateway, &post).await
}

/// A browser says where its page comes from; only pages of this machine may speak to a gateway without authentication
/// (MCP 2025-11-25, Streamable HTTP, "Security Warning").
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn not_allowed(allowed: &str) -> Response<Body> {
    let mut response = refuse(Code::MethodNotAllowed, Some(&format!("use {allowed}")));
    if let Ok(value) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// The refusal of a caller outside JSON-RPC.
fn turn_away(denied: Denied) -> Response<Body> {
    http::challenged(denied, refuse(denied.code(), Some(denied.detail())))
}

/// A refusal outside JSON-RPC.
fn refuse(code: Code, detail: Option<&str>) -> Response<Body> {
    let mut message = String::new();
    match detail {
        Some(detail) => push_string(&mut message, &format!("{}: {detail}", code.message())),
        None => push_string(&mut message, code.message()),
    }
    let body = format!("{{\"error\":{{\"code\":\"{}\",\"message\":{message}}}}}", code.name());
    http::error(code, code.status(), Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderValue, ORIGIN};

    use super::{ENDPOINTS, decoded, parameter, route, same_origin};

    #[test]
    fn every_documented_endpoint_is_routed() {
        for (method, path, _) in ENDPOINTS.iter().filter(|(_, path, _)| *path != "/mcp") {
            let path = path.split('?').next().unwrap().replace("{id}", "some-id");
            let (allowed, _) = route(&path).unwrap();
            assert_eq!(allowed.as_str(), *method, "{path}");
        }
        assert!(route("/sessions//other").is_none());
    }

    #[test]
    fn pages_of_other_hosts_are_refused() {
        let with = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            same_origin(&headers)
        };
        for good in ["http://localhost", "http://localhost:8443", "https://127.0.0.1:1", "http://[::1]:8443"] {
            assert!(with(good), "{good}");
        }
        for bad in [
            "null",
            "http://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.nip.io:80",
            "http://localhost:80@evil",
        ] {
            assert!(!with(bad), "{bad}");
        }
        assert!(same_origin(&HeaderMap::new()));
    }

    #[test]
    fn parameters_are_found_by_name() {
        assert_eq!(parameter("a=1&nonce=xyz&b", "nonce"), Some("xyz"));
        assert_eq!(parameter("xnonce=1", "nonce"), None);
        assert_eq!(decoded("spiffe%3A%2f%2Fbank/a"), "spiffe://bank/a");
        assert_eq!(decoded("a%+1%4%"), "a%+1%4%");
    }
}
