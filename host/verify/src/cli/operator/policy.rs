//! A policy bundle's files and their hash. Whether the policies mean anything, `host check` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use claim::Digest;
use claim::hashes::bundle_hash;
use claim::json::Json;

use super::super::{CliError, input};

/// Where the signature goes.
pub(super) const MANIFEST: &str = "manifest.json";

const SCHEMA: &str = "schema.cedarschema";

/// Deepest folder, as the host reads it.
const DEPTH: usize = 16;

/// The bundle's hash and manifest.
pub(super) fn read(folder: &Path) -> Result<(Digest, Json), CliError> {
    let manifest = super::json(&folder.join(MANIFEST))?;
    let schema = text(&folder.join(SCHEMA))?;
    let mut policies = BTreeMap::new();
    collect(folder, &PathBuf::new(), 0, &mut policies)?;
    let files = policies.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let hash = bundle_hash(&manifest, files, &schema)
        .map_err(|error| CliError::Input(format!("{}: {error}", folder.join(MANIFEST).display())))?;
    Ok((hash, manifest))
}

fn collect(folder: &Path, below: &Path, depth: usize, found: &mut BTreeMap<String, String>) -> Result<(), CliError> {
    let here = folder.join(below);
    let unreadable = |error| CliError::Read { path: here.display().to_string(), error };
    for entry in fs::read_dir(&here).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = below.join(entry.file_name());
        if entry.file_type().map_err(unreadable)?.is_dir() {
            if depth == DEPTH {
                return Err(CliError::Input(format!(
                    "{}: more than {DEPTH} folders inside each other",
                    here.display()
                )));
            }
            collect(folder, &path, depth + 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "cedar") {
            let name = path
                .to_str()
                .ok_or_else(|| CliError::Input(format!("{}: a name that is not UTF-8", path.display())))?;
            found.insert(name.to_owned(), text(&folder.join(&path))?);
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(input::read(path)?).map_err(|error| CliError::Input(format!("{}: {error}", path.display())))
}
