//! The layer under the store: one folder of numbered segment files. Tests put a disk here that loses power.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of segment files.
pub trait Disk: Send + Sync + 'static {
    /// An open segment.
    type File: DiskFile;

    /// Numbers of the segments, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn segments(&self) -> io::Result<Vec<u32>>;
    /// A new, empty segment, readable by the owner alone.
    ///
    /// # Errors
    /// It exists already, or cannot be made.
    fn create(&self, number: u32) -> io::Result<Self::File>;
    /// An existing segment.
    ///
    /// # Errors
    /// It does not exist, or cannot be opened.
    fn open(&self, number: u32) -> io::Result<Self::File>;
    /// Takes a segment away.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, number: u32) -> io::Result<()>;
    /// Puts bytes that were cut from a segment aside; nothing is destroyed.
    ///
    /// # Errors
    /// They cannot be written.
    fn keep_torn(&self, number: u32, bytes: &[u8]) -> io::Result<()>;
    /// Makes creations and removals durable.
    ///
    /// # Errors
    /// They may not be durable.
    fn sync(&self) -> io::Result<()>;
}

/// One open segment. Reads and writes name their place, so that a reader needs no lock.
pub trait DiskFile: Send + Sync + 'static {
    /// Size in bytes.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn size(&self) -> io::Result<u64>;
    /// Fills the buffer from this offset.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes at this offset.
    ///
    /// # Errors
    /// Some of them may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// After an error nothing is known of what was written since the last success.
    fn sync(&self) -> io::Result<()>;
}

/// A folder in the file system, locked against a second host.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Carries the lock, which ends with this process.
    handle: File,
}

impl Folder {
    /// Opens the folder, making it if needed, for its owner alone.
    ///
    /// # Errors
    /// It cannot be made or opened; [`io::ErrorKind::WouldBlock`] if another host holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let handle = File::open(path)?;
        handle.try_lock()?;
        Ok(Self { path: path.to_owned(), handle })
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:08}.log"))
    }
}

impl Disk for Folder {
    type File = File;

    fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(segment_number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&self, number: u32) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.file(number))
    }

    fn open(&self, number: u32) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.file(number))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.file(number))
    }

    fn keep_torn(&self, number: u32, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(format!("{number:08}.torn"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        FileExt::write_all_at(&file, bytes, 0)?;
        file.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 8)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_host_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path()).unwrap();
        assert_eq!(Folder::open(folder.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        Folder::open(folder.path()).unwrap();
    }

    #[test]
    fn files_belong_to_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/store");
        let disk = Folder::open(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        disk.create(3).unwrap();
        assert_eq!((mode(&path), mode(&path.join("00000003.log"))), (0o700, 0o600));
        fs::write(path.join("0000004.log"), "").unwrap();
        fs::write(path.join("00000005.torn"), "").unwrap();
        assert_eq!(disk.segments().unwrap(), [3]);
    }
}
