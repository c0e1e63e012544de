//! Paths and methods, and what answers them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::inbound::Connection;
use crate::claims;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body, BodyError};
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
        return mcp_endpoint(gateway, connection, request, arrived, outbox).await;
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
        Route::Tools => tools(&gateway),
        Route::Claim(id) => Box::pin(claim(&gateway, id)).await,
        Route::Close(id) => Box::pin(close(&gateway, id)).await,
        Route::Record(id) => Box::pin(record(&gateway, id, &query)).await,
        Route::Export => Box::pin(export(&gateway, &query)).await,
        Route::Attestation => attestation(&gateway, &query),
    };
    answer.unwrap_or_else(|(code, detail)| refuse(code, detail.as_deref()))
}

enum Route<'a> {
    Health,
    Ready,
    Tools,
    Claim(&'a str),
    Close(&'a str),
    Record(&'a str),
    Export,
    Attestation,
}

fn route(path: &str) -> Option<(Method, Route<'_>)> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    Some(match parts.as_slice() {
        ["health"] => (Method::GET, Route::Health),
        ["readyz"] => (Method::GET, Route::Ready),
        ["tools", "list"] => (Method::GET, Route::Tools),
        ["session", id, "claim"] | ["sessions", id, "trace-claim"] => (Method::GET, Route::Claim(id)),
        ["sessions", id, "close"] => (Method::POST, Route::Close(id)),
        ["session", id, "trust-record"] => (Method::GET, Route::Record(id)),
        ["audit", "export"] => (Method::GET, Route::Export),
        ["attestation"] => (Method::GET, Route::Attestation),
        _ => return None,
    })
}

type Answer = Result<Response<Body>, (Code, Option<String>)>;

fn ready(gateway: &Gateway) -> Answer {
    if gateway.stopping.get() {
        return Err((Code::ShuttingDown, None));
    }
    if !gateway.audit.is_open() {
        return Err((Code::AuditUnavailable, None));
    }
    Ok(http::json(StatusCode::OK, r#"{"status":"ready"}"#))
}

fn tools(gateway: &Gateway) -> Answer {
    let none = Members::default();
    let list =
        mcp::hello::tools(gateway, &gateway.policy(), &none, Era::Legacy).map_err(|problem| (problem.code, None))?;
    Ok(http::json(StatusCode::OK, list))
}

fn find(gateway: &Gateway, id: &str) -> Result<Find, (Code, Option<String>)> {
    gateway.sessions.borrow().find(id).ok_or((Code::SessionUnknown, None))
}

async fn claim(gateway: &Gateway, id: &str) -> Answer {
    let bytes = match find(gateway, id)? {
        Find::Open(session) => claims::issue(gateway, &session).await.map(|(bytes, _)| bytes),
        Find::Closed(closed) => crate::recall::claim(gateway, closed.number, &closed.claim).await,
    };
    Ok(http::json(StatusCode::OK, bytes.map_err(|code| (code, None))?))
}

async fn close(gateway: &Rc<Gateway>, id: &str) -> Answer {
    let bytes = match find(gateway, id)? {
        Find::Open(session) => claims::close(gateway, &session, "closed by request").await,
        // Asked again after a lost answer: the same claim.
        Find::Closed(closed) => crate::recall::claim(gateway, closed.number, &closed.claim).await,
    };
    Ok(http::json(StatusCode::OK, bytes.map_err(|code| (code, None))?))
}

async fn record(gateway: &Gateway, id: &str, query: &str) -> Answer {
    let nonce = parameter(query, "nonce");
    if let Some(nonce) = nonce {
        claims::check_nonce(nonce).map_err(|text| (Code::InvalidQuery, Some(text)))?;
    }
    let found = find(gateway, id)?;
    let record = claims::trust_record(gateway, &found, nonce).await.map_err(|code| (code, None))?;
    Ok(http::json(StatusCode::OK, record))
}

async fn export(gateway: &Rc<Gateway>, query: &str) -> Answer {
    let id = parameter(query, "session_id")
        .ok_or_else(|| (Code::InvalidQuery, Some("session_id is missing: /audit/export?session_id=ID".to_owned())))?;
    let found = find(gateway, id)?;
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

async fn mcp_endpoint(
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
    arrived: Instant,
    outbox: Rc<Outbox>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => {}
        Method::DELETE => return Box::pin(mcp::end_session(&gateway, &head.headers)).await,
        Method::GET if head.headers.contains_key(mcp::SESSION_HEADER) => return mcp::stream(&gateway, &head.headers),
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
    let post = Post { headers: &head.headers, body: &bytes, arrived, connection, outbox: &outbox };
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

    use super::{ENDPOINTS, parameter, route, same_origin};

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
    }
}
