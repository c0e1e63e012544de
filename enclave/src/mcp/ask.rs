//! What a tool server asks of an agent: a model's answer, a user's, or the folders it works in.
//!
//! Such a request is a call like any other: decided, recorded, and ended by exactly one entry, with the agent's answer as its
//! outcome. It reaches only an agent that said it can be asked, through a server that the catalog approves of.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use claim::Digest;
use claim::hashes::sorted_ascii_hash;
use claim::json::{self, Json};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::about::About;
use super::agent::Agent;
use super::envelope::{self, Answer, Request, Response};
use super::inspected;
use super::members::Members;
use super::open::{End, OpenCall};
use super::outbox::Outbox;
use crate::catalog::Capability;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::identity::Credential;
use crate::policy::{Action, ObjectKind};
use crate::session::{Outcome, Source};
use crate::upstream::Link;

/// Why an agent is not waited for any longer.
pub(super) const LATE: &str = "the agent did not answer in time";

/// What servers may ask: the method, its Cedar action, and the capability that both sides must have.
pub(super) const METHODS: [(&str, Action, Capability); 3] = [
    ("sampling/createMessage", Action::Sample, Capability::Sampling),
    ("elicitation/create", Action::Elicit, Capability::Elicitation),
    ("roots/list", Action::ListRoots, Capability::Roots),
];

/// Whose request it is, and the way to the agent.
pub(super) struct Asking<'a> {
    pub(super) gateway: &'a Rc<Gateway>,
    pub(super) whom: Whom<'a>,
    pub(super) credential: &'a Rc<Credential>,
    pub(super) session: &'a str,
    pub(super) source: Source,
    pub(super) workflow_id: &'a str,
    /// The call that the server works on.
    pub(super) call_id: Option<&'a str>,
    /// Counts what is asked and not answered.
    pub(super) waiting: Rc<Cell<u32>>,
}

/// Who is asked, and how.
#[derive(Clone, Copy)]
pub(super) enum Whom<'a> {
    /// The agent of an MCP session, on this stream.
    Session(&'a Rc<Agent>, &'a Rc<Outbox>),
    /// The caller, in the result of its call ([`super::parked`]); it has these capabilities.
    Caller(&'a str),
}

impl Whom<'_> {
    fn can(&self, capability: &str) -> bool {
        let (reads, capabilities) = match self {
            Self::Session(agent, outbox) => (outbox.streams(), agent.capabilities.as_str()),
            Self::Caller(capabilities) => (true, *capabilities),
        };
        reads && Members::parse(capabilities).is_ok_and(|members| members.find(capability).is_some())
    }
}

/// A request that waits for the agent of a session.
pub(super) struct Waiting {
    pub(super) pending: Pending,
    /// The call that the server works on.
    pub(super) during: Option<String>,
    count: Counted,
}

/// A request that waits for a caller.
pub(super) struct Question {
    pub(super) pending: Pending,
    pub(super) method: &'static str,
    /// As received.
    pub(super) params: String,
}

/// A request between its decision and its terminal entry.
pub(super) struct Pending {
    asker: Asker,
    open: Box<OpenCall>,
}

/// Who gets the agent's answer.
pub(super) enum Asker {
    /// A server, to its request of this id.
    Server(Rc<Link>, String),
    /// A call of several rounds: the result, or the error.
    Round(oneshot::Sender<Result<String, String>>),
}

/// One of what is asked and not answered.
struct Counted(Rc<Cell<u32>>);

impl Counted {
    fn one(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get().saturating_add(1));
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Puts a server's request to the agent, or answers it with an error. What is left for a caller is given back.
pub(super) async fn ask(
    asking: &Asking<'_>,
    link: &Rc<Link>,
    request: &Request<'_>,
    id: &RawValue,
) -> Option<Box<Question>> {
    let asker = Asker::Server(link.clone(), id.get().to_owned());
    if request.method == "ping" {
        reply(asking.gateway, asker, Ok("{}".to_owned()));
        return None;
    }
    let params = request.params.map_or("{}", RawValue::get);
    put(asking, link.server, &request.method, params, asker).await
}

/// Puts what a server wants to the agent. Whatever becomes of it, the asker is answered.
pub(super) async fn put(
    asking: &Asking<'_>,
    server: usize,
    method: &str,
    params: &str,
    asker: Asker,
) -> Option<Box<Question>> {
    let (method, open) = match admit(asking, server, method, params).await {
        Ok(admitted) => admitted,
        Err(text) => {
            refuse(asking.gateway, asker, &text);
            return None;
        }
    };
    let pending = Pending { asker, open };
    match asking.whom {
        Whom::Session(agent, outbox) => {
            send(asking, agent, outbox, method, params, pending).await;
            None
        }
        Whom::Caller(_) => Some(Box::new(Question { pending, method, params: params.to_owned() })),
    }
}

async fn admit(
    asking: &Asking<'_>,
    server: usize,
    method: &str,
    params: &str,
) -> Result<(&'static str, Box<OpenCall>), String> {
    let gateway = asking.gateway;
    let known = METHODS.into_iter().find(|(name, ..)| *name == method);
    let (method, action, capability) = known.ok_or_else(|| format!("{method:?} is not served"))?;
    let about = about(gateway, server, (method, action, capability));
    let about = about.ok_or_else(|| format!("the gateway's catalog does not approve of {}", capability.as_str()))?;
    if !asking.whom.can(capability.as_str()) {
        return Err(format!("the agent has no {}", capability.as_str()));
    }
    let payload = json::parse(params.as_bytes()).map_err(|error| format!("params: {error}"))?;
    let (credential, id) = (asking.credential.clone(), asking.session.to_owned());
    let session = SessionRef { credential, id, source: asking.source, challenge: None };
    let hash = sorted_ascii_hash(&payload);
    let unavailable = |_| "the gateway cannot record the request".to_owned();
    let mut open = OpenCall::admit(gateway, &session, asking.workflow_id, hash, Instant::now()).map_err(unavailable)?;
    if let Some(call_id) = asking.call_id {
        open.note("during", Json::from(call_id));
    }
    open.vouched(|| about.clone()).await.map_err(|_| "the gateway has no evidence that counts".to_owned())?;
    if let Err(denied) = open.decide(about, None) {
        open.denied(denied).await;
        return Err("the gateway's policy denies it".to_owned());
    }
    if let Err(reason) = inspected::question(&mut open, params) {
        open.fault(Code::ResultRefused, &reason).await;
        return Err("the gateway's inspection refuses it".to_owned());
    }
    open.intend().await.map_err(unavailable)?;
    open.forwarded = true;
    Ok((method, open))
}

/// What a server's question is on; nothing if the catalog does not approve of the question.
pub(super) fn about(
    gateway: &Gateway,
    server: usize,
    (method, action, capability): (&'static str, Action, Capability),
) -> Option<About> {
    let entry = gateway.catalog.servers().get(server).filter(|entry| entry.may(capability))?;
    Some(About::Other { method, action, kind: ObjectKind::Server, server, id: entry.display_name.clone() })
}

async fn send(asking: &Asking<'_>, agent: &Rc<Agent>, outbox: &Outbox, method: &str, params: &str, pending: Pending) {
    let during = asking.call_id.map(str::to_owned);
    let waiting = Box::new(Waiting { pending, during, count: Counted::one(&asking.waiting) });
    let number = match agent.wait(waiting) {
        Ok(number) => number,
        Err(waiting) => return waiting.pending.give_up("too many requests wait for the agent").await,
    };
    let message = envelope::request(Some(&number.to_string()), method, Some(params));
    if outbox.send(message.as_bytes()).await.is_err() {
        if let Some(waiting) = agent.take(number) {
            waiting.pending.give_up("the agent is gone").await;
        }
        return;
    }
    let (limit, agent) = (asking.gateway.config.limits.input_timeout(), Rc::downgrade(agent));
    spawn_local(async move {
        sleep(limit).await;
        if let Some(waiting) = agent.upgrade().and_then(|agent| agent.take(number)) {
            waiting.pending.give_up(LATE).await;
        }
    });
}

impl Pending {
    /// The agent will not answer.
    pub(super) async fn give_up(self, reason: &str) {
        let Self { asker, mut open } = self;
        open.fault(Code::CallCancelled, reason).await;
        refuse(&open.gateway, asker, reason);
    }

    /// Takes the agent's answer to whoever asked.
    pub(super) async fn answered(self, answer: &Answer<'_>) {
        let Self { asker, mut open } = self;
        let (outcome, answer) = match answer {
            Answer::Result(result) => (open.answered(), Ok(result.get().to_owned())),
            Answer::Error(error) => {
                open.note_fault(Code::CallCancelled, "the agent answered with an error");
                (Outcome::Faulted, Err(error.get().to_owned()))
            }
        };
        let (Ok(text) | Err(text)) = &answer;
        inspected::agent_answer(&mut open, text);
        let end = End { response_hash: Some(Digest::of(text)), inspected: None, class: None };
        // No record, no action: without its entry the answer does not leave.
        match open.conclude(outcome, &end).await {
            Ok(_) => reply(&open.gateway, asker, answer),
            Err(_) => refuse(&open.gateway, asker, "the gateway cannot record the answer"),
        }
    }
}

/// Answers whoever asked with an error.
fn refuse(gateway: &Rc<Gateway>, asker: Asker, text: &str) {
    let error = Json::from([("code", Json::Int(-32601)), ("message", Json::from(text))]).sorted_ascii();
    reply(gateway, asker, Err(error));
}

/// Answers whoever asked. Nobody waits until a server has taken it: one that does not take it has to live without.
fn reply(gateway: &Rc<Gateway>, asker: Asker, answer: Result<String, String>) {
    match asker {
        Asker::Round(sender) => drop(sender.send(answer)),
        Asker::Server(link, id) => {
            let message = match answer {
                Ok(result) => envelope::success(&id, &result),
                Err(error) => envelope::failure(RawValue::from_string(id).ok().as_deref(), &error),
            };
            let gateway = gateway.clone();
            spawn_local(async move { gateway.upstreams.deliver(&link, &message, "").await });
        }
    }
}

/// Takes the answer of a session's agent to whoever waits for it. False if nobody does.
pub(super) async fn answered(agent: &Agent, response: &Response<'_>) -> bool {
    let number = response.id.and_then(|id| id.get().trim_matches('"').parse().ok());
    let Some(waiting) = number.and_then(|number| agent.take(number)) else { return false };
    let Waiting { pending, count, .. } = *waiting;
    pending.answered(&response.answer).await;
    drop(count);
    true
}
