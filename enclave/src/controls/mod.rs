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
use crate::identity::{ANONYMOUS, Identity};
use crate::labels::{Label, Labels};
use crate::operator::InForce;

use ceilings::Ceilings;
pub use kill_switch::{KillSwitch, Refusal as KillRefusal, Tripped};
use rates::{Buckets, Rates};

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
    warnings: Vec<String>,
    since: Instant,
}

/// What is kept of an identity.
#[derive(Debug)]
pub struct Held {
    switch: Option<kill_switch::State>,
    buckets: Buckets,
    since: Instant,
}

/// Which identities there can be.
enum Names<'a> {
    /// These, by subject and issuer.
    These(Vec<(&'a str, &'a str)>),
    /// Whomever the issuer names; whomever somebody names, if no issuer is given.
    Of(Option<&'a str>),
}

impl Controls {
    /// As the configuration says, for the tools of this catalog.
    ///
    /// # Errors
    /// A tool, label or subject that does not exist.
    pub fn new(config: &Config, catalog: &Catalog, in_force: Option<&InForce>) -> Result<Self, BootRefusal> {
        let names = &Names::of(config);
        let kill_switch = KillSwitch::new(&config.kill_switch, in_force);
        Ok(Self {
            halted: config.kill_switch.enabled && in_force.is_none(),
            warnings: kill_switch.as_ref().map_or_else(Vec::new, |kill_switch| kill_switch.warnings(names)),
            kill_switch,
            ceilings: Ceilings::new(&config.sink_policy, catalog)?,
            rates: Rates::new(&config.rate_limits, catalog, names)?,
            since: Instant::now(),
        })
    }

    /// What is kept of this identity, from now on if nothing was.
    fn held<'i>(&self, who: &'i Identity) -> &'i Held {
        who.held.get_or_init(|| {
            let (subject, issuer) = (who.subject().unwrap_or(ANONYMOUS), who.issuer().unwrap_or_default());
            Held {
                switch: self.kill_switch.as_ref().map(|kill_switch| kill_switch.state(subject, issuer)),
                buckets: self.rates.as_ref().map(|rates| rates.buckets(subject)).unwrap_or_default(),
                since: self.since,
            }
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
    pub fn admit(&self, who: &Identity) -> Result<(), Stop> {
        if self.halted {
            let reason = "kill_switch.enabled without operator controls";
            return Err(Stop::new(Code::GatewayHalted, "kill_switch", reason));
        }
        if self.kill_switch.is_none() {
            return Ok(());
        }
        self.held(who).switch.as_ref().map_or(Ok(()), kill_switch::State::admit)
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
    pub fn count(&self, who: &Identity, sink: Sink) -> Result<(), Stop> {
        match &self.rates {
            Some(rates) => rates.count(&self.held(who).buckets, sink, self.since.elapsed()),
            None => Ok(()),
        }
    }

    /// Counts the end of a call; what there is to record if the kill switch trips with it.
    pub fn ended(&self, who: &Identity, denied: bool) -> Option<Tripped> {
        let kill_switch = self.kill_switch.as_ref()?;
        kill_switch.ended(self.held(who).switch.as_ref()?, denied, self.since.elapsed())
    }

    /// Whether the kill switch is enabled.
    pub fn has_kill_switch(&self) -> bool {
        self.kill_switch.as_ref().is_some_and(KillSwitch::enabled)
    }

    /// Blocks an identity; false if it is blocked.
    pub fn trip(&self, who: &Identity) -> bool {
        self.held(who).switch.as_ref().is_some_and(kill_switch::State::trip)
    }

    /// Decides the identity's calls again, and forgets how the last ones went.
    ///
    /// # Errors
    /// It is not blocked, or not by the switch.
    pub fn unblock(&self, who: &Identity) -> Result<(), KillRefusal> {
        self.held(who).switch.as_ref().map_or(Err(KillRefusal::NotBlocked), kill_switch::State::unblock)
    }

    /// What the author of the controls should reconsider.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Held {
    /// Whether nothing would be lost if it were forgotten: it would begin again as it is.
    pub fn is_idle(&self) -> bool {
        let now = self.since.elapsed();
        self.switch.as_ref().is_none_or(|switch| switch.is_idle(now)) && self.buckets.are_full(now)
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

impl<'a> Names<'a> {
    /// Whether there can be an identity of this subject, and of this issuer if one is named.
    fn has(&self, subject: &str, issuer: Option<&str>) -> bool {
        match self {
            Self::These(names) => {
                names.iter().any(|name| name.0 == subject && issuer.is_none_or(|issuer| issuer == name.1))
            }
            Self::Of(only) => only.is_none_or(|only| issuer.is_none_or(|issuer| issuer == only)),
        }
    }

    fn of(config: &'a Config) -> Self {
        match config.auth.mode {
            AuthMode::None => Self::These(vec![(ANONYMOUS, "")]),
            AuthMode::Bearer => {
                let tokens = config.auth.tokens.iter();
                Self::These(tokens.map(|token| (token.subject.as_str(), token.issuer.as_str())).collect())
            }
            AuthMode::Jwt => Self::Of(config.auth.jwt.as_ref().map(|jwt| jwt.issuer.as_str())),
            AuthMode::Mtls => Self::Of(config.auth.mtls.as_ref().map(|mtls| mtls.trust_domain.as_str())),
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
