//! What loads but is probably not meant.

use cedar_policy::{EntityTypeName, EntityUid, Schema};
use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Policy, Var};

use super::action::Action;
use super::policies::{Named, Policies};
use super::rules::Scope;
use super::schema::{Shape, Shapes, applies};
use super::vocabulary::{Attribute, ContextAttribute};
use crate::catalog::Catalog;

/// Warnings of a valid bundle.
pub(super) fn of(policies: &Policies<'_>, shapes: &Shapes, schema: &Schema, catalog: &Catalog) -> Vec<String> {
    let mut warnings: Vec<_> = policies.iter().filter_map(equality).collect();
    warnings.extend(policies.iter().flat_map(|named| unknown_tools(named, shapes, catalog)));
    warnings.extend(policies.iter().filter_map(|named| bypassed(named, shapes, catalog)));
    warnings.extend(unasked_actions(shapes, schema));
    if !policies.any_permit() {
        warnings.push("no policy permits anything: every call is denied".to_owned());
    }
    warnings
}

/// `context.session_max_sensitivity == "pii"` stops matching as soon as the session holds something above `pii`.
fn equality(named: &Named<'_>) -> Option<String> {
    let core: &Policy = named.policy.as_ref();
    let label = core.condition().subexpressions().find_map(compared_label)?;
    let max = ContextAttribute::SessionMaxSensitivity.name();
    let labels = ContextAttribute::SessionLabels.name();
    Some(format!(
        "{}: context.{max} == {label:?} stops matching once the session holds a higher label; \
         context.{labels}.contains({label:?}) keeps matching (declare {labels}: Set<String> in the schema)",
        named.id
    ))
}

fn compared_label(expr: &Expr) -> Option<String> {
    let ExprKind::BinaryApp { op: BinaryOp::Eq, arg1, arg2 } = expr.expr_kind() else { return None };
    let text = |expr: &Expr| match expr.expr_kind() {
        ExprKind::Lit(Literal::String(text)) => Some(text.to_string()),
        _ => None,
    };
    match (is_max(arg1), is_max(arg2)) {
        (true, _) => text(arg2),
        (_, true) => text(arg1),
        _ => None,
    }
    .filter(|label| label != crate::labels::Label::Public.as_str())
}

fn is_max(expr: &Expr) -> bool {
    let ExprKind::GetAttr { expr, attr } = expr.expr_kind() else { return false };
    attr == ContextAttribute::SessionMaxSensitivity.name() && matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
}

/// A misspelt tool in a forbid forbids nothing. Where other actions have the same resource type, an id may be one of theirs.
fn unknown_tools(named: &Named<'_>, shapes: &Shapes, catalog: &Catalog) -> Vec<String> {
    let scope = Scope::of(named);
    let is_tool = |kind: &EntityTypeName| {
        let other = |shape: &Shape| shape.resource == *kind && scope.can_match(shape);
        shapes.calls().any(|shape| shape.resource == *kind) && !shapes.others().values().any(other)
    };
    let mut unknown: Vec<String> = named
        .policy
        .entity_literals()
        .into_iter()
        .filter(|uid| is_tool(uid.type_name()))
        .map(|uid| uid.id().unescaped().to_owned())
        .filter(|name| catalog.tool(name).is_none())
        .collect();
    unknown.sort();
    unknown.dedup();
    unknown.into_iter().map(|name| format!("{}: the tool {name:?} is not in the catalog", named.id)).collect()
}

/// A rule about calls of a tool that are asked as the tool's own action.
fn bypassed(named: &Named<'_>, shapes: &Shapes, catalog: &Catalog) -> Option<String> {
    let (scope, call) = (Scope::of(named), &shapes.call()?.action);
    let tool = catalog.tool(scope.tool_of(call)?)?;
    shapes.has_own(tool).then(|| {
        let name = &tool.name;
        format!("{}: never matches: {name:?} is asked as an action of its own, not as {call}", named.id)
    })
}

fn unasked_actions(shapes: &Shapes, schema: &Schema) -> Vec<String> {
    let asked = |action: &EntityUid| shapes.iter().any(|shape| shape.action == *action);
    let known = Action::ALL.map(Action::as_str).join(", ");
    let mut actions: Vec<_> = schema
        .actions()
        .filter(|action| !asked(action) && applies(schema, action))
        .map(|action| format!("{action} is never asked: the gateway asks {known}, and tools of the catalog by name"))
        .collect();
    actions.sort();
    actions
}
