//! A policy bundle with its catalog, for the commands that ask one without a configuration.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wire::{Blob, Document, PolicyQuestions};

use crate::control::ControlError;
use crate::documents::{Finding, policy_files, read};
use crate::enclave::{self, Enclave};
use crate::limits;

/// A policy bundle and the tools it is about.
pub(super) struct Bundle {
    pub(super) folder: PathBuf,
    pub(super) catalog: PathBuf,
}

impl Bundle {
    /// `catalog`, or `catalog.json` beside the bundle's folder.
    pub(super) fn new(folder: PathBuf, catalog: Option<PathBuf>) -> Self {
        let beside = || folder.canonicalize().unwrap_or_else(|_| folder.clone()).with_file_name("catalog.json");
        Self { catalog: catalog.unwrap_or_else(beside), folder }
    }

    /// Asks the enclave an array of requests. `Err` inside is what is wrong with a request: its place, and what to mend.
    pub(super) async fn ask(
        &self,
        requests: &[Value],
        explain: bool,
    ) -> Result<Result<Vec<Value>, Fault>, Box<dyn Error>> {
        let questions = PolicyQuestions {
            policy: policy_files(&self.folder)?,
            catalog: Blob(read(&self.catalog, limits::CATALOG_FILE, None)?),
            requests: Blob(serde_json::to_vec(requests)?),
            explain,
        };
        let mut enclave = Enclave::start(&enclave::sibling()?).await?;
        match enclave.control.questions(questions).await {
            Ok(answers) => Ok(Ok(serde_json::from_slice(&answers)?)),
            Err(ControlError::Refused(refusal)) if refusal.document == Document::None => {
                Ok(Err(Fault::of(&refusal.field.0, &refusal.found.0, &refusal.expected.0)))
            }
            Err(error) => Err(explain_to(self, error)),
        }
    }
}

fn explain_to(bundle: &Bundle, error: ControlError) -> Box<dyn Error> {
    explain(error, Some(&bundle.folder), &bundle.catalog)
}

/// What is wrong with one request.
pub(super) struct Fault {
    /// Which, from 0.
    pub(super) index: Option<usize>,
    /// What, and what was expected.
    pub(super) text: String,
}

impl Fault {
    /// The enclave's field is `[2].tool` for the third request's tool.
    fn of(field: &str, found: &str, expected: &str) -> Self {
        let place = field.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let index = place.and_then(|(index, _)| index.parse().ok());
        let inside = place.map_or(field, |(_, rest)| rest.trim_start_matches('.'));
        let colon = if inside.is_empty() { "" } else { ": " };
        Self { index, text: format!("{inside}{colon}found {found}, expected {expected}") }
    }
}

/// The enclave's refusal in terms of the files it is about.
pub(super) fn explain(error: ControlError, policy: Option<&Path>, catalog: &Path) -> Box<dyn Error> {
    let ControlError::Refused(refusal) = error else { return error.into() };
    let file = match (&refusal.document, policy) {
        (Document::Policy(path), Some(folder)) => folder.join(&path.0).display().to_string(),
        (Document::Catalog, _) => catalog.display().to_string(),
        (Document::None, _) => "enclave".to_owned(),
        (other, _) => format!("{other:?}"),
    };
    let field = Some(refusal.field.0).filter(|field| !field.is_empty());
    Finding { file, field, found: refusal.found.0, expected: refusal.expected.0 }.into()
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn faults_name_the_request() {
        let fault = Fault::of("[12].tool", "nothing", "a tool");
        assert_eq!((fault.index, fault.text.as_str()), (Some(12), "tool: found nothing, expected a tool"));
        let fault = Fault::of("", "1", "an array");
        assert_eq!((fault.index, fault.text.as_str()), (None, "found 1, expected an array"));
    }
}
