//! Holds a value against a schema.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use claim::Digest;
use claim::json::Json;
use regex::Regex;

use super::{Id, Rule, Schema, Type, number};
use crate::limits;

/// Which keyword a value does not fit, and where. Holds no value, and no name that the schema does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer to the value; names that the schema does not have are `*`.
    pub at: String,
    /// The keyword.
    pub keyword: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", if self.at.is_empty() { "/" } else { &self.at }, self.keyword)
    }
}

impl Schema {
    /// Holds a value of this many bytes against the schema.
    ///
    /// # Errors
    /// The first keyword that it does not fit, in the schema's order.
    pub(in crate::inspect) fn check(&self, value: &Json, bytes: usize) -> Result<(), Violation> {
        let (least, each) = limits::SCHEMA_STEPS;
        let steps = least.saturating_add(each.saturating_mul(u64::try_from(bytes).unwrap_or(u64::MAX)));
        let check = Check { schema: self, steps: Cell::new(steps) };
        match check.node(0, value, &Path::Root) {
            // What was cut short is no verdict, whatever came of it.
            _ if check.steps.get() == 0 => Err(Violation { at: String::new(), keyword: "too many steps" }),
            Ok(()) => Ok(()),
            Err(Missed { at, keyword }) => Err(Violation { at, keyword }),
        }
    }
}

struct Check<'s> {
    schema: &'s Schema,
    /// What is left of the steps: a schema can ask for exponentially many.
    steps: Cell<u64>,
}

struct Missed {
    at: String,
    keyword: &'static str,
}

/// Where a value is; only written out where it does not fit.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    /// A member whose name the schema does not have.
    Other(&'a Path<'a>),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, name) => write!(out, "{parent}/{name}"),
            Self::Other(parent) => write!(out, "{parent}/*"),
            Self::Item(parent, place) => write!(out, "{parent}/{place}"),
        }
    }
}

impl Path<'_> {
    fn missed(&self, keyword: &'static str) -> Missed {
        let mut at = self.to_string();
        if at.len() > limits::LONGEST_INSTANCE_PATH {
            at = at.chars().take(limits::LONGEST_INSTANCE_PATH).collect();
        }
        Missed { at, keyword }
    }

    fn unless(&self, fits: bool, keyword: &'static str) -> Result<(), Missed> {
        if fits { Ok(()) } else { Err(self.missed(keyword)) }
    }
}

impl Check<'_> {
    fn node(&self, id: Id, value: &Json, path: &Path<'_>) -> Result<(), Missed> {
        self.spend(1, path)?;
        self.schema.rules(id).iter().try_for_each(|rule| self.rule(rule, value, path))
    }

    fn fits(&self, id: Id, value: &Json) -> bool {
        self.node(id, value, &Path::Root).is_ok()
    }

    fn spend(&self, steps: usize, path: &Path<'_>) -> Result<(), Missed> {
        let left = self.steps.get().saturating_sub(u64::try_from(steps).unwrap_or(u64::MAX));
        self.steps.set(left);
        path.unless(left > 0, "too many steps")
    }

    fn rule(&self, rule: &Rule, value: &Json, path: &Path<'_>) -> Result<(), Missed> {
        match rule {
            Rule::Never => path.unless(false, "additionalProperties"),
            Rule::Type(types) => path.unless(types.iter().any(|kind| is(*kind, value)), "type"),
            Rule::Enum(values) => path.unless(values.iter().any(|known| number::equal(known, value)), "enum"),
            Rule::Ref(id) => self.node(*id, value, path),
            Rule::AllOf(ids) => ids.iter().try_for_each(|id| self.node(*id, value, path)),
            Rule::AnyOf(ids) => path.unless(ids.iter().any(|id| self.fits(*id, value)), "anyOf"),
            Rule::OneOf(ids) => path.unless(ids.iter().filter(|id| self.fits(**id, value)).count() == 1, "oneOf"),
            Rule::Not(id) => path.unless(!self.fits(*id, value), "not"),
            Rule::If { condition, then, otherwise } => {
                let branch = if self.fits(*condition, value) { then } else { otherwise };
                branch.map_or(Ok(()), |id| self.node(id, value, path))
            }
            rule => match value {
                Json::Int(_) | Json::UInt(_) | Json::Float(_) => number_rule(rule, value, path),
                Json::String(text) => self.text_rule(rule, text, path),
                Json::Array(items) => self.array_rule(rule, items, path),
                Json::Object(members) => self.object_rule(rule, value, members, path),
                Json::Null | Json::Bool(_) => Ok(()),
            },
        }
    }

    fn text_rule(&self, rule: &Rule, text: &str, path: &Path<'_>) -> Result<(), Missed> {
        let length = || u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        match rule {
            Rule::MinLength(least) => path.unless(length() >= *least, "minLength"),
            Rule::MaxLength(most) => path.unless(length() <= *most, "maxLength"),
            Rule::Pattern(pattern) => {
                self.spend(text.len(), path)?;
                path.unless(pattern.is_match(text), "pattern")
            }
            _ => Ok(()),
        }
    }

    fn array_rule(&self, rule: &Rule, items: &[Json], path: &Path<'_>) -> Result<(), Missed> {
        let length = count(items.len());
        match rule {
            Rule::MinItems(least) => path.unless(length >= *least, "minItems"),
            Rule::MaxItems(most) => path.unless(length <= *most, "maxItems"),
            Rule::UniqueItems => {
                self.spend(items.len(), path)?;
                path.unless(are_unique(items), "uniqueItems")
            }
            Rule::Items { first, rest } => items.iter().enumerate().try_for_each(|(place, item)| {
                let id = first.get(place).copied().or(*rest);
                id.map_or(Ok(()), |id| self.node(id, item, &Path::Item(path, place)))
            }),
            Rule::Contains { item, least, most } => {
                let found = count(items.iter().filter(|value| self.fits(*item, value)).count());
                path.unless(found >= *least, "contains")?;
                path.unless(most.is_none_or(|most| found <= most), "maxContains")
            }
            _ => Ok(()),
        }
    }

    fn object_rule(
        &self,
        rule: &Rule,
        value: &Json,
        members: &BTreeMap<String, Json>,
        path: &Path<'_>,
    ) -> Result<(), Missed> {
        let length = count(members.len());
        match rule {
            Rule::MinProperties(least) => path.unless(length >= *least, "minProperties"),
            Rule::MaxProperties(most) => path.unless(length <= *most, "maxProperties"),
            Rule::Required(names) => requires(names, members, path, "required"),
            Rule::DependentRequired(names) => {
                let present = names.iter().filter(|(name, _)| members.contains_key(*name));
                present.into_iter().try_for_each(|(_, names)| requires(names, members, path, "dependentRequired"))
            }
            Rule::DependentSchemas(ids) => {
                let present = ids.iter().filter(|(name, _)| members.contains_key(*name));
                present.into_iter().try_for_each(|(_, id)| self.node(*id, value, path))
            }
            Rule::PropertyNames(id) => members
                .keys()
                .try_for_each(|name| path.unless(self.fits(*id, &Json::from(name.as_str())), "propertyNames")),
            Rule::Properties { named, patterns, rest } => {
                members.iter().try_for_each(|(name, value)| self.member(named, patterns, *rest, (name, value), path))
            }
            _ => Ok(()),
        }
    }

    fn member(
        &self,
        named: &BTreeMap<String, Id>,
        patterns: &[(Regex, Id)],
        rest: Option<Id>,
        (name, value): (&String, &Json),
        path: &Path<'_>,
    ) -> Result<(), Missed> {
        let mut known = false;
        if let Some((name, id)) = named.get_key_value(name) {
            known = true;
            self.node(*id, value, &Path::Member(path, name))?;
        }
        for (pattern, id) in patterns {
            self.spend(name.len(), path)?;
            if pattern.is_match(name) {
                known = true;
                self.node(*id, value, &Path::Other(path))?;
            }
        }
        match rest {
            Some(id) if !known => self.node(id, value, &Path::Other(path)),
            _ => Ok(()),
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn is(kind: Type, value: &Json) -> bool {
    match (kind, value) {
        (Type::Null, Json::Null)
        | (Type::Boolean, Json::Bool(_))
        | (Type::Object, Json::Object(_))
        | (Type::Array, Json::Array(_))
        | (Type::String, Json::String(_))
        | (Type::Number, Json::Int(_) | Json::UInt(_) | Json::Float(_)) => true,
        (Type::Integer, value) => number::is_whole(value),
        _ => false,
    }
}

fn number_rule(rule: &Rule, value: &Json, path: &Path<'_>) -> Result<(), Missed> {
    let compared = |bound: &Json| number::compare(value, bound);
    match rule {
        Rule::Minimum(bound) => path.unless(compared(bound) != Some(Ordering::Less), "minimum"),
        Rule::ExclusiveMinimum(bound) => path.unless(compared(bound) == Some(Ordering::Greater), "exclusiveMinimum"),
        Rule::Maximum(bound) => path.unless(compared(bound) != Some(Ordering::Greater), "maximum"),
        Rule::ExclusiveMaximum(bound) => path.unless(compared(bound) == Some(Ordering::Less), "exclusiveMaximum"),
        Rule::MultipleOf(of) => path.unless(number::is_multiple(value, of), "multipleOf"),
        _ => Ok(()),
    }
}

fn requires(
    names: &[String],
    members: &BTreeMap<String, Json>,
    path: &Path<'_>,
    keyword: &'static str,
) -> Result<(), Missed> {
    names.iter().try_for_each(|name| Path::Member(path, name).unless(members.contains_key(name), keyword))
}

/// Compared by digest: pairwise, many elements would take forever.
fn are_unique(items: &[Json]) -> bool {
    let mut seen = HashSet::new();
    items.iter().all(|item| seen.insert(*Digest::of(number::canonical(item).sorted_ascii()).bytes()))
}
