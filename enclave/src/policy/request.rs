//! Requests to Cedar, from parts prepared at load.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy_core::ast::{self, Context, Eid, Entity, EntityUIDEntry, Request, Value};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use wire::{BootRefusal, RefusalCode};

use super::action::Action;
use super::bundle::{SCHEMA, document_of};
use super::input::{Input, Misfit};
use super::object::{Facts, Object, Servers};
use super::schema::{Shape, Shapes};
use super::vocabulary::{Attribute, ContextAttribute, PrincipalAttribute, ResourceAttribute, Sets};
use super::{Question, principal_id};
use crate::catalog::{Catalog, Tool};
use crate::document::refusal;
use crate::identity::ANONYMOUS;
use crate::labels::Label;

/// Everything of a request that does not depend on the call.
pub(super) struct Requests {
    /// By the tool's index; nothing for a tool that the schema does not speak of.
    tools: Vec<Option<Call>>,
    others: BTreeMap<Action, Form>,
    servers: Servers,
    sets: Sets,
}

/// The requests of one action.
struct Form {
    action: EntityUIDEntry,
    /// All actions, if this one is in groups.
    actions: Entities,
    principal_type: ast::EntityType,
    anonymous: ast::EntityUID,
    resource_type: ast::EntityType,
    principal_attributes: Vec<PrincipalAttribute>,
    resource_attributes: Vec<ResourceAttribute>,
    context_attributes: Vec<ContextAttribute>,
    /// Whether labels of equal rank are asked one by one.
    asks_each: bool,
}

/// The calls of one tool.
struct Call {
    form: Arc<Form>,
    resource: EntityUIDEntry,
    /// The tool, and the actions if they are in groups.
    entities: Entities,
    /// How the arguments are shown.
    input: Option<Input>,
}

impl Requests {
    pub(super) fn prepare(shapes: &Shapes, catalog: &Catalog) -> Result<Self, BootRefusal> {
        let shared = shapes.call().map(|shape| Arc::new(Form::of(shape)));
        let tools = catalog.tools().iter().map(|tool| {
            let Some(shape) = shapes.tool(tool) else { return Ok(None) };
            let own = shapes.has_own(tool);
            let form = shared.clone().filter(|_| !own).unwrap_or_else(|| Arc::new(Form::of(shape)));
            Call::prepare(form, shape, tool, own).map(Some)
        });
        Ok(Self {
            tools: tools.collect::<Result<_, BootRefusal>>()?,
            others: shapes.others().iter().map(|(action, shape)| (*action, Form::of(shape))).collect(),
            servers: Servers::of(catalog),
            sets: Sets::new(),
        })
    }

    /// The labels to ask with as the session's highest.
    pub(super) fn tops(&self, question: &Question<'_>) -> impl Iterator<Item = Label> {
        let each = self.form(question).is_some_and(|form| form.asks_each);
        question.labels.top().take(if each { Label::ALL.len() } else { 1 })
    }

    /// The entities that a request refers to; nothing if they cannot be put together, which is a deny.
    ///
    /// The principal is left out if no rule reads its attributes: making it costs as much as three rules.
    pub(super) fn entities(&self, question: &Question<'_>, principal_is_read: bool) -> Option<Cow<'_, Entities>> {
        let form = self.form(question)?;
        let entities = match question.object {
            Object::Tool(tool) => Cow::Borrowed(&self.call(tool)?.entities),
            Object::Other { kind, server, id, .. } => {
                Cow::Owned(form.described(&self.servers.facts(kind, server, id)?).ok()?)
            }
        };
        if !principal_is_read || form.principal_attributes.is_empty() {
            return Some(entities);
        }
        add(entities.into_owned(), form.principal_entity(question)).ok().map(Cow::Owned)
    }

    /// The arguments as the schema types them, and the attribute of the context that holds them; nothing if it does not.
    pub(super) fn input(&self, question: &Question<'_>) -> Result<Option<(&'static str, Value)>, Misfit> {
        let Object::Tool(tool) = question.object else { return Ok(None) };
        let Some(input) = self.call(tool).and_then(|call| call.input.as_ref()) else { return Ok(None) };
        input.value(question.arguments).map(|value| Some((input.name, value)))
    }

    /// The request, asked with `top` as the session's highest label.
    pub(super) fn request(
        &self,
        question: &Question<'_>,
        top: Label,
        input: Option<&(&'static str, Value)>,
    ) -> Option<Request> {
        let form = self.form(question)?;
        let attributes = form.context_attributes.iter();
        let attributes = attributes.map(|attribute| (attribute.name(), attribute.value(question, top, &self.sets)));
        let context = attributes.chain(input.cloned()).map(|(name, value)| (name.into(), value)).collect();
        let resource = match question.object {
            Object::Tool(tool) => self.call(tool)?.resource.clone(),
            Object::Other { id, .. } => EntityUIDEntry::known(form.resource(id), None),
        };
        Some(Request::new_unchecked(
            EntityUIDEntry::known(form.principal(question), None),
            form.action.clone(),
            resource,
            Some(Context::Value(Arc::new(context))),
        ))
    }

    /// Whether the schema speaks of an action at all.
    pub(super) fn declare(&self, action: Action) -> bool {
        match action {
            Action::CallTool => self.tools.iter().any(Option::is_some),
            action => self.others.contains_key(&action),
        }
    }

    /// Whether the schema speaks of what is asked.
    pub(super) fn answers(&self, object: &Object<'_>) -> bool {
        match object {
            Object::Tool(tool) => self.call(tool).is_some(),
            Object::Other { action, .. } => self.others.contains_key(action),
        }
    }

    fn call(&self, tool: &Tool) -> Option<&Call> {
        self.tools.get(tool.index)?.as_ref()
    }

    fn form(&self, question: &Question<'_>) -> Option<&Form> {
        match question.object {
            Object::Tool(tool) => self.call(tool).map(|call| call.form.as_ref()),
            Object::Other { action, .. } => self.others.get(&action),
        }
    }
}

impl Call {
    fn prepare(form: Arc<Form>, shape: &Shape, tool: &Tool, own: bool) -> Result<Self, BootRefusal> {
        let uid = form.resource(&tool.name);
        let entities = form.described(&Facts::of_tool(tool)).map_err(|error| {
            let expected = "entities that do not collide";
            refusal(RefusalCode::Cedar, &document_of(SCHEMA), &uid.to_string(), &error, expected)
        })?;
        let input = shape.arguments.as_ref();
        let input = input.map(|(name, declared)| Input::of(name, declared, tool, &shape.action.to_string(), own));
        Ok(Self { form, resource: EntityUIDEntry::known(uid, None), entities, input: input.transpose()? })
    }
}

impl Form {
    fn of(shape: &Shape) -> Self {
        let principal_type: &ast::EntityType = shape.principal.as_ref();
        let resource_type: &ast::EntityType = shape.resource.as_ref();
        let action: &ast::EntityUID = shape.action.as_ref();
        let actions: &Entities = shape.action_entities.as_ref();
        Self {
            action: EntityUIDEntry::known(action.clone(), None),
            actions: actions.clone(),
            anonymous: uid(principal_type, ANONYMOUS),
            principal_type: principal_type.clone(),
            resource_type: resource_type.clone(),
            principal_attributes: shape.principal_attributes.clone(),
            resource_attributes: shape.resource_attributes.clone(),
            context_attributes: shape.context_attributes.clone(),
            asks_each: shape.context_attributes.contains(&ContextAttribute::SessionMaxSensitivity),
        }
    }

    fn principal(&self, question: &Question<'_>) -> ast::EntityUID {
        question.subject.map_or_else(|| self.anonymous.clone(), |_| uid(&self.principal_type, principal_id(question)))
    }

    fn principal_entity(&self, question: &Question<'_>) -> Entity {
        let attributes = self.principal_attributes.iter();
        let attributes = attributes.map(|attribute| (attribute.name().into(), attribute.value(question).into()));
        Entity::new_with_attr_partial_value(self.principal(question), attributes, HashSet::new(), HashSet::new(), [])
    }

    fn resource(&self, id: &str) -> ast::EntityUID {
        uid(&self.resource_type, id)
    }

    /// The entity of an object, and the actions if they are in groups.
    fn described(&self, facts: &Facts<'_>) -> Result<Entities, String> {
        let attributes = self.resource_attributes.iter();
        let attributes = attributes.map(|attribute| (attribute.name().into(), attribute.value(facts).into()));
        let uid = self.resource(facts.id);
        let entity = Entity::new_with_attr_partial_value(uid, attributes, HashSet::new(), HashSet::new(), []);
        add(self.actions.clone(), entity)
    }
}

fn uid(kind: &ast::EntityType, id: &str) -> ast::EntityUID {
    ast::EntityUID::from_components(kind.clone(), Eid::new(id), None)
}

/// Neither principals nor objects are in groups, so there is no transitive closure to compute.
fn add(entities: Entities, entity: Entity) -> Result<Entities, String> {
    let closed = TCComputation::AssumeAlreadyComputed;
    entities
        .add_entities([Arc::new(entity)], None::<&NoEntitiesSchema>, closed, Extensions::all_available())
        .map_err(|error| error.to_string())
}
