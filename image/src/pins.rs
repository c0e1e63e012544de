//! `image/pins.toml`: every input that is not in the repository, and its change.

use std::path::Path;

use claim::Digest;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TomlError, value};

use crate::apt::Archive;
use crate::error::{BuildError, text, write};

/// The list of inputs.
#[derive(Clone, Debug)]
pub struct Pins {
    /// Packages used as bytes.
    pub data: Vec<Package>,
    /// Packages that tests alone use as bytes.
    pub test: Vec<Package>,
    /// Packages that must be installed.
    pub tools: Vec<Tool>,
    /// Kernels that were built of them before.
    pub kernels: Vec<Recorded>,
}

/// A kernel that was built before, twice and elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Which kernel.
    pub name: String,
    /// The hash of everything that it was made from.
    pub inputs: Digest,
    /// Its bytes' hash.
    pub sha256: Digest,
}

/// A package used as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The suite that has it.
    pub suite: String,
    /// Its path in the archive.
    pub file: String,
    /// Its bytes' hash.
    pub sha256: Digest,
}

/// A package that must be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Pins {
    /// Reads the list.
    ///
    /// # Errors
    /// A file that is none, a member that is missing, a hash that is none.
    pub fn read(path: &Path) -> Result<Self, BuildError> {
        Self::parse(&text(path)?).map_err(|why| BuildError::input(path, &why))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document = text.parse::<DocumentMut>().map_err(|error| error.to_string())?;
        let list = |kind: &str| document.get(kind).and_then(|item| item.as_array_of_tables());
        let packages = |kind| list(kind).into_iter().flatten().map(package).collect::<Result<Vec<_>, _>>();
        let tools = list("tool").into_iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?;
        let kernels = list("kernel").into_iter().flatten().map(recorded).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { data: packages("data")?, test: packages("test")?, tools, kernels })
    }

    /// The package of that name that images are made from.
    ///
    /// # Errors
    /// It is not pinned.
    pub fn package(&self, path: &Path, name: &str) -> Result<&Package, BuildError> {
        let package = self.data.iter().find(|package| package.name == name);
        package.ok_or_else(|| BuildError::input(path, &format!("no [[data]] with package = {name:?}")))
    }
}

fn package(table: &Table) -> Result<Package, String> {
    let Tool { name, version } = tool(table)?;
    let sha256 = hash(table, &name, "sha256")?;
    Ok(Package { name, version, suite: member(table, "suite")?, file: member(table, "file")?, sha256 })
}

fn tool(table: &Table) -> Result<Tool, String> {
    Ok(Tool { name: member(table, "package")?, version: member(table, "version")? })
}

fn recorded(table: &Table) -> Result<Recorded, String> {
    let name = member(table, "name")?;
    let (inputs, sha256) = (hash(table, &name, "inputs")?, hash(table, &name, "sha256")?);
    Ok(Recorded { name, inputs, sha256 })
}

fn hash(table: &Table, of: &str, name: &str) -> Result<Digest, String> {
    Digest::parse(&member(table, name)?).map_err(|error| format!("{of}: {name}: {error}"))
}

fn member(table: &Table, name: &str) -> Result<String, String> {
    let text = table.get(name).and_then(|item| item.as_str());
    text.map(str::to_owned)
        .ok_or_else(|| format!("an entry has no {name}, or one that is no text: {}", table.to_string().trim()))
}

/// Writes into the list what the archive has now, and keeps everything else in it. Returns what changed, a line each.
///
/// # Errors
/// No archive, a package that it no longer has at all.
pub fn update(path: &Path, archive: &Archive) -> Result<Vec<String>, BuildError> {
    let mut document = document(path)?;
    let mut changes = Vec::new();
    for kind in ["data", "test", "tool"] {
        let tables = document.get_mut(kind).and_then(|item| item.as_array_of_tables_mut());
        for table in tables.into_iter().flat_map(ArrayOfTables::iter_mut) {
            changes.extend(renew(table, kind != "tool", archive).map_err(|error| match error {
                Renewal::Entry(why) => BuildError::input(path, &why),
                Renewal::Archive(error) => error,
            })?);
        }
    }
    if !changes.is_empty() {
        write(path, document.to_string())?;
    }
    Ok(changes)
}

/// Writes into the list what a kernel is, in place of what it was before.
///
/// # Errors
/// A list that is none.
pub fn record(path: &Path, kernel: &Recorded) -> Result<(), BuildError> {
    let mut document = document(path)?;
    let kernels = document.entry("kernel").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let kernels = kernels.as_array_of_tables_mut().ok_or_else(|| BuildError::input(path, &"kernel is no list"))?;
    let is_it = |table: &Table| table.get("name").and_then(Item::as_str) == Some(&kernel.name);
    if !kernels.iter().any(is_it) {
        kernels.push(Table::new());
    }
    // A new one is the last, and has no name yet.
    for table in kernels.iter_mut().filter(|table| is_it(table) || table.is_empty()) {
        set(table, "name", kernel.name.clone());
        set(table, "inputs", kernel.inputs.hex());
        set(table, "sha256", kernel.sha256.hex());
    }
    write(path, document.to_string())
}

/// The list as it is written, to be changed.
fn document(path: &Path) -> Result<DocumentMut, BuildError> {
    text(path)?.parse().map_err(|error: TomlError| BuildError::input(path, &error))
}

enum Renewal {
    Entry(String),
    Archive(BuildError),
}

fn renew(table: &mut Table, bytes: bool, archive: &Archive) -> Result<Option<String>, Renewal> {
    let Tool { name, version } = tool(table).map_err(Renewal::Entry)?;
    let suite = member(table, "suite").ok();
    let newest = archive.newest(suite.as_deref(), &name).map_err(Renewal::Archive)?;
    let newest = newest.ok_or_else(|| Renewal::Entry(format!("{name}: the archive has no such package")))?;
    let same = version == newest.version && (!bytes || member(table, "sha256").is_ok_and(|old| old == newest.sha256));
    if same {
        return Ok(None);
    }
    let change = format!("{name}: {version} -> {}", newest.version);
    set(table, "version", newest.version);
    if bytes {
        set(table, "file", newest.file);
        set(table, "sha256", newest.sha256);
    }
    Ok(Some(change))
}

fn set(table: &mut Table, name: &str, text: String) {
    table.insert(name, value(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::Candidate;

    fn pinned() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("pins.toml")
    }

    #[test]
    fn the_projects_own_list_is_read() {
        let pins = Pins::read(&pinned()).unwrap();
        assert_eq!(
            pins.data.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
            ["linux-source-6.12", "systemd-boot-efi"]
        );
        assert!(pins.data.iter().chain(&pins.test).all(|package| package.file.starts_with("pool/")));
        assert!(pins.tools.iter().any(|tool| tool.name == "gcc-12"));
    }

    #[test]
    fn an_entry_without_a_hash_or_with_one_that_is_none_is_refused() {
        let entry = "[[data]]\npackage = \"p\"\nversion = \"1\"\nsuite = \"s\"\nfile = \"f\"\n";
        assert!(Pins::parse(entry).unwrap_err().contains("no sha256"));
        assert!(Pins::parse(&format!("{entry}sha256 = \"12\"\n")).unwrap_err().contains("p: sha256"));
    }

    #[test]
    fn an_update_changes_versions_and_hashes_and_keeps_every_comment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.toml");
        std::fs::copy(pinned(), &path).unwrap();
        let before = text(&path).unwrap();
        let archive = Archive::of(|_, package| Candidate {
            version: format!("{package}-next"),
            file: "pool/next.deb".to_owned(),
            sha256: "11".repeat(32),
        });
        let changes = update(&path, &archive).unwrap();
        let pins = Pins::read(&path).unwrap();
        assert_eq!(changes.len(), pins.data.len() + pins.test.len() + pins.tools.len());
        assert!(pins.tools.iter().all(|tool| tool.version == format!("{}-next", tool.name)));
        assert!(pins.data.iter().all(|package| package.sha256 == Digest::parse(&"11".repeat(32)).unwrap()));
        let comments =
            |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(comments(&text(&path).unwrap()), comments(&before));
        assert!(update(&path, &archive).unwrap().is_empty());
    }

    #[test]
    fn a_kernel_is_recorded_in_place_of_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.toml");
        std::fs::write(&path, "# Packages.\n[[tool]]\npackage = \"bc\"\nversion = \"1\"\n").unwrap();
        let kernel = |name: &str, inputs: &str| Recorded {
            name: name.to_owned(),
            inputs: Digest::of(inputs),
            sha256: Digest::of(name),
        };
        for kernel in [kernel("metal", "a"), kernel("azure", "a"), kernel("metal", "b")] {
            record(&path, &kernel).unwrap();
        }
        assert_eq!(Pins::read(&path).unwrap().kernels, [kernel("metal", "b"), kernel("azure", "a")]);
        assert!(text(&path).unwrap().starts_with("# Packages.\n[[tool]]\n"));
    }
}
