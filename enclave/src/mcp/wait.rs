//! While a tool server works: its messages pass to the agent as they come, until one is the answer.

use std::cell::Cell;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep, sleep_until};

use super::agent::{Agent, InFlight};
use super::ask::{self, Asking, Question, Whom};
use super::call::{Asked, range_in};
use super::envelope::{Answer, Message, Request, parse_incoming};
use super::era::Era;
use super::inspected;
use super::open::OpenCall;
use super::outbox::Outbox;
use super::parked::{self, Stopped};
use crate::catalog::{Capability, Server};
use crate::error::Code;
use crate::gateway::Gateway;
use crate::limits;
use crate::upstream::{Dialect, Exchange, Fault, Link, NOTHING};

/// The answer to a call.
pub(super) struct Reply {
    /// The whole message.
    pub(super) bytes: Bytes,
    /// Where the result or error is in it.
    pub(super) range: Range<usize>,
    /// Whether it is an error.
    pub(super) is_error: bool,
    /// The HTTP status.
    pub(super) status: u16,
}

impl Reply {
    /// The result or error, as received.
    pub(super) fn text(&self) -> &str {
        self.bytes.get(self.range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// What came of reading.
pub(super) enum Heard {
    /// The answer.
    Reply(Reply),
    /// The server says that the link's session has ended: then the request did not run.
    Forgotten,
    /// The server asks something of a caller who has to call again with the answer.
    Question(Stopped),
}

/// How long a call may take: each message gives its server the configured time for the next one, up to a total. A cancelled
/// call, or a modern one whose agent is gone, ends at once.
pub(super) struct Patience {
    timeout: Duration,
    last: Instant,
    /// One timer for all steps: most calls are answered before it is set a second time.
    timer: Pin<Box<Sleep>>,
    /// The agent's connection, if its end cancels the call.
    outbox: Option<Rc<Outbox>>,
    in_flight: Option<InFlight>,
    /// What the tool server asked of the agent and waits for.
    pub(super) asked: Rc<Cell<u32>>,
}

impl Patience {
    pub(super) fn new(gateway: &Gateway, asked: &Asked<'_>) -> Self {
        let timeout = Duration::from_millis(gateway.config.limits.upstream_timeout_ms);
        let now = Instant::now();
        Self {
            timeout,
            last: now + limits::MAX_CALL.max(timeout),
            timer: Box::pin(sleep_until(now + timeout)),
            outbox: (asked.era == Era::Modern).then(|| asked.outbox.clone()),
            in_flight: asked.agent.map(|agent| Agent::begin(agent, asked.id.get())),
            asked: Rc::default(),
        }
    }

    /// Goes on with another request of the agent, within the same total.
    pub(super) fn renew(&mut self, asked: &Asked<'_>) {
        self.outbox = (asked.era == Era::Modern).then(|| asked.outbox.clone());
        self.heard();
    }

    /// When the agent has had this long from now to answer, or the total.
    pub(super) fn until(&self, limit: Duration) -> Instant {
        self.last.min(Instant::now() + limit)
    }

    /// Waits for one step.
    pub(super) async fn bear<T>(
        &mut self,
        mut step: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> Result<T, Fault> {
        loop {
            tokio::select! {
                biased;
                done = step.as_mut() => return done,
                text = cancelled(self.outbox.as_deref(), self.in_flight.as_ref()) => {
                    return Err(Fault::new(Code::CallCancelled, text));
                }
                () = self.timer.as_mut() => {}
            }
            // The tool server waits for the agent, not the other way round.
            if self.asked.get() == 0 || Instant::now() >= self.last {
                let text = format!("no answer within {} ms", self.timeout.as_millis());
                return Err(Fault::new(Code::UpstreamTimeout, text));
            }
            self.heard();
        }
    }

    /// The tool server said something.
    pub(super) fn heard(&mut self) {
        let next = Instant::now() + self.timeout;
        self.timer.as_mut().reset(next.min(self.last));
    }
}

/// Waits until the agent wants no answer any more.
async fn cancelled(outbox: Option<&Outbox>, in_flight: Option<&InFlight>) -> &'static str {
    match (outbox, in_flight) {
        (Some(outbox), _) => {
            outbox.gone().await;
            "agent closed the connection"
        }
        (None, Some(in_flight)) => {
            in_flight.cancelled().await;
            "agent cancelled the call"
        }
        (None, None) => std::future::pending().await,
    }
}

/// Reads until the answer, or a question that the agent has to answer first.
pub(super) async fn answer(
    open: &OpenCall,
    asked: &Asked<'_>,
    link: &Rc<Link>,
    mut exchange: Box<Exchange>,
    id: &str,
    patience: &mut Patience,
) -> Result<Heard, Fault> {
    let in_session = matches!(link.dialect, Dialect::Legacy { session: Some(_), .. });
    if exchange.status == 404 && in_session && !exchange.is_json() {
        return Ok(Heard::Forgotten);
    }
    let wrong = |exchange: &Exchange| Err(Fault::new(Code::UpstreamInvalid, exchange.describe()));
    loop {
        let Some(bytes) = patience.bear(pin!(exchange.next())).await? else {
            let resumed = Box::pin(open.gateway.upstreams.resume(link, exchange));
            exchange = patience.bear(pin!(resumed)).await?;
            continue;
        };
        let message = match parse_incoming(&bytes, id) {
            Ok(message) if exchange.is_json() => message,
            Err(_) if exchange.status == 404 && in_session => return Ok(Heard::Forgotten),
            Err(text) if exchange.is_json() && exchange.is_success() => {
                return Err(Fault::new(Code::UpstreamInvalid, text));
            }
            _ => return wrong(&exchange),
        };
        match message {
            Message::Response(response) => {
                let (part, is_error): (&RawValue, bool) = match response.answer {
                    Answer::Result(result) if exchange.is_success() => (result, false),
                    Answer::Result(_) => return wrong(&exchange),
                    Answer::Error(error) => (error, true),
                };
                let range = range_in(part.get(), &bytes);
                let status = exchange.status;
                exchange.give_back();
                return Ok(Heard::Reply(Reply { bytes, range, is_error, status }));
            }
            Message::Request(_) if !exchange.streams() => {
                return Err(Fault::new(Code::UpstreamInvalid, "answer is not a JSON-RPC response"));
            }
            Message::Request(request) => {
                patience.heard();
                let Some(question) = Box::pin(pass(open, asked, link, &request, &bytes, patience)).await else {
                    continue;
                };
                match Box::pin(parked::stop(open, exchange, question)).await {
                    Ok(stopped) => return Ok(Heard::Question(stopped)),
                    Err(full) => exchange = full,
                }
            }
        }
    }
}

/// Passes a message on that is not the answer. A question for the caller is given back.
async fn pass(
    open: &OpenCall,
    asked: &Asked<'_>,
    link: &Rc<Link>,
    request: &Request<'_>,
    bytes: &[u8],
    patience: &Patience,
) -> Option<Box<Question>> {
    let gateway = &open.gateway;
    let Some(id) = request.id else {
        gateway.upstreams.heard(link.server, &request.method);
        let approved =
            gateway.catalog.servers().get(link.server).is_some_and(|server| may_say(server, &request.method));
        if approved && asked.era != Era::Bare && inspected::may_notify(open, bytes) {
            // An agent that is gone misses it; the call goes on.
            let _ = asked.outbox.send(bytes).await;
        }
        return None;
    };
    let whom = match asked.agent {
        Some(agent) => Whom::Session(agent, asked.outbox),
        None if asked.era == Era::Modern => Whom::Caller(asked.capabilities),
        None => Whom::Caller(NOTHING),
    };
    let asking = asking(open, asked, whom, patience);
    ask::ask(&asking, link, request, id).await
}

/// The way from this call's tool server to the agent.
pub(super) fn asking<'a>(open: &'a OpenCall, asked: &'a Asked<'_>, whom: Whom<'a>, patience: &Patience) -> Asking<'a> {
    Asking {
        gateway: &open.gateway,
        whom,
        credential: &open.credential,
        session: &open.session.id,
        source: asked.session.source,
        workflow_id: asked.workflow_id,
        call_id: Some(&open.call_id),
        waiting: patience.asked.clone(),
    }
}

/// Whether the catalog approves of a notification from this server.
pub(super) fn may_say(server: &Server, method: &str) -> bool {
    match method {
        "notifications/message" => server.may(Capability::Logging),
        _ if method.starts_with("notifications/resources/") => server.may(Capability::Resources),
        _ if method.starts_with("notifications/prompts/") => server.may(Capability::Prompts),
        _ => method.starts_with("notifications/"),
    }
}
