//! What claims call the measurement, as deployed verifiers compute it from evidence.

use claim::Digest;
use claim::profile::TaggedDigest;
use sha2::{Digest as _, Sha384};

use crate::evidence::tpm::pcrs;

/// PCRs that the firmware extends.
const FIRMWARE: usize = 8;

/// SHA-384 of an SNP launch digest or of a TD's MRTD: a hash of what is itself a hash.
pub(crate) fn launch(digest: &[u8; 48]) -> TaggedDigest {
    TaggedDigest::Sha384(Sha384::digest(digest).into())
}

/// SHA-256 of a TPM's PCR 0 to 7.
pub(crate) fn firmware(values: &pcrs::Values) -> TaggedDigest {
    let values: Vec<u8> = values.iter().take(FIRMWARE).flatten().copied().collect();
    TaggedDigest::Sha256(Digest::of(values))
}
