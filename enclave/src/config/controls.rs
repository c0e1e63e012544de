//! `kill_switch`, `sink_policy`, `rate_limits`: what holds whatever the policies and the mode say.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::BootRefusal;

use super::invalid;

/// Rules of one configuration: each is looked at for every call.
const MAX_RATE_LIMITS: usize = 64;

/// Refuses all calls of an identity: by hand, or when too many of its calls are denied.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct KillSwitch {
    /// Whether there is one. It needs the operator's controls: without them the gateway starts halted.
    pub enabled: bool,
    /// Seconds of an identity's calls that are looked at.
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub window_seconds: u64,
    /// Share of denied calls in the window, in percent, at which it trips.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub deny_rate_percent: u64,
    /// Calls in the window below which it does not trip.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub min_calls: u64,
}

impl Default for KillSwitch {
    fn default() -> Self {
        Self { enabled: false, window_seconds: 300, deny_rate_percent: 90, min_calls: 10 }
    }
}

/// Ceilings on what sensitive data may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SinkPolicy {
    /// By tool: the highest label that a session may hold when it calls the tool.
    pub tools: BTreeMap<String, String>,
    /// The highest label of a result that agents get.
    pub response_max_sensitivity: Option<String>,
}

/// So many calls in so many seconds: a bucket that holds `calls` and refills evenly.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls of this tool; without it, all of an identity's calls together.
    pub tool: Option<String>,
    /// Calls of this identity (`anonymous` without authentication); without it, of each identity for itself.
    pub subject: Option<String>,
    /// How many calls.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub calls: u64,
    /// In how many seconds.
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub per_seconds: u64,
}

/// Refuses numbers out of range.
pub(super) fn check(kill_switch: &KillSwitch, rate_limits: &[RateLimit]) -> Result<(), BootRefusal> {
    within("kill_switch.window_seconds", kill_switch.window_seconds, 86_400)?;
    within("kill_switch.deny_rate_percent", kill_switch.deny_rate_percent, 100)?;
    within("kill_switch.min_calls", kill_switch.min_calls, 1_000_000)?;
    if rate_limits.len() > MAX_RATE_LIMITS {
        return Err(invalid("rate_limits", &rate_limits.len().to_string(), &format!("at most {MAX_RATE_LIMITS}")));
    }
    rate_limits.iter().enumerate().try_for_each(|(index, limit)| {
        within(&format!("rate_limits[{index}].calls"), limit.calls, 1_000_000)?;
        within(&format!("rate_limits[{index}].per_seconds"), limit.per_seconds, 86_400)
    })
}

fn within(field: &str, found: u64, max: u64) -> Result<(), BootRefusal> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(invalid(field, &found.to_string(), &format!("1 to {max}")))
}
