//! How a tool server is spoken to: the era that it knows, and the session that it gave.
//!
//! A server is first asked what it speaks: `server/discover` is answered by modern ones only, `initialize` by legacy ones.
//! One that answers neither is sent bare requests, as in the quickstart, unless it is a process, for MCP has no such form
//! over stdio. Nothing of the answers is believed beyond how to speak: what a server may do is in the catalog.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use claim::json::{self, Json};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::dialect::{Client, Dialect, NOBODY, Outgoing, client_info, headers, traced, translate};
use super::exchange::Exchange;
use super::http1::Method;
use super::pool::Hold;
use super::stdio::Process;
use super::{Fault, Listed, Upstreams, Way};
use crate::error::Code;
use crate::mcp::envelope::{self, Answer, Message};
use crate::mcp::era::{Era, MODERN};
use crate::mcp::members::{Members, push_member, push_text, string};
use crate::mcp::trace::Trace;

/// The legacy version that is offered to tool servers.
const LEGACY: &str = "2025-11-25";
/// Id of the requests that are ours: a session knows no other one while it is opened.
const HELLO_ID: &str = "\"cmcp-hello\"";

/// Statuses of a server, or of a proxy before it, that is not there at the moment: they say nothing of what it speaks.
const NOT_NOW: [u16; 4] = [429, 502, 503, 504];

/// Who is spoken to.
#[derive(Clone, Debug)]
struct Peer {
    /// The server's place in the catalog's list.
    server: usize,
    /// The server itself, if it is a process.
    process: Option<Rc<Process>>,
}

/// What stands between the gateway and one tool server.
#[derive(Debug)]
pub struct Link {
    /// The server's place in the catalog's list.
    pub server: usize,
    peer: Peer,
    /// What it speaks.
    pub dialect: Dialect,
    /// Its `capabilities`, as received.
    pub capabilities: String,
    /// What it says of its tools.
    pub listed: Listed,
    next_id: Cell<u64>,
}

impl Link {
    fn new(peer: &Peer, dialect: Dialect, capabilities: String) -> Self {
        Self {
            server: peer.server,
            peer: peer.clone(),
            dialect,
            capabilities,
            listed: Listed::default(),
            next_id: Cell::new(0),
        }
    }

    /// Whether it leads to a process. It is told of requests that nobody waits for any more when their exchanges are
    /// dropped.
    pub fn is_process(&self) -> bool {
        self.peer.process.is_some()
    }

    /// Whether it leads to a process that has ended.
    pub fn is_over(&self) -> bool {
        self.peer.process.as_ref().is_some_and(|process| process.is_over())
    }

    /// A request id that this link has not used; for links that several agents share.
    pub fn fresh_id(&self) -> String {
        self.next_id.set(self.next_id.get().wrapping_add(1));
        self.next_id.get().to_string()
    }

    /// One member of the server's capabilities.
    pub fn capability(&self, name: &str) -> Option<String> {
        let members = Members::parse(&self.capabilities).ok()?;
        members.find(name).filter(|found| found.get().starts_with('{')).map(|found| found.get().to_owned())
    }
}

/// What a server says to a request of ours.
enum Hello {
    /// Its result, and its session.
    Yes(String, Option<String>),
    /// It does not know the method.
    No,
    /// It refuses the version that we asked in and names it as one that it knows.
    Again,
}

impl Upstreams {
    /// Finds out how a server is spoken to, and opens a session where it wants one.
    ///
    /// # Errors
    /// What the server or the host did instead.
    pub async fn link(&self, server: usize, client: &Client<'_>) -> Result<Link, Fault> {
        let process = match self.ways.get(server) {
            Some(Way::Spawn(launcher)) => Some(launcher.launch().await?),
            _ => None,
        };
        let peer = Peer { server, process };
        let found = if client.era == Era::Legacy {
            match self.initialize(&peer, client).await? {
                None => self.discover(&peer).await?,
                found => found,
            }
        } else {
            // A process that does not know `server/discover` may say nothing at all (MCP 2026-07-28, "stdio").
            let discovered = match &peer.process {
                Some(_) => timeout(self.timeout / 2, self.discover(&peer)).await.unwrap_or(Ok(None)),
                None => self.discover(&peer).await,
            };
            match discovered? {
                None => self.initialize(&peer, client).await?,
                found => found,
            }
        };
        match found {
            Some(link) => Ok(link),
            None if peer.process.is_some() => Err(invalid("server/discover and initialize")),
            None => Ok(Link::new(&peer, Dialect::Bare, "{}".to_owned())),
        }
    }

    async fn discover(&self, peer: &Peer) -> Result<Option<Link>, Fault> {
        let outgoing = Outgoing {
            id: Some(HELLO_ID),
            method: "server/discover",
            params: Some("{}"),
            name: None,
            tool: None,
            client: NOBODY,
            trace: None,
        };
        let mut answer = self.hello(peer, &Dialect::Modern, &outgoing).await?;
        if matches!(answer, Hello::Again) {
            answer = self.hello(peer, &Dialect::Modern, &outgoing).await?;
        }
        let Hello::Yes(result, _) = answer else { return Ok(None) };
        let members = Members::parse(&result).map_err(|_| invalid("server/discover"))?;
        let versions = members.find("supportedVersions").map_or("[]", |found| found.get());
        let versions: Vec<String> = serde_json::from_str(versions).unwrap_or_default();
        if !versions.iter().any(|version| version == MODERN) {
            return Ok(None);
        }
        Ok(Some(Link::new(peer, Dialect::Modern, capabilities(&members))))
    }

    async fn initialize(&self, peer: &Peer, client: &Client<'_>) -> Result<Option<Link>, Fault> {
        let mut params = String::from("{");
        push_text(&mut params, "protocolVersion", LEGACY);
        push_member(&mut params, "capabilities", client.capabilities);
        push_member(&mut params, "clientInfo", &client_info());
        params.push('}');
        let outgoing = Outgoing {
            id: Some(HELLO_ID),
            method: "initialize",
            params: Some(&params),
            name: None,
            tool: None,
            client: NOBODY,
            trace: None,
        };
        let Hello::Yes(result, session) = self.hello(peer, &Dialect::Bare, &outgoing).await? else { return Ok(None) };
        let members = Members::parse(&result).map_err(|_| invalid("initialize"))?;
        // Who answers everything alike has not understood.
        let Some(version) = members.find("protocolVersion").and_then(string) else { return Ok(None) };
        if !crate::mcp::VERSIONS.contains(&version.as_ref()) {
            return Err(Fault::new(
                Code::UpstreamInvalid,
                format!("tool server speaks MCP {version:?}, which is unknown"),
            ));
        }
        let dialect = Dialect::Legacy { session, version: version.into_owned() };
        let link = Link::new(peer, dialect, capabilities(&members));
        self.notify(&link, "notifications/initialized", None).await?;
        Ok(Some(link))
    }

    /// A request of ours.
    async fn hello(&self, peer: &Peer, dialect: &Dialect, outgoing: &Outgoing<'_>) -> Result<Hello, Fault> {
        let mut exchange = self.post(peer, dialect, outgoing, Hold::Call).await?;
        if NOT_NOW.contains(&exchange.status) {
            return Err(Fault::new(Code::UpstreamUnavailable, exchange.describe()));
        }
        if !exchange.is_json() {
            // Whoever does not know the method may say so in any words.
            return if exchange.is_success() { Err(invalid(outgoing.method)) } else { Ok(Hello::No) };
        }
        let session = exchange.session.take();
        while let Some(bytes) = exchange.next().await? {
            match envelope::parse_incoming(&bytes, HELLO_ID) {
                Ok(Message::Response(response)) => {
                    let answer = match response.answer {
                        Answer::Result(result) => Hello::Yes(result.get().to_owned(), session),
                        Answer::Error(error) if contradicts_itself(error.get()) => Hello::Again,
                        Answer::Error(_) => Hello::No,
                    };
                    exchange.give_back();
                    return Ok(answer);
                }
                Ok(Message::Request(request)) => self.heard(peer.server, &request.method),
                Err(_) if !exchange.is_success() => return Ok(Hello::No),
                Err(text) => return Err(Fault::new(Code::UpstreamInvalid, text)),
            }
        }
        Err(invalid(outgoing.method))
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// What the server or the host did instead of accepting it.
    pub async fn notify(&self, link: &Link, method: &str, params: Option<&str>) -> Result<(), Fault> {
        self.deliver(link, &envelope::request(None, method, params), method).await
    }

    /// Delivers a message that gets no answer: a notification, or the agent's answer to a request of the server.
    ///
    /// # Errors
    /// What the server or the host did instead of accepting it.
    pub async fn deliver(&self, link: &Link, message: &str, method: &str) -> Result<(), Fault> {
        let headers = headers(&link.dialect, method, None, None);
        let accepted = self.told(link, Method::Post, &headers, message).await?;
        if accepted { Ok(()) } else { Err(invalid(method)) }
    }

    /// Sends a message and reads whatever the server says to it, in bounded time; whether it says yes.
    async fn told(
        &self,
        link: &Link,
        method: Method,
        headers: &[(Cow<'static, str>, Cow<'_, str>)],
        message: &str,
    ) -> Result<bool, Fault> {
        let sent = async {
            if let Some(process) = &link.peer.process {
                return process.tell(message).await.map(|()| true);
            }
            let mut exchange = self.exchange(link.server, method, headers, message.as_bytes(), Hold::Message).await?;
            let accepted = exchange.is_success();
            while let Some(bytes) = exchange.next().await? {
                if let Ok(Message::Request(request)) = envelope::parse_incoming(&bytes, "") {
                    self.heard(link.server, &request.method);
                }
            }
            exchange.give_back();
            Ok(accepted)
        };
        let late = |_| Fault::new(Code::UpstreamTimeout, "tool server did not take a message in time");
        timeout(self.timeout, sent).await.map_err(late)?
    }

    /// Ends a session, or a process. The server may have forgotten it already.
    pub async fn end(&self, link: &Link) {
        if let Some(process) = &link.peer.process {
            process.end();
        }
        if let Dialect::Legacy { session: Some(_), .. } = link.dialect {
            let headers = headers(&link.dialect, "", None, None);
            let _ = self.told(link, Method::Delete, &headers, "").await;
        }
    }

    /// Opens the stream on which a legacy server, or a process, speaks of itself. Nothing if it has none.
    ///
    /// # Errors
    /// What the host did instead of dialling.
    pub async fn listen(&self, link: &Link) -> Result<Option<Box<Exchange>>, Fault> {
        if let Some(process) = &link.peer.process {
            return Ok(process.listen().map(Exchange::of_process));
        }
        let headers = headers(&link.dialect, "", None, None);
        let exchange = self.exchange(link.server, Method::Get, &headers, b"", Hold::Stream).await?;
        Ok(exchange.streams().then_some(exchange))
    }

    /// Goes on with an event stream that a legacy server closed before the answer (MCP 2025-11-25, "Resumability and
    /// Redelivery"). The request is not sent again.
    ///
    /// # Errors
    /// [`Code::UpstreamInvalid`] when the server does not say how, or does not go on.
    pub async fn resume(&self, link: &Link, ended: Box<Exchange>) -> Result<Box<Exchange>, Fault> {
        let over = |why: &str| Fault::new(Code::UpstreamInvalid, format!("event stream ended without the answer{why}"));
        let place = ended.place().filter(|_| matches!(link.dialect, Dialect::Legacy { .. })).ok_or_else(|| over(""))?;
        let read = ended.bytes_read();
        ended.give_back();
        sleep(place.pause).await;
        let mut headers = headers(&link.dialect, "", None, None);
        headers.push(("last-event-id".into(), place.last_event.into()));
        let resumed = self.exchange(link.server, Method::Get, &headers, b"", Hold::Call).await;
        let resumed = resumed.map_err(|fault| over(&format!(", and was not resumed: {}", fault.detail)))?;
        if !resumed.streams() {
            return Err(over(&format!(", and was not resumed: {}", resumed.describe())));
        }
        Ok(resumed.after(read))
    }

    /// Sends a request whose answer is a stream without end.
    ///
    /// # Errors
    /// As [`Upstreams::request`].
    pub async fn subscribe(&self, link: &Link, outgoing: &Outgoing<'_>) -> Result<Box<Exchange>, Fault> {
        self.post(&link.peer, &link.dialect, outgoing, Hold::Stream).await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`] only when the request was not sent.
    pub async fn request(&self, link: &Link, outgoing: &Outgoing<'_>) -> Result<Box<Exchange>, Fault> {
        self.post(&link.peer, &link.dialect, outgoing, Hold::Call).await
    }

    async fn post(
        &self,
        peer: &Peer,
        dialect: &Dialect,
        outgoing: &Outgoing<'_>,
        hold: Hold,
    ) -> Result<Box<Exchange>, Fault> {
        let params = outgoing.params.map(|params| translate(dialect, params, &outgoing.client)).transpose()?;
        if let Some(process) = &peer.process {
            let traced = outgoing.trace.and_then(|trace| traced(params.as_deref()?, trace));
            let params = traced.as_deref().or(params.as_deref());
            let hearing = process.request(outgoing.id, outgoing.method, params).await?;
            return Ok(Exchange::of_process(hearing));
        }
        let mut headers = headers(dialect, outgoing.method, outgoing.name, outgoing.tool);
        let trace = outgoing.trace.into_iter().flat_map(Trace::fields);
        headers.extend(trace.map(|(name, value)| (name.into(), value.into())));
        let body = envelope::request(outgoing.id, outgoing.method, params.as_deref());
        self.exchange(peer.server, Method::Post, &headers, body.as_bytes(), hold).await
    }

    async fn exchange(
        &self,
        server: usize,
        method: Method,
        headers: &[(Cow<'static, str>, Cow<'_, str>)],
        body: &[u8],
        hold: Hold,
    ) -> Result<Box<Exchange>, Fault> {
        let pool = self.pool(server)?;
        let accept = if method == Method::Get { "text/event-stream" } else { "application/json, text/event-stream" };
        let mut fields = Vec::with_capacity(headers.len() + 2);
        if method == Method::Post {
            fields.push(("content-type", "application/json"));
        }
        fields.push(("accept", accept));
        fields.extend(headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        let (head, lease) = pool.send(method, &fields, body, hold).await?;
        if matches!(head.status, 300..=399) {
            let text =
                format!("HTTP {}: redirects are not followed, the catalog says where the server is", head.status);
            return Err(Fault::new(Code::UpstreamInvalid, text));
        }
        Ok(Exchange::new(&head, lease, self.max_response))
    }
}

/// Whether an error says that the modern version is unsupported (-32022) and supported.
fn contradicts_itself(error: &str) -> bool {
    let Ok(error) = json::parse(error.as_bytes()) else { return false };
    let supported = error.get("data").and_then(|data| data.get("supported")).and_then(Json::as_array);
    error.get("code") == Some(&Json::Int(-32022))
        && supported.unwrap_or_default().iter().any(|version| version.as_str() == Some(MODERN))
}

fn invalid(method: &str) -> Fault {
    Fault::new(Code::UpstreamInvalid, format!("no valid answer to {method}"))
}

fn capabilities(members: &Members<'_>) -> String {
    let found = members.find("capabilities").map(RawValue::get).filter(|text| text.starts_with('{'));
    found.unwrap_or("{}").to_owned()
}
