//! Bindings: the 64 bytes `T || X` that tie evidence to a key and to what it runs or did.
//!
//! T is [`crate::key::PublicKey::thumbprint`]. X is one of the functions here.

use serde::{Deserialize, Serialize};

use crate::b64u;
use crate::bootlog::{BootId, Isolation};
use crate::digest::Digest;
use crate::json::{Json, JsonError, to_json};

const BOOT_LABEL: &[u8] = b"cmcp-boot-v1|";
const CHALLENGE_LABEL: &[u8] = b"cmcp-challenge-v1|";

/// What one boot runs: everything that a verifier must approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootBinding {
    /// This boot.
    pub boot_id: BootId,
    /// SHA-256 of each inbound TLS key's SubjectPublicKeyInfo; empty without TLS.
    pub tls_spki: Vec<Digest>,
    /// Policy bundle in force.
    pub bundle_hash: Digest,
    /// Catalog in force.
    pub catalog_hash: Digest,
    /// Configuration in force.
    pub config_hash: Digest,
    /// Operator controls in force.
    pub controls_hash: Digest,
    /// What keeps the enclave apart from the host.
    pub isolation: Isolation,
    /// Dev mode.
    pub dev: bool,
    /// Whose word the time is: `host`.
    pub time_source: String,
}

/// X of a boot: SHA256(`cmcp-boot-v1|` + SA(boot)).
pub fn boot_x(boot: &BootBinding) -> Result<Digest, JsonError> {
    to_json(boot).map(|value| labelled(BOOT_LABEL, &value))
}

/// X of a session: SHA-256 of the 32 bytes of its chain's root.
pub fn session_x(root: &Digest) -> Digest {
    Digest::of(root.bytes())
}

/// X of a caller's challenge: SHA256(`cmcp-challenge-v1|` + SA({boot: hex of the boot's X, nonce: base64url})). The
/// caller's bytes never enter a binding unhashed.
pub fn challenge_x(boot_x: &Digest, nonce: &[u8]) -> Digest {
    let value = Json::from([("boot", boot_x.hex().into()), ("nonce", b64u::encode(nonce).into())]);
    labelled(CHALLENGE_LABEL, &value)
}

/// `T || X`.
pub fn binding(thumbprint: &Digest, x: &Digest) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().zip(thumbprint.bytes().iter().chain(x.bytes())) {
        *place = *byte;
    }
    bytes
}

/// A binding as `trace.runtime.nonce`: 86 characters.
pub fn nonce_text(binding: &[u8; 64]) -> String {
    b64u::encode(binding)
}

fn labelled(label: &[u8], value: &Json) -> Digest {
    let mut message = label.to_vec();
    value.write_sorted_ascii(&mut message);
    Digest::of(message)
}
