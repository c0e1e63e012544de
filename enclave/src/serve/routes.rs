//! Paths and methods, and what answers them.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};

use super::inbound::Connection;
use super::kill_switch::Turn;
use super::orders::{self, Order};
use super::private::{self, Answer, Asking, Refused};
use super::public_name::Step;
use crate::claims;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body, BodyError};
use crate::identity::{Credential, Denied, Shown};
use crate::mcp::members::push_string;
use crate::mcp::outbox::Outbox;
use crate::mcp::{self, Post};

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
    ("POST", "/sessions/{id}/reset?identity=", "for the operator: clear the session's labels, and its identity's"),
    ("GET", "/session/{id}/trust-record?nonce=", "the session's TRACE trust record"),
    ("GET", "/session/{id}/evidence", "the evidence that the session's claim rests on, and what judging it takes"),
    ("GET", "/audit/export?session_id=", "the session's signed audit bundle"),
    ("POST", "/kill-switch/trip", "for the operator: refuse all calls of an identity"),
    ("POST", "/kill-switch/unblock", "for the operator: decide them again"),
    ("GET", "/tls/csr", "for the operator: request for a certificate of tls.public_name, PKCS #10 in PEM"),
    ("PUT", "/tls/chain", "for the operator: the chain that a CA issued for it, PEM"),
    (
        "PUT",
        "/secrets/{name}",
        "for the operator: a secret that a tool server is shown, signed for this boot and that server",
    ),
    ("GET", "/attestation?nonce=", "evidence of this boot, bound to the caller's challenge"),
    (
        "GET",
        "/.well-known/oauth-protected-resource",
        "where tokens for this gateway come from (RFC 9728), with `auth.resource`",
    ),
    ("GET", "/.well-known/oauth-protected-resource/mcp", "the same"),
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
    let certificate = connection.certificate.as_ref();
    let shown = Shown { headers: request.headers(), certificate };
    if path == "/mcp" {
        return match gateway.access.agent(shown) {
            Ok(credential) => mcp_endpoint(gateway, connection, credential, request, arrived, outbox).await,
            Err(denied) => mcp::refuse_caller(&gateway.access, denied),
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
        Route::Attestation => Box::pin(attestation(&gateway, &query)).await,
        Route::Resource => resource(&gateway),
        Route::Order(order) => match gateway.access.operator(shown) {
            Ok(()) => Box::pin(orders::serve(&gateway, order, request)).await,
            Err(denied) => return turn_away(&gateway, denied),
        },
        Route::Private(route) => match gateway.access.caller(shown) {
            Ok(caller) => Box::pin(private::serve(&gateway, &Asking { caller, query: &query }, route)).await,
            Err(denied) => return turn_away(&gateway, denied),
        },
    };
    answer.unwrap_or_else(|Refused { code, detail }| refuse(code, detail.as_deref()))
}

enum Route<'a> {
    Health,
    Ready,
    Attestation,
    Resource,
    Order(Order<'a>),
    Private(private::Route<'a>),
}

fn route(path: &str) -> Option<(Method, Route<'_>)> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    Some(match parts.as_slice() {
        ["health"] => (Method::GET, Route::Health),
        ["readyz"] => (Method::GET, Route::Ready),
        ["attestation"] => (Method::GET, Route::Attestation),
        [".well-known", "oauth-protected-resource"] | [".well-known", "oauth-protected-resource", "mcp"] => {
            (Method::GET, Route::Resource)
        }
        ["kill-switch", "trip"] => (Method::POST, Route::Order(Order::KillSwitch(Turn::Trip))),
        ["kill-switch", "unblock"] => (Method::POST, Route::Order(Order::KillSwitch(Turn::Unblock))),
        ["tls", "csr"] => (Method::GET, Route::Order(Order::PublicName(Step::Request))),
        ["secrets", name] => (Method::PUT, Route::Order(Order::Secret(name))),
        ["tls", "chain"] => (Method::PUT, Route::Order(Order::PublicName(Step::Chain))),
        private => {
            let (method, private) = private::route(private)?;
            (method, Route::Private(private))
        }
    })
}

fn ready(gateway: &Gateway) -> Answer {
    if gateway.stopping.get() {
        return Err(Code::ShuttingDown.into());
    }
    if !gateway.audit.is_open() {
        return Err(Code::AuditUnavailable.into());
    }
    if gateway.controls.halted {
        return Err(Code::GatewayHalted.into());
    }
    Ok(http::json(StatusCode::OK, r#"{"status":"ready"}"#))
}

async fn attestation(gateway: &Gateway, query: &str) -> Answer {
    let nonce = parameter(query, "nonce")
        .ok_or_else(|| Refused::saying(Code::InvalidQuery, "nonce is missing: 16 to 64 bytes in base64url"))?;
    claims::check_nonce(nonce).map_err(|text| Refused::saying(Code::InvalidQuery, text))?;
    Ok(http::json(StatusCode::OK, claims::attestation(gateway, nonce).await?))
}

fn resource(gateway: &Gateway) -> Answer {
    let resource = gateway.access.resource();
    let resource = resource.ok_or_else(|| Refused::saying(Code::NotFound, "auth.resource is not set"))?;
    Ok(http::json(StatusCode::OK, resource.metadata.clone()))
}

/// Value of a query parameter. Ids and nonces need no percent-encoding, so none is undone.
pub(super) fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

async fn mcp_endpoint(
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
    credential: Rc<Credential>,
    request: Request<Incoming>,
    arrived: Instant,
    outbox: Rc<Outbox>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => {}
        Method::DELETE => return Box::pin(mcp::end_session(&gateway, &credential.identity, &head.headers)).await,
        Method::GET if head.headers.contains_key(mcp::SESSION_HEADER) => {
            return mcp::stream(&gateway, &credential, &head.headers);
        }
        _ => return not_allowed("POST, DELETE"),
    }
    let limits = &gateway.config.limits;
    let bytes = match http::collect(body, limits.max_body_bytes, limits.request_timeout()).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge) => return mcp::refuse_request(Code::BodyTooLarge),
        Err(BodyError::Broken(_)) => return mcp::refuse_request(Code::ParseError),
        Err(BodyError::Late) => return mcp::refuse_request(Code::SlowRequest),
    };
    let connection = &connection.session_id;
    let (credential, headers) = (&credential, &head.headers);
    mcp::serve(&gateway, &Post { credential, headers, body: &bytes, arrived, connection, outbox: &outbox }).await
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
fn turn_away(gateway: &Gateway, denied: Denied) -> Response<Body> {
    http::challenged(gateway.access.challenge(denied), refuse(denied.code(), Some(denied.detail())))
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
