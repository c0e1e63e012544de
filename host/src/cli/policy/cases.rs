//! Case files: requests and the decisions they must get.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::documents::{Finding, read};
use crate::limits;

/// A case as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) request: Value,
    pub(super) expect: Expect,
}

/// What must come out; what is left out is not compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) decision: Decision,
    pub(super) policies: Option<Vec<String>>,
    pub(super) advice: Option<Vec<(String, String)>>,
}

/// A decision's name in case files and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decision {
    Allow,
    Deny,
    StepUp,
    Defer,
}

impl Decision {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::StepUp => "step_up",
            Self::Defer => "defer",
        }
    }
}

/// What the enclave answered.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    pub(super) failed: bool,
    pub(super) policies: Vec<String>,
    pub(super) advice: Vec<(String, String)>,
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
}

/// One policy that the scope admits.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) policy: String,
    pub(super) effect: String,
    pub(super) outcome: String,
}

impl Expect {
    /// What differs, in words; nothing if the answer is as expected.
    pub(super) fn difference(&self, answer: &Answer) -> Option<(String, String)> {
        if self.decision != answer.decision
            || self.policies.as_ref().is_some_and(|policies| *policies != answer.policies)
        {
            let expected = super::by(self.decision.as_str(), self.policies.as_deref().unwrap_or_default());
            let reason = answer.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let failed = if answer.failed && reason.is_empty() { " (a policy failed)" } else { "" };
            return Some((
                expected,
                format!("{}{failed}{reason}", super::by(answer.decision.as_str(), &answer.policies)),
            ));
        }
        let advice = self.advice.as_ref().filter(|advice| **advice != answer.advice)?;
        Some((format!("advice {advice:?}"), format!("advice {:?}", answer.advice)))
    }
}

/// The cases of a file, or of every `*.json` in a folder, by name of the file.
pub(super) fn load(path: &Path) -> Result<Vec<Case>, Finding> {
    let mut cases = Vec::new();
    for file in files(path)? {
        let bytes = read(&file, limits::CASE_FILE, None)?;
        let read: Vec<Case> = serde_json::from_slice(&bytes).map_err(|error| Finding {
            file: file.display().to_string(),
            field: None,
            found: error.to_string(),
            expected: "an array of {name, request, expect: {decision, policies?, advice?}}".to_owned(),
        })?;
        cases.extend(read);
    }
    Ok(cases)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Finding> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let finding = |found: String| Finding {
        file: path.display().to_string(),
        field: None,
        found,
        expected: "a file of cases, or a folder of such files that end in .json".to_owned(),
    };
    let entries = std::fs::read_dir(path).map_err(|error| finding(error.to_string()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| is_json(file)).collect();
    files.sort();
    if files.is_empty() { Err(finding("no *.json".to_owned())) } else { Ok(files) }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

#[cfg(test)]
mod tests {
    use super::{Answer, Expect};

    fn difference(expect: &str, answer: &str) -> Option<(String, String)> {
        let expect: Expect = serde_json::from_str(expect).unwrap();
        let answer: Answer = serde_json::from_str(answer).unwrap();
        expect.difference(&answer)
    }

    #[test]
    fn what_is_left_out_is_not_compared() {
        let answer = r#"{"decision": "step_up", "failed": false, "policies": ["a", "b"], "advice": [["k", "v"]]}"#;
        assert_eq!(difference(r#"{"decision": "step_up"}"#, answer), None);
        assert_eq!(
            difference(r#"{"decision": "step_up", "policies": ["a", "b"], "advice": [["k", "v"]]}"#, answer),
            None
        );
        let (expected, found) = difference(r#"{"decision": "step_up", "policies": ["a"]}"#, answer).unwrap();
        assert_eq!((expected.as_str(), found.as_str()), ("step_up by a", "step_up by a, b"));
        assert!(difference(r#"{"decision": "deny"}"#, answer).is_some());
        assert!(difference(r#"{"decision": "step_up", "advice": []}"#, answer).is_some());
    }
}
