//! The policies as rules per tool, ready to evaluate.
//!
//! Cedar's own authorizer asks every policy of a set and rebuilds each condition for every request. Here each tool has the
//! list of the policies whose scope can match it, with conditions built once. The meaning is Cedar's (a satisfied forbid
//! denies, else a satisfied permit allows, else deny) except that a policy that fails denies instead of being skipped;
//! `tests::differential` compares both.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, EntityUid, PrincipalConstraint, ResourceConstraint};
use cedar_policy_core::ast::{self, Expr, ExprKind, Literal, SlotEnv, ValueKind, Var};
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
    /// What is left to evaluate for the tools that have the rule; nothing if it matches all their calls.
    condition: Option<Expr>,
    /// Whether the condition can look at the principal's attributes.
    reads_principal: bool,
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
        Self {
            tools: tools.collect(),
            all: policies.iter().map(|named| rule(named, shape)).collect(),
            no_slots: SlotEnv::new(),
        }
    }

    /// Evaluates the rules of a tool; all of them, since a failure of any denies.
    pub(super) fn ask(&self, tool: usize, evaluator: &Evaluator<'_>) -> Answer {
        let mut answer = Answer { asked: 1, ..Answer::default() };
        for (index, rule) in self.of(tool) {
            match (self.satisfied(rule, evaluator), rule.effect) {
                (Some(false), _) => {}
                (Some(true), Effect::Permit) => answer.permits.push(index),
                (Some(true), Effect::Forbid) => answer.forbids.push(index),
                (None, _) => answer.failures.push(index),
            }
        }
        answer.denied = answer.permits.is_empty() || !answer.forbids.is_empty() || !answer.failures.is_empty();
        answer
    }

    fn satisfied(&self, rule: &Rule, evaluator: &Evaluator<'_>) -> Option<bool> {
        let Some(condition) = &rule.condition else { return Some(true) };
        match evaluator.interpret(condition, &self.no_slots).map(|value| value.value) {
            Ok(ValueKind::Lit(Literal::Bool(satisfied))) => Some(satisfied),
            _ => None,
        }
    }

    /// Whether any rule of a tool can look at the principal's attributes.
    pub(super) fn read_principal(&self, tool: usize) -> bool {
        self.of(tool).any(|(_, rule)| rule.reads_principal)
    }

    /// Whether a permit can match the tool, and no forbid matches all its calls.
    pub(super) fn may_allow(&self, tool: usize) -> bool {
        let forbidden = self.of(tool).any(|(_, rule)| rule.effect == Effect::Forbid && rule.condition.is_none());
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

fn rule(named: &Named<'_>, shape: &Shape) -> Rule {
    let policy = &named.policy;
    let core: &ast::Policy = policy.as_ref();
    let condition = core.non_scope_constraints();
    let mut advice: Vec<_> = policy.annotations().filter(|(key, _)| *key != ID).collect();
    advice.sort_unstable();
    Rule {
        id: named.id.as_str().into(),
        effect: policy.effect(),
        condition: if scope_is_decided(named, shape) { condition.cloned() } else { Some(core.condition()) },
        reads_principal: condition
            .is_some_and(|condition| condition.subexpressions().any(|part| names_principal(part, shape))),
        advice: advice.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

/// Whether the scope says nothing more once [`can_match`] held: any caller, this very action.
fn scope_is_decided(named: &Named<'_>, shape: &Shape) -> bool {
    let caller = match named.policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Is(kind) => kind == shape.principal,
        _ => false,
    };
    caller && !matches!(named.policy.action_constraint(), ActionConstraint::In(_))
}

/// An expression through which a condition can reach the principal: the variable, or an id that may be the principal's.
fn names_principal(expr: &Expr, shape: &Shape) -> bool {
    match expr.expr_kind() {
        ExprKind::Var(variable) => *variable == Var::Principal,
        ExprKind::Lit(Literal::EntityUID(uid)) => {
            let principal: &ast::EntityType = shape.principal.as_ref();
            uid.entity_type() == principal
        }
        _ => false,
    }
}

/// False only if the policy's scope cannot match: another action, or another resource (a tool is in no group).
fn can_match(named: &Named<'_>, shape: &Shape, resource: &EntityUid) -> bool {
    let action = match named.policy.action_constraint() {
        ActionConstraint::Eq(action) => action == shape.action,
        ActionConstraint::Any | ActionConstraint::In(_) => true,
    };
    let scope = match named.policy.resource_constraint() {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => uid == *resource,
        ResourceConstraint::IsIn(kind, uid) => kind == shape.resource && uid == *resource,
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(kind) => kind == shape.resource,
    };
    action && scope
}
