//! `catalog`: what it means that a tool server says something else of its tools than was approved.

use std::ops::RangeInclusive;

use serde::Deserialize;
use wire::BootRefusal;

use super::invalid;

/// How rarely tool servers may be asked again for their tools.
const RECHECK_SECONDS: RangeInclusive<u64> = 1..=86_400;

/// What it means that a tool server says something else of its tools than was approved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// What a tool means whose definition at its server is not the approved one.
    pub drift_policy: Severity,
    /// What a server means that does not list its tools.
    pub unanswered_list: Severity,
    /// Seconds after which a call has its server asked again for its tools.
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub recheck_seconds: u64,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { drift_policy: Severity::FailClosed, unanswered_list: Severity::FailClosed, recheck_seconds: 300 }
    }
}

/// `catalog.drift_policy`, `catalog.unanswered_list` and `attestation.staleness_policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The call is denied, as far as `attestation.enforcement_mode` denies.
    #[default]
    FailClosed,
    /// The call is forwarded; its entry says so.
    WarnOnly,
}

impl Catalog {
    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        if RECHECK_SECONDS.contains(&self.recheck_seconds) {
            return Ok(());
        }
        Err(invalid("catalog.recheck_seconds", &self.recheck_seconds.to_string(), "1 to 86400: at most a day"))
    }
}
