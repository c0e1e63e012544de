//! No hardware at all: dev mode on a laptop. Claims say so, and no verifier calls them verified.

use std::io;

use claim::Digest;
use claim::profile::{Platform, SOFTWARE_FIRMWARE, TaggedDigest};
use claim::time::Timestamp;
use wire::Provider;

use super::{DevMode, Evidence};

/// Evidence that says there is none, and the permission that comes with it.
///
/// # Errors
/// When the program's own file cannot be read.
pub fn attest(now: Timestamp) -> io::Result<(Evidence, DevMode)> {
    let evidence = Evidence {
        provider: Provider::SoftwareOnly,
        platform: Platform::SoftwareOnly,
        measurement: TaggedDigest::ZERO,
        firmware_version: Some(SOFTWARE_FIRMWARE.to_owned()),
        artifact: Digest::of(std::fs::read("/proc/self/exe")?),
        generated_at: now,
    };
    Ok((evidence, DevMode(())))
}
