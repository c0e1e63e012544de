//! YAML to JSON, and the six settings that the host reads. Everything else passes through unread.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Finding;

const LISTEN: &str = "127.0.0.1:8443";
const STORE: &str = "./audit-store";
const AUTH: &str = "none";

/// What the host takes from the configuration for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `listen_addr`: where agents connect.
    pub listen: String,
    /// `audit.store_path`: folder of the record store.
    pub store: PathBuf,
    /// `auth.mode`: what agents show of themselves, for the commands to try next.
    pub auth: String,
}

impl Settings {
    pub(super) fn resolved(self, folder: &Path) -> Self {
        Self { store: normal(&folder.join(self.store)), ..self }
    }
}

/// A configuration, converted.
pub(super) struct Config {
    pub(super) json: Vec<u8>,
    pub(super) settings: Settings,
    pub(super) policy_bundle_path: PathBuf,
    pub(super) catalog_path: PathBuf,
    pub(super) controls_path: Option<PathBuf>,
}

pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Config, Finding> {
    let value = yaml(path, text)?;
    let Value::Object(map) = &value else {
        return Err(Finding::new(path, None, kind(&value), "a mapping of settings"));
    };
    refuse_flat_form(path, map)?;
    let reader = Reader { path, map };
    Ok(Config {
        settings: Settings {
            listen: reader.text("listen_addr")?.unwrap_or(LISTEN).to_owned(),
            store: reader.nested("audit", "store_path")?.unwrap_or(STORE).into(),
            auth: reader.nested("auth", "mode")?.unwrap_or(AUTH).to_owned(),
        },
        policy_bundle_path: reader.required("policy_bundle_path", "./policies/")?.into(),
        catalog_path: reader.required("catalog_path", "./catalog.json")?.into(),
        controls_path: reader.text("controls_path")?.map(PathBuf::from),
        json: value.to_string().into_bytes(),
    })
}

/// Duplicate keys, tags, aliases out of proportion and non-finite numbers are errors of the parser.
fn yaml(path: &Path, text: &[u8]) -> Result<Value, Finding> {
    let text = std::str::from_utf8(text).map_err(|error| {
        Finding::new(path, None, format!("a byte that is not UTF-8 at {}", error.valid_up_to()), "UTF-8")
    })?;
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| format!("line {}", at.line()));
        let found = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        Finding::new(path, place.as_deref(), found, "YAML with each key once")
    })
}

/// The quickstart as it is sometimes pasted: keys of `attestation` not indented.
fn refuse_flat_form(path: &Path, map: &Map<String, Value>) -> Result<(), Finding> {
    let flat: Vec<_> = ["provider", "enforcement_mode"].into_iter().filter(|key| map.contains_key(*key)).collect();
    let empty = map.get("attestation").is_none_or(Value::is_null);
    let Some(first) = flat.first().filter(|_| empty) else { return Ok(()) };
    let line = |key: &&str| format!("\n    {key}: {}", map.get(*key).map(plain).unwrap_or_default());
    let lines: Vec<_> = flat.iter().map(line).collect();
    Err(Finding::new(
        path,
        Some(first),
        "it at the top level",
        format!("it indented under attestation:\n\n  attestation:{}\n", lines.concat()),
    ))
}

struct Reader<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn required(&self, key: &str, example: &str) -> Result<&'a str, Finding> {
        self.text(key)?
            .ok_or_else(|| Finding::new(self.path, Some(key), "nothing", format!("a path such as {example}")))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Finding> {
        text(self.path, key, self.map.get(key))
    }

    /// A key of a section; a section that is no mapping is left for the enclave to refuse.
    fn nested(&self, section: &str, key: &str) -> Result<Option<&'a str>, Finding> {
        text(self.path, &format!("{section}.{key}"), self.map.get(section).and_then(|section| section.get(key)))
    }
}

fn text<'a>(path: &Path, field: &str, value: Option<&'a Value>) -> Result<Option<&'a str>, Finding> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Finding::new(path, Some(field), kind(other), "text")),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Without `.` components, for messages; `..` stays, because a symbolic link may stand before it.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: &str = "policy_bundle_path: ./p\ncatalog_path: ./c.json\n";

    fn parsed(text: &str) -> Result<Config, Finding> {
        parse(Path::new("f.yaml"), text.as_bytes())
    }

    fn refused(text: &str) -> String {
        parsed(text).err().expect(text).to_string()
    }

    #[test]
    fn the_flat_form_shows_the_fix() {
        let message = refused(&format!("attestation:\nprovider: auto\nenforcement_mode: advisory\n{PATHS}"));
        assert!(
            message.ends_with(
                "under attestation:\n\n  attestation:\n    provider: auto\n    enforcement_mode: advisory\n"
            ),
            "{message}"
        );
    }

    #[test]
    fn settings_and_defaults() {
        let config = parsed(PATHS).ok().unwrap();
        assert_eq!(config.settings, Settings { listen: LISTEN.into(), store: STORE.into(), auth: AUTH.into() });
        let config =
            parsed(&format!("{PATHS}listen_addr: 127.0.0.1:1\naudit: {{store_path: s, durability: answer}}\n"));
        let config = config.ok().unwrap();
        assert_eq!(config.settings, Settings { listen: "127.0.0.1:1".into(), store: "s".into(), auth: AUTH.into() });
        let json: Value = serde_json::from_slice(&config.json).unwrap();
        assert_eq!(json["audit"]["durability"], "answer");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("- a\n", "f.yaml: found a list, expected a mapping"),
            ("catalog_path: c\n", "policy_bundle_path: found nothing"),
            ("policy_bundle_path: 7\ncatalog_path: c\n", "policy_bundle_path: found a number, expected text"),
            ("catalog_path: a\ncatalog_path: b\n", "line 2: "),
            ("a: [1\nb: 2\n", "line "),
            ("a: !!python/object:x {}\n", "f.yaml: "),
            ("a: .nan\n", "f.yaml: "),
            ("a: 1\n---\nb: 2\n", "f.yaml: "),
            ("", "f.yaml: found nothing"),
        ] {
            let message = refused(text);
            assert!(message.contains(part), "{text:?} gave {message}");
        }
    }

    #[test]
    fn a_bomb_is_refused_quickly() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, of) in
            [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f"), ("h", "g"), ("i", "h")]
        {
            bomb.extend([name, ": &", name, " [", &vec![format!("*{of}"); 9].join(","), "]\n"]);
        }
        refused(&bomb);
        refused(&format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000)));
    }

    #[test]
    fn numbers_and_booleans_keep_their_type() {
        let config =
            parsed(&format!("{PATHS}limits: {{a: 1048576, b: true, c: \"yes\", d: yes, e: 1.5}}\n")).ok().unwrap();
        let json: Value = serde_json::from_slice(&config.json).unwrap();
        assert_eq!(json["limits"], serde_json::json!({"a": 1_048_576, "b": true, "c": "yes", "d": "yes", "e": 1.5}));
    }
}
