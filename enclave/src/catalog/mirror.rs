//! Arguments that header fields mirror: `x-mcp-header` in a tool's input schema (MCP 2026-07-28, "Custom Headers from Tool
//! Parameters"). A client has to leave out a tool whose schema marks them wrongly, so a catalog cannot approve of one.

use claim::json::Json;

/// The annotation of a property.
const ANNOTATION: &str = "x-mcp-header";
/// Keywords whose values are data, not schemas.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];

/// An argument that a header field mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The field's name after `Mcp-Param-`, in lower case.
    pub header: String,
    /// Where the argument is: its property, within which properties.
    path: Vec<String>,
}

impl Mirror {
    /// The argument, if it was given.
    pub fn of<'a>(&self, arguments: &'a Json) -> Option<&'a Json> {
        self.path.iter().try_fold(arguments, |value, key| value.get(key))
    }
}

/// What is wrong with an annotation.
#[derive(Debug, PartialEq)]
pub(super) struct Invalid {
    /// Where it is, for `field`.
    pub(super) at: String,
    /// The annotation.
    pub(super) found: Json,
    /// What it must be.
    pub(super) expected: &'static str,
}

/// All mirrors of an input schema.
pub(super) fn mirrors(schema: &Json) -> Result<Vec<Mirror>, Invalid> {
    let mut walk = Walk { at: Vec::new(), path: Some(Vec::new()), found: Vec::new() };
    walk.schema(schema)?;
    Ok(walk.found)
}

struct Walk<'a> {
    /// Keys from the root.
    at: Vec<&'a str>,
    /// Properties from the root, as long as nothing else was between.
    path: Option<Vec<&'a str>>,
    found: Vec<Mirror>,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Json) -> Result<(), Invalid> {
        for (key, value) in schema.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                (ANNOTATION, _) => self.annotation(schema, value)?,
                ("properties", Json::Object(properties)) => {
                    for (name, property) in properties {
                        self.within(&[key, name], Some(name), property)?;
                    }
                }
                (_, Json::Array(schemas)) if !DATA.contains(&key.as_str()) => {
                    schemas.iter().try_for_each(|schema| self.within(&[key], None, schema))?;
                }
                _ if !DATA.contains(&key.as_str()) => self.within(&[key], None, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes down; to no property, to where no annotation may be.
    fn within(&mut self, keys: &[&'a str], property: Option<&'a str>, schema: &'a Json) -> Result<(), Invalid> {
        let (depth, path) = (self.at.len(), self.path.clone());
        self.at.extend(keys);
        self.path = self.path.take().zip(property).map(|(path, property)| [path, vec![property]].concat());
        self.schema(schema)?;
        self.at.truncate(depth);
        self.path = path;
        Ok(())
    }

    fn annotation(&mut self, schema: &Json, value: &Json) -> Result<(), Invalid> {
        let at = [self.at.as_slice(), &[ANNOTATION]].concat().join(".");
        let invalid = |expected| Err(Invalid { at, found: value.clone(), expected });
        let Some(path) = self.path.as_ref().filter(|path| !path.is_empty()) else {
            return invalid("nothing here: only a property, of properties alone, can be mirrored");
        };
        let Some(header) = value.as_str().filter(|name| is_token(name)).map(str::to_ascii_lowercase) else {
            return invalid("a name for a header field: letters, digits and !#$%&'*+-.^_`|~");
        };
        if !matches!(schema.get("type").and_then(Json::as_str), Some("string" | "integer" | "boolean")) {
            return invalid("nothing here: only a string, an integer or a boolean can be mirrored");
        }
        if self.found.iter().any(|mirror| mirror.header == header) {
            return invalid("a name that no other property has, in any case");
        }
        self.found.push(Mirror { header, path: path.iter().map(|&key| key.to_owned()).collect() });
        Ok(())
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use claim::json::{Json, parse};

    use super::mirrors;

    fn of(schema: &str) -> Result<Vec<String>, String> {
        let schema = parse(schema.as_bytes()).unwrap();
        match mirrors(&schema) {
            Ok(mirrors) => {
                Ok(mirrors.into_iter().map(|mirror| format!("{}={}", mirror.header, mirror.path.join("."))).collect())
            }
            Err(invalid) => Err(invalid.at),
        }
    }

    #[test]
    fn properties_at_any_depth_are_mirrored() {
        let schema = r#"{"type":"object","x-other":1,"properties":{
            "region":{"type":"string","x-mcp-header":"Region"},"plain":{"type":"number"},
            "properties":{"type":"object","properties":{"x-mcp-header":{"type":"integer","x-mcp-header":"a_b!c"}}},
            "with":{"type":"boolean","x-mcp-header":"With","default":{"x-mcp-header":"data"},"enum":[{"x-mcp-header":1}]}}}"#;
        let expected = ["a_b!c=properties.x-mcp-header", "region=region", "with=with"];
        assert_eq!(of(schema).unwrap(), expected);
        let mirrors = mirrors(&parse(schema.as_bytes()).unwrap()).unwrap();
        let arguments = parse(br#"{"properties":{"x-mcp-header":7},"with":null,"region":[]}"#).unwrap();
        let values: Vec<Option<&Json>> = mirrors.iter().map(|mirror| mirror.of(&arguments)).collect();
        assert_eq!(values, [Some(&Json::Int(7)), Some(&Json::Array(vec![])), Some(&Json::Null)]);
        assert_eq!(mirrors[0].of(&parse(br#"{"properties":1}"#).unwrap()), None);
    }

    #[test]
    fn what_a_client_has_to_leave_out_is_refused() {
        let property = |inner: &str| format!(r#"{{"properties":{{"a":{{{inner}}}}}}}"#);
        for inner in [
            r#""type":"string","x-mcp-header":"""#,
            r#""type":"string","x-mcp-header":7"#,
            r#""type":"string","x-mcp-header":"My Region""#,
            r#""type":"string","x-mcp-header":"Region:Primary""#,
            r#""type":"string","x-mcp-header":"R\u00e9gion""#,
            r#""type":"string","x-mcp-header":"Region\t1""#,
            r#""type":"string","x-mcp-header":"a\r\nb""#,
            r#""type":"number","x-mcp-header":"A""#,
            r#""type":"object","x-mcp-header":"A""#,
            r#""type":["string","null"],"x-mcp-header":"A""#,
            r#""x-mcp-header":"A""#,
        ] {
            assert_eq!(of(&property(inner)), Err("properties.a.x-mcp-header".to_owned()), "{inner}");
        }
        let mirrored = r#"{"type":"string","x-mcp-header":"A"}"#;
        for (schema, at) in [
            (mirrored.to_owned(), "x-mcp-header"),
            (property(&format!(r#""items":{mirrored}"#)), "properties.a.items.x-mcp-header"),
            (property(&format!(r#""oneOf":[{mirrored}]"#)), "properties.a.oneOf.x-mcp-header"),
            (property(&format!(r#""items":{{"properties":{{"b":{mirrored}}}}}"#)), "properties.a.items.properties.b.x-mcp-header"),
            (format!(r#"{{"$defs":{{"d":{mirrored}}}}}"#), "$defs.d.x-mcp-header"),
            (format!(r#"{{"if":{{"properties":{{"b":{mirrored}}}}}}}"#), "if.properties.b.x-mcp-header"),
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"Same"},"b":{"type":"string","x-mcp-header":"sAME"}}}"#.to_owned(),
                "properties.b.x-mcp-header",
            ),
        ] {
            assert_eq!(of(&schema), Err(at.to_owned()), "{schema}");
        }
    }
}
