//! From a JSON Schema as written to rules, or to a refusal that names the keyword.

use std::collections::{BTreeMap, VecDeque};

use claim::json::Json;
use regex::Regex;

use super::{Id, Rule, Schema, Type, pattern};
use crate::limits;

/// Versions of JSON Schema in which the keywords below mean the same.
const DIALECTS: [&str; 3] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
];

/// Keywords that a check has nothing to do with: annotations, and places for schemas that others refer to.
const SILENT: [&str; 17] = [
    "$comment",
    "$defs",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "example",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
    "nullable",
];

/// What is wrong with a schema, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    /// The keyword, as a JSON pointer.
    pub(crate) at: String,
    pub(crate) found: String,
    pub(crate) expected: String,
}

impl Schema {
    /// Compiles a schema.
    pub(crate) fn compile(root: &Json) -> Result<Self, Unsupported> {
        let mut compiler = Compiler { root, ids: BTreeMap::new(), waiting: VecDeque::new() };
        compiler.id("", root)?;
        let mut nodes = Vec::new();
        while let Some((at, schema)) = compiler.waiting.pop_front() {
            nodes.push(compiler.rules(&at, schema)?);
        }
        let schema = Self { nodes };
        schema.check_chains()?;
        Ok(schema)
    }

    /// References that lead back to the same value would never end.
    fn check_chains(&self) -> Result<(), Unsupported> {
        let mut heights = vec![None; self.nodes.len()];
        (0..self.nodes.len()).try_for_each(|id| self.height(id, 0, &mut heights).map(drop))
    }

    fn height(&self, id: Id, level: usize, heights: &mut [Option<usize>]) -> Result<usize, Unsupported> {
        let too_deep = || Unsupported {
            at: String::new(),
            found: "$ref, allOf, anyOf, ... that lead back to the same value, or too many inside each other".to_owned(),
            expected: format!("at most {} schemas of the same value inside each other", limits::MAX_SCHEMA_CHAIN),
        };
        if let Some(height) = heights.get(id).copied().flatten() {
            return if level + height > limits::MAX_SCHEMA_CHAIN { Err(too_deep()) } else { Ok(height) };
        }
        if level > limits::MAX_SCHEMA_CHAIN {
            return Err(too_deep());
        }
        let mut height = 0;
        for inner in self.rules(id).iter().flat_map(Rule::in_place) {
            height = height.max(self.height(inner, level + 1, heights)? + 1);
        }
        if let Some(place) = heights.get_mut(id) {
            *place = Some(height);
        }
        Ok(height)
    }
}

struct Compiler<'a> {
    root: &'a Json,
    /// By JSON pointer.
    ids: BTreeMap<String, Id>,
    waiting: VecDeque<(String, &'a Json)>,
}

/// A keyword and where it is.
struct Keyword<'a> {
    at: String,
    value: &'a Json,
}

impl<'a> Keyword<'a> {
    fn refuse<T>(&self, expected: &str) -> Result<T, Unsupported> {
        let found = crate::document::text(self.value);
        Err(Unsupported { at: self.at.clone(), found, expected: expected.to_owned() })
    }

    fn count(&self) -> Result<u64, Unsupported> {
        match self.value {
            Json::Float(number) if number.fract() == 0.0 && *number >= 0.0 => {
                format!("{number:.0}").parse().or_else(|_| self.refuse("a whole number"))
            }
            value => value.as_u64().map_or_else(|| self.refuse("a whole number"), Ok),
        }
    }

    fn number(&self) -> Result<Json, Unsupported> {
        match self.value {
            Json::Int(_) | Json::UInt(_) | Json::Float(_) => Ok(self.value.clone()),
            _ => self.refuse("a number"),
        }
    }

    fn list(&self) -> Result<&'a [Json], Unsupported> {
        self.value.as_array().map_or_else(|| self.refuse("an array"), Ok)
    }

    fn object(&self) -> Result<&'a BTreeMap<String, Json>, Unsupported> {
        self.value.as_object().map_or_else(|| self.refuse("an object"), Ok)
    }

    fn texts(&self) -> Result<Vec<String>, Unsupported> {
        let texts: Option<Vec<_>> = self.list()?.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        texts.map_or_else(|| self.refuse("an array of strings"), Ok)
    }

    fn types(&self) -> Result<Vec<Type>, Unsupported> {
        let names = match self.value {
            Json::String(name) => vec![name.clone()],
            _ => self.texts()?,
        };
        let kind = |name: &String| Type::ALL.into_iter().find(|(known, _)| known == name).map(|(_, found)| found);
        let types: Option<Vec<_>> = names.iter().map(kind).collect();
        types.map_or_else(|| self.refuse("names of JSON types"), Ok)
    }

    fn pattern(&self) -> Result<Regex, Unsupported> {
        let text = self.value.as_str().map_or_else(|| self.refuse("a regular expression"), Ok)?;
        compiled(&self.at, text)
    }
}

fn compiled(at: &str, text: &str) -> Result<Regex, Unsupported> {
    pattern::compile(text).map_err(|error| Unsupported {
        at: at.to_owned(),
        found: error.to_string(),
        expected: "a regular expression without look-around and references".to_owned(),
    })
}

impl<'a> Compiler<'a> {
    /// The number of a schema; a new one waits to be compiled.
    fn id(&mut self, at: &str, schema: &'a Json) -> Result<Id, Unsupported> {
        if let Some(id) = self.ids.get(at) {
            return Ok(*id);
        }
        let id = self.ids.len();
        if id >= limits::MAX_SCHEMAS {
            let expected = format!("at most {} schemas inside each other", limits::MAX_SCHEMAS);
            return Keyword { at: at.to_owned(), value: schema }.refuse(&expected);
        }
        self.ids.insert(at.to_owned(), id);
        self.waiting.push_back((at.to_owned(), schema));
        Ok(id)
    }

    fn rules(&mut self, at: &str, schema: &'a Json) -> Result<Vec<Rule>, Unsupported> {
        let members = match schema {
            Json::Bool(true) => return Ok(Vec::new()),
            Json::Bool(false) => return Ok(vec![Rule::Never]),
            Json::Object(members) => members,
            _ => return Keyword { at: at.to_owned(), value: schema }.refuse("a schema: an object, true or false"),
        };
        let mut rules = Vec::new();
        for (name, value) in members {
            let keyword = Keyword { at: below(at, name), value };
            rules.extend(self.keyword(name, &keyword, members)?);
        }
        rules.extend(self.properties(at, members)?);
        rules.extend(self.items(at, members)?);
        rules.extend(self.condition(at, members)?);
        Ok(rules)
    }

    /// Keywords that stand by themselves. Those that do not are compiled together, by their main one.
    fn keyword(
        &mut self,
        name: &str,
        keyword: &Keyword<'a>,
        all: &'a BTreeMap<String, Json>,
    ) -> Result<Option<Rule>, Unsupported> {
        Ok(Some(match name {
            "type" => Rule::Type(keyword.types()?),
            "enum" => Rule::Enum(keyword.list()?.to_vec()),
            "const" => Rule::Enum(vec![keyword.value.clone()]),
            "minimum" => Rule::Minimum(keyword.number()?),
            "exclusiveMinimum" => Rule::ExclusiveMinimum(keyword.number()?),
            "maximum" => Rule::Maximum(keyword.number()?),
            "exclusiveMaximum" => Rule::ExclusiveMaximum(keyword.number()?),
            "multipleOf" => Rule::MultipleOf(keyword.number()?),
            "minLength" => Rule::MinLength(keyword.count()?),
            "maxLength" => Rule::MaxLength(keyword.count()?),
            "pattern" => Rule::Pattern(keyword.pattern()?),
            "minItems" => Rule::MinItems(keyword.count()?),
            "maxItems" => Rule::MaxItems(keyword.count()?),
            "uniqueItems" if *keyword.value == Json::Bool(true) => Rule::UniqueItems,
            "uniqueItems" if *keyword.value == Json::Bool(false) => return Ok(None),
            "contains" => self.contains(keyword, all)?,
            "minProperties" => Rule::MinProperties(keyword.count()?),
            "maxProperties" => Rule::MaxProperties(keyword.count()?),
            "required" => Rule::Required(keyword.texts()?),
            "dependentRequired" => Rule::DependentRequired(Self::dependent(keyword)?),
            "dependentSchemas" => Rule::DependentSchemas(self.map(keyword)?),
            "propertyNames" => Rule::PropertyNames(self.id(&keyword.at, keyword.value)?),
            "$ref" => Rule::Ref(self.reference(keyword)?),
            "allOf" => Rule::AllOf(self.ids(keyword)?),
            "anyOf" => Rule::AnyOf(self.ids(keyword)?),
            "oneOf" => Rule::OneOf(self.ids(keyword)?),
            "not" => Rule::Not(self.id(&keyword.at, keyword.value)?),
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "items"
            | "prefixItems"
            | "if"
            | "then"
            | "else"
            | "minContains"
            | "maxContains" => return Ok(None),
            "$schema" if !Self::is_known_dialect(keyword.value) => return keyword.refuse(DIALECTS[0]),
            "$id" if keyword.at == "/$id" => return Ok(None),
            silent if SILENT.contains(&silent) || silent.starts_with("x-") => return Ok(None),
            _ => {
                let expected = "a keyword of JSON Schema 2020-12 that the gateway checks (policies/README.md)";
                return Err(Unsupported {
                    at: keyword.at.clone(),
                    found: name.chars().take(64).collect(),
                    expected: expected.to_owned(),
                });
            }
        }))
    }

    fn is_known_dialect(value: &Json) -> bool {
        value.as_str().is_some_and(|name| DIALECTS.contains(&name.trim_end_matches('#')))
    }

    fn contains(&mut self, keyword: &Keyword<'a>, all: &'a BTreeMap<String, Json>) -> Result<Rule, Unsupported> {
        let parent = keyword.at.strip_suffix("/contains").unwrap_or_default();
        let count = |name: &str| {
            let keyword = all.get(name).map(|value| Keyword { at: below(parent, name), value });
            keyword.map(|keyword| keyword.count()).transpose()
        };
        let (least, most) = (count("minContains")?.unwrap_or(1), count("maxContains")?);
        Ok(Rule::Contains { item: self.id(&keyword.at, keyword.value)?, least, most })
    }

    fn dependent(keyword: &Keyword<'a>) -> Result<BTreeMap<String, Vec<String>>, Unsupported> {
        let members = keyword.object()?.iter();
        members
            .map(|(name, value)| Ok((name.clone(), Keyword { at: below(&keyword.at, name), value }.texts()?)))
            .collect()
    }

    fn map(&mut self, keyword: &Keyword<'a>) -> Result<BTreeMap<String, Id>, Unsupported> {
        let members = keyword.object()?.iter();
        members.map(|(name, schema)| Ok((name.clone(), self.id(&below(&keyword.at, name), schema)?))).collect()
    }

    fn ids(&mut self, keyword: &Keyword<'a>) -> Result<Vec<Id>, Unsupported> {
        let schemas = keyword.list()?;
        if schemas.is_empty() {
            return keyword.refuse("at least one schema");
        }
        let numbered = schemas.iter().enumerate();
        numbered.map(|(index, schema)| self.id(&below(&keyword.at, &index.to_string()), schema)).collect()
    }

    fn properties(&mut self, at: &str, all: &'a BTreeMap<String, Json>) -> Result<Option<Rule>, Unsupported> {
        let find = |name: &str| all.get(name).map(|value| Keyword { at: below(at, name), value });
        let (named, patterns, rest) = (find("properties"), find("patternProperties"), find("additionalProperties"));
        if named.is_none() && patterns.is_none() && rest.is_none() {
            return Ok(None);
        }
        let named = named.map(|keyword| self.map(&keyword)).transpose()?.unwrap_or_default();
        let patterns = patterns.map(|keyword| self.map(&keyword)).transpose()?.unwrap_or_default();
        let place = below(at, "patternProperties");
        let patterns = patterns.into_iter().map(|(text, id)| Ok((compiled(&below(&place, &text), &text)?, id)));
        let patterns = patterns.collect::<Result<_, Unsupported>>()?;
        let rest = rest.map(|keyword| self.id(&keyword.at, keyword.value)).transpose()?;
        Ok(Some(Rule::Properties { named, patterns, rest }))
    }

    fn items(&mut self, at: &str, all: &'a BTreeMap<String, Json>) -> Result<Option<Rule>, Unsupported> {
        let find = |name: &str| all.get(name).map(|value| Keyword { at: below(at, name), value });
        let first = find("prefixItems").map(|keyword| self.ids(&keyword)).transpose()?.unwrap_or_default();
        let rest = match find("items") {
            Some(keyword) if keyword.value.as_array().is_some() => {
                return keyword.refuse("one schema; a list of them is prefixItems");
            }
            Some(keyword) => Some(self.id(&keyword.at, keyword.value)?),
            None => None,
        };
        Ok((!first.is_empty() || rest.is_some()).then_some(Rule::Items { first, rest }))
    }

    fn condition(&mut self, at: &str, all: &'a BTreeMap<String, Json>) -> Result<Option<Rule>, Unsupported> {
        let mut id = |name: &str| all.get(name).map(|schema| self.id(&below(at, name), schema)).transpose();
        let (condition, then, otherwise) = (id("if")?, id("then")?, id("else")?);
        Ok(condition.map(|condition| Rule::If { condition, then, otherwise }))
    }

    /// A place in the same document; nothing is fetched.
    fn reference(&mut self, keyword: &Keyword<'a>) -> Result<Id, Unsupported> {
        let text = keyword.value.as_str().map(str::to_owned).unwrap_or_default();
        let pointer = text.strip_prefix('#').and_then(percent_decoded);
        let found = pointer.and_then(|pointer| Some((self.resolve(&pointer)?, pointer)));
        match found {
            Some((schema, pointer)) => self.id(&pointer, schema),
            None => keyword.refuse("a place in this schema, such as #/$defs/name: nothing is fetched"),
        }
    }

    fn resolve(&self, pointer: &str) -> Option<&'a Json> {
        if pointer.is_empty() {
            return Some(self.root);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self.root, |node, step| {
            let step = step.replace("~1", "/").replace("~0", "~");
            match node {
                Json::Array(items) => items.get(step.parse::<usize>().ok()?),
                other => other.get(&step),
            }
        })
    }
}

/// A JSON pointer one step further.
fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
