//! What loads but is probably not meant.

use cedar_policy::Schema;
use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Policy, Var};

use super::policies::{Named, Policies};
use super::schema::Shape;
use super::vocabulary::{Attribute, ContextAttribute};
use crate::catalog::Catalog;

/// Warnings of a valid bundle.
pub(super) fn of(policies: &Policies<'_>, shape: &Shape, schema: &Schema, catalog: &Catalog) -> Vec<String> {
    let mut warnings: Vec<_> = policies.iter().filter_map(equality).collect();
    warnings.extend(policies.iter().flat_map(|named| unknown_tools(named, shape, catalog)));
    warnings.extend(unasked_actions(shape, schema));
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

/// A misspelt tool in a forbid forbids nothing.
fn unknown_tools(named: &Named<'_>, shape: &Shape, catalog: &Catalog) -> Vec<String> {
    let mut unknown: Vec<String> = named
        .policy
        .entity_literals()
        .into_iter()
        .filter(|uid| *uid.type_name() == shape.resource)
        .map(|uid| uid.id().unescaped().to_owned())
        .filter(|name| catalog.tool(name).is_none())
        .collect();
    unknown.sort();
    unknown.dedup();
    unknown.into_iter().map(|name| format!("{}: the tool {name:?} is not in the catalog", named.id)).collect()
}

fn unasked_actions(shape: &Shape, schema: &Schema) -> Vec<String> {
    let mut actions: Vec<_> = schema
        .actions()
        .filter(|action| {
            **action != shape.action
                && schema.principals_for_action(action).is_some_and(|mut types| types.next().is_some())
        })
        .map(|action| format!("{action} is never asked: this build asks about tool calls only, as {}", shape.action))
        .collect();
    actions.sort();
    actions
}
