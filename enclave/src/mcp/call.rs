//! A call from its decision to its receipt: `tools/call`, and every other method that reaches a tool server.

use std::num::NonZeroU32;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use claim::Digest;
use claim::hashes::sorted_ascii_hash;
use claim::json::Json;
use serde_json::value::RawValue;

use super::about::About;
use super::agent::Agent;
use super::confirm;
use super::era::Era;
use super::forward::{Reached, forward};
use super::inspected;
use super::open::{Denied, End, OpenCall};
use super::outbox::Outbox;
use super::parked;
use super::receipt::{self, Clean, Place, Receipt, Unclean};
use super::rounds::{self, Round};
use super::shape;
use super::trace::Trace;
use super::wait::Reply;
use crate::catalog::Tool;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::policy::{Action, Decision, ObjectKind};
use crate::session::Outcome;
use crate::upstream::Link;

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
    open.vouched(|| tool_of(gateway, asked).map_or(About::Unknown, |tool| About::Tool(tool.index))).await?;
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
    let reached = Box::pin(forward(&mut open, asked, server)).await;
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

pub(super) fn tool_of<'g>(gateway: &'g Gateway, asked: &Asked<'_>) -> Option<&'g Tool> {
    match asked.target {
        Target::Tool(name) => gateway.catalog.tool(name),
        Target::Other { .. } => None,
    }
}

/// Inspects the tool server's answer, records the outcome, and only then lets the answer out.
async fn conclude(
    mut open: Box<OpenCall>,
    asked: &Asked<'_>,
    server: usize,
    reply: &Reply,
) -> Result<Answered, Refusal> {
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
    mut open: Box<OpenCall>,
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
async fn pass_error(mut open: Box<OpenCall>, error: &str, status: u16) -> Result<Answered, Refusal> {
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
