//! The Model Context Protocol towards agents: requests in, the tool server's own bytes and a receipt out.

pub mod call;
pub mod envelope;
pub mod members;
pub mod receipt;
pub mod tools;

mod caller;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use claim::json::{self, Json};
use claim::names::check_tool;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;

use self::call::{Answered, Asked, Refusal};
use self::caller::Caller;
use self::envelope::{Problem, Request, parse_request};
use self::members::{Members, push_member, push_string, push_text, string};
use self::receipt::Place;
use crate::claims;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::http::{self, Body};
use crate::random;
use crate::session::Source;

/// Header that names an MCP session.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// Header that names the protocol version.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Protocol versions that `initialize` agrees to, newest first.
pub const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Serves one POST.
pub async fn serve(
    gateway: &Rc<Gateway>,
    connection: &OnceCell<String>,
    headers: &HeaderMap,
    body: Bytes,
    arrived: Instant,
) -> Response<Body> {
    let request = match parse_request(&body) {
        Ok(request) => request,
        Err((problem, id)) => return refuse(&problem, id),
    };
    if let Some(unknown) = unknown_mcp_session(gateway, headers) {
        return refuse(&unknown, request.id);
    }
    let Some(id) = request.id else { return http::empty(StatusCode::ACCEPTED) };
    let answer = match request.method.as_ref() {
        "initialize" => initialize(gateway, &request, id),
        "ping" => Ok(result(id, "{}")),
        "tools/list" => Ok(result(id, &tools::list(&gateway.catalog))),
        "tools/call" => tools_call(gateway, connection, headers, &request, id, arrived).await,
        method => Err(Problem::new(Code::MethodNotFound, format!("{method:?} is not served"))),
    };
    answer.unwrap_or_else(|problem| refuse(&problem, Some(id)))
}

/// A session id that `initialize` did not give, or that has ended, is answered 404, upon which clients initialise anew.
fn unknown_mcp_session(gateway: &Gateway, headers: &HeaderMap) -> Option<Problem> {
    let id = headers.get(SESSION_HEADER)?;
    let known = id.to_str().is_ok_and(|id| gateway.sessions.borrow().open(id).is_some());
    (!known).then(|| Problem::new(Code::SessionUnknown, "Mcp-Session-Id is not open; initialize again"))
}

fn initialize(gateway: &Gateway, request: &Request<'_>, id: &RawValue) -> Result<Response<Body>, Problem> {
    let params = members_of(request)?;
    let asked = text_of(&params, "protocolVersion")?
        .ok_or_else(|| Problem::new(Code::InvalidParams, "protocolVersion is missing"))?;
    let [newest, ..] = VERSIONS;
    let version = VERSIONS.into_iter().find(|version| *version == asked).unwrap_or(newest);
    let internal = |code: Code| Problem::new(code, "session could not be opened");
    let session = SessionRef {
        id: random::uuid().map_err(|_| internal(Code::Internal))?,
        source: Source::McpSession,
        challenge: None,
    };
    gateway.audit.admit().map_err(internal)?;
    gateway.session(&session).map_err(internal)?;
    let mut response = result(
        id,
        &format!(
            "{{\"protocolVersion\":\"{version}\",\"capabilities\":{{\"tools\":{{}}}},\"serverInfo\":{{\"name\":\"cmcp-gateway\",\"version\":\"{}\"}}}}",
            env!("CARGO_PKG_VERSION")
        ),
    );
    if let Ok(value) = HeaderValue::from_str(&session.id) {
        response.headers_mut().insert(SESSION_HEADER, value);
    }
    Ok(response)
}

/// Serves DELETE: the MCP session ends, and with it the gateway's session of that name.
pub async fn end_session(gateway: &Rc<Gateway>, headers: &HeaderMap) -> Response<Body> {
    let session =
        headers.get(SESSION_HEADER).and_then(|id| id.to_str().ok()).and_then(|id| gateway.sessions.borrow().open(id));
    let Some(session) = session else {
        return refuse(&Problem::new(Code::SessionUnknown, "Mcp-Session-Id is not open"), None);
    };
    match claims::close(gateway, &session, "closed by the MCP client").await {
        Ok(_) => http::empty(StatusCode::NO_CONTENT),
        Err(code) => refuse(&Problem::new(code, "session could not be closed"), None),
    }
}

async fn tools_call(
    gateway: &Rc<Gateway>,
    connection: &OnceCell<String>,
    headers: &HeaderMap,
    request: &Request<'_>,
    id: &RawValue,
    arrived: Instant,
) -> Result<Response<Body>, Problem> {
    let params = members_of(request)?;
    let tool = text_of(&params, "name")?.ok_or_else(|| Problem::new(Code::InvalidParams, "name is missing"))?;
    check_tool(&tool).map_err(|error| Problem::new(Code::InvalidParams, format!("name: {error}")))?;
    let arguments = arguments_of(&params)?;
    let caller = Caller::identify(&params, headers, connection)?;
    let asked = Asked {
        id,
        tool: &tool,
        arguments: &arguments,
        forward: &caller.forward,
        session: &caller.session,
        workflow_id: &caller.workflow_id,
        place: caller.place,
        arrived,
    };
    Ok(match call::call(gateway, &asked).await {
        Answered::Result(text) => result(id, &text),
        Answered::UpstreamError(error) => http::json(StatusCode::OK, envelope::failure(Some(id), &error)),
        Answered::Refused(refusal) => refused_call(gateway, &refusal, caller.place, id),
    })
}

fn members_of<'a>(request: &Request<'a>) -> Result<Members<'a>, Problem> {
    let params = request.params.map_or("{}", RawValue::get);
    Members::parse(params).map_err(|error| Problem::new(Code::InvalidParams, format!("params: {error}")))
}

/// A text member, if it is there.
fn text_of<'a>(members: &Members<'a>, key: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    let Some(value) = members.find(key) else { return Ok(None) };
    string(value).map(Some).ok_or_else(|| Problem::new(Code::InvalidParams, format!("{key} must be a string")))
}

/// The arguments, strictly: an object, no key twice at any depth, bounded depth.
fn arguments_of(params: &Members<'_>) -> Result<Json, Problem> {
    let Some(arguments) = params.find("arguments") else { return Ok(Json::Object(std::collections::BTreeMap::new())) };
    match json::parse(arguments.get().as_bytes()) {
        Ok(arguments @ Json::Object(_)) => Ok(arguments),
        Ok(_) => Err(Problem::new(Code::InvalidParams, "arguments must be an object")),
        Err(error) => Err(Problem::new(Code::InvalidParams, format!("arguments: {error}"))),
    }
}

fn result(id: &RawValue, result: &str) -> Response<Body> {
    http::json(StatusCode::OK, envelope::success(id.get(), result))
}

/// A request that was not admitted.
fn refuse(problem: &Problem, id: Option<&RawValue>) -> Response<Body> {
    let mut message = String::new();
    push_string(&mut message, &format!("{}: {}", problem.code.message(), problem.detail));
    let error = format!(
        "{{\"code\":{},\"message\":{message},\"data\":{{\"error_code\":\"{}\"}}}}",
        problem.code.rpc(),
        problem.code.name()
    );
    http::json(problem.code.status(), envelope::failure(id, &error))
}

/// A request whose body was not read.
pub fn refuse_request(code: Code) -> Response<Body> {
    refuse(&Problem::new(code, "nothing was forwarded"), None)
}

/// A call that was refused. MCP clients get HTTP 200: some drop the whole session on any other status.
fn refused_call(gateway: &Gateway, refusal: &Refusal, place: Place, id: &RawValue) -> Response<Body> {
    let mut data = String::from("{");
    push_text(&mut data, "error_code", refusal.code.name());
    if let Some(call_id) = &refusal.call_id {
        push_text(&mut data, "call_id", call_id);
    }
    if let Some(decision) = refusal.decision {
        push_text(&mut data, "decision", decision.as_str());
    }
    if let Some((entry, batch)) = &refusal.recorded {
        push_text(&mut data, "audit_entry_hash", &entry.hex());
        push_text(&mut data, "boot_id", &gateway.boot.id_hex);
        push_member(&mut data, "batch", &batch.to_string());
    }
    if !refusal.advice.is_empty() {
        push_member(&mut data, "advice", &receipt::advice(&refusal.advice));
    }
    data.push('}');
    let error =
        format!("{{\"code\":{},\"message\":\"{}\",\"data\":{data}}}", refusal.code.rpc(), refusal.code.message());
    let status = match place {
        Place::Seed => refusal.code.status(),
        Place::Meta => StatusCode::OK,
    };
    http::json(status, envelope::failure(Some(id), &error))
}
