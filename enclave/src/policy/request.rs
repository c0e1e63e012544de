//! Requests to Cedar, from parts prepared at load.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::{EntityId, EntityUid};
use cedar_policy_core::ast::{self, Context, Eid, Entity, EntityUIDEntry, Request};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use wire::{BootRefusal, RefusalCode};

use super::Question;
use super::bundle::{SCHEMA, document_of};
use super::schema::Shape;
use super::vocabulary::{Attribute, ContextAttribute, PrincipalAttribute, Sets};
use crate::catalog::{Catalog, Tool};
use crate::document::refusal;
use crate::labels::{Label, Labels};

/// Who calls without authentication.
const ANONYMOUS: &str = "anonymous";

/// Everything of a request that does not depend on the call.
pub(super) struct Requests {
    action: EntityUIDEntry,
    principal_type: ast::EntityType,
    anonymous: ast::EntityUID,
    principal_attributes: Vec<PrincipalAttribute>,
    context_attributes: Vec<ContextAttribute>,
    /// Whether labels of equal rank are asked one by one.
    asks_each: bool,
    sets: Sets,
    tools: Vec<Resource>,
}

/// A tool as Cedar sees it.
struct Resource {
    uid: EntityUIDEntry,
    /// The tool, and the action if it is in groups.
    entities: Entities,
}

impl Shape {
    /// The entity id of a tool.
    pub(super) fn resource_uid(&self, name: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.resource.clone(), EntityId::new(name))
    }
}

impl Requests {
    pub(super) fn prepare(shape: &Shape, catalog: &Catalog) -> Result<Self, BootRefusal> {
        let principal_type: &ast::EntityType = shape.principal.as_ref();
        let action: &ast::EntityUID = shape.action.as_ref();
        let tools = catalog.tools().iter().map(|tool| Resource::prepare(shape, tool));
        Ok(Self {
            action: EntityUIDEntry::known(action.clone(), None),
            anonymous: uid(principal_type, ANONYMOUS),
            principal_type: principal_type.clone(),
            principal_attributes: shape.principal_attributes.clone(),
            context_attributes: shape.context_attributes.clone(),
            asks_each: shape.context_attributes.contains(&ContextAttribute::SessionMaxSensitivity),
            sets: Sets::new(),
            tools: tools.collect::<Result<_, _>>()?,
        })
    }

    /// The labels to ask with as the session's highest.
    pub(super) fn tops(&self, labels: Labels) -> impl Iterator<Item = Label> {
        labels.top().take(if self.asks_each { Label::ALL.len() } else { 1 })
    }

    /// The entities that a request refers to; nothing if they cannot be put together, which is a deny.
    ///
    /// The principal is left out if no rule reads its attributes: making it costs as much as three rules.
    pub(super) fn entities(&self, question: &Question<'_>, principal_is_read: bool) -> Option<Cow<'_, Entities>> {
        let resource = self.tools.get(question.tool.index)?;
        if !principal_is_read || self.principal_attributes.is_empty() {
            return Some(Cow::Borrowed(&resource.entities));
        }
        let attributes = self.principal_attributes.iter();
        let attributes = attributes.map(|attribute| (attribute.name().into(), attribute.value(question).into()));
        let principal = Entity::new_with_attr_partial_value(
            self.principal(question),
            attributes,
            HashSet::new(),
            HashSet::new(),
            [],
        );
        add(resource.entities.clone(), principal).ok().map(Cow::Owned)
    }

    /// The request of a call, asked with `top` as the session's highest label.
    pub(super) fn request(&self, question: &Question<'_>, top: Label) -> Option<Request> {
        let attributes = self.context_attributes.iter();
        let context =
            attributes.map(|attribute| (attribute.name().into(), attribute.value(question, top, &self.sets))).collect();
        Some(Request::new_unchecked(
            EntityUIDEntry::known(self.principal(question), None),
            self.action.clone(),
            self.tools.get(question.tool.index)?.uid.clone(),
            Some(Context::Value(Arc::new(context))),
        ))
    }

    fn principal(&self, question: &Question<'_>) -> ast::EntityUID {
        question.subject.map_or_else(|| self.anonymous.clone(), |subject| uid(&self.principal_type, subject))
    }
}

impl Resource {
    fn prepare(shape: &Shape, tool: &Tool) -> Result<Self, BootRefusal> {
        let uid: ast::EntityUID = shape.resource_uid(&tool.name).as_ref().clone();
        let attributes = shape.resource_attributes.iter();
        let attributes = attributes.map(|attribute| (attribute.name().into(), attribute.value(tool).into()));
        let entity = Entity::new_with_attr_partial_value(uid.clone(), attributes, HashSet::new(), HashSet::new(), []);
        let actions: &Entities = shape.action_entities.as_ref();
        let entities = add(actions.clone(), entity).map_err(|error| {
            let expected = "entities that do not collide";
            refusal(RefusalCode::Cedar, &document_of(SCHEMA), &uid.to_string(), &error, expected)
        })?;
        Ok(Self { uid: EntityUIDEntry::known(uid, None), entities })
    }
}

fn uid(kind: &ast::EntityType, id: &str) -> ast::EntityUID {
    ast::EntityUID::from_components(kind.clone(), Eid::new(id), None)
}

/// Neither principals nor tools are in groups, so there is no transitive closure to compute.
fn add(entities: Entities, entity: Entity) -> Result<Entities, String> {
    let closed = TCComputation::AssumeAlreadyComputed;
    entities
        .add_entities([Arc::new(entity)], None::<&NoEntitiesSchema>, closed, Extensions::all_available())
        .map_err(|error| error.to_string())
}
