//! A call's arguments as a Cedar record, by the types that the schema declares.
//!
//! At load the declared types are held against the tool's `input_schema`: what a policy may rely on must be required there,
//! with the same type. At run time the arguments either become exactly such a record or the call is denied, so a policy that
//! passed validation never meets a missing or a foreign value. Of arguments, no value and no name that the schema does not
//! have goes into a misfit: its text is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy_core::ast::Value;
use cedar_policy_core::validator::types::{Attributes, BoolType, Type};
use claim::json::Json;
use wire::{BootRefusal, RefusalCode};

use super::bundle::{SCHEMA, document_of};
use super::definition::Definition;
use crate::catalog::Tool;
use crate::document::refusal;

/// How the arguments of one tool become an attribute of the context.
pub(super) struct Input {
    /// `input` or `arguments`.
    pub(super) name: &'static str,
    record: Record,
}

/// A type that JSON has too.
enum Plan {
    String,
    Long,
    Bool,
    Set(Box<Plan>),
    Record(Record),
}

struct Record {
    members: BTreeMap<String, Member>,
    /// What the tool's `input_schema` has and the Cedar schema leaves out: passed on, not shown to policies.
    unseen: BTreeSet<String>,
}

struct Member {
    plan: Plan,
    required: bool,
}

/// Why arguments are not what the schema declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    path: String,
    expected: &'static str,
    found: &'static str,
}

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl Input {
    /// Holds the declared type against a tool's `input_schema`. `only_tool`: the type is of this tool alone, so that a member
    /// which the tool does not have is a mistake.
    pub(super) fn of(
        name: &'static str,
        declared: &Type,
        tool: &Tool,
        action: &str,
        only_tool: bool,
    ) -> Result<Self, BootRefusal> {
        let check = Check { tool: &tool.name, only_tool };
        let field = format!("{action}.context.{name}");
        let definition = Definition::of(&tool.definition.input_schema);
        match check.plan(&field, name, declared, definition)? {
            Plan::Record(record) => Ok(Self { name, record }),
            _ => Err(refuse(&field, &format!("{name}: {declared}"), "a record")),
        }
    }

    /// The arguments as the declared record.
    pub(super) fn value(&self, arguments: Option<&Json>) -> Result<Value, Misfit> {
        match arguments {
            Some(arguments) => self.record.value(arguments, &Path::Root(self.name)),
            None => self.record.value(&Json::Object(BTreeMap::new()), &Path::Root(self.name)),
        }
    }
}

fn refuse(field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::Unsupported, &document_of(SCHEMA), field, found, expected)
}

/// A declared type against what a tool says of its arguments.
struct Check<'a> {
    tool: &'a str,
    only_tool: bool,
}

impl Check<'_> {
    fn plan(&self, field: &str, name: &str, declared: &Type, schema: Definition<'_>) -> Result<Plan, BootRefusal> {
        let (plan, types): (_, &[&str]) = match declared {
            Type::String => (Plan::String, &["string"]),
            Type::Long => (Plan::Long, &["integer", "number"]),
            Type::Bool(BoolType::AnyBool) => (Plan::Bool, &["boolean"]),
            Type::Set { element_type: Some(element) } => {
                let element = self.plan(&format!("{field}[]"), name, element, schema.items())?;
                (Plan::Set(Box::new(element)), &["array"])
            }
            Type::Record { attrs, .. } => (Plan::Record(self.record(field, attrs, schema)?), &["object"]),
            other => {
                let expected = format!("{name}: String, Long, Bool, a Set or a record of these: arguments are JSON");
                return Err(refuse(field, &format!("{name}: {other}"), &expected));
            }
        };
        match schema.types() {
            Some(admitted) if !admitted.iter().any(|admitted| types.contains(admitted)) => {
                let found = format!("{name}: {declared}");
                let expected =
                    format!("a type for the JSON type {} of the tool {:?}", admitted.join(" or "), self.tool);
                Err(refuse(field, &found, &expected))
            }
            _ => Ok(plan),
        }
    }

    fn record(&self, field: &str, attributes: &Attributes, schema: Definition<'_>) -> Result<Record, BootRefusal> {
        let mut members = BTreeMap::new();
        for (name, attribute) in attributes.iter() {
            let field = format!("{field}.{name}");
            let (required, declared) = (attribute.is_required, &attribute.attr_type);
            self.presence(&field, name, required, schema)?;
            let said = schema.of_member(name).unwrap_or_else(|| schema.silent());
            let plan = self.plan(&field, name, declared, said)?;
            members.insert(name.to_string(), Member { plan, required });
        }
        let listed = schema.members().map(|(name, _)| name.to_owned());
        let unseen = listed.filter(|name| !members.contains_key(name)).collect();
        Ok(Record { members, unseen })
    }

    fn presence(&self, field: &str, name: &str, required: bool, schema: Definition<'_>) -> Result<(), BootRefusal> {
        let mark = if required { "" } else { "?" };
        let found = format!("{name}{mark}");
        if required && !schema.requires(name) {
            let expected = format!("{name}?: the input_schema of the tool {:?} does not require it", self.tool);
            return Err(refuse(field, &found, &expected));
        }
        if self.only_tool && schema.lists_members() && schema.of_member(name).is_none() {
            let known = schema.members().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
            let expected = format!("of the arguments of the tool {:?}: {known}", self.tool);
            return Err(refuse(field, &found, &expected));
        }
        Ok(())
    }
}

impl Plan {
    fn value(&self, json: &Json, path: &Path<'_>) -> Result<Value, Misfit> {
        match (self, json) {
            (Self::String, Json::String(text)) => Ok(Value::from(text.as_str())),
            (Self::Bool, Json::Bool(value)) => Ok(Value::from(*value)),
            (Self::Long, Json::Int(number)) => Ok(Value::from(*number)),
            (Self::Long, Json::Float(number)) => match whole(*number) {
                Some(number) => Ok(Value::from(number)),
                None => Err(self.misfit(path, "a number that is not whole")),
            },
            (Self::Set(element), Json::Array(items)) => {
                let path = Path::Element(path);
                let values: Result<Vec<_>, _> = items.iter().map(|item| element.value(item, &path)).collect();
                Ok(Value::set(values?, None))
            }
            (Self::Record(record), json) => record.value(json, path),
            (plan, json) => Err(plan.misfit(path, kind(json))),
        }
    }

    fn misfit(&self, path: &Path<'_>, found: &'static str) -> Misfit {
        Misfit { path: path.to_string(), expected: self.as_str(), found }
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Long => "Long",
            Self::Bool => "Bool",
            Self::Set(_) => "Set",
            Self::Record(_) => "a record",
        }
    }
}

impl Record {
    fn value(&self, json: &Json, path: &Path<'_>) -> Result<Value, Misfit> {
        let misfit = |expected, found| Misfit { path: path.to_string(), expected, found };
        let Json::Object(found) = json else { return Err(misfit("a record", kind(json))) };
        if found.keys().any(|name| !self.members.contains_key(name) && !self.unseen.contains(name)) {
            return Err(misfit("the members of the tool's input_schema", "another one"));
        }
        let mut pairs = Vec::with_capacity(self.members.len());
        for (name, member) in &self.members {
            let path = Path::Member(path, name);
            match found.get(name) {
                Some(json) => pairs.push((name.as_str(), member.plan.value(json, &path)?)),
                None if member.required => return Err(member.plan.misfit(&path, "nothing")),
                None => {}
            }
        }
        Ok(Value::record(pairs, None))
    }
}

/// Where a value is; only written out for a misfit.
enum Path<'a> {
    Root(&'a str),
    Member(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => out.write_str(name),
            Self::Member(parent, name) => write!(out, "{parent}.{name}"),
            Self::Element(parent) => write!(out, "{parent}[]"),
        }
    }
}

/// `1.0` is the integer 1 in JSON Schema; beyond 2^53 a float is no certain integer.
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    if exact { format!("{number:.0}").parse().ok() } else { None }
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Int(_) => "a whole number",
        Json::UInt(_) => "a number beyond 64 bits",
        Json::Float(_) => "a number that is not whole",
        Json::String(_) => "text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
