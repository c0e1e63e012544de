//! The files of a policy bundle's folder.

use std::fs;
use std::path::{Path, PathBuf};

use wire::{Blob, PolicyFile, Text};

use super::{Finding, read};
use crate::limits;

/// Every `*.cedar` file below the folder, and the manifest and schema in it; sorted by path.
pub(super) fn load(folder: &Path, config: &Path) -> Result<Vec<PolicyFile>, Finding> {
    let root = fs::canonicalize(folder).ok().filter(|root| root.is_dir()).ok_or_else(|| {
        Finding::new(
            config,
            Some("policy_bundle_path"),
            format!("{}, which is no folder that can be read", folder.display()),
            "the folder that holds manifest.json, *.cedar and the schema",
        )
    })?;
    let mut bundle = Bundle { folder, root, files: Vec::new() };
    bundle.collect(Path::new(""), 0)?;
    bundle.files.sort_by(|a, b| a.path.0.cmp(&b.path.0));
    Ok(bundle.files)
}

struct Bundle<'a> {
    folder: &'a Path,
    root: PathBuf,
    files: Vec<PolicyFile>,
}

impl Bundle<'_> {
    fn collect(&mut self, below: &Path, depth: usize) -> Result<(), Finding> {
        let folder = self.folder.join(below);
        if depth > limits::POLICY_DEPTH {
            let expected = format!("at most {} folders", limits::POLICY_DEPTH);
            return Err(Finding::new(&folder, None, "folders inside folders", expected));
        }
        let unreadable =
            |error: std::io::Error| Finding::new(&folder, None, error.to_string(), "a folder that can be read");
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = below.join(entry.file_name());
            if entry.file_type().map_err(unreadable)?.is_dir() {
                self.collect(&path, depth + 1)?;
            } else if wanted(&path) {
                self.add(&path)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> Result<(), Finding> {
        let full = self.folder.join(path);
        let inside = fs::canonicalize(&full).is_ok_and(|target| target.starts_with(&self.root));
        if !inside {
            return Err(Finding::new(&full, None, "a link that leaves the bundle's folder", "a file inside it"));
        }
        let Some(name) = path.to_str() else {
            return Err(Finding::new(&full, None, "a file name that is not UTF-8", "UTF-8"));
        };
        if self.files.len() >= limits::POLICY_FILES {
            let expected = format!("at most {}", limits::POLICY_FILES);
            return Err(Finding::new(self.folder, None, "more policy files", expected));
        }
        let bytes = read(&full, limits::POLICY_FILE, None)?;
        self.files.push(PolicyFile { path: Text(name.to_owned()), bytes: Blob(bytes) });
        Ok(())
    }
}

fn wanted(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cedar")
        || ["manifest.json", "schema.cedarschema", "schema.cedarschema.json"].iter().any(|name| path == Path::new(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        load(folder, Path::new("c.yaml")).unwrap().into_iter().map(|file| file.path.0).collect()
    }

    #[test]
    fn takes_the_bundle_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        for name in ["manifest.json", "schema.cedarschema", "README.md", "z.cedar", "a/b/x.cedar", "a/manifest.json"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        symlink(folder.path().join("z.cedar"), folder.path().join("linked.cedar")).unwrap();
        symlink(folder.path().join("a"), folder.path().join("again")).unwrap();
        assert_eq!(
            names(folder.path()),
            ["a/b/x.cedar", "linked.cedar", "manifest.json", "schema.cedarschema", "z.cedar"]
        );
    }

    #[test]
    fn a_link_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/etc/hostname", folder.path().join("x.cedar")).unwrap();
        let finding = load(folder.path(), Path::new("c.yaml")).unwrap_err().to_string();
        assert!(finding.contains("x.cedar: found a link that leaves"), "{finding}");
    }

    #[test]
    fn an_oversized_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::File::create(folder.path().join("x.cedar")).unwrap().set_len(limits::POLICY_FILE + 1).unwrap();
        assert!(load(folder.path(), Path::new("c.yaml")).is_err());
    }

    #[test]
    fn a_missing_folder_names_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let finding = load(&folder.path().join("policies"), Path::new("c.yaml")).unwrap_err();
        assert_eq!((finding.file.as_str(), finding.field.as_deref()), ("c.yaml", Some("policy_bundle_path")));
    }
}
