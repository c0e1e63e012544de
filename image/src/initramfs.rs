//! The initramfs: one program, what the kernel needs to give it a console, and where it mounts what it reads.

use std::fs::File;
use std::io::{Seek, Write};

use crate::cpio;
use crate::error::BuildError;
use crate::run::{bytes, program};
use crate::tools::PATH;

/// What the kernel's decoder reads (Linux, Documentation/staging/xz.rst): CRC32 alone, and code for x86 made more alike; a dictionary that
/// holds the whole. On one thread, in one block.
const OPTIONS: [&str; 5] = ["--stdout", "--threads=1", "--check=crc32", "--x86", "--lzma2=preset=6,dict=16MiB"];

/// An enclave, the archive that has it, and that as the EFI program has it.
#[derive(Clone, Debug)]
pub struct Initramfs {
    /// The executable.
    pub enclave: Vec<u8>,
    /// [`archive`] of it.
    pub archive: Vec<u8>,
    /// [`pack`] of that.
    pub packed: Vec<u8>,
}

impl Initramfs {
    /// That of an enclave.
    ///
    /// # Errors
    /// As [`pack`].
    pub fn of(enclave: Vec<u8>) -> Result<Self, BuildError> {
        let archive = archive(&enclave);
        Ok(Self { packed: pack(&archive)?, archive, enclave })
    }
}

/// The archive.
pub fn archive(enclave: &[u8]) -> Vec<u8> {
    let folders = ["dev", "proc", "sys"];
    let archive = folders.into_iter().fold(cpio::Archive::new(), cpio::Archive::directory);
    archive.node("dev/console", 0o600, 5, 1).file("init", 0o755, enclave).finish()
}

/// The archive as the EFI program has it, packed by xz.
///
/// # Errors
/// Without xz, or room for a file of the archive's size among temporary ones.
pub fn pack(archive: &[u8]) -> Result<Vec<u8>, BuildError> {
    let file = spooled(archive);
    let file = file.map_err(|error| BuildError::File { what: "write", path: std::env::temp_dir(), error })?;
    bytes(program("xz", PATH).args(OPTIONS).stdin(file))
}

/// A file without a name, read from its beginning.
fn spooled(content: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
