//! What loads but is probably not meant.

use cedar_policy::{EntityUid, Schema};
use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Policy, Var};

use super::action::Action;
use super::policies::{Named, Policies};
use super::rules::can_match;
use super::schema::Shapes;
use super::vocabulary::{Attribute, ContextAttribute};
use crate::catalog::Catalog;

/// Warnings of a valid bundle.
pub(super) fn of(policies: &Policies<'_>, shapes: &Shapes, schema: &Schema, catalog: &Catalog) -> Vec<String> {
    let mut warnings: Vec<_> = policies.iter().filter_map(equality).collect();
    warnings.extend(policies.iter().flat_map(|named| unknown_tools(named, shapes, catalog)));
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
    let resource = &shapes.call().resource;
    if shapes.others().values().any(|other| other.resource == *resource && can_match(named, other)) {
        return Vec::new();
    }
    let mut unknown: Vec<String> = named
        .policy
        .entity_literals()
        .into_iter()
        .filter(|uid| uid.type_name() == resource)
        .map(|uid| uid.id().unescaped().to_owned())
        .filter(|name| catalog.tool(name).is_none())
        .collect();
    unknown.sort();
    unknown.dedup();
    unknown.into_iter().map(|name| format!("{}: the tool {name:?} is not in the catalog", named.id)).collect()
}

fn unasked_actions(shapes: &Shapes, schema: &Schema) -> Vec<String> {
    let asked = |action: &EntityUid| shapes.iter().any(|shape| shape.action == *action);
    let applies =
        |action: &EntityUid| schema.principals_for_action(action).is_some_and(|mut types| types.next().is_some());
    let known = Action::ALL.map(Action::as_str).join(", ");
    let mut actions: Vec<_> = schema
        .actions()
        .filter(|action| !asked(action) && applies(action))
        .map(|action| format!("{action} is never asked: the gateway asks {known}"))
        .collect();
    actions.sort();
    actions
}
