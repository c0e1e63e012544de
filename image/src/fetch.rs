//! Packages by their pins: from the cache, else from the archive; never used before their hash is checked.

use std::path::{Path, PathBuf};

use claim::Digest;

use crate::apt::Archive;
use crate::error::{BuildError, folder, read, scratch, write};
use crate::pins::Package;

/// What was downloaded and built before, by hash.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// A package's file.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its hash, checked.
    pub sha256: Digest,
    /// Its version: the pinned one, or with `--unpinned` the one that there is.
    pub version: String,
    /// From the cache, or from where else.
    pub from: &'static str,
}

impl Cache {
    /// `$CMCP_IMAGE_CACHE`, else `cmcp-image` in `$XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn of_user() -> Result<Self, BuildError> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let caches =
            || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache"))).unwrap_or_else(std::env::temp_dir);
        let root = var("CMCP_IMAGE_CACHE").unwrap_or_else(|| caches().join("cmcp-image"));
        folder(&root)?;
        let root = root.canonicalize().map_err(|error| BuildError::File { what: "find", path: root.clone(), error })?;
        Ok(Self { root })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file of that hash is, if it is there.
    pub fn download(&self, sha256: &Digest) -> PathBuf {
        self.root.join("downloads").join(sha256.hex())
    }

    /// Where a kernel of that key is, if it is there.
    pub fn kernel(&self, key: &Digest) -> PathBuf {
        self.root.join("kernel").join(key.hex())
    }
}

/// The package's file.
///
/// # Errors
/// The archive cannot be reached, has no such version, or has other bytes.
pub fn fetch(package: &Package, cache: &Cache) -> Result<Fetched, BuildError> {
    let path = cache.download(&package.sha256);
    let from = if path.exists() { "cache" } else { "archive" };
    if from == "archive" {
        download(package, cache, &path)?;
    }
    let found = Digest::of(read(&path)?);
    if found != package.sha256 {
        return Err(differs(package, &path, found));
    }
    Ok(Fetched { path, sha256: found, version: package.version.clone(), from })
}

/// The package's file, or whatever the archive has instead.
///
/// # Errors
/// The archive cannot be reached, or has none at all.
pub fn fetch_unpinned(package: &Package, cache: &Cache) -> Result<Fetched, BuildError> {
    let refused = match fetch(package, cache) {
        Err(error @ BuildError::Withdrawn { .. }) => error,
        other => return other,
    };
    let archive = Archive::at(cache.root());
    let Some(newest) = archive.newest(Some(&package.suite), &package.name)? else { return Err(refused) };
    let sha256 = Digest::parse(&newest.sha256).map_err(|error| BuildError::input(Path::new(&newest.file), &error))?;
    let instead = Package { version: newest.version, file: newest.file, sha256, ..package.clone() };
    Ok(Fetched { from: "archive, NOT PINNED", ..fetch(&instead, cache)? })
}

fn download(package: &Package, cache: &Cache, path: &Path) -> Result<(), BuildError> {
    let archive = Archive::at(cache.root());
    let scratch = scratch(cache.root())?;
    let Some(file) = archive.download(&package.suite, &package.name, &package.version, scratch.path())? else {
        let newest = archive.newest(Some(&package.suite), &package.name)?;
        return Err(withdrawn(package, path, newest.map(|newest| newest.version)));
    };
    let bytes = read(&file)?;
    let found = Digest::of(&bytes);
    if found == package.sha256 { write(path, bytes) } else { Err(differs(package, Path::new(&package.file), found)) }
}

fn withdrawn(package: &Package, path: &Path, newest: Option<String>) -> BuildError {
    let found = newest.unwrap_or_else(|| "none".to_owned()) + " in " + &package.suite;
    BuildError::Withdrawn { package: Box::new(package.clone()), found, cached: path.to_owned() }
}

fn differs(package: &Package, path: &Path, found: Digest) -> BuildError {
    BuildError::Differs { package: Box::new(package.clone()), path: path.to_owned(), found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_cache_with_other_bytes_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { root: folder.path().to_owned() };
        let package = Package {
            name: "p".to_owned(),
            version: "1".to_owned(),
            suite: "s".to_owned(),
            file: "pool/p.deb".to_owned(),
            sha256: Digest::of(b"right"),
        };
        write(&cache.download(&package.sha256), b"right").unwrap();
        assert_eq!(fetch(&package, &cache).unwrap().from, "cache");
        write(&cache.download(&package.sha256), b"wrong").unwrap();
        let error = fetch(&package, &cache).unwrap_err().to_string();
        assert!(error.starts_with("PIN DIFFERS p 1: "), "{error}");
    }
}
