//! The gateway's end of the bridge: Streamable HTTP with a session that is renewed when the gateway has lost it.

use std::io::{BufReader, Read};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::message::{self, Head, one_line};
use super::{Attested, LONGEST, Line, Token, events};

/// For the gateway to accept a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// JSON-RPC code of the bridge's own errors.
const BRIDGE_ERROR: i32 = -32000;

/// A gateway's URL that `connect` does not take.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL with a host.
    #[error("{0:?} is not a URL such as https://gateway.example:8443 or http://127.0.0.1:8443")]
    Malformed(String),
    /// Another machine, or another scheme.
    #[error(
        "{0:?}: http:// reaches a gateway on this machine only (127.0.0.1, localhost, [::1]); without attested TLS anyone \
             on the way could read and alter every call. Use https://"
    )]
    Unprotected(String),
}

/// A gateway, and the MCP session that is open with it.
pub struct Gateway {
    agent: Agent,
    url: String,
    token: Option<Token>,
    session: Mutex<Session>,
    /// Held while a lost session is renewed, so that only one is opened.
    renewal: Mutex<()>,
}

#[derive(Clone, Default)]
struct Session {
    /// `Mcp-Session-Id`.
    id: Option<String>,
    /// The protocol version agreed on.
    version: Option<String>,
    /// The client's own request, to open another session with.
    initialize: Option<Line>,
}

impl Gateway {
    /// A gateway that was verified, and what shows it who calls.
    pub fn attested(attested: &Attested, token: Option<Token>) -> Self {
        Self::over(attested.agent.clone(), format!("{}{}", attested.origin, attested.path), token)
    }

    /// The gateway at an http URL, with or without the path `/mcp`, and what shows it who calls. Nothing is sent yet.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn new(url: &str, token: Option<Token>) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| malformed())?;
        let authority = parsed.authority().ok_or_else(malformed)?;
        let here = matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]");
        if parsed.scheme_str() != Some("http") || !here {
            return Err(UrlError::Unprotected(url.to_owned()));
        }
        let path = if parsed.path() == "/" { "/mcp" } else { parsed.path() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT));
        Ok(Self::over(config.build().into(), format!("http://{authority}{path}"), token))
    }

    fn over(agent: Agent, url: String, token: Option<Token>) -> Self {
        Self { agent, url, token, session: Mutex::default(), renewal: Mutex::default() }
    }

    /// Sends the client's `initialize` and keeps the session that it opens.
    pub(super) fn initialize(&self, message: &[u8], id: Option<&RawValue>, lines: &Sender<Line>) {
        let answer = match self.open(message) {
            Ok((answer, session)) => {
                *lock(&self.session) = session;
                answer
            }
            Err(text) => message::error(id, BRIDGE_ERROR, &text),
        };
        let _ = lines.send(answer);
    }

    /// Sends a request, and every message of its answer to the client. A session that the gateway no longer knows is
    /// renewed and the request sent again: it was not admitted.
    pub(super) fn request(&self, message: &[u8], id: &RawValue, lines: &Sender<Line>) {
        let session = lock(&self.session).clone();
        let response = self.post(message, &session).and_then(|response| {
            if response.status() != StatusCode::NOT_FOUND || session.id.is_none() {
                return Ok(response);
            }
            let renewed = self.renew(&session)?;
            self.post(message, &renewed)
        });
        let delivered = response.and_then(|response| deliver(response, id, |line| drop(lines.send(line))));
        if let Err(text) = delivered {
            let _ = lines.send(message::error(Some(id), BRIDGE_ERROR, &text));
        }
    }

    /// Sends what has no answer. That it did not arrive is not for the client to know: it asked for nothing.
    pub(super) fn notify(&self, message: &[u8]) {
        let session = lock(&self.session).clone();
        let _ = self.post(message, &session);
    }

    /// Ends the session, if one is open.
    pub(super) fn end_session(&self) {
        let session = lock(&self.session).clone();
        if let Some(id) = &session.id {
            let mut request = self.agent.delete(&self.url).header("Mcp-Session-Id", id);
            if let Some(token) = &self.token {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            let _ = request.call();
        }
    }

    fn renew(&self, lost: &Session) -> Result<Session, String> {
        let _renewal = lock(&self.renewal);
        let current = lock(&self.session).clone();
        if current.id != lost.id {
            return Ok(current);
        }
        let initialize = current.initialize.as_deref().unwrap_or_default();
        let (_, session) = self.open(initialize)?;
        *lock(&self.session) = session.clone();
        self.post(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, &session)?;
        Ok(session)
    }

    fn open(&self, initialize: &[u8]) -> Result<(Line, Session), String> {
        let response = self.post(initialize, &Session::default())?;
        let id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let head = Head::parse(initialize).and_then(|head| head.id).ok_or("initialize without an id")?;
        let mut answer = Vec::new();
        deliver(response, head, |line| answer = line)?;
        let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let version = value.pointer("/result/protocolVersion").and_then(Value::as_str).map(str::to_owned);
        Ok((answer, Session { id, version, initialize: Some(initialize.to_vec()) }))
    }

    fn post(&self, message: &[u8], session: &Session) -> Result<Response<Body>, String> {
        let mut request = self
            .agent
            .post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        if let Some(id) = &session.id {
            request = request.header("Mcp-Session-Id", id);
        }
        if let Some(version) = &session.version {
            request = request.header("MCP-Protocol-Version", version);
        }
        request.send(message).map_err(|error| format!("gateway at {}: {error}", self.url))
    }
}

/// Gives every message of an answer to `each`; without an answer to this request among them it is an error.
fn deliver(response: Response<Body>, id: &RawValue, mut each: impl FnMut(Line)) -> Result<(), String> {
    let status = response.status();
    let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_stream = media_type.is_some_and(|value| value.starts_with("text/event-stream"));
    let mut body = response.into_body().into_with_config().limit(LONGEST).reader();
    let mut answered = false;
    let mut pass = |message: Vec<u8>| {
        if let Some(head) = Head::parse(&message) {
            answered |= head.answers(id);
            each(one_line(message));
        }
    };
    let read = if is_stream {
        events::read(BufReader::new(body), pass)
    } else {
        let mut message = Vec::new();
        body.read_to_end(&mut message).map(|_| pass(message))
    };
    match read {
        _ if answered => Ok(()),
        Ok(()) if status == StatusCode::UNAUTHORIZED => {
            Err("gateway answered HTTP 401: it wants a bearer token that it knows; see --token-file".to_owned())
        }
        Ok(()) => Err(format!("gateway answered HTTP {status} without an answer to this request")),
        Err(error) => Err(format!("gateway's answer broke off: {error}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
