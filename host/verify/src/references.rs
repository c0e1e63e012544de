//! What a relying party has approved: a file of its own making. The schema is `docs/reference-values.schema.json`.

mod platforms;

use std::collections::BTreeMap;
use std::fmt;

use claim::Digest;
use claim::b64u::Octets;
use claim::bootlog::Isolation;
use claim::json::read;
use claim::profile::TaggedDigest;
use serde::Deserialize;

use crate::evidence::x509::{Anchor, Anchors, Certificate, RootKind};

pub use platforms::{AzurePolicy, MinimumTcb, Platforms, SnpPolicy, TcbVersions, TdxPolicy};

/// The file's format, `version` in it.
const VERSION: u32 = 1;
/// PCRs that an approved image must name: boot chain, command line with initrd, and sections.
const PINNED: [&str; 3] = ["4", "9", "11"];

/// Reference values: what may answer, and what is asked of the hardware.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    version: u32,
    /// Images of the enclave.
    pub images: Vec<Image>,
    /// Configurations: `config_hash` of `host check`.
    pub config_hashes: Vec<Digest>,
    /// Policy bundles: `policy_bundle_hash` of `host check`.
    pub bundle_hashes: Vec<Digest>,
    /// Catalogs: `tool_catalog_hash` of `host check`.
    pub catalog_hashes: Vec<Digest>,
    /// What may keep the enclave apart from the host.
    #[serde(default = "vm")]
    pub isolation: Vec<Isolation>,
    /// What is asked of the hardware beyond what is always asked.
    #[serde(default)]
    pub platforms: Platforms,
    /// Roots besides the vendors' own, which are built in.
    #[serde(default)]
    roots: Vec<Root>,
}

fn vm() -> Vec<Isolation> {
    vec![Isolation::Vm]
}

/// An image, by what evidence says of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Image {
    /// An executable, in dev mode.
    Software {
        /// SHA-256 of the file.
        artifact: Digest,
    },
    /// PCRs of the SHA-256 bank: a measured boot, on Azure or with a TPM.
    Pcrs {
        /// By number, in decimal: at least 4, 9 and 11.
        pcrs: BTreeMap<String, Digest>,
        /// Authenticode hashes of everything that firmware may start. If they are there, PCR 4 is judged by the event log: it
        /// must replay to the quote, and what it starts must be exactly these.
        #[serde(default)]
        boot_applications: Vec<Digest>,
    },
    /// The launch digest of an SNP guest whose firmware has the image's hashes.
    SevSnp {
        /// MEASUREMENT.
        measurement: TaggedDigest,
    },
    /// A trust domain.
    Tdx {
        /// MRTD.
        mrtd: TaggedDigest,
        /// RTMR 0.
        rtmr0: TaggedDigest,
        /// RTMR 1.
        rtmr1: TaggedDigest,
        /// RTMR 2.
        rtmr2: TaggedDigest,
    },
}

impl fmt::Display for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software { artifact } => write!(formatter, "software {artifact}"),
            Self::Pcrs { pcrs, .. } => {
                let values: Vec<_> = pcrs.iter().map(|(number, value)| format!("PCR {number} {value}")).collect();
                formatter.write_str(&values.join(", "))
            }
            Self::SevSnp { measurement } => write!(formatter, "SEV-SNP launch digest {measurement}"),
            Self::Tdx { mrtd, .. } => write!(formatter, "TDX MRTD {mrtd}"),
        }
    }
}

/// A root that the relying party adds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    #[serde(rename = "type")]
    kind: RootName,
    certificate: Octets,
    #[serde(default)]
    test_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RootName {
    AmdArk,
    IntelSgx,
    AzureVtpm,
    Tpm,
}

impl From<RootName> for RootKind {
    fn from(name: RootName) -> Self {
        match name {
            RootName::AmdArk => Self::AmdArk,
            RootName::IntelSgx => Self::IntelSgx,
            RootName::AzureVtpm => Self::AzureVtpm,
            RootName::Tpm => Self::Tpm,
        }
    }
}

/// Bytes that are no reference values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reference values (docs/reference-values.schema.json): {0}")]
pub struct ReferencesError(String);

/// The vendors' roots, and those of the reference values if there are any.
///
/// # Errors
/// A root that is no certificate: [`References::parse`] excludes it.
pub fn anchors(references: Option<&References>) -> Result<Anchors, ReferencesError> {
    let added = references.map_or_else(|| Ok(Vec::new()), References::roots)?;
    Anchors::with(added).map_err(|error| ReferencesError(error.to_string()))
}

impl References {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Not JSON, another version, a member too many or too few, a list that approves nothing, an image without one of its
    /// PCRs, a digest of another length, a root that is no certificate.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReferencesError> {
        let references: Self = read(bytes).map_err(|error| ReferencesError(error.to_string()))?;
        references.check().map_err(ReferencesError)?;
        Ok(references)
    }

    fn roots(&self) -> Result<Vec<Anchor>, ReferencesError> {
        let mut added = Vec::new();
        for (index, root) in self.roots.iter().enumerate() {
            let certificate = Certificate::from_der(&root.certificate.0)
                .map_err(|error| ReferencesError(format!("roots[{index}].certificate: {error}")))?;
            added.push(Anchor { certificate, kind: root.kind.into(), test_only: root.test_only });
        }
        Ok(added)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("version: found {}, expected {VERSION}", self.version));
        }
        let empty = [
            ("images", self.images.is_empty()),
            ("config_hashes", self.config_hashes.is_empty()),
            ("bundle_hashes", self.bundle_hashes.is_empty()),
            ("catalog_hashes", self.catalog_hashes.is_empty()),
            ("isolation", self.isolation.is_empty()),
        ];
        if let Some((name, _)) = empty.iter().find(|(_, empty)| *empty) {
            return Err(format!("{name}: empty, so nothing could be approved"));
        }
        for (index, image) in self.images.iter().enumerate() {
            image.check().map_err(|why| format!("images[{index}]: {why}"))?;
        }
        self.platforms.check()?;
        self.roots().map(drop).map_err(|error| error.0)
    }
}

impl Image {
    fn check(&self) -> Result<(), String> {
        let sha384 = |digests: &[&TaggedDigest]| {
            let right = digests.iter().all(|digest| matches!(digest, TaggedDigest::Sha384(_)));
            if right { Ok(()) } else { Err("expected sha384: and 96 digits".to_owned()) }
        };
        match self {
            Self::Software { .. } => Ok(()),
            Self::SevSnp { measurement } => sha384(&[measurement]),
            Self::Tdx { mrtd, rtmr0, rtmr1, rtmr2 } => sha384(&[mrtd, rtmr0, rtmr1, rtmr2]),
            Self::Pcrs { pcrs, .. } => {
                let missing = PINNED.iter().find(|number| !pcrs.contains_key(**number));
                let strange = pcrs
                    .keys()
                    .find(|number| number.parse::<u8>().map_or(true, |n| n > 11 || n.to_string() != **number));
                match (missing, strange) {
                    (Some(number), _) => Err(format!("pcrs: no {number}; 4, 9 and 11 are what an image is known by")),
                    (None, Some(number)) => {
                        Err(format!("pcrs: {number} is no PCR from 0 to 11, which firmware and image extend"))
                    }
                    (None, None) => Ok(()),
                }
            }
        }
    }
}
