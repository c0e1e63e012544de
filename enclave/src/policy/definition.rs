//! What a tool's `input_schema` (JSON Schema) says of its arguments, as far as Cedar's types can follow.

use claim::json::Json;

/// `$ref`s that are followed before a schema counts as saying nothing.
const LONGEST_CHAIN: usize = 16;

/// A schema inside an `input_schema`; it may say nothing.
#[derive(Clone, Copy)]
pub(super) struct Definition<'a> {
    root: &'a Json,
    here: Option<&'a Json>,
}

impl<'a> Definition<'a> {
    pub(super) fn of(input_schema: &'a Json) -> Self {
        Self { root: input_schema, here: Some(input_schema) }.followed()
    }

    fn at(self, here: Option<&'a Json>) -> Self {
        Self { here, ..self }.followed()
    }

    /// A schema in the same document that says nothing.
    pub(super) const fn silent(self) -> Self {
        Self { here: None, ..self }
    }

    /// Follows references inside the document; what leads elsewhere says nothing.
    fn followed(mut self) -> Self {
        for _ in 0..LONGEST_CHAIN {
            let Some(reference) = self.member("$ref") else { return self };
            let steps = reference.as_str().and_then(|text| text.strip_prefix("#/"));
            self.here = steps.and_then(|steps| steps.split('/').try_fold(self.root, |node, step| node.get(step)));
        }
        self.silent()
    }

    fn member(self, key: &str) -> Option<&'a Json> {
        self.here.and_then(|schema| schema.get(key))
    }

    /// The JSON types that it admits by name; nothing if it does not say.
    pub(super) fn types(self) -> Option<Vec<&'a str>> {
        match self.member("type") {
            Some(Json::String(name)) => Some(vec![name]),
            Some(Json::Array(names)) => Some(names.iter().filter_map(Json::as_str).collect()),
            _ => self.types_of_values(),
        }
    }

    fn types_of_values(self) -> Option<Vec<&'a str>> {
        let values = match (self.member("enum"), self.member("const")) {
            (Some(Json::Array(values)), _) => values.as_slice(),
            (_, Some(value)) => std::slice::from_ref(value),
            _ => return None,
        };
        let mut types: Vec<_> = values.iter().map(type_of).collect();
        types.sort_unstable();
        types.dedup();
        Some(types)
    }

    /// The only type that it admits.
    #[cfg(feature = "software")]
    pub(super) fn one_type(self) -> Option<&'a str> {
        match self.types()?.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Whether it lists the members of an object.
    pub(super) fn lists_members(self) -> bool {
        self.member("properties").is_some_and(|properties| properties.as_object().is_some())
    }

    /// The members that it lists, by name.
    pub(super) fn members(self) -> impl Iterator<Item = (&'a str, Self)> {
        let properties = self.member("properties").and_then(Json::as_object);
        properties.into_iter().flatten().map(move |(name, schema)| (name.as_str(), self.at(Some(schema))))
    }

    /// What it says of one member.
    pub(super) fn of_member(self, name: &str) -> Option<Self> {
        self.member("properties").and_then(|properties| properties.get(name)).map(|schema| self.at(Some(schema)))
    }

    /// Whether an object must have this member.
    pub(super) fn requires(self, name: &str) -> bool {
        let required = self.member("required").and_then(Json::as_array).unwrap_or_default();
        required.iter().any(|required| required.as_str() == Some(name))
    }

    /// What it says of the elements of an array.
    pub(super) fn items(self) -> Self {
        self.at(self.member("items"))
    }

    /// Whether elements at some places have types of their own.
    #[cfg(feature = "software")]
    pub(super) fn is_tuple(self) -> bool {
        self.member("prefixItems").is_some() || self.member("items").is_some_and(|items| items.as_array().is_some())
    }
}

/// JSON Schema's name of a value's type.
fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Int(_) | Json::UInt(_) => "integer",
        Json::Float(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}
