//! Runtime controls: what stops a call whatever the policies and the mode say. Each costs a branch where it is not configured.

mod ceilings;
mod kill_switch;
mod rates;
mod window;

use std::time::{Duration, Instant};

use claim::json::Json;
use wire::{BootRefusal, Document, RefusalCode};

use crate::catalog::Catalog;
use crate::config::{AuthMode, Config};
use crate::document::{one_of, refusal};
use crate::error::Code;
use crate::identity::ANONYMOUS;
use crate::labels::{Label, Labels};
use crate::operator::InForce;

use ceilings::Ceilings;
pub use kill_switch::{KillSwitch, Refusal as KillRefusal, Tripped};
use rates::Rates;

/// Why a call is stopped.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The error.
    pub code: Code,
    /// `policy_rule_matched` of its entry.
    pub rule: String,
    /// For the entry's detail.
    pub reason: String,
    /// When the same call may be made.
    pub retry_after: Option<Duration>,
}

/// What a call is on, as far as the controls care.
#[derive(Clone, Copy, Debug)]
pub enum Sink {
    /// A tool, by its place in the catalog.
    Tool(usize),
    /// Anything else of a server, by its place in the catalog.
    Server(usize),
    /// Nothing that the catalog has.
    Nothing,
}

/// What stops calls, as configured.
pub struct Controls {
    /// Whether all calls are refused, because the kill switch has no controls to read.
    pub halted: bool,
    kill_switch: Option<KillSwitch>,
    ceilings: Option<Ceilings>,
    rates: Option<Rates>,
    since: Instant,
}

impl Controls {
    /// As the configuration says, for the tools of this catalog.
    ///
    /// # Errors
    /// A tool, label or subject that does not exist.
    pub fn new(config: &Config, catalog: &Catalog, in_force: Option<&InForce>) -> Result<Self, BootRefusal> {
        let names = &names(config);
        Ok(Self {
            halted: config.kill_switch.enabled && in_force.is_none(),
            kill_switch: KillSwitch::new(&config.kill_switch, in_force, names),
            ceilings: Ceilings::new(&config.sink_policy, catalog)?,
            rates: Rates::new(&config.rate_limits, catalog, names)?,
            since: Instant::now(),
        })
    }

    /// Whether nothing stops a call that the policies allow.
    pub fn are_off(&self) -> bool {
        !self.halted && self.kill_switch.is_none() && self.ceilings.is_none() && self.rates.is_none()
    }

    /// Whether calls of this identity are made at all.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, who: usize) -> Result<(), Stop> {
        if self.halted {
            let reason = "kill_switch.enabled without operator controls";
            return Err(Stop::new(Code::GatewayHalted, "kill_switch", reason));
        }
        match &self.kill_switch {
            Some(kill_switch) => kill_switch.admit(who),
            None => Ok(()),
        }
    }

    /// Whether data of these labels may reach a sink.
    ///
    /// # Errors
    /// Why not.
    pub fn may_reach(&self, sink: Sink, labels: Labels) -> Result<(), Stop> {
        match &self.ceilings {
            Some(ceilings) => ceilings.may_reach(sink, labels),
            None => Ok(()),
        }
    }

    /// Whether a result of these labels may reach an agent.
    ///
    /// # Errors
    /// Why not.
    pub fn may_answer(&self, labels: Labels) -> Result<(), Stop> {
        match &self.ceilings {
            Some(ceilings) => ceilings.may_answer(labels),
            None => Ok(()),
        }
    }

    /// Counts a call, if it is within the rates.
    ///
    /// # Errors
    /// Until when it is not.
    pub fn count(&self, who: usize, sink: Sink) -> Result<(), Stop> {
        match &self.rates {
            Some(rates) => rates.count(who, sink, self.since.elapsed()),
            None => Ok(()),
        }
    }

    /// Counts the end of a call; what there is to record if the kill switch trips with it.
    pub fn ended(&self, who: usize, denied: bool) -> Option<Tripped> {
        self.kill_switch.as_ref()?.ended(who, denied, self.since.elapsed())
    }

    /// The kill switch, if it is enabled.
    pub fn kill_switch(&self) -> Option<&KillSwitch> {
        self.kill_switch.as_ref().filter(|kill_switch| kill_switch.enabled())
    }

    /// What the author of the controls should reconsider.
    pub fn warnings(&self) -> &[String] {
        self.kill_switch.as_ref().map_or(&[], KillSwitch::warnings)
    }
}

impl Stop {
    fn new(code: Code, rule: &str, reason: &str) -> Self {
        Self { code, rule: rule.to_owned(), reason: reason.to_owned(), retry_after: None }
    }

    /// For the entry's detail.
    pub fn notes(&self) -> [(&'static str, Json); 2] {
        [("error_code", Json::from(self.code.name())), ("reason", Json::from(self.reason.as_str()))]
    }
}

/// Subjects and issuers of the identities, by their number.
fn names(config: &Config) -> Vec<(&str, &str)> {
    match config.auth.mode {
        AuthMode::None => vec![(ANONYMOUS, "")],
        AuthMode::Bearer => {
            let tokens = config.auth.tokens.iter();
            tokens.map(|token| (token.subject.as_str(), token.issuer.as_str())).collect()
        }
    }
}

/// The tool of this name.
fn tool(catalog: &Catalog, field: &str, name: &str) -> Result<usize, BootRefusal> {
    catalog.tool(name).map(|tool| tool.index).ok_or_else(|| {
        refusal(RefusalCode::InvalidValue, &Document::Config, field, &format!("{name:?}"), "a tool_name of the catalog")
    })
}

fn label(field: &str, name: &str) -> Result<Label, BootRefusal> {
    Label::parse(name).ok_or_else(|| {
        let expected = one_of(&Label::ALL.map(Label::as_str));
        refusal(RefusalCode::InvalidValue, &Document::Config, field, &format!("{name:?}"), &expected)
    })
}
