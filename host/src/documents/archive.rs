//! Documents that come as one archive, as where the host has no files of its own (the image's flavour `azure-single`).

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use tar::{Archive, EntryType};
use tempfile::TempDir;

use super::Finding;
use crate::limits;

/// The configuration in an archive.
pub const CONFIG: &str = "cmcp-config.yaml";

/// Unpacks an archive (`ustar`, as `image payload` makes it) into a folder that is there for as long as it is held; `-` is standard
/// input.
///
/// # Errors
/// It cannot be read, is too large, or has something else than files and folders with paths in it.
pub fn unpack(archive: &Path) -> Result<TempDir, Finding> {
    let wrong = |found: &dyn std::fmt::Display, expected: &str| {
        Finding::new(archive, None, format!("{found}"), expected.to_owned())
    };
    let readable = "an archive that can be read";
    let source: Box<dyn Read> = match archive.to_str() {
        Some("-") => Box::new(stdin().lock()),
        _ => Box::new(File::open(archive).map_err(|error| wrong(&error, readable))?),
    };
    let mut bytes = Vec::new();
    let read = source.take(limits::DOCUMENTS + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(&error, readable))?;
    if bytes.len() as u64 > limits::DOCUMENTS {
        return Err(wrong(&"a larger archive", &format!("at most {} bytes", limits::DOCUMENTS)));
    }
    let folder = tempfile::tempdir().map_err(|error| wrong(&error, "a folder for temporary files (TMPDIR)"))?;
    let expected = "an archive in the ustar format, as `tar --format=ustar -C FOLDER -cf FILE .` makes it";
    let mut archive = Archive::new(&*bytes);
    for entry in archive.entries().map_err(|error| wrong(&error, expected))? {
        let mut entry = entry.map_err(|error| wrong(&error, expected))?;
        let path = entry.path().map_err(|error| wrong(&error, expected))?.display().to_string();
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Directory) {
            return Err(wrong(&format!("{path}, which is neither file nor folder"), "files and folders"));
        }
        match entry.unpack_in(folder.path()) {
            Ok(true) => {}
            Ok(false) => return Err(wrong(&path, "paths inside the archive's folder")),
            Err(error) => return Err(wrong(&format!("{path}: {error}"), "files and folders that fit in one folder")),
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;
    use crate::documents::Documents;
    use crate::quickstart;

    fn archive(entries: &[(&str, EntryType, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = Builder::new(file.reopen().unwrap());
        for (path, kind, bytes) in entries {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.finish().unwrap();
        file
    }

    #[test]
    fn documents_come_out_of_an_archive() {
        let policies: Vec<_> =
            quickstart::POLICY.iter().map(|(path, text)| (format!("./policies/{path}"), text.as_bytes())).collect();
        let mut entries = vec![
            ("cmcp-config.yaml", EntryType::Regular, quickstart::CONFIG.as_bytes()),
            ("catalog.json", EntryType::Regular, quickstart::CATALOG.as_bytes()),
        ];
        entries.extend(policies.iter().map(|(path, bytes)| (path.as_str(), EntryType::Regular, *bytes)));
        let folder = unpack(archive(&entries).path()).unwrap();
        let documents = Documents::load(&folder.path().join(CONFIG)).unwrap();
        assert_eq!(documents.policy_files.len(), policies.len());
    }

    #[test]
    fn what_is_no_document_is_named() {
        let file = |path, kind| archive(&[(path, kind, b"x")]);
        for (archive, found) in [
            (file("../outside", EntryType::Regular), "../outside"),
            (file("link", EntryType::Symlink), "link, which is neither"),
            (file("device", EntryType::Char), "device, which is neither"),
        ] {
            let finding = unpack(archive.path()).unwrap_err();
            assert!(finding.found.contains(found), "{finding}");
        }
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), [b'x'; 2048]).unwrap();
        assert!(unpack(text.path()).unwrap_err().expected.contains("ustar"));
        text.as_file().set_len(limits::DOCUMENTS + 1).unwrap();
        assert_eq!(unpack(text.path()).unwrap_err().found, "a larger archive");
        assert!(unpack(Path::new("/nonexistent/documents.tar")).unwrap_err().expected.contains("can be read"));
    }
}
