//! The policies as rules per tool, ready to evaluate.
//!
//! Cedar's own authorizer asks every policy of a set and rebuilds each condition for every request. Here each tool has the
//! list of the policies whose scope can match it, with conditions built once. The meaning is Cedar's (a satisfied forbid
//! denies, else a satisfied permit allows, else deny) except that a policy that fails denies instead of being skipped;
//! `tests::differential` compares both.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, EntityUid, PrincipalConstraint, ResourceConstraint};
use cedar_policy_core::ast::{Expr, Literal, SlotEnv, ValueKind};
use cedar_policy_core::evaluator::Evaluator;

use super::Verdict;
use super::policies::{ID, Named, Policies};
use super::schema::Shape;
use crate::catalog::Catalog;

/// Rules of all tools.
pub(super) struct Rules {
    all: Vec<Rule>,
    /// By the tool's index: which rules can match it, in order. Tools with the same rules share the list.
    tools: Vec<Arc<[usize]>>,
    no_slots: SlotEnv,
}

/// One policy.
struct Rule {
    id: Arc<str>,
    effect: Effect,
    condition: Expr,
    /// Matches every call that its scope admits, whoever calls.
    unconditional: bool,
    advice: Vec<(String, String)>,
}

/// Which rules spoke, in one or more evaluations of the same call.
#[derive(Default)]
pub(super) struct Answer {
    asked: usize,
    denied: bool,
    permits: Vec<usize>,
    forbids: Vec<usize>,
    failures: Vec<usize>,
}

impl Rules {
    pub(super) fn compile(policies: &Policies<'_>, shape: &Shape, catalog: &Catalog) -> Self {
        let mut shared: BTreeMap<Vec<usize>, Arc<[usize]>> = BTreeMap::new();
        let tools = catalog.tools().iter().map(|tool| {
            let resource = shape.resource_uid(&tool.name);
            let matching = policies.iter().enumerate().filter(|(_, named)| can_match(named, shape, &resource));
            let matching: Vec<usize> = matching.map(|(index, _)| index).collect();
            Arc::clone(shared.entry(matching).or_insert_with_key(|list| list.as_slice().into()))
        });
        Self { tools: tools.collect(), all: policies.iter().map(rule).collect(), no_slots: SlotEnv::new() }
    }

    /// Evaluates the rules of a tool; all of them, since a failure of any denies.
    pub(super) fn ask(&self, tool: usize, evaluator: &Evaluator<'_>) -> Answer {
        let mut answer = Answer { asked: 1, ..Answer::default() };
        for (index, rule) in self.of(tool) {
            let value = evaluator.interpret(&rule.condition, &self.no_slots).map(|value| value.value);
            match (value, rule.effect) {
                (Ok(ValueKind::Lit(Literal::Bool(false))), _) => {}
                (Ok(ValueKind::Lit(Literal::Bool(true))), Effect::Permit) => answer.permits.push(index),
                (Ok(ValueKind::Lit(Literal::Bool(true))), Effect::Forbid) => answer.forbids.push(index),
                (Ok(_) | Err(_), _) => answer.failures.push(index),
            }
        }
        answer.denied = answer.permits.is_empty() || !answer.forbids.is_empty() || !answer.failures.is_empty();
        answer
    }

    /// Whether a permit can match the tool, and no forbid matches all its calls.
    pub(super) fn may_allow(&self, tool: usize) -> bool {
        let forbidden = self.of(tool).any(|(_, rule)| rule.effect == Effect::Forbid && rule.unconditional);
        !forbidden && self.of(tool).any(|(_, rule)| rule.effect == Effect::Permit)
    }

    fn of(&self, tool: usize) -> impl Iterator<Item = (usize, &Rule)> {
        let list = self.tools.get(tool).map_or(&[][..], |list| list);
        list.iter().filter_map(|index| Some((*index, self.all.get(*index)?)))
    }
}

impl Answer {
    /// Both evaluations together: any deny denies, and the denying ones' rules decide.
    pub(super) fn and(self, other: Self) -> Self {
        let asked = self.asked + other.asked;
        match (self.asked, self.denied, other.denied) {
            (0, ..) | (_, false, true) => Self { asked, ..other },
            (_, true, false) => Self { asked, ..self },
            _ => Self {
                asked,
                denied: self.denied,
                permits: union(self.permits, other.permits),
                forbids: union(self.forbids, other.forbids),
                failures: union(self.failures, other.failures),
            },
        }
    }

    pub(super) fn into_verdict(self, rules: &Rules) -> Verdict {
        let failed = self.asked == 0 || !self.failures.is_empty();
        let allowed = self.asked > 0 && !self.denied;
        let deciding = if allowed { self.permits } else { union(self.forbids, self.failures) };
        let deciding: Vec<&Rule> = deciding.into_iter().filter_map(|index| rules.all.get(index)).collect();
        Verdict {
            allowed,
            failed,
            asked: self.asked,
            determining: deciding.iter().map(|rule| Arc::clone(&rule.id)).collect(),
            advice: deciding.iter().flat_map(|rule| rule.advice.iter().cloned()).collect(),
        }
    }
}

/// Both lists, in the bundle's order, without repetition.
fn union(mut a: Vec<usize>, b: Vec<usize>) -> Vec<usize> {
    a.extend(b);
    a.sort_unstable();
    a.dedup();
    a
}

fn rule(named: &Named<'_>) -> Rule {
    let policy = &named.policy;
    let core: &cedar_policy_core::ast::Policy = policy.as_ref();
    let mut advice: Vec<_> = policy.annotations().filter(|(key, _)| *key != ID).collect();
    advice.sort_unstable();
    Rule {
        id: named.id.as_str().into(),
        effect: policy.effect(),
        condition: core.condition(),
        unconditional: !policy.has_non_scope_constraint() && policy.principal_constraint() == PrincipalConstraint::Any,
        advice: advice.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

/// False only if the policy's scope cannot match: another action, or another resource (a tool is in no group).
fn can_match(named: &Named<'_>, shape: &Shape, resource: &EntityUid) -> bool {
    let action = match named.policy.action_constraint() {
        ActionConstraint::Eq(action) => action == shape.action,
        ActionConstraint::Any | ActionConstraint::In(_) => true,
    };
    let scope = match named.policy.resource_constraint() {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            uid == *resource
        }
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(kind) => kind == shape.resource,
    };
    action && scope
}
