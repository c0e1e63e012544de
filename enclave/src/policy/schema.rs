//! The bundle's schema: parsed as Cedar JSON or Cedar text, and what it asks of a request.

use std::collections::BTreeMap;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{EntityTypeName, EntityUid, Schema};
use cedar_policy_core::validator::types::{Attributes, Type};
use cedar_policy_core::validator::{ValidatorEntityType, ValidatorEntityTypeKind, ValidatorSchema};
use wire::{BootRefusal, RefusalCode};

use super::action::Action;
use super::bundle::{SCHEMA, document_of};
use super::vocabulary::{Attribute, ContextAttribute, PrincipalAttribute, ResourceAttribute};
use super::{diagnose, nesting};
use crate::document::{self, refusal};

/// The actions that the schema declares and the gateway asks.
pub(super) struct Shapes {
    call: Shape,
    others: BTreeMap<Action, Shape>,
}

/// What a request for one action carries.
pub(super) struct Shape {
    pub(super) action: EntityUid,
    /// The groups that the action is in, directly or not.
    pub(super) groups: Vec<EntityUid>,
    pub(super) principal: EntityTypeName,
    pub(super) resource: EntityTypeName,
    pub(super) principal_attributes: Vec<PrincipalAttribute>,
    pub(super) resource_attributes: Vec<ResourceAttribute>,
    pub(super) context_attributes: Vec<ContextAttribute>,
    /// The action and its groups, if it is in any: then Cedar has to know.
    pub(super) action_entities: cedar_policy::Entities,
}

/// Parses the schema; answers Cedar's warnings too.
pub(super) fn parse(text: &str) -> Result<(Schema, Vec<String>), BootRefusal> {
    if text.trim_start().starts_with('{') { Ok((parse_json(text)?, Vec::new())) } else { parse_text(text) }
}

fn parse_json(text: &str) -> Result<Schema, BootRefusal> {
    document::parse(text.as_bytes(), &document_of(SCHEMA))?;
    Schema::from_json_str(text)
        .map_err(|error| diagnose::refused(SCHEMA, text, "", &DetailedError::from(&error), "a Cedar schema in JSON"))
}

fn parse_text(text: &str) -> Result<(Schema, Vec<String>), BootRefusal> {
    nesting::check(SCHEMA, text)?;
    match Schema::from_cedarschema_str(text) {
        Ok((schema, warnings)) => Ok((schema, warnings.map(|warning| format!("{SCHEMA}: {warning}")).collect())),
        Err(error) => {
            let expected = "a Cedar schema, as text or as JSON";
            Err(diagnose::refused(SCHEMA, text, "", &DetailedError::from(&error), expected))
        }
    }
}

impl Shapes {
    /// What the schema asks, if the gateway can supply it.
    pub(super) fn of(schema: &Schema) -> Result<Self, BootRefusal> {
        let Some(call) = declared(schema, Action::CallTool)? else {
            let name = Action::CallTool.as_str();
            let expected =
                format!("the action {name:?}, in the namespace of your choice: every tool call is asked as it");
            return Err(refuse(RefusalCode::Missing, "actions", "nothing", &expected));
        };
        let mut others = BTreeMap::new();
        for action in Action::ALL.into_iter().filter(|action| *action != Action::CallTool) {
            if let Some(uid) = declared(schema, action)? {
                others.insert(action, Shape::of(schema, uid)?);
            }
        }
        Ok(Self { call: Shape::of(schema, call)?, others })
    }

    /// The shape of a tool call.
    pub(super) const fn call(&self) -> &Shape {
        &self.call
    }

    /// The shapes of all other actions that the schema declares.
    pub(super) const fn others(&self) -> &BTreeMap<Action, Shape> {
        &self.others
    }

    /// Every shape.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shape> {
        std::iter::once(&self.call).chain(self.others.values())
    }
}

impl Shape {
    fn of(schema: &Schema, action: EntityUid) -> Result<Self, BootRefusal> {
        let field = action.to_string();
        let types = schema.principals_for_action(&action);
        let principal = one_type(&field, PrincipalAttribute::OWNER, types.into_iter().flatten())?;
        let types = schema.resources_for_action(&action);
        let resource = one_type(&field, ResourceAttribute::OWNER, types.into_iter().flatten())?;
        if principal == resource {
            let expected = "different types for principal and resource";
            return Err(refuse(
                RefusalCode::Unsupported,
                &format!("{field}.appliesTo"),
                &principal.to_string(),
                expected,
            ));
        }
        let core: &ValidatorSchema = schema.as_ref();
        let (groups, action_entities) = action_entities(schema, &action)?;
        Ok(Self {
            principal_attributes: entity_attributes(schema, core, &principal)?,
            resource_attributes: entity_attributes(schema, core, &resource)?,
            context_attributes: context_attributes(core, &action)?,
            action_entities,
            groups,
            action,
            principal,
            resource,
        })
    }
}

fn refuse(code: RefusalCode, field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(code, &document_of(SCHEMA), field, found, expected)
}

/// The schema's action of this name, in whatever namespace.
fn declared(schema: &Schema, wanted: Action) -> Result<Option<EntityUid>, BootRefusal> {
    let named = schema.actions().filter(|action| action.id().unescaped() == wanted.as_str());
    let mut actions: Vec<_> = named.cloned().collect();
    if actions.len() < 2 {
        return Ok(actions.pop());
    }
    actions.sort_by_key(ToString::to_string);
    let found = actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let expected = "one action of this name: each request is asked once";
    Err(refuse(RefusalCode::Unsupported, "actions", &found, expected))
}

fn one_type<'a>(
    action: &str,
    owner: &str,
    types: impl Iterator<Item = &'a EntityTypeName>,
) -> Result<EntityTypeName, BootRefusal> {
    let types: Vec<_> = types.collect();
    if let [only] = types.as_slice() {
        return Ok((*only).clone());
    }
    let mut names: Vec<_> = types.iter().map(ToString::to_string).collect();
    names.sort();
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let expected = format!("exactly one {owner} type: the gateway has one kind of {owner} for each action");
    Err(refuse(RefusalCode::Unsupported, &format!("{action}.appliesTo.{owner}Types"), &found, &expected))
}

fn entity_attributes<A: Attribute>(
    schema: &Schema,
    core: &ValidatorSchema,
    name: &EntityTypeName,
) -> Result<Vec<A>, BootRefusal> {
    let field = name.to_string();
    let unsupported = |found: &str, expected: &str| Err(refuse(RefusalCode::Unsupported, &field, found, expected));
    let declared: Option<&ValidatorEntityType> = core.get_entity_type(name.as_ref());
    let Some(declared) = declared else {
        return unsupported("an entity type that is not declared", "a declared entity type");
    };
    if !matches!(declared.kind, ValidatorEntityTypeKind::Standard(_)) {
        return unsupported(
            "a closed list of ids",
            &format!("an entity type with attributes: a {} has any id", A::OWNER),
        );
    }
    if declared.tag_type().is_some() {
        return unsupported("tags", &format!("attributes: a {} has no tags", A::OWNER));
    }
    if schema.ancestors(name).is_some_and(|mut ancestors| ancestors.next().is_some()) {
        let expected =
            format!("no memberOfTypes: a {} is in no group, so a rule about one would never match", A::OWNER);
        return unsupported("memberOfTypes", &expected);
    }
    attributes(&field, declared.attributes())
}

fn context_attributes(core: &ValidatorSchema, action: &EntityUid) -> Result<Vec<ContextAttribute>, BootRefusal> {
    match core.context_type(action.as_ref()) {
        Some(Type::Record { attrs, .. }) => attributes(&format!("{action}.context"), attrs),
        _ => Err(refuse(RefusalCode::Unsupported, &action.to_string(), "a context that is no record", "a record")),
    }
}

fn attributes<A: Attribute>(field: &str, declared: &Attributes) -> Result<Vec<A>, BootRefusal> {
    declared.iter().map(|(name, attribute)| supply(field, name, &attribute.attr_type)).collect()
}

/// The attribute of this name, if the gateway has it with this type.
fn supply<A: Attribute>(field: &str, name: &str, declared: &Type) -> Result<A, BootRefusal> {
    let found = format!("{name}: {declared}");
    let refuse = |expected: &str| Err(refuse(RefusalCode::Unsupported, &format!("{field}.{name}"), &found, expected));
    match A::ALL.iter().find(|(_, known, _)| *known == name) {
        Some((attribute, _, kind)) if kind.is(declared) => Ok(*attribute),
        Some((_, _, kind)) => refuse(&format!("{name}: {}", kind.as_str())),
        None if name == "arguments" => {
            refuse("no arguments: this build does not yet type a tool's arguments from its input_schema")
        }
        None => {
            let known: Vec<_> = A::ALL.iter().map(|(_, name, kind)| format!("{name}: {}", kind.as_str())).collect();
            refuse(&format!("of the {} the gateway knows {}", A::OWNER, known.join(", ")))
        }
    }
}

/// The groups of an action, and all actions if it is in any.
fn action_entities(
    schema: &Schema,
    action: &EntityUid,
) -> Result<(Vec<EntityUid>, cedar_policy::Entities), BootRefusal> {
    let entities = schema.action_entities();
    let entities = entities
        .map_err(|error| refuse(RefusalCode::Cedar, "actions", &error.to_string(), "actions without a cycle"))?;
    let groups: Vec<_> = entities.ancestors(action).into_iter().flatten().cloned().collect();
    Ok(if groups.is_empty() { (groups, cedar_policy::Entities::empty()) } else { (groups, entities) })
}
