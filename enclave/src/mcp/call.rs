//! A tool call from its decision to its receipt. Every admitted call ends in exactly one terminal entry.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use claim::Digest;
use claim::bootlog::{IntentRecord, RecordKind};
use claim::entry::{Draft, EntryType, PolicyDecision};
use claim::hashes::request_payload_hash;
use claim::json::Json;
use serde_json::value::RawValue;
use wire::{Enforcement, LogEvent};

use super::envelope::{self, Answer, parse_answer};
use super::receipt::{self, Clean, Place, Receipt, Unclean};
use crate::audit::Ticket;
use crate::catalog::Tool;
use crate::config::Durability;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::labels::{Label, Labels};
use crate::policy::{Decision, Object, Question, Verdict};
use crate::random;
use crate::session::{Outcome, Session};
use crate::upstream::Fault;

/// A call as the agent asked for it.
pub struct Asked<'a> {
    /// The request's id, as received.
    pub id: &'a RawValue,
    /// The tool's name.
    pub tool: &'a str,
    /// The arguments, parsed strictly.
    pub arguments: &'a Json,
    /// Parameters to forward: as received, without what is ours.
    pub forward: &'a str,
    /// The session.
    pub session: &'a SessionRef,
    /// The workflow, or empty.
    pub workflow_id: &'a str,
    /// Where the receipt goes.
    pub place: Place,
    /// When the request arrived.
    pub arrived: Instant,
}

/// What the agent gets.
pub enum Answered {
    /// A `result`: the tool server's bytes with the receipt.
    Result(String),
    /// The tool server's own `error`, as received.
    UpstreamError(String),
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
    /// The terminal entry, if it is stored.
    pub recorded: Option<(Digest, u64)>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, call_id: None, decision: None, advice: Vec::new(), recorded: None }
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
    let mut open = OpenCall::admit(gateway, asked)?;
    let Some(tool) = gateway.catalog.tool(asked.tool) else {
        let asked_for = Json::from([("requested_tool", Json::String(asked.tool.to_owned()))]);
        Code::ToolNotInCatalog.name().clone_into(&mut open.rule);
        return Err(open.deny(Code::ToolNotInCatalog, Outcome::Denied, Some(asked_for)).await);
    };
    open.tool = Some(tool.index);
    let verdict = open.decide(tool, asked.arguments);
    if !verdict.allowed() && open.mode() == Enforcement::Enforcing {
        open.decision = Some(verdict.decision);
        return Err(open.deny(Code::PolicyDeny, Outcome::refused(verdict.decision), misfit(&verdict)).await);
    }
    open.misfit = misfit(&verdict);
    open.intend(tool).await?;
    let answer = open.forward(asked, tool).await;
    open.conclude(asked, tool, answer).await
}

/// A call between its admission and its terminal entry. Dropped without one (a panic), it records a fault and halts the
/// session.
struct OpenCall {
    gateway: Rc<Gateway>,
    session: Rc<Session>,
    call_id: String,
    workflow_id: String,
    request_hash: Digest,
    arrived: Instant,
    tool: Option<usize>,
    before: Labels,
    rule: String,
    decision: Option<Decision>,
    advice: Vec<(String, String)>,
    would_have_denied: bool,
    /// Why the policy could not be asked, if the call went on all the same.
    misfit: Option<Json>,
    forwarded: bool,
    ended: bool,
}

/// The end of a call, for its entry.
#[derive(Default)]
struct End {
    response_hash: Option<Digest>,
    inspected: Option<&'static str>,
    detail: Option<Json>,
}

impl OpenCall {
    fn admit(gateway: &Rc<Gateway>, asked: &Asked<'_>) -> Result<Self, Refusal> {
        if gateway.stopping.get() {
            return Err(Code::ShuttingDown.into());
        }
        if let Err(code) = gateway.audit.admit() {
            gateway.events.audit_unavailable();
            return Err(code.into());
        }
        let call_id = random::uuid().map_err(|_| Code::Internal)?;
        let session = gateway.session(asked.session)?;
        session.enter();
        let before = session.state.borrow().labels;
        Ok(Self {
            gateway: gateway.clone(),
            session,
            call_id,
            workflow_id: asked.workflow_id.to_owned(),
            request_hash: request_payload_hash(asked.arguments),
            arrived: asked.arrived,
            tool: None,
            before,
            rule: String::new(),
            decision: None,
            advice: Vec::new(),
            would_have_denied: false,
            misfit: None,
            forwarded: false,
            ended: false,
        })
    }

    fn mode(&self) -> Enforcement {
        self.gateway.config.attestation.enforcement_mode.into()
    }

    /// Asks the policy and, if the call goes on, joins the tool's label in the same step: of two first calls at once,
    /// only one sees `public`.
    fn decide(&mut self, tool: &Tool, arguments: &Json) -> Verdict {
        let mut state = self.session.state.borrow_mut();
        self.before = state.labels;
        let verdict = self.gateway.policy.decide(&Question {
            object: Object::Tool(tool),
            arguments: Some(arguments),
            session_id: &self.session.id,
            workflow_id: &self.workflow_id,
            subject: None,
            issuer: None,
            groups: &[],
            labels: state.labels,
            call_count: state.summary.total,
            domains_touched: state.summary.domains,
            egress: false,
            attestation_platform: self.gateway.boot.evidence.platform.as_str(),
            now: self.gateway.clock.now().seconds(),
        });
        if verdict.allowed() || self.mode() != Enforcement::Enforcing {
            state.labels = state.labels.join(Labels::of(tool.sensitivity));
        }
        drop(state);
        self.rule = verdict.determining.join(",");
        self.advice.clone_from(&verdict.advice);
        self.would_have_denied = !verdict.allowed();
        if !verdict.allowed() && self.mode() != Enforcement::Silent {
            let advisory = self.mode() == Enforcement::Advisory;
            self.gateway.events.log(LogEvent::Denied {
                session: self.session.number,
                tool: self.tool_number(),
                advisory,
            });
        }
        verdict
    }

    /// In strict mode the intent is durable before anything reaches a tool server.
    async fn intend(&mut self, tool: &Tool) -> Result<(), Refusal> {
        if self.gateway.audit.durability() != Durability::Strict {
            return Ok(());
        }
        let ticket = self.push_intent(tool);
        match self.gateway.stored(&ticket).await {
            Ok(()) => Ok(()),
            Err(code) => Err(self.fault(code, "intent could not be stored; not forwarded").await),
        }
    }

    fn push_intent(&self, tool: &Tool) -> Ticket {
        let mut state = self.session.state.borrow_mut();
        let intent = IntentRecord {
            session_id: self.session.id.clone(),
            session_number: self.session.number,
            call_id: self.call_id.clone(),
            tool_name: tool.name.clone(),
            request_payload_hash: self.request_hash,
            decision: if self.would_have_denied { PolicyDecision::AdvisoryDeny } else { PolicyDecision::Allow },
            entry_count_before: state.chain.length(),
            at: self.gateway.clock.now(),
        };
        let ticket = self.gateway.audit.push(RecordKind::Intent, self.session.number, &intent.bytes());
        state.recorded_in(&ticket);
        ticket
    }

    async fn forward(&mut self, asked: &Asked<'_>, tool: &Tool) -> Result<Bytes, Fault> {
        self.forwarded = true;
        let body = envelope::request(asked.id.get(), "tools/call", asked.forward);
        self.gateway.polling.during(self.gateway.upstreams.call(&tool.server, body, asked.id)).await
    }

    /// Inspects the tool server's answer, records the outcome, and only then lets the answer out.
    async fn conclude(
        mut self,
        asked: &Asked<'_>,
        tool: &Tool,
        answer: Result<Bytes, Fault>,
    ) -> Result<Answered, Refusal> {
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(fault) => {
                self.forwarded = fault.code != Code::UpstreamUnavailable;
                return Err(self.fault(fault.code, &fault.detail).await);
            }
        };
        match parse_answer(&bytes, asked.id) {
            Ok(Some(Answer::Result(result))) => match receipt::inspect(result.get()) {
                Ok(clean) => self.answer(asked, tool, result.get(), &clean).await,
                Err(Unclean::Forged) => {
                    let text = "result carries keys of the gateway, or a key twice";
                    Err(self.fault(Code::UpstreamForgedReceipt, text).await)
                }
                Err(Unclean::NotAnObject) => Err(self.fault(Code::UpstreamInvalid, "result is not an object").await),
                Err(Unclean::MetaNotAnObject) => {
                    Err(self.fault(Code::UpstreamInvalid, "result._meta is not an object").await)
                }
            },
            Ok(Some(Answer::Error(error))) => self.pass_error(error.get()).await,
            Ok(None) => Err(self.fault(Code::UpstreamInvalid, "answer is not a JSON-RPC response").await),
            Err(text) => Err(self.fault(Code::UpstreamInvalid, text).await),
        }
    }

    async fn answer(
        mut self,
        asked: &Asked<'_>,
        tool: &Tool,
        result: &str,
        clean: &Clean<'_>,
    ) -> Result<Answered, Refusal> {
        let latency_us = self.latency();
        let outcome = if self.would_have_denied { Outcome::AdvisoryDenied } else { Outcome::Allowed };
        let detail = self.misfit.take();
        let end = End { response_hash: Some(Digest::of(result)), inspected: Some("pass"), detail };
        let (entry, ticket) = self.end(outcome, Some(tool.sensitivity), &end)?;
        self.gateway.stored(&ticket).await.map_err(|code| self.refusal(code, None))?;
        let receipt = Receipt {
            call_id: &self.call_id,
            entry,
            boot_id: &self.gateway.boot.id_hex,
            batch: ticket.batch(),
            would_have_denied: self.would_have_denied,
            latency_us,
            session_id: &self.session.id,
            workflow_id: &self.workflow_id,
            advice: &self.advice,
        };
        Ok(Answered::Result(clean.splice(asked.place, &receipt.json())))
    }

    /// A JSON-RPC error of the tool server is recorded as a fault and passed on byte for byte.
    async fn pass_error(mut self, error: &str) -> Result<Answered, Refusal> {
        let detail = self.fault_detail(Code::UpstreamToolError, "tool server answered with a JSON-RPC error");
        let end = End { response_hash: Some(Digest::of(error)), inspected: None, detail: Some(detail) };
        let (_, ticket) = self.end(Outcome::Faulted, None, &end)?;
        self.gateway.stored(&ticket).await.map_err(|code| self.refusal(code, None))?;
        Ok(Answered::UpstreamError(error.to_owned()))
    }

    async fn deny(mut self, code: Code, outcome: Outcome, detail: Option<Json>) -> Refusal {
        let ended = self.end(outcome, None, &End { detail, ..End::default() });
        self.refused(code, ended).await
    }

    async fn fault(&mut self, code: Code, reason: &str) -> Refusal {
        let detail = self.fault_detail(code, reason);
        let ended = self.end(Outcome::Faulted, None, &End { detail: Some(detail), ..End::default() });
        self.gateway.events.log(LogEvent::Faulted {
            session: self.session.number,
            tool: self.tool_number(),
            code: code.number(),
        });
        self.refused(code, ended).await
    }

    /// A refusal leaves only after its entry is stored; without the entry it is the store's refusal.
    async fn refused(&self, code: Code, ended: Result<(Digest, Ticket), Refusal>) -> Refusal {
        let (entry, ticket) = match ended {
            Ok(ended) => ended,
            Err(refusal) => return refusal,
        };
        match self.gateway.stored(&ticket).await {
            Ok(()) => self.refusal(code, Some((entry, ticket.batch()))),
            Err(unavailable) => self.refusal(unavailable, None),
        }
    }

    fn refusal(&self, code: Code, recorded: Option<(Digest, u64)>) -> Refusal {
        let decision = self.decision.filter(|_| code == Code::PolicyDeny);
        Refusal { code, call_id: Some(self.call_id.clone()), decision, advice: self.advice.clone(), recorded }
    }

    fn fault_detail(&self, code: Code, reason: &str) -> Json {
        Json::from([
            ("error_code", Json::String(code.name().to_owned())),
            ("reason", Json::String(reason.to_owned())),
            ("forwarded", Json::Bool(self.forwarded)),
            ("would_have_denied", Json::Bool(self.would_have_denied)),
        ])
    }

    /// The one terminal entry.
    fn end(&mut self, outcome: Outcome, class: Option<Label>, end: &End) -> Result<(Digest, Ticket), Refusal> {
        let after = self.session.state.borrow().labels.max().as_str();
        let gateway = self.gateway.clone();
        let tool = self.tool.and_then(|index| gateway.catalog.tools().get(index));
        let draft = Draft {
            call_id: Some(&self.call_id),
            entry_type: EntryType::ToolCall,
            tool_name: tool.map(|tool| tool.name.as_str()),
            server_identity: tool.map(|tool| tool.server.url.as_str()),
            policy_decision: Some(outcome.decision()),
            policy_rule_matched: Some(&self.rule),
            latency_us: Some(self.latency()),
            request_payload_hash: Some(self.request_hash),
            response_payload_hash: end.response_hash,
            response_inspection_result: end.inspected,
            session_sensitivity_before: Some(self.before.max().as_str()),
            session_sensitivity_after: Some(after),
            detail: end.detail.as_ref(),
            workflow_id: Some(&self.workflow_id),
            effective_data_class: class.map(Label::as_str),
            ..Draft::default()
        };
        let (sealed, ticket) = self.gateway.record(&self.session, &draft)?;
        self.ended = true;
        let mut state = self.session.state.borrow_mut();
        state.summary.count(outcome, self.tool);
        if let Some(tool) = tool.filter(|_| self.forwarded) {
            state.summary.touch(tool.compliance_domain, &self.call_id, &tool.name);
        }
        drop(state);
        self.gateway.events.call(outcome.counted());
        self.session.leave();
        Ok((sealed.hash, ticket))
    }

    /// The tool as the host knows it: its place in the catalog.
    fn tool_number(&self) -> u32 {
        self.tool.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::MAX)
    }

    fn latency(&self) -> u64 {
        u64::try_from(self.arrived.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Why the policy could not be asked, for the entry.
fn misfit(verdict: &Verdict) -> Option<Json> {
    let misfit = verdict.misfit.as_ref()?;
    Some(Json::from([
        ("error_code", Json::String(Code::PolicyDeny.name().to_owned())),
        ("reason", Json::String(misfit.to_string())),
    ]))
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let detail = self.fault_detail(Code::SessionHalted, "internal fault; the session is halted");
        if self.end(Outcome::Faulted, None, &End { detail: Some(detail), ..End::default() }).is_err() {
            self.session.leave();
        }
        self.session.state.borrow_mut().halted = true;
    }
}
