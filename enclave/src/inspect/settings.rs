//! `inspection` in a bundle's `manifest.json`.

use claim::names::check_id;
use serde::{Deserialize, Deserializer, de};
use wire::{BootRefusal, Document, RefusalCode};

use super::patterns;
use crate::document::{one_of, refusal};
use crate::labels::Label;
use crate::limits;

/// What a bundle has inspected. What it leaves out is the strict choice, or nothing to look for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default)]
    pub(super) schema: Schemas,
    /// What raises the session's labels.
    #[serde(default)]
    pub(super) detectors: Vec<Detector>,
    /// What tells a model what to do.
    #[serde(default)]
    pub(super) injection: Vec<Injection>,
}

/// What becomes of arguments and results that are not those of the approved definition.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schemas {
    #[serde(default)]
    pub(super) arguments: Arguments,
    #[serde(default)]
    pub(super) results: Results,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Arguments {
    /// Refused.
    #[default]
    Strict,
    /// Recorded.
    Log,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Results {
    /// Refused.
    #[default]
    Strict,
    /// Without the members that the definition does not have; refused if they still do not fit.
    Redact,
    /// Recorded.
    Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detector {
    pub(super) name: String,
    #[serde(deserialize_with = "label")]
    pub(super) label: Label,
    pub(super) patterns: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Injection {
    pub(super) name: String,
    pub(super) patterns: Vec<String>,
    #[serde(default)]
    pub(super) action: Action,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// The result is withheld.
    #[default]
    Deny,
    /// It is recorded.
    Log,
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
    let name = String::deserialize(deserializer)?;
    let names: Vec<_> = Label::ALL.map(Label::as_str).into_iter().skip(1).collect();
    Label::parse(&name).filter(|label| *label != Label::Public).ok_or_else(|| de::Error::custom(one_of(&names)))
}

impl Settings {
    /// Checks each rule by itself, so that a refusal names it.
    pub(super) fn check(&self, document: &Document) -> Result<(), BootRefusal> {
        let detectors = self.detectors.iter().map(|rule| (&rule.name, &rule.patterns));
        let injections = self.injection.iter().map(|rule| (&rule.name, &rule.patterns));
        let count = self.detectors.len() + self.injection.len();
        if count > limits::MAX_PATTERN_RULES {
            let expected = format!("at most {} detectors and injection rules", limits::MAX_PATTERN_RULES);
            return Err(refusal(RefusalCode::InvalidValue, document, "inspection", &count.to_string(), &expected));
        }
        let mut names = Vec::new();
        for (kind, index, (name, patterns)) in numbered("detectors", detectors).chain(numbered("injection", injections))
        {
            let check = Check { document, at: format!("inspection.{kind}[{index}]") };
            check.name(name)?;
            if names.contains(&name) {
                return Err(check.refuse(RefusalCode::Duplicate, "name", name, "a name of its own"));
            }
            names.push(name);
            check.patterns(patterns)?;
        }
        Ok(())
    }
}

fn numbered<T>(kind: &'static str, rules: impl Iterator<Item = T>) -> impl Iterator<Item = (&'static str, usize, T)> {
    rules.enumerate().map(move |(index, rule)| (kind, index, rule))
}

struct Check<'a> {
    document: &'a Document,
    at: String,
}

impl Check<'_> {
    fn refuse(&self, code: RefusalCode, field: &str, found: &str, expected: &str) -> BootRefusal {
        refusal(code, self.document, &format!("{}.{field}", self.at), found, expected)
    }

    /// Names reach the audit chain.
    fn name(&self, name: &str) -> Result<(), BootRefusal> {
        if check_id(name).is_ok() && name.len() <= limits::LONGEST_RULE_NAME {
            return Ok(());
        }
        let expected = format!("1 to {} characters of printable ASCII without spaces", limits::LONGEST_RULE_NAME);
        Err(self.refuse(RefusalCode::InvalidValue, "name", &format!("{name:?}"), &expected))
    }

    fn patterns(&self, patterns: &[String]) -> Result<(), BootRefusal> {
        if patterns.is_empty() || patterns.len() > limits::MAX_PATTERNS {
            let expected = format!("1 to {} patterns", limits::MAX_PATTERNS);
            return Err(self.refuse(RefusalCode::InvalidValue, "patterns", &patterns.len().to_string(), &expected));
        }
        for (index, pattern) in patterns.iter().enumerate() {
            self.pattern(&format!("patterns[{index}]"), pattern)?;
        }
        Ok(())
    }

    fn pattern(&self, field: &str, pattern: &String) -> Result<(), BootRefusal> {
        if pattern.len() > limits::LONGEST_PATTERN {
            let (found, expected) =
                (format!("{} bytes", pattern.len()), format!("at most {} bytes", limits::LONGEST_PATTERN));
            return Err(self.refuse(RefusalCode::InvalidValue, field, &found, &expected));
        }
        let expected =
            "a regular expression in the syntax of https://docs.rs/regex, without look-around and references";
        let set = patterns::build(std::iter::once(pattern))
            .map_err(|error| self.refuse(RefusalCode::InvalidValue, field, &error.to_string(), expected))?;
        if set.is_match(b"") {
            let expected = "a pattern that does not match the empty text";
            return Err(self.refuse(RefusalCode::InvalidValue, field, &format!("{pattern:?}"), expected));
        }
        Ok(())
    }
}
