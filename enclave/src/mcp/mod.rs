//! The Model Context Protocol towards agents: requests in, the tool server's own bytes and a receipt out.
//!
//! One endpoint serves both eras and the quickstart's bare requests ([`era`]). Every request that reaches a tool server is a
//! call ([`call`], [`methods`]): decided, recorded, answered.

pub mod agent;
pub mod call;
pub mod envelope;
pub mod era;
pub mod hello;
pub mod members;
pub mod methods;
pub mod outbox;
pub mod parked;
pub mod receipt;
pub mod rounds;
pub mod trace;

mod about;
mod agents;
mod ask;
mod caller;
mod confirm;
mod forward;
mod inspected;
mod listen;
mod open;
mod refusal;
mod shape;
mod stop;
mod wait;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use claim::json::{self, Json};
use claim::names::check_tool;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;

use self::agent::Agent;
use self::agents::{agent_of, notified};
use self::call::{Answered, Asked, Target};
use self::caller::Caller;
use self::envelope::{Message, Problem, Request, parse_message};
use self::era::Era;
use self::listen::Listening;
use self::members::{Members, string};
use self::methods::Method;
use self::outbox::Outbox;
use self::receipt::Place;
use self::refusal::{refuse, refused_call};
use self::rounds::Round;
use self::trace::Trace;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body};
use crate::identity::Credential;
use crate::policy::ObjectKind;

pub use self::agents::{end_session, stream};
pub use self::refusal::{refuse_caller, refuse_request};

/// Header that names an MCP session.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// Header that names the protocol version.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Legacy protocol versions that `initialize` agrees to, newest first.
pub const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// One POST, and the way back to whoever sent it.
pub struct Post<'a> {
    /// Who sent it, as it has shown.
    pub credential: &'a Rc<Credential>,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a Bytes,
    /// When it arrived.
    pub arrived: Instant,
    /// The session of a caller that names none.
    pub connection: &'a OnceCell<String>,
    /// Messages before the answer.
    pub outbox: &'a Rc<Outbox>,
}

/// A request with its parts.
struct Received<'a> {
    request: &'a Request<'a>,
    params: &'a Members<'a>,
    meta: Option<&'a Members<'a>>,
    era: Era,
    id: &'a RawValue,
}

/// Whether a client reads event streams.
pub fn accepts_streams(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.to_ascii_lowercase().contains("text/event-stream"))
}

/// Serves one POST.
pub async fn serve(gateway: &Rc<Gateway>, post: &Post<'_>) -> Response<Body> {
    match parse_message(post.body) {
        Ok(Message::Request(request)) => serve_request(gateway, post, &request).await,
        Ok(Message::Response(response)) => match agent_of(gateway, post) {
            Ok(Some(agent)) if Box::pin(ask::answered(&agent, &response)).await => http::empty(StatusCode::ACCEPTED),
            Ok(_) => refuse(&Problem::new(Code::InvalidRequest, "no request waits for this answer"), response.id),
            Err(unknown) => refuse(&unknown, response.id),
        },
        Err((problem, id)) => refuse(&problem, id),
    }
}

async fn serve_request(gateway: &Rc<Gateway>, post: &Post<'_>, request: &Request<'_>) -> Response<Body> {
    let parts = members_of(request).and_then(|params| caller::inner(&params, "_meta").map(|meta| (params, meta)));
    match parts {
        Ok((params, meta)) => {
            let era = Era::of(&request.method, meta.as_ref(), post.headers);
            serve_era(gateway, post, request, &params, meta.as_ref(), era).await
        }
        Err(problem) => refuse(&problem, request.id),
    }
}

async fn serve_era(
    gateway: &Rc<Gateway>,
    post: &Post<'_>,
    request: &Request<'_>,
    params: &Members<'_>,
    meta: Option<&Members<'_>>,
    era: Era,
) -> Response<Body> {
    // The modern era has no sessions; a session id there says nothing.
    let agent = match era {
        Era::Modern => Ok(None),
        Era::Legacy | Era::Bare => agent_of(gateway, post),
    };
    let agent = match agent {
        Ok(agent) => agent,
        Err(unknown) => return refuse(&unknown, request.id),
    };
    let Some(id) = request.id else {
        if let Some(agent) = &agent {
            Box::pin(notified(gateway, agent, request, params)).await;
        }
        return http::empty(StatusCode::ACCEPTED);
    };
    let received = Received { request, params, meta, era, id };
    let checked = match era {
        Era::Modern => era::check(request, params, meta, post.headers),
        Era::Legacy | Era::Bare => Ok(()),
    };
    let answer = match checked {
        Ok(()) => answer(gateway, post, &received, agent.as_ref()).await,
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(|problem| {
        let mut response = refuse(&problem, Some(id));
        // Clients of the legacy era take a 404 for the end of their session.
        if agent.is_some() {
            *response.status_mut() = StatusCode::OK;
        }
        response
    })
}

async fn answer(
    gateway: &Rc<Gateway>,
    post: &Post<'_>,
    received: &Received<'_>,
    agent: Option<&Rc<Agent>>,
) -> Result<Response<Body>, Problem> {
    let Received { request, params, era, id, .. } = *received;
    match (request.method.as_ref(), era) {
        ("initialize", Era::Legacy | Era::Bare) => {
            let (text, session) = Box::pin(hello::initialize(gateway, post.credential, params)).await?;
            let mut response = result(id, &text);
            if let Ok(value) = HeaderValue::from_str(&session) {
                response.headers_mut().insert(SESSION_HEADER, value);
            }
            Ok(response)
        }
        ("ping", Era::Legacy | Era::Bare) => Ok(result(id, "{}")),
        ("server/discover", Era::Modern) => Ok(result(id, &Box::pin(hello::discover(gateway)).await)),
        ("tools/list", _) => {
            let policy = agent.and_then(|agent| agent.policy(gateway)).unwrap_or_else(|| gateway.policy());
            Ok(result(id, &hello::tools(gateway, &policy, params, era)?))
        }
        // Boxed: a future is copied by each that awaits it, with room for everything that it will await.
        ("tools/call", _) => Box::pin(tools_call(gateway, post, received, agent)).await,
        ("subscriptions/listen", Era::Modern) => {
            let caller = Caller::identify(params, received.meta, post, era)?;
            let listening = Listening {
                gateway,
                id,
                forward: &caller.forward,
                capabilities: era::client_capabilities(received.meta),
                session: &caller.session,
                workflow_id: &caller.workflow_id,
                outbox: post.outbox,
            };
            Ok(result(id, &Box::pin(listen::serve(&listening, params)).await?))
        }
        (name, _) => match Method::find(name, era) {
            Some(method) => Box::pin(other_call(gateway, post, received, agent, method)).await,
            None => Err(Problem::new(Code::MethodNotFound, format!("{name:?} is not served"))),
        },
    }
}

async fn tools_call(
    gateway: &Rc<Gateway>,
    post: &Post<'_>,
    received: &Received<'_>,
    agent: Option<&Rc<Agent>>,
) -> Result<Response<Body>, Problem> {
    let Received { params, era, id, .. } = *received;
    let tool = text_of(params, "name")?.ok_or_else(|| Problem::new(Code::InvalidParams, "name is missing"))?;
    check_tool(&tool).map_err(|error| Problem::new(Code::InvalidParams, format!("name: {error}")))?;
    let arguments = arguments_of(params)?;
    if let Some(tool) = gateway.catalog.tool(&tool).filter(|_| era == Era::Modern) {
        era::check_arguments(tool, &arguments, post.headers)?;
    }
    let calling = Calling::of(gateway, post, received)?;
    let (place, tool) = (calling.caller.place, tool.as_ref());
    let object = Object { method: "tools/call", target: Target::Tool(tool), payload: &arguments, name: Some(tool) };
    let asked = calling.asked(post, received, agent, object, Some(place));
    Ok(answered(gateway, call::call(gateway, &asked).await, place, era, id))
}

async fn other_call(
    gateway: &Rc<Gateway>,
    post: &Post<'_>,
    received: &Received<'_>,
    agent: Option<&Rc<Agent>>,
    method: Method,
) -> Result<Response<Body>, Problem> {
    let Received { params, era, id, .. } = *received;
    let payload = Method::payload(params)?;
    let name = method.mirrored(params);
    let calling = Calling::of(gateway, post, received)?;
    let place = calling.caller.place;
    let target = Target::Other { action: method.action, kind: ObjectKind::Server, server: usize::MAX, id: "" };
    let object = Object { method: method.name, target, payload: &payload, name: name.as_deref() };
    let asked = calling.asked(post, received, agent, object, method.has_receipt().then_some(place));
    let done = methods::serve(gateway, method, params, asked).await?;
    Ok(answered(gateway, done, place, era, id))
}

/// Who asks for a call, in which session and trace, and which round of it.
struct Calling<'a> {
    caller: Caller,
    round: Option<Round<'a>>,
    trace: Option<Trace>,
}

/// What a call is on.
#[derive(Clone, Copy)]
struct Object<'a> {
    method: &'static str,
    target: Target<'a>,
    payload: &'a Json,
    name: Option<&'a str>,
}

impl<'a> Calling<'a> {
    fn of(gateway: &Gateway, post: &Post<'_>, received: &Received<'a>) -> Result<Self, Problem> {
        let mut caller = Caller::identify(received.params, received.meta, post, received.era)?;
        let round = Round::of(received.params).filter(|_| received.era == Era::Modern);
        parked::lead_home(gateway, &mut caller.session, round.as_ref());
        Ok(Self { caller, round, trace: Trace::of(post.headers) })
    }

    fn asked(
        &'a self,
        post: &'a Post<'_>,
        received: &Received<'a>,
        agent: Option<&'a Rc<Agent>>,
        object: Object<'a>,
        place: Option<Place>,
    ) -> Asked<'a> {
        Asked {
            id: received.id,
            era: received.era,
            method: object.method,
            target: object.target,
            payload: object.payload,
            forward: &self.caller.forward,
            name: object.name,
            capabilities: era::client_capabilities(received.meta),
            round: self.round,
            session: &self.caller.session,
            workflow_id: &self.caller.workflow_id,
            place,
            arrived: post.arrived,
            trace: self.trace.as_ref(),
            agent,
            outbox: post.outbox,
        }
    }
}

fn answered(gateway: &Gateway, answered: Answered, place: Place, era: Era, id: &RawValue) -> Response<Body> {
    match answered {
        Answered::Result(text) => result(id, &text),
        Answered::UpstreamError(error, status) => {
            // The modern era says some errors with the status too; in a session of the legacy one it would end the session.
            let status = StatusCode::from_u16(status).ok().filter(|_| era == Era::Modern).unwrap_or(StatusCode::OK);
            http::error(Code::UpstreamToolError, status, envelope::failure(Some(id), &error))
        }
        Answered::Refused(refusal) => refused_call(gateway, &refusal, place, id),
    }
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
