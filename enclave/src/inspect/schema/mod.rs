//! JSON Schema 2020-12, as far as tools' definitions use it: everything that a value can be checked against by itself.
//!
//! What is not known is refused at load, by name: a keyword that says something and is not checked would be a control that is
//! none. Nothing is ever fetched. Annotations (`title`, `format`, ...) say nothing to a check, as the specification has it.

mod check;
mod compile;
mod number;
mod pattern;

use std::collections::BTreeMap;

use claim::json::Json;
use regex::Regex;

pub use check::Violation;

/// A compiled schema: its parts by number, the whole first.
#[derive(Debug)]
pub(super) struct Schema {
    nodes: Vec<Vec<Rule>>,
}

/// A part of a schema.
pub(super) type Id = usize;

/// What one keyword, or several that belong together, ask of a value.
#[derive(Debug)]
enum Rule {
    /// The schema `false`.
    Never,
    Type(Vec<Type>),
    Enum(Vec<Json>),
    Minimum(Json),
    ExclusiveMinimum(Json),
    Maximum(Json),
    ExclusiveMaximum(Json),
    MultipleOf(Json),
    MinLength(u64),
    MaxLength(u64),
    Pattern(Regex),
    MinItems(u64),
    MaxItems(u64),
    UniqueItems,
    Items {
        first: Vec<Id>,
        rest: Option<Id>,
    },
    Contains {
        item: Id,
        least: u64,
        most: Option<u64>,
    },
    MinProperties(u64),
    MaxProperties(u64),
    Required(Vec<String>),
    DependentRequired(BTreeMap<String, Vec<String>>),
    Properties {
        named: BTreeMap<String, Id>,
        patterns: Vec<(Regex, Id)>,
        rest: Option<Id>,
    },
    PropertyNames(Id),
    DependentSchemas(BTreeMap<String, Id>),
    Ref(Id),
    AllOf(Vec<Id>),
    AnyOf(Vec<Id>),
    OneOf(Vec<Id>),
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Object,
    Array,
    Number,
    Integer,
    String,
}

impl Type {
    const ALL: [(&'static str, Self); 7] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("object", Self::Object),
        ("array", Self::Array),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("string", Self::String),
    ];
}

impl Rule {
    /// Schemas that speak of the same value.
    fn in_place(&self) -> Vec<Id> {
        match self {
            Self::Ref(id) | Self::Not(id) => vec![*id],
            Self::AllOf(ids) | Self::AnyOf(ids) | Self::OneOf(ids) => ids.clone(),
            Self::DependentSchemas(ids) => ids.values().copied().collect(),
            Self::If { condition, then, otherwise } => {
                [Some(*condition), *then, *otherwise].into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Schema {
    fn rules(&self, id: Id) -> &[Rule] {
        self.nodes.get(id).map_or(&[], Vec::as_slice)
    }

    /// The whole, and every part that may speak of the same value.
    pub(super) fn whole(&self) -> Vec<Id> {
        self.spread(vec![0])
    }

    fn spread(&self, mut ids: Vec<Id>) -> Vec<Id> {
        let mut next = 0;
        while let Some(id) = ids.get(next).copied() {
            next += 1;
            for more in self.rules(id).iter().flat_map(Rule::in_place) {
                if !ids.contains(&more) {
                    ids.push(more);
                }
            }
        }
        ids
    }

    /// What these parts say of an object's member: nothing if none of them has it, while one of them has others.
    pub(super) fn member(&self, ids: &[Id], name: &str) -> Option<Vec<Id>> {
        let mut found = Vec::new();
        let (mut lists, mut open) = (false, false);
        for rule in ids.iter().flat_map(|id| self.rules(*id)) {
            let Rule::Properties { named, patterns, rest } = rule else { continue };
            lists = true;
            let own = found.len();
            found.extend(named.get(name));
            found.extend(patterns.iter().filter(|(pattern, _)| pattern.is_match(name)).map(|(_, id)| *id));
            if let Some(rest) = rest.filter(|rest| found.len() == own && !self.is_never(*rest)) {
                open = true;
                found.push(rest);
            }
        }
        let known = !found.is_empty() || open || !lists;
        known.then(|| self.spread(found))
    }

    /// What these parts say of an array's element.
    pub(super) fn item(&self, ids: &[Id], place: usize) -> Vec<Id> {
        let mut found = Vec::new();
        for rule in ids.iter().flat_map(|id| self.rules(*id)) {
            match rule {
                Rule::Items { first, rest } => found.extend(first.get(place).copied().or(*rest)),
                Rule::Contains { item, .. } => found.push(*item),
                _ => {}
            }
        }
        self.spread(found)
    }

    fn is_never(&self, id: Id) -> bool {
        matches!(self.rules(id), [Rule::Never])
    }
}

#[cfg(test)]
mod tests;
