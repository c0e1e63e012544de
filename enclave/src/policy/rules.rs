//! The policies as rules per tool and per action, ready to evaluate.
//!
//! Cedar's own authorizer asks every policy of a set and rebuilds each condition for every request. Here each tool, and each
//! other action, has the list of the policies whose scope can match it; what a scope leaves open (an id of the principal or
//! the resource) is one comparison, and Cedar evaluates the conditions that remain. The meaning is Cedar's (a satisfied
//! forbid denies, else a satisfied permit allows, else deny) except that a policy that fails denies instead of being
//! skipped; `tests::differential` compares both.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint};
use cedar_policy_core::ast::{self, Expr, ExprKind, Literal, SlotEnv, ValueKind, Var};
use cedar_policy_core::evaluator::Evaluator;

use super::action::Action;
use super::advice::{self, Decision};
use super::object::Object;
use super::policies::{Named, Policies};
use super::schema::{Shape, Shapes};
use super::{Question, Verdict, principal_id};
use crate::catalog::Catalog;
use crate::inspect::Fields;

/// Rules of all tools and actions.
pub(super) struct Rules {
    all: Vec<Rule>,
    /// By the tool's index: which rules can match it, in order. Tools with the same rules share the list.
    tools: Vec<Arc<[usize]>>,
    /// Which rules can match an action other than a tool call, in order.
    others: BTreeMap<Action, Vec<usize>>,
    no_slots: SlotEnv,
}

/// One policy.
struct Rule {
    id: Arc<str>,
    effect: Effect,
    /// The only principal that the scope admits, by id.
    principal: Option<String>,
    /// The only resource that the scope admits, by id.
    resource: Option<String>,
    /// What is left to evaluate once the scope matches.
    condition: Option<Expr>,
    /// Whether the condition can look at the principal's attributes.
    reads_principal: bool,
    advice: Vec<(String, String)>,
    redact: Option<Arc<Fields>>,
    /// What a forbid says when it decides.
    refusal: Decision,
}

/// What one rule says of a request.
#[cfg(feature = "software")]
pub(super) struct Explained<'a> {
    pub(super) id: &'a str,
    pub(super) effect: Effect,
    /// `satisfied`, `not satisfied` or `failed`.
    pub(super) outcome: &'static str,
}

/// Which rules spoke, in one or more evaluations of the same request.
#[derive(Default)]
pub(super) struct Answer {
    asked: usize,
    denied: bool,
    /// Whether a permit was satisfied in every evaluation that counts.
    permitted: bool,
    permits: Vec<usize>,
    forbids: Vec<usize>,
    failures: Vec<usize>,
}

impl Rules {
    pub(super) fn compile(policies: &Policies<'_>, shapes: &Shapes, catalog: &Catalog) -> Self {
        let principals = shapes.principals();
        let all: Vec<Rule> = policies.iter().map(|named| rule(named, &principals)).collect();
        let scopes: Vec<Scope> = policies.iter().map(Scope::of).collect();
        let of = |shape: &Shape| -> Vec<usize> {
            let matching = scopes.iter().enumerate().filter(|(_, scope)| scope.can_match(shape));
            matching.map(|(index, _)| index).collect()
        };
        let calls = shapes.call().map(of).unwrap_or_default();
        let mut shared: BTreeMap<Vec<usize>, Arc<[usize]>> = BTreeMap::new();
        let tools = catalog.tools().iter().map(|tool| {
            let admits = |index: &usize| all.get(*index).is_some_and(|rule| admits(rule.resource.as_ref(), &tool.name));
            let own = shapes.tool(tool).filter(|_| shapes.has_own(tool)).map(of);
            let matching: Vec<usize> = own.as_ref().unwrap_or(&calls).iter().copied().filter(admits).collect();
            Arc::clone(shared.entry(matching).or_insert_with_key(|list| list.as_slice().into()))
        });
        Self {
            tools: tools.collect(),
            others: shapes.others().iter().map(|(action, shape)| (*action, of(shape))).collect(),
            all,
            no_slots: SlotEnv::new(),
        }
    }

    /// Evaluates the rules of a request; all of them, since a failure of any denies.
    pub(super) fn ask(&self, question: &Question<'_>, evaluator: &Evaluator<'_>) -> Answer {
        let mut answer = Answer { asked: 1, ..Answer::default() };
        for (index, rule) in self.matching(question) {
            match (self.satisfied(rule, evaluator), rule.effect) {
                (Some(false), _) => {}
                (Some(true), Effect::Permit) => answer.permits.push(index),
                (Some(true), Effect::Forbid) => answer.forbids.push(index),
                (None, _) => answer.failures.push(index),
            }
        }
        answer.permitted = !answer.permits.is_empty();
        answer.denied = !answer.permitted || !answer.forbids.is_empty() || !answer.failures.is_empty();
        answer
    }

    fn satisfied(&self, rule: &Rule, evaluator: &Evaluator<'_>) -> Option<bool> {
        let Some(condition) = &rule.condition else { return Some(true) };
        match evaluator.interpret(condition, &self.no_slots).map(|value| value.value) {
            Ok(ValueKind::Lit(Literal::Bool(satisfied))) => Some(satisfied),
            _ => None,
        }
    }

    /// What every rule says whose scope matches.
    #[cfg(feature = "software")]
    pub(super) fn explain<'a>(&'a self, question: &Question<'_>, asked: &[Evaluator<'_>]) -> Vec<Explained<'a>> {
        let rules: Vec<usize> = self.matching(question).map(|(index, _)| index).collect();
        let rules = rules.into_iter().filter_map(|index| self.all.get(index));
        let explained = rules.map(|rule| {
            let outcomes: Vec<_> = asked.iter().map(|evaluator| self.satisfied(rule, evaluator)).collect();
            let outcome = match (outcomes.contains(&None), outcomes.contains(&Some(true))) {
                (true, _) => "failed",
                (_, true) => "satisfied",
                _ => "not satisfied",
            };
            Explained { id: &rule.id, effect: rule.effect, outcome }
        });
        explained.collect()
    }

    /// Whether any rule of a request can look at the principal's attributes.
    pub(super) fn read_principal(&self, question: &Question<'_>) -> bool {
        self.matching(question).any(|(_, rule)| rule.reads_principal)
    }

    /// Whether a permit can match the tool, and no forbid matches all its calls.
    pub(super) fn may_allow(&self, tool: usize) -> bool {
        let list = self.tools.get(tool).map_or(&[][..], |list| list);
        let forbids =
            |rule: &Rule| rule.effect == Effect::Forbid && rule.principal.is_none() && rule.condition.is_none();
        self.any_permit(list) && !self.of(list).any(|(_, rule)| forbids(rule))
    }

    /// The same for another action, whatever it is on.
    pub(super) fn may_allow_action(&self, action: Action) -> bool {
        let list = self.others.get(&action).map_or(&[][..], Vec::as_slice);
        let open = |rule: &Rule| rule.principal.is_none() && rule.resource.is_none() && rule.condition.is_none();
        self.any_permit(list) && !self.of(list).any(|(_, rule)| rule.effect == Effect::Forbid && open(rule))
    }

    fn any_permit(&self, list: &[usize]) -> bool {
        self.of(list).any(|(_, rule)| rule.effect == Effect::Permit)
    }

    /// The rules whose scope matches a request.
    fn matching<'a>(&'a self, question: &'a Question<'_>) -> impl Iterator<Item = (usize, &'a Rule)> {
        let list = match question.object {
            Object::Tool(tool) => self.tools.get(tool.index).map_or(&[][..], |list| list),
            Object::Other { action, .. } => self.others.get(&action).map_or(&[][..], Vec::as_slice),
        };
        let (principal, resource) = (principal_id(question), question.object.id());
        self.of(list).filter(move |(_, rule)| {
            admits(rule.principal.as_ref(), principal) && admits(rule.resource.as_ref(), resource)
        })
    }

    fn of<'a>(&'a self, list: &'a [usize]) -> impl Iterator<Item = (usize, &'a Rule)> {
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
                permitted: self.permitted && other.permitted,
                permits: union(self.permits, other.permits),
                forbids: union(self.forbids, other.forbids),
                failures: union(self.failures, other.failures),
            },
        }
    }

    pub(super) fn into_verdict(self, rules: &Rules) -> Verdict {
        let failed = self.asked == 0 || !self.failures.is_empty();
        let allowed = self.asked > 0 && !self.denied;
        let (asked, permitted) = (self.asked, self.permitted);
        let deciding = if allowed { self.permits } else { union(self.forbids, self.failures) };
        let deciding: Vec<&Rule> = deciding.into_iter().filter_map(|index| rules.all.get(index)).collect();
        let refusals = deciding.iter().map(|rule| rule.refusal);
        let decision = if allowed {
            Decision::Allow
        } else if failed || !permitted {
            Decision::Deny
        } else {
            advice::strictest(refusals)
        };
        Verdict {
            decision,
            failed,
            asked,
            misfit: None,
            determining: deciding.iter().map(|rule| Arc::clone(&rule.id)).collect(),
            redact: deciding.iter().filter_map(|rule| rule.redact.clone()).collect(),
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

fn admits(only: Option<&String>, id: &str) -> bool {
    only.is_none_or(|only| only == id)
}

fn rule(named: &Named<'_>, principals: &HashSet<EntityTypeName>) -> Rule {
    let policy = &named.policy;
    let core: &ast::Policy = policy.as_ref();
    let condition = core.non_scope_constraints();
    let id = |uid: EntityUid| Some(uid.id().unescaped().to_owned());
    Rule {
        id: named.id.as_str().into(),
        effect: policy.effect(),
        principal: match policy.principal_constraint() {
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => id(uid),
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
        },
        resource: match policy.resource_constraint() {
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => id(uid),
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        },
        condition: condition.cloned(),
        reads_principal: condition
            .is_some_and(|condition| condition.subexpressions().any(|part| names_principal(part, principals))),
        advice: named.advice.clone(),
        redact: named.redact.clone(),
        refusal: named.refusal,
    }
}

/// An expression through which a condition can reach the principal: the variable, or an id that may be the principal's.
fn names_principal(expr: &Expr, principals: &HashSet<EntityTypeName>) -> bool {
    match expr.expr_kind() {
        ExprKind::Var(variable) => *variable == Var::Principal,
        ExprKind::Lit(Literal::EntityUID(uid)) => principals.iter().any(|principal| {
            let principal: &ast::EntityType = principal.as_ref();
            uid.entity_type() == principal
        }),
        _ => false,
    }
}

/// What a policy says before its conditions.
pub(super) struct Scope {
    action: ActionConstraint,
    principal: PrincipalConstraint,
    resource: ResourceConstraint,
}

impl Scope {
    pub(super) fn of(named: &Named<'_>) -> Self {
        Self {
            action: named.policy.action_constraint(),
            principal: named.policy.principal_constraint(),
            resource: named.policy.resource_constraint(),
        }
    }

    /// Whether it can match a request of this shape, for some principal and resource. Neither is in any group, so `in` is `==`
    /// there.
    pub(super) fn can_match(&self, shape: &Shape) -> bool {
        let action = match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => *action == shape.action,
            ActionConstraint::In(actions) => {
                actions.iter().any(|action| *action == shape.action || shape.groups.contains(action))
            }
        };
        let principal = match &self.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(kind) => *kind == shape.principal,
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) => *uid.type_name() == shape.principal,
            PrincipalConstraint::IsIn(kind, uid) => *kind == shape.principal && *uid.type_name() == shape.principal,
        };
        let resource = match &self.resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::Is(kind) => *kind == shape.resource,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => *uid.type_name() == shape.resource,
            ResourceConstraint::IsIn(kind, uid) => *kind == shape.resource && *uid.type_name() == shape.resource,
        };
        action && principal && resource
    }

    /// The tool that the scope names, if it names the action `action` and nothing else.
    pub(super) fn tool_of(&self, action: &EntityUid) -> Option<&str> {
        let named = matches!(&self.action, ActionConstraint::Eq(only) if only == action);
        match &self.resource {
            ResourceConstraint::Eq(uid) if named => Some(uid.id().unescaped()),
            _ => None,
        }
    }
}
