//! Debian's archive, through apt: what it has, and files from it.
//!
//! With lists of its own, so that neither a root user nor `apt-get update` is needed, and the pinned suite is found whatever the machine
//! follows. The mirror is that of the machine, and apt checks its signatures; what a file must be, its pin says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{BuildError, folder, write};
use crate::run::{answer, output, program};

/// Where apt is.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// Where a machine's own suites are from, if a pin names none: tools are of the suite that the machine is.
const STABLE: [&str; 2] = ["bookworm", "bookworm-security"];

/// What an archive has of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The newest version.
    pub version: String,
    /// Its path in the archive.
    pub file: String,
    /// Its hash, 64 digits.
    pub sha256: String,
}

/// The archive.
pub struct Archive {
    source: Source,
}

enum Source {
    Apt {
        /// Where lists are kept.
        folder: PathBuf,
    },
    #[cfg(test)]
    Made(fn(Option<&str>, &str) -> Candidate),
}

impl Archive {
    /// The machine's, with lists in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self { source: Source::Apt { folder: folder.join("apt") } }
    }

    /// One that is made up.
    #[cfg(test)]
    pub(crate) fn of(candidate: fn(Option<&str>, &str) -> Candidate) -> Self {
        Self { source: Source::Made(candidate) }
    }

    /// The newest version of a package in a suite, or in the one that tools are from.
    ///
    /// # Errors
    /// apt is not there, has no mirror, or cannot reach it.
    pub fn newest(&self, suite: Option<&str>, package: &str) -> Result<Option<Candidate>, BuildError> {
        let lists = match &self.source {
            Source::Apt { folder } => {
                Lists::fetch(folder, &suite.map_or_else(|| STABLE.to_vec(), |suite| vec![suite]))?
            }
            #[cfg(test)]
            Source::Made(candidate) => return Ok(Some(candidate(suite, package))),
        };
        let said = answer(lists.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        Ok(candidate(&String::from_utf8_lossy(&said.stdout)))
    }

    /// Downloads a version of a package into a folder, and returns the file. None: there is no such version.
    ///
    /// # Errors
    /// apt is not there, has no mirror, or cannot reach it.
    pub fn download(
        &self,
        suite: &str,
        package: &str,
        version: &str,
        to: &Path,
    ) -> Result<Option<PathBuf>, BuildError> {
        let wanted = format!("{package}={version}");
        let lists = match &self.source {
            Source::Apt { folder } => Lists::fetch(folder, &[suite])?,
            #[cfg(test)]
            Source::Made(_) => return Ok(None),
        };
        let said = answer(lists.apt("apt-get").args(["-q", "download", &wanted]).current_dir(to))?;
        if !said.status.success() {
            return Ok(None);
        }
        let files =
            std::fs::read_dir(to).map_err(|error| BuildError::File { what: "read", path: to.to_owned(), error })?;
        Ok(files
            .filter_map(Result::ok)
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|end| end == "deb")))
    }
}

/// The fields of the first stanza.
fn candidate(stanza: &str) -> Option<Candidate> {
    let field =
        |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
    Some(Candidate { version: field("Version")?, file: field("Filename")?, sha256: field("SHA256")? })
}

/// Lists of some suites.
struct Lists {
    folder: PathBuf,
}

impl Lists {
    /// Fetches them from the machine's mirror; apt transfers only what changed.
    fn fetch(folder_of_all: &Path, suites: &[&str]) -> Result<Self, BuildError> {
        let lists = Self { folder: folder_of_all.join(suites.join("+")) };
        folder(&lists.folder.join("lists/partial"))?;
        folder(&lists.folder.join("cache/archives/partial"))?;
        let mirrors = sites()?;
        let source = |suite: &&str| {
            let site = mirrors.iter().find(|site| site.contains("security") == suite.ends_with("-security"));
            site.map(|site| format!("deb {site} {suite} main\n"))
        };
        let sources: Option<String> = suites.iter().map(source).collect();
        let why = || {
            BuildError::input(
                Path::new("/etc/apt"),
                &"no mirror of Debian in it: image/build needs apt's sources of Debian 12",
            )
        };
        write(&lists.folder.join("sources.list"), sources.ok_or_else(why)?)?;
        let fresh = lists.folder.join("fresh");
        if !recent(&fresh) {
            output(lists.apt("apt-get").args(["-q", "update"]))?;
            write(&fresh, "")?;
        }
        Ok(lists)
    }

    fn apt(&self, name: &str) -> Command {
        let mut apt = program(name, PATH);
        let at = |option: &str, path: &str| format!("{option}={}", self.folder.join(path).display());
        for option in [
            at("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            at("Dir::State::lists", "lists"),
            at("Dir::Cache", "cache"),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "APT::Update::Error-Mode=any".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }
}

/// Whether lists were fetched in the last ten minutes.
fn recent(mark: &Path) -> bool {
    let age = std::fs::metadata(mark).and_then(|mark| mark.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age.as_secs() < 600)
}

/// Mirrors that the machine follows.
fn sites() -> Result<BTreeSet<String>, BuildError> {
    let targets = output(program("apt-get", PATH).args(["indextargets", "--format", "$(SITE)"]))?;
    Ok(targets.lines().filter(|site| !site.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_of_apt_cache_is_read() {
        let stanza = "Package: p\nVersion: 1:2-3\nDescription: x\nFilename: pool/p.deb\nSHA256: 00ff\n";
        let expected = Candidate { version: "1:2-3".into(), file: "pool/p.deb".into(), sha256: "00ff".into() };
        assert_eq!(candidate(stanza), Some(expected));
        assert_eq!(candidate(""), None);
    }
}
