//! The bundle's schema: parsed as Cedar JSON or Cedar text, and what it asks of a request.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{EntityTypeName, EntityUid, Schema};
use cedar_policy_core::validator::types::{Attributes, Type};
use cedar_policy_core::validator::{ValidatorEntityType, ValidatorEntityTypeKind, ValidatorSchema};
use wire::{BootRefusal, RefusalCode};

use super::action::Action;
use super::bundle::{SCHEMA, document_of};
use super::vocabulary::{Attribute, ContextAttribute, PrincipalAttribute, ResourceAttribute};
use super::{diagnose, nesting};
use crate::catalog::{Catalog, Tool};
use crate::document::{self, refusal};

/// The attribute of the context with the arguments of any tool.
const ARGUMENTS: &str = "arguments";

/// The attribute of the context with the arguments of one tool.
const INPUT: &str = "input";

/// The actions that the schema declares and the gateway asks.
pub(super) struct Shapes {
    /// Calls of tools that have no action of their own.
    call: Option<Shape>,
    /// By the tool's index: an action of its own.
    tools: BTreeMap<usize, Shape>,
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
    /// The type of the call's arguments, by the attribute that holds them.
    pub(super) arguments: Option<(&'static str, Arc<Type>)>,
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
    pub(super) fn of(schema: &Schema, catalog: &Catalog) -> Result<Self, BootRefusal> {
        let call = declared(schema, Action::CallTool.as_str(), None)?;
        let tools = own_actions(schema, catalog, call.as_ref())?;
        let mut others = BTreeMap::new();
        for action in Action::ALL.into_iter().filter(|action| *action != Action::CallTool) {
            if let Some(uid) = declared(schema, action.as_str(), None)? {
                others.insert(action, Shape::of(schema, uid, None)?);
            }
        }
        let call = match call {
            // With actions of the tools' own, `call_tool` may be no more than the group of them.
            Some(uid) if !tools.is_empty() && !applies(schema, &uid) => None,
            Some(uid) => Some(Shape::of(schema, uid, Some(ARGUMENTS))?),
            None if tools.is_empty() => return Err(no_call()),
            None => None,
        };
        Ok(Self { call, tools, others })
    }

    /// The shape of a tool's calls.
    pub(super) fn tool(&self, tool: &Tool) -> Option<&Shape> {
        self.tools.get(&tool.index).or(self.call.as_ref())
    }

    /// The shape of calls of tools that have no action of their own.
    pub(super) const fn call(&self) -> Option<&Shape> {
        self.call.as_ref()
    }

    /// Whether a tool has an action of its own.
    pub(super) fn has_own(&self, tool: &Tool) -> bool {
        self.tools.contains_key(&tool.index)
    }

    /// The shapes of all tool calls.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Shape> {
        self.call.iter().chain(self.tools.values())
    }

    /// The shapes of all other actions that the schema declares.
    pub(super) const fn others(&self) -> &BTreeMap<Action, Shape> {
        &self.others
    }

    /// Every shape.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shape> {
        self.calls().chain(self.others.values())
    }

    /// The types that principals can have.
    pub(super) fn principals(&self) -> HashSet<EntityTypeName> {
        self.iter().map(|shape| shape.principal.clone()).collect()
    }
}

/// The actions that are named like a tool, in the namespace of `call_tool` if there is one. A name of [`Action`] is never
/// a tool's.
fn own_actions(
    schema: &Schema,
    catalog: &Catalog,
    call: Option<&EntityUid>,
) -> Result<BTreeMap<usize, Shape>, BootRefusal> {
    let mut shapes = BTreeMap::new();
    let names: HashSet<&str> = schema.actions().map(|action| action.id().unescaped()).collect();
    let known = |name: &str| Action::ALL.iter().any(|action| action.as_str() == name);
    for tool in catalog.tools().iter().filter(|tool| names.contains(tool.name.as_str()) && !known(&tool.name)) {
        if let Some(uid) = declared(schema, &tool.name, call.map(EntityUid::type_name))? {
            shapes.insert(tool.index, Shape::of(schema, uid, Some(INPUT))?);
        }
    }
    Ok(shapes)
}

/// Whether an action is more than a group.
pub(super) fn applies(schema: &Schema, action: &EntityUid) -> bool {
    schema.principals_for_action(action).is_some_and(|mut types| types.next().is_some())
}

fn no_call() -> BootRefusal {
    let name = Action::CallTool.as_str();
    let expected = format!(
        "the action {name:?}, in the namespace of your choice: every tool call is asked as it, unless an action is named \
         like the tool"
    );
    refuse(RefusalCode::Missing, "actions", "nothing", &expected)
}

impl Shape {
    /// `arguments`: the attribute of the context that may hold the call's arguments.
    fn of(schema: &Schema, action: EntityUid, arguments: Option<&'static str>) -> Result<Self, BootRefusal> {
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
        let (context_attributes, arguments) = context_attributes(core, &action, arguments)?;
        Ok(Self {
            principal_attributes: entity_attributes(schema, core, &principal)?,
            resource_attributes: entity_attributes(schema, core, &resource)?,
            context_attributes,
            arguments,
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

/// The schema's action of this name, of this type (its namespace) or in whatever namespace.
fn declared(schema: &Schema, name: &str, kind: Option<&EntityTypeName>) -> Result<Option<EntityUid>, BootRefusal> {
    let named = schema.actions().filter(|action| action.id().unescaped() == name);
    let named = named.filter(|action| kind.is_none_or(|kind| kind == action.type_name()));
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

type Context = (Vec<ContextAttribute>, Option<(&'static str, Arc<Type>)>);

fn context_attributes(
    core: &ValidatorSchema,
    action: &EntityUid,
    arguments: Option<&'static str>,
) -> Result<Context, BootRefusal> {
    let field = format!("{action}.context");
    let Some(Type::Record { attrs, .. }) = core.context_type(action.as_ref()) else {
        return Err(refuse(RefusalCode::Unsupported, &action.to_string(), "a context that is no record", "a record"));
    };
    let (mut known, mut typed) = (Vec::new(), None);
    for (name, attribute) in attrs.iter() {
        match arguments.filter(|arguments| *arguments == name.as_str()) {
            Some(arguments) => typed = Some((arguments, Arc::clone(&attribute.attr_type))),
            None => known.push(supply(&field, name, &attribute.attr_type)?),
        }
    }
    Ok((known, typed))
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
        None if [ARGUMENTS, INPUT].contains(&name) => {
            let call = Action::CallTool;
            refuse(&format!("{ARGUMENTS} in {call}, {INPUT} in an action that is named like a tool of the catalog"))
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
