//! `manifest.json`: who wrote a bundle, and when.

use claim::json::Json;
use claim::time::Timestamp;
use serde::Deserialize;
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::{self, refusal};
use crate::inspect::Settings;

/// Longest field in bytes.
const LONGEST: usize = 256;

/// The manifest of a policy bundle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Printable ASCII: it is part of every claim.
    pub(super) version: String,
    authored_at: String,
    /// `authored_at`, read.
    #[serde(skip)]
    pub(super) authored: Timestamp,
    author_identity: String,
    commit_sha: String,
    /// What is inspected besides.
    pub(super) inspection: Option<Settings>,
    /// Ed25519 over the bundle hash; outside the bundle hash.
    pub(super) signature: Option<String>,
}

impl Manifest {
    pub(super) fn read(tree: &Json, document: &Document) -> Result<Self, BootRefusal> {
        let mut manifest: Self = document::read(tree, document, "")?;
        let refuse = |field: &str, found: &str, expected: &str| {
            Err(refusal(RefusalCode::InvalidValue, document, field, &format!("{found:?}"), expected))
        };
        for (field, value) in [("author_identity", &manifest.author_identity), ("commit_sha", &manifest.commit_sha)] {
            if !(1..=LONGEST).contains(&value.len()) || value.chars().any(char::is_control) {
                return refuse(field, value, &format!("1 to {LONGEST} bytes of text without control characters"));
            }
        }
        let version = &manifest.version;
        if !(1..=LONGEST).contains(&version.len()) || !version.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("version", version, &format!("1 to {LONGEST} characters of printable ASCII without spaces"));
        }
        let Ok(authored) = Timestamp::parse(&manifest.authored_at) else {
            return refuse("authored_at", &manifest.authored_at, "a time in UTC such as 2026-06-05T00:00:00Z");
        };
        manifest.authored = authored;
        Ok(manifest)
    }
}
