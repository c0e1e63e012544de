//! Running totals of a session's calls, as its claim shows them.

use std::collections::BTreeSet;

use claim::entry::PolicyDecision;

use crate::labels::{Domain, Domains};
use crate::policy::Decision;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed and answered.
    Allowed,
    /// Allowed, and answered with fields taken out.
    Redacted,
    /// Denied; not forwarded.
    Denied,
    /// Denied until a human approves; not forwarded.
    StepUp,
    /// Put off; not forwarded.
    Deferred,
    /// Denied by policy, forwarded by mode, and answered.
    AdvisoryDenied,
    /// Not completed.
    Faulted,
}

impl Outcome {
    /// How a call ends that is not forwarded by this decision.
    pub fn refused(decision: Decision) -> Self {
        match decision {
            Decision::StepUp => Self::StepUp,
            Decision::Defer => Self::Deferred,
            Decision::Allow | Decision::Deny => Self::Denied,
        }
    }

    /// The entry's `policy_decision`.
    pub fn decision(self) -> PolicyDecision {
        match self {
            Self::Allowed => PolicyDecision::Allow,
            Self::Redacted => PolicyDecision::Redact,
            Self::Denied => PolicyDecision::Deny,
            Self::StepUp => PolicyDecision::StepUp,
            Self::Deferred => PolicyDecision::Defer,
            Self::AdvisoryDenied => PolicyDecision::AdvisoryDeny,
            Self::Faulted => PolicyDecision::Fault,
        }
    }

    /// For the counters.
    pub fn counted(self) -> wire::Decision {
        match self {
            Self::Allowed | Self::Redacted => wire::Decision::Allow,
            Self::Denied | Self::StepUp | Self::Deferred => wire::Decision::Deny,
            Self::AdvisoryDenied => wire::Decision::AdvisoryDeny,
            Self::Faulted => wire::Decision::Fault,
        }
    }
}

/// The first call of a session that went from one domain directly into another: temporal order, not data flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Domain of the earlier call; regulated.
    pub from: Domain,
    /// Domain of the later call.
    pub to: Domain,
    /// The call.
    pub call_id: String,
    /// Its tool.
    pub tool: String,
    /// Its number among the session's calls, from 0.
    pub call_number: u64,
}

/// Totals over a session. Bounded by the catalog and the domains, not by the calls.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All calls.
    pub total: u64,
    /// Allowed and answered.
    pub allowed: u64,
    /// Denied for good, with those that the mode let pass. A call that waits for approval, was put off, or was answered with
    /// fields taken out counts in `total` alone, as readers count its entry.
    pub denied: u64,
    /// Not completed.
    pub faulted: u64,
    /// Catalog indexes of the tools asked for.
    pub tools: BTreeSet<usize>,
    /// Domains of the calls that ran.
    pub domains: Domains,
    /// The first of each kind of crossing; later ones are in the entries.
    pub boundaries: Vec<Boundary>,
    last_domain: Option<Domain>,
}

impl Summary {
    /// Counts one terminal entry.
    pub fn count(&mut self, outcome: Outcome, tool: Option<usize>) {
        self.total += 1;
        match outcome {
            Outcome::Allowed => self.allowed += 1,
            Outcome::Denied | Outcome::AdvisoryDenied => self.denied += 1,
            Outcome::Redacted | Outcome::StepUp | Outcome::Deferred => {}
            Outcome::Faulted => self.faulted += 1,
        }
        self.tools.extend(tool);
    }

    /// A call that was forwarded, and has been counted, touched a domain.
    pub fn touch(&mut self, domain: Domain, call_id: &str, tool: &str) {
        self.domains = self.domains.with(domain);
        let Some(from) = self.last_domain.replace(domain) else { return };
        let seen = self.boundaries.iter().any(|crossing| crossing.from == from && crossing.to == domain);
        if from == domain || seen || !from.regulated() {
            return;
        }
        self.boundaries.push(Boundary {
            from,
            to: domain,
            call_id: call_id.to_owned(),
            tool: tool.to_owned(),
            call_number: self.total.saturating_sub(1),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Summary};
    use crate::labels::Domain;

    #[test]
    fn the_first_crossing_of_each_pair_is_kept() {
        let mut summary = Summary::default();
        for (number, domain) in
            [Domain::Public, Domain::Pii, Domain::Public, Domain::Pii, Domain::Public].into_iter().enumerate()
        {
            summary.count(Outcome::Allowed, Some(0));
            summary.touch(domain, &format!("c{number}"), "t");
        }
        assert_eq!(summary.boundaries.len(), 1);
        let crossing = summary.boundaries.first().unwrap();
        assert_eq!(
            (crossing.from, crossing.to, crossing.call_id.as_str(), crossing.call_number),
            (Domain::Pii, Domain::Public, "c2", 2)
        );
    }

    #[test]
    fn totals_add_up() {
        let mut summary = Summary::default();
        for outcome in [Outcome::Allowed, Outcome::Denied, Outcome::AdvisoryDenied, Outcome::Faulted] {
            summary.count(outcome, Some(1));
        }
        for outcome in [Outcome::Denied, Outcome::StepUp, Outcome::Deferred, Outcome::Redacted] {
            summary.count(outcome, None);
        }
        assert_eq!(
            (summary.total, summary.allowed, summary.denied, summary.faulted, summary.tools.len()),
            (8, 1, 3, 1, 1)
        );
    }
}
