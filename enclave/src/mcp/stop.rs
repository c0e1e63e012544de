//! A call that a runtime control stops: where it is asked, and how it ends.

use std::num::NonZeroU32;
use std::time::Duration;

use claim::Digest;
use claim::json::Json;
use wire::LogEvent;

use super::about::About;
use super::call::Refusal;
use super::open::{Denied, End, OpenCall};
use crate::controls::{Sink, Stop};
use crate::error::Code;
use crate::policy::Action;
use crate::session::Outcome;

impl About {
    /// Where the call's data goes.
    fn sink(&self) -> Sink {
        match self {
            Self::Unknown => Sink::Nothing,
            Self::Tool(index) => Sink::Tool(*index),
            Self::Other { server, .. } => Sink::Server(*server),
        }
    }

    /// Whether a tool server asked for it, so that the agent is not to be held to account for it.
    fn asked_by_server(&self) -> bool {
        matches!(self, Self::Other { action: Action::Sample | Action::Elicit | Action::ListRoots, .. })
    }
}

impl OpenCall {
    /// Whether calls of this identity are made at all: asked before anything is said to a tool server.
    pub(super) fn check_caller(&mut self, about: &About) -> Result<(), Denied> {
        let Err(stop) = self.gateway.controls.admit(&self.session.identity) else { return Ok(()) };
        self.about = about.clone();
        self.log_denied(false);
        Err(Denied::Stopped(Box::new(stop)))
    }

    /// Whether the controls let this call be decided, in every mode.
    pub(super) fn check_controls(&self) -> Result<(), Denied> {
        let (controls, about, who) = (&self.gateway.controls, &self.about, &self.session.identity);
        if controls.are_off() {
            return Ok(());
        }
        let checked = controls
            .admit(who)
            .and_then(|()| controls.may_reach(about.sink(), self.session.labels()))
            .and_then(|()| if about.asked_by_server() { Ok(()) } else { controls.count(who, about.sink()) });
        checked.map_err(|stop| {
            self.log_denied(false);
            Denied::Stopped(Box::new(stop))
        })
    }

    /// Ends a call that is not forwarded.
    pub(super) async fn stopped(mut self: Box<Self>, stop: Stop) -> Refusal {
        self.take_over(&stop);
        self.deny(stop.code, Outcome::Denied).await
    }

    /// The stop, if the answer must not reach the agent: by the catalog, or by what inspection has found in it.
    pub(super) fn check_answer(&self) -> Result<(), Stop> {
        if self.gateway.controls.are_off() {
            return Ok(());
        }
        self.gateway.controls.may_answer(self.about.labels(&self.gateway.catalog).join(self.found))
    }

    /// Ends a call that has run, and whose answer is withheld.
    pub(super) async fn withhold(mut self: Box<Self>, stop: Stop, answer: &str) -> Refusal {
        self.take_over(&stop);
        self.note("forwarded", Json::Bool(true));
        self.log_denied(false);
        let class = Some(self.class());
        let end = End { response_hash: Some(Digest::of(answer)), inspected: Some("withheld"), class };
        let ended = self.end(Outcome::Denied, &end);
        self.refused(stop.code, ended).await
    }

    fn take_over(&mut self, stop: &Stop) {
        stop.rule.clone_into(&mut self.rule);
        self.retry_after_ms = stop.retry_after.and_then(milliseconds);
        self.stopped_by = Some(stop.code);
        for (key, value) in stop.notes() {
            self.note(key, value);
        }
    }

    /// Tells the host, unless the mode is silent.
    pub(super) fn log_denied(&self, advisory: bool) {
        if !self.silent() {
            let (session, tool) = (self.session.number, self.about.number());
            self.gateway.events.log(LogEvent::Denied { session, tool, advisory });
        }
    }

    /// Lets the kill switch count the call. What the switch itself, a rate limit or a tool server is the cause of says nothing
    /// about the agent.
    pub(super) fn count_for_kill_switch(&self, outcome: Outcome) {
        let by_control = matches!(self.stopped_by, Some(Code::KillSwitch | Code::GatewayHalted | Code::RateLimited));
        let by_server = matches!(self.denial, Code::CatalogDrift | Code::CatalogUnconfirmed);
        if by_control || by_server || self.about.asked_by_server() {
            return;
        }
        let denied = matches!(outcome, Outcome::Denied | Outcome::AdvisoryDenied);
        if let Some(tripped) = self.gateway.controls.ended(&self.session.identity, denied) {
            self.gateway.tripped(&self.session, &tripped);
        }
    }
}

/// Rounded up: who waits so long does not come too early.
fn milliseconds(wait: Duration) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u32::MAX))
}
