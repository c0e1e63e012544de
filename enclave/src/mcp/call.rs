//! A call from its decision to its receipt: `tools/call`, and every other method that reaches a tool server.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use claim::Digest;
use claim::hashes::sorted_ascii_hash;
use claim::json::Json;
use serde_json::value::RawValue;
use tokio::task::spawn_local;

use super::about::About;
use super::agent::Agent;
use super::ask::Whom;
use super::confirm;
use super::era::Era;
use super::inspected;
use super::open::{Denied, End, OpenCall};
use super::outbox::Outbox;
use super::parked;
use super::receipt::{self, Clean, Place, Receipt, Unclean};
use super::rounds::{self, Round};
use super::shape;
use super::trace::Trace;
use super::wait::{self, Heard, Reply};
use crate::catalog::Tool;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::limits;
use crate::policy::{Action, Decision, ObjectKind};
use crate::session::Outcome;
use crate::upstream::{Client, Dialect, Fault, Link, NOTHING, Outgoing, approved, askable};

/// A call as the agent asked for it.
pub struct Asked<'a> {
    /// The request's id, as received.
    pub id: &'a RawValue,
    /// The era that the agent speaks.
    pub era: Era,
    /// The method.
    pub method: &'static str,
    /// What it is on.
    pub target: Target<'a>,
    /// What `request_payload_hash` is over: the arguments of a tool, the parameters of anything else; parsed strictly.
    pub payload: &'a Json,
    /// Parameters to forward: as received, without what is ours.
    pub forward: &'a str,
    /// The name or URI that headers mirror.
    pub name: Option<&'a str>,
    /// What a modern agent can be asked, as received.
    pub capabilities: &'a str,
    /// Which round of a call with several (MRTR) this is, if it is not the first.
    pub round: Option<Round<'a>>,
    /// The session.
    pub session: &'a SessionRef,
    /// The workflow, or empty.
    pub workflow_id: &'a str,
    /// Where the receipt goes; nowhere in results that must be empty.
    pub place: Option<Place>,
    /// When the request arrived.
    pub arrived: Instant,
    /// The trace that it is part of.
    pub trace: Option<&'a Trace>,
    /// The agent's MCP session, in the legacy era.
    pub agent: Option<&'a Rc<Agent>>,
    /// The way back to the agent before the answer.
    pub outbox: &'a Rc<Outbox>,
}

impl Asked<'_> {
    /// The session of the link that the call went by has ended.
    pub(super) fn forget(&self, gateway: &Gateway, link: &Rc<Link>) {
        match self.agent {
            Some(agent) => agent.forget(link),
            None => gateway.upstreams.forget(link),
        }
    }
}

/// What a call is on.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A tool, by the name that was asked for.
    Tool(&'a str),
    /// Anything else of a tool server.
    Other {
        /// The Cedar action.
        action: Action,
        /// What `id` names.
        kind: ObjectKind,
        /// The server's place in the catalog.
        server: usize,
        /// The Cedar id.
        id: &'a str,
    },
}

/// What the agent gets.
pub enum Answered {
    /// A `result`: the tool server's bytes with the receipt.
    Result(String),
    /// The tool server's own `error` as received, and its HTTP status.
    UpstreamError(String, u16),
    /// A refusal by the gateway.
    Refused(Refusal),
}

/// A refusal, with what proves that it was recorded.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The call, if it was admitted.
    pub call_id: Option<String>,
    /// What the policy said, if it refused.
    pub decision: Option<Decision>,
    /// Annotations of the deciding policies.
    pub advice: Vec<(String, String)>,
    /// What exactly, if the caller is to mend it.
    pub detail: Option<Box<str>>,
    /// The terminal entry, if it is stored.
    pub recorded: Option<(Digest, u64)>,
    /// In how many milliseconds the same call may be made, if that is why.
    pub retry_after_ms: Option<NonZeroU32>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self {
            code,
            call_id: None,
            decision: None,
            advice: Vec::new(),
            detail: None,
            recorded: None,
            retry_after_ms: None,
        }
    }
}

/// What came of a request to a tool server.
pub(super) enum Reached {
    /// Its answer.
    Reply(Reply),
    /// What it asks of the agent first.
    Question(Box<parked::Call>),
}

/// Serves one call.
pub async fn call(gateway: &Rc<Gateway>, asked: &Asked<'_>) -> Answered {
    match serve(gateway, asked).await {
        Ok(answered) => answered,
        Err(refusal) => Answered::Refused(refusal),
    }
}

async fn serve(gateway: &Rc<Gateway>, asked: &Asked<'_>) -> Result<Answered, Refusal> {
    let hash = sorted_ascii_hash(asked.payload);
    let mut open = OpenCall::admit(gateway, asked.session, asked.workflow_id, hash, asked.arrived)?;
    if let Some(round) = &asked.round {
        rounds::note(&mut open, asked, round);
    }
    let (about, server, arguments) = match asked.target {
        Target::Tool(name) => match gateway.catalog.tool(name) {
            Some(tool) => (About::Tool(tool.index), tool.server_index, Some(asked.payload)),
            None => return Err(open.unknown_tool(name).await),
        },
        Target::Other { action, kind, server, id } => {
            (About::Other { method: asked.method, action, kind, server, id: id.to_owned() }, server, None)
        }
    };
    if let Err(denied) = open.check_caller(&about) {
        return Err(open.denied(denied).await);
    }
    let reached = confirm::first(&mut open, asked, server, &about).await;
    inspected::arguments(&mut open, asked, tool_of(gateway, asked));
    if let Err(denied) = open.decide(about, arguments) {
        return Err(open.denied(denied).await);
    }
    if let Err(fault) = reached {
        return Err(open.fault(fault.code, &fault.detail).await);
    }
    open.intend().await?;
    open.forwarded = true;
    let wait = gateway.polling.wait();
    let reached = match &asked.round {
        None => Box::pin(forward(&mut open, asked, server)).await,
        Some(_) => Box::pin(go_on(&mut open, asked, server)).await,
    };
    drop(wait);
    if let Some(agent) = asked.agent {
        agent.abandon(&open.call_id).await;
    }
    match reached {
        Ok(Reached::Reply(reply)) => conclude(open, asked, server, &reply).await,
        Ok(Reached::Question(call)) => Box::pin(parked::park(open, asked, server, call)).await,
        Err(fault) => {
            open.forwarded = fault.sent;
            if matches!(fault.code, Code::CatalogDrift | Code::CatalogUnconfirmed) {
                return Err(open.denied(Denied::Decided(Decision::Deny)).await);
            }
            let mut refusal = open.fault(fault.code, &fault.detail).await;
            refusal.detail = (fault.code == Code::InvalidParams).then(|| fault.detail.into());
            Err(refusal)
        }
    }
}

/// A later round: of a call that waits here, or of one that the tool server knows.
async fn go_on(open: &mut OpenCall, asked: &Asked<'_>, server: usize) -> Result<Reached, Fault> {
    match parked::take(open, asked, server)? {
        Some((call, answer)) => parked::go_on(open, asked, call, answer).await,
        None => forward(open, asked, server).await,
    }
}

/// Sends the request and passes on what comes before the answer, round by round.
async fn forward(open: &mut OpenCall, asked: &Asked<'_>, server: usize) -> Result<Reached, Fault> {
    let gateway = &open.gateway.clone();
    let tool = tool_of(gateway, asked).map(|tool| (tool, asked.payload));
    let capabilities = capabilities(gateway, asked, server);
    let client = Client { era: asked.era, capabilities: &capabilities };
    let mut patience = wait::Patience::new(gateway, asked);
    let mut params = Cow::Borrowed(asked.forward);
    let (mut again, mut rounds) = (true, 0);
    loop {
        let link = patience.bear(pin!(link(open, asked, server))).await.map_err(Fault::before_the_call)?;
        if asked.round.is_some() && link.dialect != Dialect::Modern {
            return Err(parked::refused("no call waits for this input; the tool server knows no rounds"));
        }
        let confirmed = if rounds == 0 { confirm::last(open, asked, &link, &mut patience).await } else { Ok(()) };
        // An agent's ids are its own; on a link that agents share they would collide, and a round has no id yet.
        let shared = asked.agent.is_none() && matches!(link.dialect, Dialect::Legacy { .. });
        let fresh = (shared || rounds > 0).then(|| link.fresh_id());
        let id = fresh.as_deref().unwrap_or(asked.id.get());
        let (params_now, method, name, trace) = (Some(params.as_ref()), asked.method, asked.name, asked.trace);
        let outgoing = Outgoing { id: Some(id), method, params: params_now, name, tool, client, trace };
        let heard = match confirmed {
            Ok(()) => send(open, asked, &link, &outgoing, id, &mut patience).await?,
            Err(fault) if fault.code == Code::SessionUnknown => Heard::Forgotten,
            Err(fault) => return Err(fault),
        };
        let reply = match heard {
            Heard::Reply(reply) => reply,
            Heard::Question(stopped) => {
                return Ok(Reached::Question(parked::Call::new(stopped, link, id.to_owned(), patience)));
            }
            Heard::Forgotten => {
                if !std::mem::take(&mut again) {
                    return Err(Fault::new(Code::UpstreamInvalid, "tool server forgets its sessions at once"));
                }
                asked.forget(gateway, &link);
                continue;
            }
        };
        let Some(agent) = asked.agent.filter(|_| link.dialect == Dialect::Modern) else {
            return Ok(Reached::Reply(reply));
        };
        let asking = wait::asking(open, asked, Whom::Session(agent, asked.outbox), &patience);
        let next = Box::pin(rounds::next(&asking, server, &params, &reply, &mut patience)).await?;
        let Some(next) = next else { return Ok(Reached::Reply(reply)) };
        rounds += 1;
        if rounds > limits::MAX_ROUNDS {
            return Err(Fault::new(Code::UpstreamInvalid, "tool server wants input without end"));
        }
        params = Cow::Owned(next);
    }
}

/// Sends one request and reads up to its answer, or a question.
async fn send(
    open: &OpenCall,
    asked: &Asked<'_>,
    link: &Rc<Link>,
    outgoing: &Outgoing<'_>,
    id: &str,
    patience: &mut wait::Patience,
) -> Result<Heard, Fault> {
    let reply = match patience.bear(pin!(open.gateway.upstreams.request(link, outgoing))).await {
        Ok(exchange) => wait::answer(open, asked, link, exchange, id, patience).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = &reply {
        give_notice(&open.gateway, link, id, fault.code);
    }
    reply
}

/// Nobody waits for the answer any more. A modern server knows by the end of the connection, a legacy one has to be told, and
/// a process is told of every exchange that ends early.
pub(super) fn give_notice(gateway: &Rc<Gateway>, link: &Rc<Link>, id: &str, code: Code) {
    let over = matches!(code, Code::CallCancelled | Code::UpstreamTimeout);
    if over && matches!(link.dialect, Dialect::Legacy { .. }) && !link.is_process() {
        let (gateway, link) = (gateway.clone(), link.clone());
        let params = format!("{{\"requestId\":{id}}}");
        spawn_local(async move { gateway.upstreams.notify(&link, "notifications/cancelled", Some(&params)).await });
    }
}

pub(super) async fn link(open: &OpenCall, asked: &Asked<'_>, server: usize) -> Result<Rc<Link>, Fault> {
    match asked.agent {
        Some(agent) => agent.link(&open.gateway, server).await,
        None => open.session.link(&open.gateway, server, &told(&open.gateway, asked, server)).await,
    }
}

/// What a legacy server is told of a caller without a session there.
pub(super) fn told<'a>(gateway: &Gateway, asked: &Asked<'a>, server: usize) -> Cow<'a, str> {
    match (asked.era, gateway.catalog.servers().get(server)) {
        (Era::Modern, Some(entry)) => askable(entry, asked.capabilities),
        _ => Cow::Borrowed(NOTHING),
    }
}

/// What the server may ask of the agent.
fn capabilities<'a>(gateway: &Gateway, asked: &Asked<'a>, server: usize) -> Cow<'a, str> {
    match (asked.agent, gateway.catalog.servers().get(server)) {
        (Some(agent), Some(server)) => Cow::Owned(approved(server, &agent.capabilities)),
        _ => Cow::Borrowed(asked.capabilities),
    }
}

fn tool_of<'g>(gateway: &'g Gateway, asked: &Asked<'_>) -> Option<&'g Tool> {
    match asked.target {
        Target::Tool(name) => gateway.catalog.tool(name),
        Target::Other { .. } => None,
    }
}

/// Inspects the tool server's answer, records the outcome, and only then lets the answer out.
async fn conclude(mut open: OpenCall, asked: &Asked<'_>, server: usize, reply: &Reply) -> Result<Answered, Refusal> {
    let (text, gateway) = (reply.text(), open.gateway.clone());
    if reply.is_error {
        return pass_error(open, text, reply.status).await;
    }
    match receipt::inspect(text) {
        Ok(clean) => match inspected::result(&mut open, tool_of(&gateway, asked), text) {
            Ok(None) => answer(open, asked, server, text, &clean).await,
            Ok(Some(changed)) => match receipt::inspect(&changed) {
                Ok(clean) => answer(open, asked, server, &changed, &clean).await,
                Err(_) => Err(open.fault(Code::ResultRefused, "result cannot be changed").await),
            },
            Err(reason) => Err(open.fault(Code::ResultRefused, &reason).await),
        },
        Err(Unclean::Forged) => {
            let text = "result carries keys of the gateway, or a key twice";
            Err(open.fault(Code::UpstreamForgedReceipt, text).await)
        }
        Err(Unclean::NotAnObject) => Err(open.fault(Code::UpstreamInvalid, "result is not an object").await),
        Err(Unclean::MetaNotAnObject) => Err(open.fault(Code::UpstreamInvalid, "result._meta is not an object").await),
    }
}

pub(super) async fn answer(
    mut open: OpenCall,
    asked: &Asked<'_>,
    server: usize,
    result: &str,
    clean: &Clean<'_>,
) -> Result<Answered, Refusal> {
    if let Err(action) = rounds::wants_input(&mut open, asked, server, clean) {
        let reason = format!("tool server wants to {action} and may not");
        return Err(open.fault(Code::PolicyDeny, &reason).await);
    }
    if let Err(stop) = open.check_answer() {
        return Err(open.withhold(stop, result).await);
    }
    let latency_us = open.latency();
    let outcome = open.answered();
    let end = End { response_hash: Some(Digest::of(result)), inspected: Some("pass"), class: Some(open.class()) };
    let (entry, ticket) = open.conclude(outcome, &end).await?;
    let members = shape::missing(asked.era, asked.method, clean);
    let Some(place) = asked.place else { return Ok(Answered::Result(clean.with(&members))) };
    let receipt = Receipt {
        call_id: &open.call_id,
        entry,
        boot_id: &open.gateway.boot.id_hex,
        batch: ticket.batch(),
        would_have_denied: open.would_have_denied,
        latency_us,
        session_id: &open.session.id,
        workflow_id: &open.workflow_id,
        advice: &open.advice,
    };
    Ok(Answered::Result(clean.splice(place, &receipt.json(), &members)))
}

/// A JSON-RPC error of the tool server is recorded as a fault and passed on byte for byte.
async fn pass_error(mut open: OpenCall, error: &str, status: u16) -> Result<Answered, Refusal> {
    let changed = match inspected::error(&mut open, error) {
        Ok(changed) => changed,
        Err(reason) => return Err(open.fault(Code::ResultRefused, &reason).await),
    };
    let error = changed.as_deref().unwrap_or(error);
    if let Err(stop) = open.check_answer() {
        return Err(open.withhold(stop, error).await);
    }
    open.note_fault(Code::UpstreamToolError, "tool server answered with a JSON-RPC error");
    let end = End { response_hash: Some(Digest::of(error)), inspected: None, class: None };
    open.conclude(Outcome::Faulted, &end).await?;
    Ok(Answered::UpstreamError(error.to_owned(), status))
}

/// Where a part of a text is in it.
pub(super) fn range_in(part: &str, whole: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start.saturating_add(part.len())
}
