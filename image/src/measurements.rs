//! `measurements.json`: what an image is known by, what it was made of, and what it was made from.

use std::collections::BTreeMap;

use claim::Digest;
use claim::json::{JsonError, read};
use claim::profile::TaggedDigest;
use serde::{Deserialize, Serialize};

use crate::pe::PeError;
use crate::predict;

/// The file's name in an image's folder.
pub const FILE: &str = "measurements.json";
/// The file's format, `version` in it.
const VERSION: u32 = 1;

/// The file. Its `images` go into reference values as they are (docs/reference-values.schema.json).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    version: u32,
    /// `metal`, `azure` or `azure-single`.
    pub flavour: String,
    /// Version of the gateway in it.
    pub gateway_version: String,
    /// What evidence says of it, one for each way to boot it.
    pub images: Vec<Image>,
    /// Which of `images` is which way to boot.
    pub boot_paths: BTreeMap<String, usize>,
    /// The command line that is in it.
    pub cmdline: String,
    /// SHA-256 of each part, by its file's name.
    pub parts: BTreeMap<String, Digest>,
    /// Bytes of each part, by its file's name.
    pub sizes: BTreeMap<String, u64>,
    /// What it was built from, in a fixed order.
    pub inputs: Vec<Input>,
    /// Built from inputs that are not the pinned ones: nobody else can rebuild it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreleasable: bool,
}

/// An image, by what evidence says of it: as in reference values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Image {
    /// PCRs of the SHA-256 bank.
    Pcrs {
        /// By number, in decimal: 4, 9 and 11.
        pcrs: BTreeMap<String, Digest>,
        /// Authenticode hashes of all that firmware may start: the EFI program and the kernel.
        boot_applications: Vec<Digest>,
    },
    /// The launch digest of an SNP guest.
    SevSnp {
        /// MEASUREMENT.
        measurement: TaggedDigest,
    },
}

/// Something that an image was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// A package, a toolchain, a file.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes; of an installed package none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// Names of the parts, in the order in which one is made from those before it.
pub const PARTS: [&str; 8] =
    ["enclave", "vmlinuz", "initramfs.cpio", "initramfs.cpio.xz", "cmdline", "enclave.efi", "disk.raw", "disk.vhd"];

/// What a build made: the bytes of each part.
#[derive(Clone, Copy, Debug)]
pub struct Built<'a> {
    /// The enclave's executable.
    pub enclave: &'a [u8],
    /// The kernel.
    pub vmlinuz: &'a [u8],
    /// The initramfs.
    pub initramfs: &'a [u8],
    /// The initramfs as the EFI program has it.
    pub initrd: &'a [u8],
    /// The command line.
    pub cmdline: &'a str,
    /// The EFI program.
    pub efi: &'a [u8],
    /// The raw disk.
    pub disk: &'a [u8],
    /// The fixed VHD.
    pub vhd: &'a [u8],
}

impl<'a> Built<'a> {
    /// Each part by its file's name, in the order of [`PARTS`].
    pub fn parts(&self) -> [(&'static str, &'a [u8]); 8] {
        let [enclave, vmlinuz, initramfs, initrd, cmdline, efi, disk, vhd] = PARTS;
        [
            (enclave, self.enclave),
            (vmlinuz, self.vmlinuz),
            (initramfs, self.initramfs),
            (initrd, self.initrd),
            (cmdline, self.cmdline.as_bytes()),
            (efi, self.efi),
            (disk, self.disk),
            (vhd, self.vhd),
        ]
    }
}

/// Bytes that are no `measurements.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasurementsError {
    /// Not JSON, a member too many or too few, a digest that is none.
    #[error("no measurements of an image: {0}")]
    Shape(#[from] JsonError),
    /// Another format.
    #[error("no measurements of an image: version: found {0}, expected {VERSION}")]
    Version(u32),
}

impl Measurements {
    /// Measures what was built. What evidence will say is computed from the EFI program alone.
    ///
    /// # Errors
    /// An EFI program that is none, or none whose measurement is predicted.
    pub fn of(flavour: &str, built: &Built<'_>, inputs: Vec<Input>, gateway_version: &str) -> Result<Self, PeError> {
        let prediction = predict::pcrs(built.efi)?;
        let parts = built.parts();
        Ok(Self {
            version: VERSION,
            flavour: flavour.to_owned(),
            gateway_version: gateway_version.to_owned(),
            images: prediction.images,
            boot_paths: prediction.boot_paths,
            cmdline: built.cmdline.to_owned(),
            parts: parts.iter().map(|(name, bytes)| ((*name).to_owned(), Digest::of(bytes))).collect(),
            sizes: parts.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64)).collect(),
            inputs,
            unreleasable: false,
        })
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Not JSON, another version, a member too many or too few.
    pub fn parse(bytes: &[u8]) -> Result<Self, MeasurementsError> {
        let measurements: Self = read(bytes)?;
        if measurements.version == VERSION {
            Ok(measurements)
        } else {
            Err(MeasurementsError::Version(measurements.version))
        }
    }

    /// The file's text: members in a fixed order, two spaces of indentation, a line feed at the end.
    pub fn text(&self) -> String {
        pretty(self)
    }
}

/// JSON as this project publishes it.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    // Only a map with keys that are no strings fails; there is none.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
