//! A folder as an archive in the `ustar` format (POSIX.1-2017, pax, "ustar Interchange Format"), sorted by path; owner, group and
//! times are 0.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::tar::{Builder, EntryType, Header};

/// Longest path that fits without being split.
const NAME: usize = 100;
/// Largest number of eleven octal digits.
const LARGEST: u64 = (1 << 33) - 1;

/// Why a folder is no archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Something that the archive does not hold.
    #[error("{path}: {why}")]
    Entry {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and what is expected.
        why: String,
    },
}

/// The folder's files, with paths relative to it.
///
/// # Errors
/// A file that cannot be read, one that is neither file nor folder, a path longer than 100 bytes or not printable ASCII.
pub fn of(folder: &Path) -> Result<Vec<u8>, TarError> {
    let mut archive = Builder::new(Vec::new());
    append_folder(&mut archive, folder, "")?;
    archive.into_inner().map_err(|error| TarError::Read { path: folder.to_owned(), error })
}

fn append_folder(archive: &mut Builder<Vec<u8>>, folder: &Path, prefix: &str) -> Result<(), TarError> {
    let read = |error| TarError::Read { path: folder.to_owned(), error };
    let entries: Result<Vec<_>, io::Error> = fs::read_dir(folder).map_err(read)?.collect();
    let mut entries = entries.map_err(read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = name(prefix, &entry)?;
        let kind = entry.file_type().map_err(|error| TarError::Read { path: path.clone(), error })?;
        if kind.is_dir() {
            let name = format!("{name}/");
            append(archive, &path, &name, None)?;
            append_folder(archive, &path, &name)?;
        } else if kind.is_file() {
            let content = fs::read(&path).map_err(|error| TarError::Read { path: path.clone(), error })?;
            append(archive, &path, &name, Some(&content))?;
        } else {
            return Err(TarError::Entry {
                path,
                why: "neither a file nor a folder; links are not followed".to_owned(),
            });
        }
    }
    Ok(())
}

fn name(prefix: &str, entry: &fs::DirEntry) -> Result<String, TarError> {
    let name = entry.file_name().into_string().ok().filter(|name| name.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    let why = "a name that is not printable ASCII".to_owned();
    name.map(|name| format!("{prefix}{name}")).ok_or_else(|| TarError::Entry { path: entry.path(), why })
}

/// Appends a file with that content, or a folder.
fn append(archive: &mut Builder<Vec<u8>>, path: &Path, name: &str, content: Option<&[u8]>) -> Result<(), TarError> {
    let fail = |why: String| TarError::Entry { path: path.to_owned(), why };
    if name.len() > NAME {
        return Err(fail(format!("a path of {} bytes, expected at most {NAME}", name.len())));
    }
    let (mode, kind) = if content.is_some() { (0o644, EntryType::Regular) } else { (0o755, EntryType::Directory) };
    let content = content.unwrap_or_default();
    let size = content.len() as u64;
    if size > LARGEST {
        return Err(fail(format!("{size} bytes, expected at most {LARGEST}")));
    }
    let mut header = Header::new_ustar();
    header.set_path(name).map_err(|error| fail(error.to_string()))?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    archive.append(&header, content).map_err(|error| fail(error.to_string()))
}
