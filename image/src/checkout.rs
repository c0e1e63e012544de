//! The checkout that is built, and where its builds are.

use std::path::{Path, PathBuf};

use crate::error::BuildError;
use crate::flavour::{Flavour, Kernel};

/// What tells a checkout of this project.
const MARK: &str = "image/pins.toml";

/// A checkout of this project.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The one that `path` is in.
    ///
    /// # Errors
    /// There is none.
    pub fn around(path: &Path) -> Result<Self, BuildError> {
        let absolute = path.canonicalize();
        let absolute = absolute.map_err(|error| BuildError::File { what: "find", path: path.to_owned(), error })?;
        let root = absolute.ancestors().find(|folder| folder.join(MARK).is_file());
        root.map(|root| Self { root: root.to_owned() }).ok_or(BuildError::Checkout(absolute))
    }

    /// Its first folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The list of inputs.
    pub fn pins(&self) -> PathBuf {
        self.root.join(MARK)
    }

    /// Where built images are, each in a folder of its flavour's name.
    pub fn images(&self) -> PathBuf {
        self.root.join("target/image")
    }

    /// Where cargo builds the enclaves.
    pub fn target(&self) -> PathBuf {
        self.images().join("build")
    }

    /// Where an image is rebuilt for comparison.
    pub fn rebuilt(&self) -> PathBuf {
        self.images().join("rebuilt")
    }

    /// What a step said.
    pub fn log(&self, step: &str) -> PathBuf {
        self.images().join("log").join(format!("{step}.log"))
    }

    /// The fragments of a kernel's configuration.
    pub fn fragments(&self, kernel: Kernel) -> [PathBuf; 2] {
        ["base", kernel.name()].map(|name| self.root.join("image/kernel").join(format!("{name}.config")))
    }

    /// What must be true of kernels' configurations.
    pub fn policy(&self) -> PathBuf {
        self.root.join("image/kernel/policy")
    }
}

/// An image's folder.
pub(crate) fn image(images: &Path, flavour: Flavour) -> PathBuf {
    images.join(flavour.name())
}
