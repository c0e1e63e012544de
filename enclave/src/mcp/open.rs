//! A call between its admission and its terminal entry, whichever method it is.

mod decision;
mod objection;
mod vouch;

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use claim::Digest;
use claim::bootlog::{IntentRecord, RecordKind};
use claim::entry::{Draft, EVIDENCE_HASH_ONLY, EntryType, PolicyDecision};
use claim::json::Json;
use wire::{Enforcement, LogEvent};

use super::about::About;
use super::call::Refusal;
use super::inspected::Report;
use crate::audit::Ticket;
use crate::catalog::Server;
use crate::config::Durability;
use crate::controls::Stop;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::identity::Credential;
use crate::inspect::Fields;
use crate::labels::{Label, Labels};
use crate::policy::Decision;
use crate::random;
use crate::session::{Outcome, Session};

/// A call between its admission and its terminal entry. Dropped without one (a panic), it records a fault and halts the
/// session.
pub(super) struct OpenCall {
    pub(super) gateway: Rc<Gateway>,
    pub(super) session: Rc<Session>,
    /// What its caller has shown.
    pub(super) credential: Rc<Credential>,
    pub(super) call_id: String,
    pub(super) workflow_id: String,
    pub(super) advice: Vec<(String, String)>,
    pub(super) would_have_denied: bool,
    /// Whether it left the enclave, and so may have run.
    pub(super) forwarded: bool,
    /// Fields that its result goes out without, as the permits say.
    pub(super) redact: Vec<Arc<Fields>>,
    /// Notifications of the tool server that were not passed on.
    pub(super) dropped: Cell<u64>,
    report: Option<Box<Report>>,
    /// What stands against the call besides the policy, until it is decided.
    objection: Option<(Code, String)>,
    /// Why it is denied, if it is.
    pub(super) denial: Code,
    /// What inspection found in the answer.
    pub(super) found: Labels,
    /// In how many milliseconds the same call may be made, if a rate limit stopped it.
    pub(super) retry_after_ms: Option<NonZeroU32>,
    /// The control that stopped it.
    pub(super) stopped_by: Option<Code>,
    pub(super) about: About,
    request_hash: Digest,
    arrived: Instant,
    before: Labels,
    /// What it brought to the session, and brings again with its answer.
    brings: Labels,
    /// How often the session's labels had been cleared when it began.
    resets: u64,
    pub(super) rule: String,
    decision: Option<Decision>,
    notes: Vec<(&'static str, Json)>,
    ended: bool,
}

/// Why a call is not forwarded.
pub(super) enum Denied {
    /// The policy's decision, and the mode's.
    Decided(Decision),
    /// A control, in every mode.
    Stopped(Box<Stop>),
}

/// The end of a call, for its entry.
#[derive(Default)]
pub(super) struct End {
    pub(super) response_hash: Option<Digest>,
    pub(super) inspected: Option<&'static str>,
    pub(super) class: Option<Label>,
}

impl OpenCall {
    /// Boxed: it is handed on by value from step to step, and a future has room for it in each.
    pub(super) fn admit(
        gateway: &Rc<Gateway>,
        session: &SessionRef,
        workflow_id: &str,
        request_hash: Digest,
        arrived: Instant,
    ) -> Result<Box<Self>, Refusal> {
        if gateway.stopping.get() {
            return Err(Code::ShuttingDown.into());
        }
        if let Err(code) = gateway.audit.admit() {
            gateway.events.audit_unavailable();
            return Err(code.into());
        }
        let call_id = random::uuid().map_err(|_| Code::Internal)?;
        let (session, credential) = (gateway.session(session)?, session.credential.clone());
        session.enter();
        let (before, resets) = (session.labels(), session.resets());
        Ok(Box::new(Self {
            gateway: gateway.clone(),
            session,
            credential,
            call_id,
            workflow_id: workflow_id.to_owned(),
            advice: Vec::new(),
            would_have_denied: false,
            forwarded: false,
            redact: Vec::new(),
            dropped: Cell::new(0),
            report: None,
            found: Labels::PUBLIC,
            retry_after_ms: None,
            stopped_by: None,
            about: About::Unknown,
            objection: None,
            denial: Code::PolicyDeny,
            request_hash,
            arrived,
            before,
            brings: Labels::PUBLIC,
            resets,
            rule: String::new(),
            decision: None,
            notes: Vec::new(),
            ended: false,
        }))
    }

    /// Whether the host is told nothing of denied calls.
    pub(super) fn silent(&self) -> bool {
        self.mode() == Enforcement::Silent
    }

    pub(super) fn mode(&self) -> Enforcement {
        self.gateway.config.attestation.enforcement_mode.into()
    }

    /// Adds to the entry's detail.
    pub(super) fn note(&mut self, key: &'static str, value: Json) {
        self.notes.push((key, value));
    }

    /// What inspection finds.
    pub(super) fn report(&mut self) -> &mut Report {
        self.report.get_or_insert_default()
    }

    /// How the call ends whose answer goes out.
    pub(super) fn answered(&self) -> Outcome {
        match &self.report {
            _ if self.would_have_denied => Outcome::AdvisoryDenied,
            Some(report) if report.changed() => Outcome::Redacted,
            _ => Outcome::Allowed,
        }
    }

    /// SHA-256 of what was asked.
    pub(super) fn request_hash(&self) -> Digest {
        self.request_hash
    }

    /// The label that the answer has, as the catalog says.
    pub(super) fn class(&self) -> Label {
        self.about.labels(&self.gateway.catalog).max()
    }

    /// The session holds these labels from now on, and when the call ends.
    pub(super) fn bring(&mut self, labels: Labels) {
        self.brings = self.brings.join(labels);
        self.session.join(labels);
    }

    /// Whether a refusal of the policy holds.
    pub(super) fn enforces(&self) -> bool {
        self.mode() == Enforcement::Enforcing
    }

    /// In strict mode the intent is durable before anything leaves.
    pub(super) async fn intend(&mut self) -> Result<(), Refusal> {
        if self.gateway.audit.durability() != Durability::Strict {
            return Ok(());
        }
        let ticket = self.push_intent();
        match self.gateway.stored(&ticket).await {
            Ok(()) => Ok(()),
            Err(code) => Err(self.fault(code, "intent could not be stored; not forwarded").await),
        }
    }

    fn push_intent(&self) -> Ticket {
        let mut state = self.session.state.borrow_mut();
        let intent = IntentRecord {
            session_id: self.session.id.clone(),
            session_number: self.session.number,
            call_id: self.call_id.clone(),
            tool_name: self.about.name(&self.gateway.catalog).to_owned(),
            request_payload_hash: self.request_hash,
            decision: if self.would_have_denied { PolicyDecision::AdvisoryDeny } else { PolicyDecision::Allow },
            entry_count_before: state.chain.length(),
            at: self.gateway.clock.now(),
        };
        let ticket = self.gateway.audit.push(RecordKind::Intent, self.session.number, &intent.bytes());
        state.recorded_in(&ticket);
        ticket
    }

    /// Ends a call that went its way. Only after this has returned may its answer leave.
    pub(super) async fn conclude(&mut self, outcome: Outcome, end: &End) -> Result<(Digest, Ticket), Refusal> {
        let (entry, ticket) = self.end(outcome, end)?;
        self.gateway.stored(&ticket).await.map_err(|code| self.refusal(code, None))?;
        Ok((entry, ticket))
    }

    /// A tool that the catalog does not have.
    pub(super) async fn unknown_tool(mut self: Box<Self>, name: &str) -> Refusal {
        self.note("requested_tool", Json::from(name));
        if let Err(denied) = self.check_controls() {
            return self.denied(denied).await;
        }
        Code::ToolNotInCatalog.name().clone_into(&mut self.rule);
        self.deny(Code::ToolNotInCatalog, Outcome::Denied).await
    }

    /// A call that the policy or a control refused, or that something else stood against.
    pub(super) async fn denied(self: Box<Self>, denied: Denied) -> Refusal {
        let by_inspection = self.report.as_deref().is_some_and(|report| report.misfit().is_some());
        let code = if by_inspection { Code::ArgumentsRefused } else { self.denial };
        match denied {
            Denied::Stopped(stop) => self.stopped(*stop).await,
            Denied::Decided(decision) => self.deny(code, Outcome::refused(decision)).await,
        }
    }

    pub(super) async fn deny(mut self: Box<Self>, code: Code, outcome: Outcome) -> Refusal {
        let ended = self.end(outcome, &End::default());
        self.refused(code, ended).await
    }

    /// Ends a call that was not completed.
    pub(super) async fn fault(&mut self, code: Code, reason: &str) -> Refusal {
        self.note_fault(code, reason);
        let ended = self.end(Outcome::Faulted, &End::default());
        let (session, tool) = (self.session.number, self.about.number());
        self.gateway.events.log(LogEvent::Faulted { session, tool, code: code.number() });
        self.refused(code, ended).await
    }

    /// Adds a fault to the entry's detail.
    pub(super) fn note_fault(&mut self, code: Code, reason: &str) {
        self.note("error_code", Json::from(code.name()));
        self.note("reason", Json::from(reason));
        self.note("forwarded", Json::Bool(self.forwarded));
        self.note("would_have_denied", Json::Bool(self.would_have_denied));
    }

    /// A refusal leaves only after its entry is stored; without the entry it is the store's refusal.
    pub(super) async fn refused(&self, code: Code, ended: Result<(Digest, Ticket), Refusal>) -> Refusal {
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
        let misfit = self.report.as_deref().filter(|_| code == Code::ArgumentsRefused).and_then(Report::misfit);
        Refusal {
            code,
            call_id: Some(self.call_id.clone()),
            decision,
            advice: self.advice.clone(),
            detail: misfit.map(Into::into),
            recorded,
            retry_after_ms: self.retry_after_ms,
        }
    }

    /// What the session holds at the end of the call. What the call brings, it brings even if the labels were cleared meanwhile; then
    /// the entry tells of the labels since.
    fn settle(&mut self) -> Labels {
        if self.resets != self.session.resets() {
            self.note("sensitivity_before_reset", Json::from(self.before.max().as_str()));
            self.before = self.session.labels();
        }
        self.session.join(self.brings)
    }

    /// The one terminal entry.
    pub(super) fn end(&mut self, outcome: Outcome, end: &End) -> Result<(Digest, Ticket), Refusal> {
        let (after, latency) = (self.settle().max().as_str(), self.latency());
        let gateway = self.gateway.clone();
        let tool = self.about.tool(&gateway.catalog);
        let server = self.about.server(&gateway.catalog);
        let mut detail = self.about.detail();
        if self.forwarded {
            detail.extend(self.about.process(&gateway.catalog));
        }
        detail.append(&mut self.notes);
        let dropped = self.dropped.get();
        let report = if dropped > 0 { Some(&*self.report()) } else { self.report.as_deref() };
        detail.extend(report.and_then(|report| report.detail(dropped)).map(|found| ("inspection", found)));
        let inspected = match report {
            Some(report) if end.inspected.is_some() || report.is_refused() => Some(report.outcome()),
            _ => end.inspected,
        };
        let detail = (!detail.is_empty())
            .then(|| Json::Object(detail.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()));
        let draft = Draft {
            call_id: Some(&self.call_id),
            entry_type: EntryType::ToolCall,
            tool_name: tool.map(|tool| tool.name.as_str()),
            server_identity: server.map(|server| server.identity.as_str()),
            policy_decision: Some(outcome.decision()),
            policy_rule_matched: Some(&self.rule),
            latency_us: Some(latency),
            request_payload_hash: Some(self.request_hash),
            response_payload_hash: end.response_hash,
            response_inspection_result: inspected,
            session_sensitivity_before: Some(self.before.max().as_str()),
            session_sensitivity_after: Some(after),
            detail: detail.as_ref(),
            workflow_id: Some(&self.workflow_id),
            effective_data_class: end.class.map(Label::as_str),
            evidence_class: Some(server.map_or(EVIDENCE_HASH_ONLY, Server::evidence_class)),
            ..Draft::default()
        };
        let (sealed, ticket) = self.gateway.record(&self.session, &draft)?;
        self.ended = true;
        let mut state = self.session.state.borrow_mut();
        state.summary.count(outcome, tool.map(|tool| tool.index));
        if let Some(domain) = self.about.domain(&gateway.catalog).filter(|_| self.forwarded) {
            state.summary.touch(domain, &self.call_id, self.about.name(&gateway.catalog));
        }
        drop(state);
        self.count_for_kill_switch(outcome);
        self.gateway.events.call(outcome.counted(), tool.map(|tool| tool.index), latency);
        self.session.leave();
        Ok((sealed.hash, ticket))
    }

    /// Since the request arrived, in microseconds.
    pub(super) fn latency(&self) -> u64 {
        u64::try_from(self.arrived.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.note_fault(Code::SessionHalted, "internal fault; the session is halted");
        if self.end(Outcome::Faulted, &End::default()).is_err() {
            self.session.leave();
        }
        self.session.state.borrow_mut().halted = true;
    }
}
