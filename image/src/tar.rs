//! A folder as an archive in the `ustar` format (POSIX.1-2017, pax, "ustar Interchange Format"), sorted by path; owner, group and
//! times are 0.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;
/// Longest path that fits without being split.
const NAME: usize = 100;
/// Where a header's checksum is.
const CHECKSUM: std::ops::Range<usize> = 148..156;
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
    let mut archive = Vec::new();
    append_folder(&mut archive, folder, "")?;
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

fn append_folder(archive: &mut Vec<u8>, folder: &Path, prefix: &str) -> Result<(), TarError> {
    let read = |error| TarError::Read { path: folder.to_owned(), error };
    let entries: Result<Vec<_>, io::Error> = fs::read_dir(folder).map_err(read)?.collect();
    let mut entries = entries.map_err(read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = name(prefix, &entry)?;
        let kind = entry.file_type().map_err(|error| TarError::Read { path: path.clone(), error })?;
        if kind.is_dir() {
            archive.extend_from_slice(&header(&path, &format!("{name}/"), None)?);
            append_folder(archive, &path, &format!("{name}/"))?;
        } else if kind.is_file() {
            let content = fs::read(&path).map_err(|error| TarError::Read { path: path.clone(), error })?;
            archive.extend_from_slice(&header(&path, &name, Some(content.len() as u64))?);
            archive.extend_from_slice(&content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
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

/// The header of a file of that length, or of a folder.
fn header(path: &Path, name: &str, length: Option<u64>) -> Result<[u8; BLOCK], TarError> {
    let fail = |why: String| TarError::Entry { path: path.to_owned(), why };
    if name.len() > NAME {
        return Err(fail(format!("a path of {} bytes, expected at most {NAME}", name.len())));
    }
    let size = length.unwrap_or(0);
    if size > LARGEST {
        return Err(fail(format!("{size} bytes, expected at most {LARGEST}")));
    }
    let (mode, kind) = if length.is_some() { (0o644, '0') } else { (0o755, '5') };
    let mut text = format!("{name:\0<100}{mode:07o}\0{0:07o}\0{0:07o}\0{size:011o}\0{0:011o}\0        {kind}", 0);
    text.push_str(&"\0".repeat(NAME));
    text.push_str("ustar\x0000");
    let mut header = [0; BLOCK];
    header.iter_mut().zip(text.bytes()).for_each(|(byte, from)| *byte = from);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let checksum = format!("{sum:06o}\0 ");
    header.get_mut(CHECKSUM).unwrap_or_default().copy_from_slice(checksum.as_bytes());
    Ok(header)
}
