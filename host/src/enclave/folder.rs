//! The folder of an enclave's sockets, or of a VM's sockets and state: private, locked while its host lives, and swept up by the
//! next host if that one was killed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::getuid;
use tempfile::TempDir;

use crate::limits;

const PREFIX: &str = "cmcp-";
/// How names of what is in it begin.
const CONTENTS: [&str; 2] = ["enclave.sock", "vm."];

/// A folder for sockets, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
    /// Carries the lock, which ends with this process.
    _lock: File,
}

impl Folder {
    /// Makes one where temporary files belong.
    pub(crate) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        // What cannot be swept harms nobody.
        let _ = sweep(parent);
        let permissions = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(permissions).tempdir_in(parent)?;
        let lock = File::open(folder.path())?;
        lock.try_lock()?;
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes our user's folders that no host holds.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)?.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if named && is_abandoned(&entry.path()).unwrap_or(false) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// A folder of ours that nobody has locked and that is old enough for its host to have done so; with nothing else in it.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let old = metadata.modified()?.elapsed().is_ok_and(|age| age > limits::ABANDONED);
    if !metadata.is_dir() || metadata.uid() != getuid().as_raw() || !old || File::open(path)?.try_lock().is_err() {
        return Ok(false);
    }
    let ours = |name: &str| CONTENTS.iter().any(|begin| name.starts_with(begin));
    Ok(fs::read_dir(path)?.flatten().all(|entry| ours(&entry.file_name().to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// A folder as a killed host leaves it.
    fn leave(parent: &Path, name: &str, files: &[&str], age: std::time::Duration) -> std::path::PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        for file in files {
            fs::write(path.join(file), "").unwrap();
        }
        File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        path
    }

    #[test]
    fn only_abandoned_folders_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let old = limits::ABANDONED * 2;
        let sockets = ["enclave.sock", "enclave.sock_1024"];
        let abandoned = [
            leave(parent.path(), "cmcp-a", &sockets, old),
            leave(parent.path(), "cmcp-b", &["vm.vsock_1024", "vm.console"], old),
        ];
        let kept = [
            leave(parent.path(), "cmcp-young", &sockets, std::time::Duration::ZERO),
            leave(parent.path(), "cmcp-other", &["enclave.sock", "notes"], old),
            leave(parent.path(), "other-a", &sockets, old),
        ];
        let held = leave(parent.path(), "cmcp-held", &sockets, old);
        let lock = File::open(&held).unwrap();
        lock.try_lock().unwrap();
        let folder = Folder::new_in(parent.path()).unwrap();
        assert!(abandoned.iter().all(|path| !path.exists()));
        assert!(held.exists() && kept.iter().all(|path| path.exists()));
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
