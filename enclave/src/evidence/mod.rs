//! What vouches for this enclave. One provider a file, each linked by its own Cargo feature.

#[cfg(feature = "software")]
pub mod software;

use claim::Digest;
use claim::evidence::SoftwareEvidence;
use claim::key::Key;
use claim::profile::{Platform, TaggedDigest};
use claim::time::Timestamp;
use wire::Provider;

/// Evidence of one boot, as claims show it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Which provider.
    pub provider: Provider,
    /// `trace.runtime.platform`.
    pub platform: Platform,
    /// `trace.runtime.measurement`.
    pub measurement: TaggedDigest,
    /// `trace.runtime.firmware_version`.
    pub firmware_version: Option<String>,
    /// SHA-256 of the program that runs, for a trust record's build provenance.
    pub artifact: Digest,
    /// When it was made.
    pub generated_at: Timestamp,
}

impl Evidence {
    /// Evidence over a binding, made now.
    pub fn over(&self, key: &Key, binding: &[u8; 64]) -> claim::evidence::Evidence {
        match self.provider {
            Provider::SoftwareOnly => {
                claim::evidence::Evidence::Software(SoftwareEvidence::new(key, self.artifact, binding))
            }
        }
    }
}

/// Permission for everything that only dev mode may do: plain HTTP, no authentication, the zero measurement. Only the
/// provider `software` makes one.
#[derive(Clone, Copy, Debug)]
pub struct DevMode(());
