//! Annotations: what a policy says beyond yes and no.

use cedar_policy::Effect;
use wire::{BootRefusal, RefusalCode};

use super::bundle::document_of;
use super::policies::ID;
use crate::document::refusal;
use crate::inspect::Fields;

/// The annotation that says what a forbid means when it decides.
const DECISION: &str = "decision";
/// The annotation that names fields which an answer goes out without.
const REDACT: &str = "redact";

/// What a verdict comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// It may go out.
    Allow,
    /// It may not now: `@decision("defer")`.
    Defer,
    /// It may not without a human's approval: `@decision("step_up")`.
    StepUp,
    /// It may not.
    Deny,
}

impl Decision {
    /// The name in audit entries, in answers to agents and in `@decision`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Defer => "defer",
            Self::StepUp => "step_up",
            Self::Deny => "deny",
        }
    }
}

/// Of several forbids the strictest counts: an approval that lifts one of them leaves the others.
pub(super) fn strictest(refusals: impl Iterator<Item = Decision>) -> Decision {
    refusals.max().unwrap_or(Decision::Deny)
}

/// What `@decision` says of a forbid; a plain one denies.
pub(super) fn refusal_of(policy: &cedar_policy::Policy, id: &str, path: &str) -> Result<Decision, BootRefusal> {
    let Some(written) = policy.annotation(DECISION) else { return Ok(Decision::Deny) };
    let known = [Decision::Deny, Decision::StepUp, Decision::Defer];
    let decision = known.into_iter().find(|decision| decision.as_str() == written);
    decision.filter(|_| policy.effect() == Effect::Forbid).ok_or_else(|| {
        let found = format!("@{DECISION}({written:?}) on a {}", policy.effect());
        let expected = "\"deny\", \"step_up\" or \"defer\" on a forbid";
        refusal(RefusalCode::InvalidValue, &document_of(path), &format!("{id}, @{DECISION}"), &found, expected)
    })
}

/// The fields that `@redact` of a permit names.
pub(super) fn redaction_of(policy: &cedar_policy::Policy, id: &str, path: &str) -> Result<Option<Fields>, BootRefusal> {
    let Some(written) = policy.annotation(REDACT) else { return Ok(None) };
    let fields = Fields::parse(written).filter(|_| policy.effect() == Effect::Permit);
    fields.map(Some).ok_or_else(|| {
        let found = format!("@{REDACT}({written:?}) on a {}", policy.effect());
        let expected = "names of fields, such as \"ssn, customer.iban\", on a permit";
        refusal(RefusalCode::InvalidValue, &document_of(path), &format!("{id}, @{REDACT}"), &found, expected)
    })
}

/// The annotations that reach the agent: all but those that the gateway reads.
pub(super) fn of(policy: &cedar_policy::Policy) -> Vec<(String, String)> {
    let said = policy.annotations().filter(|(key, _)| ![ID, DECISION].contains(key));
    let mut said: Vec<_> = said.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    said.sort_unstable();
    said
}
