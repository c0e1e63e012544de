//! MCP sessions of the legacy era over HTTP: which agent a request belongs to, its notifications, its stream, its end.

use std::rc::Rc;

use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;

use super::agent::Agent;
use super::envelope::{Problem, Request};
use super::members::Members;
use super::refusal::refuse;
use super::{Post, SESSION_HEADER, accepts_streams, outbox};
use crate::catalog::Capability;
use crate::claims;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body};
use crate::identity::{Credential, Identity};
use crate::session::Session;

/// The agent whose session the header names; none for an open session that `initialize` did not open. An unknown or ended
/// session is answered 404, upon which clients initialise anew.
pub(super) fn agent_of(gateway: &Gateway, post: &Post<'_>) -> Result<Option<Rc<Agent>>, Problem> {
    if !post.headers.contains_key(SESSION_HEADER) {
        return Ok(None);
    }
    let unknown = |code| Problem::new(code, "Mcp-Session-Id is not open; initialize again");
    let session = session_of(gateway, &post.credential.identity, post.headers).map_err(unknown)?;
    Ok(session.agent.get().cloned())
}

/// A notification of an agent. What it cancels ends here, and its tool server is told by the call; the rest is for the tool
/// servers that may know of it.
pub(super) async fn notified(gateway: &Rc<Gateway>, agent: &Rc<Agent>, request: &Request<'_>, params: &Members<'_>) {
    match request.method.as_ref() {
        "notifications/cancelled" => {
            if let Some(id) = params.find("requestId") {
                agent.cancel(id.get());
            }
        }
        "notifications/roots/list_changed" => {
            let raw = request.params.map(RawValue::get);
            for link in agent.links() {
                let server = gateway.catalog.servers().get(link.server);
                if server.is_some_and(|server| server.may(Capability::Roots)) {
                    let _ = gateway.upstreams.notify(&link, &request.method, raw).await;
                }
            }
        }
        _ => {}
    }
}

/// Serves GET: the stream of messages that belong to no call of an MCP session.
pub fn stream(gateway: &Rc<Gateway>, credential: &Rc<Credential>, headers: &HeaderMap) -> Response<Body> {
    let opened = session_of(gateway, &credential.identity, headers).and_then(|session| {
        let agent = session.agent.get().cloned().ok_or(Code::SessionUnknown)?;
        if !accepts_streams(headers) {
            return Err(Code::NotAcceptable);
        }
        agent.open_stream(gateway, &session, credential)
    });
    match opened {
        Ok(stream) => match stream.take_stream() {
            Some(stream) => outbox::response(stream),
            None => refuse(&Problem::new(Code::Internal, "no stream"), None),
        },
        Err(code) => refuse(&Problem::new(code, "no event stream"), None),
    }
}

/// The session that the header names. Another identity's is unknown.
fn session_of(gateway: &Gateway, identity: &Identity, headers: &HeaderMap) -> Result<Rc<Session>, Code> {
    let id = headers.get(SESSION_HEADER).and_then(|id| id.to_str().ok());
    id.and_then(|id| gateway.sessions.borrow().open(identity, id)).ok_or(Code::SessionUnknown)
}

/// Serves DELETE: the MCP session ends, and with it the gateway's session of that name.
pub async fn end_session(gateway: &Rc<Gateway>, identity: &Identity, headers: &HeaderMap) -> Response<Body> {
    let session = match session_of(gateway, identity, headers) {
        Ok(session) => session,
        Err(code) => return refuse(&Problem::new(code, "Mcp-Session-Id is not open"), None),
    };
    match claims::close(gateway, &session, "closed by the MCP client").await {
        Ok(_) => http::empty(StatusCode::NO_CONTENT),
        Err(code) => refuse(&Problem::new(code, "session could not be closed"), None),
    }
}
