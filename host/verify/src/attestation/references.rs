//! What a relying party has approved: a file of its own making.

use std::fmt;

use claim::Digest;
use claim::json::read;
use serde::Deserialize;

/// The file's format, `version` in it.
const VERSION: u32 = 1;

/// Reference values: what may answer. The schema is `docs/reference-values.schema.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    version: u32,
    /// Images of the enclave.
    pub images: Vec<Image>,
    /// Configurations: `config_hash` of `host check`.
    pub config_hashes: Vec<Digest>,
    /// Policy bundles: `policy_bundle_hash` of `host check`.
    pub bundle_hashes: Vec<Digest>,
    /// Catalogs: `tool_catalog_hash` of `host check`.
    pub catalog_hashes: Vec<Digest>,
}

/// An image, by what evidence says of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Image {
    /// An executable, in dev mode.
    Software {
        /// SHA-256 of the file.
        artifact: Digest,
    },
}

impl fmt::Display for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software { artifact } => write!(formatter, "software {artifact}"),
        }
    }
}

/// Bytes that are no reference values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reference values (docs/reference-values.schema.json): {0}")]
pub struct ReferencesError(String);

impl References {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Not JSON, another version, a member too many or too few, or a list that approves nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReferencesError> {
        let references: Self = read(bytes).map_err(|error| ReferencesError(error.to_string()))?;
        if references.version != VERSION {
            return Err(ReferencesError(format!("version: found {}, expected {VERSION}", references.version)));
        }
        let empty = [
            ("images", references.images.is_empty()),
            ("config_hashes", references.config_hashes.is_empty()),
            ("bundle_hashes", references.bundle_hashes.is_empty()),
            ("catalog_hashes", references.catalog_hashes.is_empty()),
        ];
        match empty.iter().find(|(_, empty)| *empty) {
            Some((name, _)) => Err(ReferencesError(format!("{name}: empty, so nothing could be approved"))),
            None => Ok(references),
        }
    }
}
