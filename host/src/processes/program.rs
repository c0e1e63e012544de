//! Where a program is, and what its entrypoint holds.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::documents::Launch;
use crate::report::sha256;

/// A program that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// The file that is the entrypoint.
    pub entrypoint: PathBuf,
    /// SHA-256 of the entrypoint.
    pub digest: [u8; 32],
    /// Whether that is what the catalog has.
    pub is_pinned: bool,
}

/// Finds the program and reads its entrypoint.
///
/// # Errors
/// What is missing, in words.
pub fn find(launch: &Launch) -> io::Result<Found> {
    let program = resolve(launch.command.first().map_or("", String::as_str))?;
    let entrypoint = launch.entrypoint.as_ref().map_or_else(|| program.clone(), PathBuf::from);
    let unreadable = |error| io::Error::other(format!("entrypoint {}: {error}", entrypoint.display()));
    let digest = digest(&entrypoint).map_err(unreadable)?;
    let is_pinned = launch.entrypoint_digest == sha256(digest);
    Ok(Found { program, entrypoint, digest, is_pinned })
}

/// An absolute path, or the first program of this name in `PATH`.
fn resolve(name: &str) -> io::Result<PathBuf> {
    let path = Path::new(name);
    if path.is_absolute() {
        return if is_program(path) { Ok(path.to_owned()) } else { Err(missing(&format!("{name} is no program"))) };
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).filter(|folder| folder.is_absolute()).map(|folder| folder.join(path));
    found
        .into_iter()
        .find(|candidate| !name.contains('/') && is_program(candidate))
        .ok_or_else(|| missing(&format!("no program {name:?} in PATH")))
}

fn missing(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, text)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(program: &str, entrypoint: Option<&str>) -> Launch {
        let entrypoint = entrypoint.map(str::to_owned);
        Launch { command: vec![program.to_owned()], entrypoint, ..Launch::default() }
    }

    #[test]
    fn programs_are_found_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("s.py");
        std::fs::write(&script, "abc").unwrap();
        let script = script.to_str().unwrap();
        let mut wanted = launch("sh", Some(script));
        // FIPS 180-2, appendix B.1.
        wanted.entrypoint_digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        let found = find(&wanted).unwrap();
        assert!(found.program.is_absolute() && found.program.ends_with("sh") && found.is_pinned);
        for (program, entrypoint, part) in [
            ("no-such-program", None, "no program \"no-such-program\" in PATH"),
            ("/no/such", None, "/no/such is no program"),
            (script, None, "is no program"),
            ("sh", Some("/no/such"), "entrypoint /no/such"),
            ("sh", Some("/tmp"), "not a regular file"),
        ] {
            let error = find(&launch(program, entrypoint)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
