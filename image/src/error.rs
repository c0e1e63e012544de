//! Why an image could not be built. Every one ends the build: nothing is written that was not made from the pins.

use std::io;
use std::path::{Path, PathBuf};

use claim::Digest;

use crate::pe::PeError;
use crate::pins::Package;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or a folder.
    #[error("cannot {what} {path}: {error}")]
    File {
        /// Read or write.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No checkout of this project around the current folder.
    #[error("{0} is not in a checkout of this project: no image/pins.toml in it or above it; name one with --checkout")]
    Checkout(PathBuf),
    /// A path that compilers' options cannot carry.
    #[error("{path}: paths with spaces cannot be taken out of the binary; use another folder")]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// A program that is not there.
    #[error("cannot start {program}: {error}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// A program that failed.
    #[error("{program} failed ({status}){}\n{said}", log.as_ref().map(|log| format!(", the whole log: {}", log.display())).unwrap_or_default())]
    Failed {
        /// Its name and first arguments.
        program: String,
        /// How.
        status: String,
        /// Where all of its output is.
        log: Option<PathBuf>,
        /// The end of it.
        said: String,
    },
    /// A file of this project that is not as it must be.
    #[error("{path}: {why}")]
    Input {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A package that the archive does not have.
    #[error(
        "PIN WITHDRAWN {} {}: the archive has {found}. Put the file with sha256 {} into the cache as {}, or run image/build pins \
         update and review what changes; --unpinned builds with what is there, for tests alone",
        package.name, package.version, package.sha256.hex(), cached.display()
    )]
    Withdrawn {
        /// What is pinned.
        package: Box<Package>,
        /// What there is.
        found: String,
        /// Where a copy would be taken from.
        cached: PathBuf,
    },
    /// A package with other bytes than the pinned ones.
    #[error(
        "PIN DIFFERS {} {}: {} has sha256 {}, the pin says {}; somebody changed the file or the pin. If the file is right, run \
         image/build pins update and review what changes",
        package.name, package.version, path.display(), found.hex(), package.sha256.hex()
    )]
    Differs {
        /// What is pinned.
        package: Box<Package>,
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: Digest,
    },
    /// Tools that are missing or of another version.
    #[error(
        "TOOLS DIFFER from image/pins.toml:\n{list}\nInstall them: {install}\n(If the archive no longer has a version: run \
         image/build pins update and review what changes; --unpinned builds with what is there, for tests alone.)"
    )]
    Tools {
        /// One a line.
        list: String,
        /// The command.
        install: String,
    },
    /// Another Rust than the pinned one.
    #[error(
        "TOOLCHAIN DIFFERS: rustc is {found}, rust-toolchain.toml says {expected}; install rustup, which reads that file"
    )]
    Toolchain {
        /// What `rustc` says.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A kernel configuration that is not what was asked for.
    #[error("KERNEL CONFIG of {kernel}:\n{list}")]
    Kernel {
        /// Which.
        kernel: &'static str,
        /// One a line.
        list: String,
    },
    /// A kernel that is not what the same inputs made before.
    #[error(
        "KERNEL DIFFERS: {kernel} has sha256 {}, {other} has {}, both from the same inputs. If {} is not what a build made, remove it; \
         else something gets into the kernel that image/pins.toml does not name",
        found.hex(), expected.hex(), cached.display()
    )]
    KernelDiffers {
        /// Which.
        kernel: &'static str,
        /// Its hash.
        found: Digest,
        /// What it is compared with.
        other: &'static str,
        /// The hash of that.
        expected: Digest,
        /// Where it is from, if it was not built just now.
        cached: PathBuf,
    },
    /// An enclave that must not be in an image.
    #[error("ENCLAVE REFUSED: {0}")]
    Enclave(String),
    /// An EFI program that cannot be made.
    #[error("the EFI program: {0}")]
    Program(#[from] PeError),
    /// A published image that cannot be compared.
    #[error("{path} cannot be verified: {why}")]
    Verify {
        /// Its measurements.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl BuildError {
    pub(crate) fn input(path: &Path, why: &dyn std::fmt::Display) -> Self {
        Self::Input { path: path.to_owned(), why: why.to_string() }
    }
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|error| BuildError::File { what: "read", path: path.to_owned(), error })
}

/// Reads a text.
pub(crate) fn text(path: &Path) -> Result<String, BuildError> {
    std::fs::read_to_string(path).map_err(|error| BuildError::File { what: "read", path: path.to_owned(), error })
}

/// Makes a folder, with those above it.
pub(crate) fn folder(path: &Path) -> Result<(), BuildError> {
    std::fs::create_dir_all(path).map_err(|error| BuildError::File { what: "make", path: path.to_owned(), error })
}

/// Writes a file as a whole or not at all, with the folders above it.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), BuildError> {
    let failed = |error| BuildError::File { what: "write", path: path.to_owned(), error };
    let parent = path.parent().unwrap_or(Path::new("."));
    folder(parent)?;
    let file = tempfile::Builder::new().permissions(readable()).tempfile_in(parent).map_err(failed)?;
    std::fs::write(file.path(), bytes).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

/// A folder that is gone when this is dropped.
pub(crate) fn scratch(within: &Path) -> Result<tempfile::TempDir, BuildError> {
    folder(within)?;
    tempfile::tempdir_in(within).map_err(|error| BuildError::File {
        what: "make a folder in",
        path: within.to_owned(),
        error,
    })
}

/// The hash of a text, short, for lines that people read.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
