//! PCR 4 by its events: which EFI programs the firmware started.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Event, EventLog, NO_ACTION, kind_name};
use claim::Digest;

/// PCR of boot managers and what they start (section 3.3.4.5 of the profile).
pub(crate) const BOOT: u32 = 4;

const SEPARATOR: u32 = 0x4;
const OMITTED: u32 = 0x12;
const APPLICATION: u32 = 0x8000_0003;
const ACTION: u32 = 0x8000_0007;

/// What else may be in PCR 4: texts of the profile, whose digests say nothing of what ran.
const FIXED: [(u32, &[u8]); 4] = [
    (SEPARATOR, &[0; 4]),
    (ACTION, b"Calling EFI Application from Boot Option"),
    (ACTION, b"Returning from EFI Application from Boot Option"),
    (OMITTED, b"BOOT ATTEMPTS OMITTED"),
];

/// Events in PCR 4 that could hide a program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootPathError {
    /// Not one of the fixed events.
    #[error("{kind} with data {data}")]
    Unknown {
        /// Type of the event.
        kind: String,
        /// Its data, cut to a readable length.
        data: String,
    },
    /// Its digest is not that of its data.
    #[error("{0} with the digest of something else")]
    Digest(String),
    /// An event without a SHA-256 digest.
    #[error("an event without SHA-256 digest")]
    NoDigest,
    /// The separator ends what the firmware does before it boots: there is one.
    #[error("{0} separators")]
    Separators(usize),
}

/// Authenticode hashes of the EFI programs that were started, in order, from the events of PCR 4. Every other event there
/// must be one whose text is known.
///
/// # Errors
/// See [`BootPathError`].
pub fn boot_applications(log: &EventLog<'_>) -> Result<Vec<Digest>, BootPathError> {
    let mut applications = Vec::new();
    let mut separators = 0_usize;
    for event in log.events.iter().filter(|event| event.register == BOOT && event.kind != NO_ACTION) {
        let digest = event.sha256.ok_or(BootPathError::NoDigest)?;
        match event.kind {
            APPLICATION => applications.push(Digest::from_bytes(digest)),
            kind => {
                fixed(event, digest)?;
                separators = separators.saturating_add(usize::from(kind == SEPARATOR));
            }
        }
    }
    if separators == 1 { Ok(applications) } else { Err(BootPathError::Separators(separators)) }
}

fn fixed(event: &Event<'_>, digest: [u8; 32]) -> Result<(), BootPathError> {
    if !FIXED.contains(&(event.kind, event.data)) {
        let data = event.data.get(..event.data.len().min(64)).unwrap_or_default();
        let data = String::from_utf8_lossy(data).escape_debug().to_string();
        return Err(BootPathError::Unknown { kind: kind_name(event.kind), data });
    }
    let expected: [u8; 32] = Sha256::digest(event.data).into();
    if digest == expected { Ok(()) } else { Err(BootPathError::Digest(kind_name(event.kind))) }
}
