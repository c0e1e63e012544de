//! The documents of a boot bundle, read from files. The enclave validates them; here they are only found, bounded and
//! carried, and the five settings that are the host's own are picked out.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;
use wire::{Blob, BootBundle, BootRefusal, Document, PolicyFile, StoreHead, Text};

use crate::report::sha256;
use crate::{limits, processes, quickstart};

pub mod archive;
mod catalog;
mod config;
mod policy;

pub use catalog::{Catalog, Launch, Server, Tool};
pub use config::Settings;

/// One thing that is wrong with one document.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{file}: {}found {found}, expected {expected}", .field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
pub struct Finding {
    /// Which file or folder.
    pub file: String,
    /// Which field in it, if any.
    pub field: Option<String>,
    /// What was there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl Finding {
    fn new(file: &Path, field: Option<&str>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            file: file.display().to_string(),
            field: field.map(str::to_owned),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// What the host asks of an enclave beside the documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// To do without hardware.
    pub dev: bool,
    /// To speak TLS with agents all the same.
    pub tls: bool,
}

impl Mode {
    /// Dev mode, for questions and checks.
    pub const DEV: Self = Self { dev: true, tls: false };
}

/// Where the documents are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    Quickstart,
    /// Read from files.
    Files {
        /// The configuration file.
        config: PathBuf,
        /// The policy bundle's folder.
        policy: PathBuf,
        /// The catalog file.
        catalog: PathBuf,
        /// The operator's controls, if the configuration names any.
        controls: Option<PathBuf>,
    },
}

/// Everything that one boot needs, and what the host takes from it for itself.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Where they are from.
    pub origin: Origin,
    /// The host's own settings.
    pub settings: Settings,
    /// What the host needs to know of the catalog.
    pub catalog: Catalog,
    config_json: Vec<u8>,
    policy_files: Vec<PolicyFile>,
    catalog_json: Vec<u8>,
    controls_json: Option<Vec<u8>>,
}

impl Documents {
    /// Reads the configuration file and what it names.
    ///
    /// # Errors
    /// The first thing that is missing, too large or malformed.
    pub fn load(path: &Path) -> Result<Self, Finding> {
        let text = read(path, limits::CONFIG_FILE, None)?;
        let config = config::parse(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let policy = folder.join(&config.policy_bundle_path);
        let catalog = folder.join(&config.catalog_path);
        let catalog_json = read(&catalog, limits::CATALOG_FILE, Some((path, "catalog_path")))?;
        let controls = config.controls_path.map(|path| folder.join(path));
        // What a configuration without its controls means, the enclave decides.
        let there = controls.as_deref().filter(|file| file.exists());
        let controls_json = there.map(|file| read(file, limits::CONTROLS_FILE, Some((path, "controls_path"))));
        Ok(Self {
            policy_files: policy::load(&policy, path)?,
            catalog: Catalog::lenient(&catalog_json),
            settings: config.settings.resolved(folder),
            origin: Origin::Files { config: path.to_owned(), policy, catalog, controls },
            config_json: config.json,
            catalog_json,
            controls_json: controls_json.transpose()?,
        })
    }

    /// The compiled-in quickstart.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn quickstart() -> Result<Self, Finding> {
        let config = config::parse(Path::new("quickstart/cmcp-config.yaml"), quickstart::CONFIG.as_bytes())?;
        let file = |(path, text): (&str, &str)| PolicyFile { path: path.into(), bytes: Blob(text.into()) };
        Ok(Self {
            origin: Origin::Quickstart,
            settings: Settings { store: quickstart::store(), ..config.settings },
            catalog: Catalog::lenient(quickstart::CATALOG.as_bytes()),
            config_json: config.json,
            policy_files: quickstart::POLICY.map(file).into(),
            catalog_json: quickstart::CATALOG.into(),
            controls_json: None,
        })
    }

    /// The policy bundle's files as they are now.
    ///
    /// # Errors
    /// The first thing that is missing or too large, or that there are no files.
    pub fn policy_again(&self) -> Result<Vec<PolicyFile>, Finding> {
        match &self.origin {
            Origin::Files { config, policy, .. } => policy::load(policy, config),
            Origin::Quickstart => {
                let quickstart = Path::new("quickstart/policies");
                Err(Finding::new(
                    quickstart,
                    None,
                    "policies that are compiled in",
                    "a configuration with policies of its own",
                ))
            }
        }
    }

    /// Boots from now on begin with this policy bundle.
    pub fn set_policy(&mut self, files: Vec<PolicyFile>) {
        self.policy_files = files;
    }

    /// The bundle for the wire.
    pub fn bundle(&self, mode: Mode, wall_unix_ms: u64, store_head: Option<StoreHead>) -> BootBundle {
        BootBundle {
            config: Blob(self.config_json.clone()),
            policy: self.policy_files.clone(),
            catalog: Blob(self.catalog_json.clone()),
            controls: self.controls_json.clone().map(Blob),
            wall_unix_ms,
            dev: mode.dev,
            store_head,
            tls: mode.tls,
        }
    }

    /// Where processes of tool servers work: relative words of their commands are relative to the catalog.
    pub fn folder(&self) -> PathBuf {
        let folder = match &self.origin {
            Origin::Files { catalog, .. } => catalog.parent().filter(|folder| !folder.as_os_str().is_empty()),
            Origin::Quickstart => None,
        };
        folder.unwrap_or(Path::new(".")).to_owned()
    }

    /// What of the catalog's processes is not as the catalog has it, on this machine and at this moment.
    pub fn unready(&self) -> Vec<Finding> {
        let catalog = self.name(&Document::Catalog);
        let finding = |launch: &Launch, field: &str, found: String, expected: String| {
            let field = format!("[{}].server.{field}", launch.place);
            Finding::new(Path::new(&catalog), Some(&field), found, expected)
        };
        let unready = |launch: &Launch| match processes::find(launch) {
            Ok(found) if found.is_pinned => None,
            Ok(found) => {
                let (file, digest) = (found.entrypoint.display(), sha256(found.digest));
                let expected =
                    format!("{digest}, which {file} has here; calls will fail with UPSTREAM_ENTRYPOINT_MISMATCH");
                Some(finding(launch, "entrypoint_digest", launch.entrypoint_digest.clone(), expected))
            }
            Err(error) => Some(finding(
                launch,
                "command",
                error.to_string(),
                "a program on the machine that runs the host".to_owned(),
            )),
        };
        self.catalog.launches().filter_map(unready).collect()
    }

    /// The enclave's refusal in terms of the files it is about.
    pub fn finding(&self, refusal: &BootRefusal) -> Finding {
        let text = |text: &Text| text.0.clone();
        Finding {
            file: self.name(&refusal.document),
            field: Some(text(&refusal.field)).filter(|field| !field.is_empty()),
            found: text(&refusal.found),
            expected: text(&refusal.expected),
        }
    }

    fn name(&self, document: &Document) -> String {
        let (config, policy, catalog) = match &self.origin {
            Origin::Files { config, policy, catalog, .. } => (config.as_path(), policy.as_path(), catalog.as_path()),
            Origin::Quickstart => (
                Path::new("quickstart/cmcp-config.yaml"),
                Path::new("quickstart/policies"),
                Path::new("quickstart/catalog.json"),
            ),
        };
        match document {
            Document::None => "enclave".to_owned(),
            Document::Config => config.display().to_string(),
            Document::Policy(path) => policy.join(&path.0).display().to_string(),
            Document::Catalog => catalog.display().to_string(),
            Document::Controls => match &self.origin {
                Origin::Files { controls: Some(controls), .. } => controls.display().to_string(),
                _ => "operator controls".to_owned(),
            },
        }
    }
}

/// The files of a policy bundle that no configuration names.
pub(crate) fn policy_files(folder: &Path) -> Result<Vec<PolicyFile>, Finding> {
    if folder.is_dir() {
        return policy::load(folder, folder);
    }
    let expected = "the folder that holds manifest.json, *.cedar and the schema";
    Err(Finding::new(folder, None, "no folder that can be read", expected))
}

/// A whole file of bounded size. `named_by` is the configuration file and field that led here.
pub(crate) fn read(path: &Path, limit: u64, named_by: Option<(&Path, &str)>) -> Result<Vec<u8>, Finding> {
    let missing = |error: std::io::Error| match named_by {
        Some((config, field)) => {
            Finding::new(config, Some(field), format!("{} ({error})", path.display()), "a file that can be read")
        }
        None => Finding::new(path, None, format!("nothing to read ({error})"), "a file that can be read"),
    };
    let file = File::open(path).map_err(missing)?;
    if !file.metadata().map_err(missing)?.is_file() {
        return Err(missing(std::io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(missing)?;
    if bytes.len() as u64 > limit {
        return Err(Finding::new(path, None, "a larger file", format!("at most {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("policies")).unwrap();
        fs::write(folder.path().join("cmcp-config.yaml"), quickstart::CONFIG).unwrap();
        fs::write(folder.path().join("catalog.json"), quickstart::CATALOG).unwrap();
        for (path, text) in quickstart::POLICY {
            fs::write(folder.path().join("policies").join(path), text).unwrap();
        }
        folder
    }

    fn load(folder: &tempfile::TempDir) -> Result<Documents, Finding> {
        Documents::load(&folder.path().join("cmcp-config.yaml"))
    }

    #[test]
    fn files_and_quickstart_give_the_same_documents() {
        let folder = folder();
        let files = load(&folder).unwrap();
        let mut bundle = files.bundle(Mode::DEV, 7, None);
        let mut quickstart = Documents::quickstart().unwrap().bundle(Mode::DEV, 7, None);
        bundle.policy.sort_by(|a, b| a.path.0.cmp(&b.path.0));
        quickstart.policy.sort_by(|a, b| a.path.0.cmp(&b.path.0));
        assert_eq!(bundle, quickstart);
        assert_eq!(files.settings.listen, "127.0.0.1:8443");
        assert_eq!(files.settings.store, folder.path().join("audit-store"));
    }

    #[test]
    fn a_missing_file_names_the_field() {
        let folder = folder();
        fs::remove_file(folder.path().join("catalog.json")).unwrap();
        let finding = load(&folder).unwrap_err();
        assert_eq!(finding.field.as_deref(), Some("catalog_path"));
        assert!(finding.file.ends_with("cmcp-config.yaml"));
        assert!(finding.found.contains("catalog.json"), "{finding}");
    }

    #[test]
    fn a_missing_configuration_is_named() {
        let finding = Documents::load(Path::new("/nonexistent/x.yaml")).unwrap_err();
        assert_eq!(finding.file, "/nonexistent/x.yaml");
    }

    #[test]
    fn a_refusal_is_told_in_terms_of_files() {
        let folder = folder();
        let refusal = BootRefusal {
            code: wire::RefusalCode::Cedar,
            document: Document::Policy("demo.cedar".into()),
            field: "policy0".into(),
            found: "x".into(),
            expected: "y".into(),
        };
        let finding = load(&folder).unwrap().finding(&refusal).to_string();
        assert!(finding.ends_with("policies/demo.cedar: policy0: found x, expected y"), "{finding}");
    }
}
