//! What can be booted: a disk, by its path or by the folder that `image/build` made.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A disk, which is read and never written.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) disk: PathBuf,
    pub(super) format: Format,
}

/// How QEMU has to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Sectors alone.
    Raw,
    /// Sectors, and a footer.
    Vhd,
}

/// Why it is none.
#[derive(Debug, Error)]
pub enum ImageError {
    /// There is none.
    #[error("--vm {}: {error}; `image/build` makes target/image/metal", .path.display())]
    Absent {
        /// As it was named, or the disk in the folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It has no partition table.
    #[error("--vm {}: found no disk with a partition table; expected a folder of `image/build`, a raw disk or a fixed VHD", .0.display())]
    NotADisk(PathBuf),
}

const SECTOR: u64 = 512;
const FOOTER: &[u8] = b"conectix";
const TABLE: &[u8] = b"EFI PART";
/// In a folder of `image/build`.
const DISK: &str = "disk.raw";

impl Image {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let disk = if path.is_dir() { path.join(DISK) } else { path.to_owned() };
        let absent = |error| ImageError::Absent { path: disk.clone(), error };
        let disk = disk.canonicalize().map_err(absent)?;
        let mut file = File::open(&disk).map_err(absent)?;
        let table = at(&mut file, SeekFrom::Start(SECTOR)).unwrap_or_default();
        let footer = at(&mut file, SeekFrom::End(-SECTOR.cast_signed())).unwrap_or_default();
        if table != TABLE {
            return Err(ImageError::NotADisk(disk));
        }
        Ok(Self { disk, format: if footer == FOOTER { Format::Vhd } else { Format::Raw } })
    }
}

fn at(file: &mut File, place: SeekFrom) -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    file.seek(place)?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_apart_by_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        let disk = |table: &[u8], footer: &[u8]| {
            let mut bytes = vec![0; 4096];
            bytes[512..520].copy_from_slice(table);
            bytes[3584..3592].copy_from_slice(footer);
            std::fs::write(&path, bytes).unwrap();
        };
        disk(TABLE, &[0; 8]);
        assert_eq!(Image::open(folder.path()).unwrap().format, Format::Raw);
        disk(TABLE, FOOTER);
        assert_eq!(Image::open(&path).unwrap().format, Format::Vhd);
        disk(&[0; 8], FOOTER);
        assert!(Image::open(&path).unwrap_err().to_string().contains("no disk"));
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(Image::open(&path), Err(ImageError::NotADisk(_))));
        std::fs::remove_file(&path).unwrap();
        let said = Image::open(folder.path()).unwrap_err().to_string();
        assert!(said.contains("disk.raw") && said.contains("image/build"), "{said}");
    }
}
