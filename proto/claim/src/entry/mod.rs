//! Audit entries and the hash chain of a session.
//!
//! An entry has 24 members, null when unset. Its hash is SHA-256 over its sorted-ASCII form without `entry_hash`; each
//! entry names the hash of the one before, the first names [`GENESIS`]. The chain's state is two hashes and a count, so
//! a call costs the same however long the session is.

mod chain;
mod detail;
mod reader;
mod terms;

pub use chain::{Chain, Draft, SealedEntry};
pub use detail::{Durability, Identity, SessionStart};
pub use reader::{Entry, EntryError, LinkError, entry_hash, verify_link};
pub use terms::{EntryType, PolicyDecision};

/// `prev_entry_hash` of a chain's first entry.
pub const GENESIS: &str = "genesis";

/// `evidence_class` of a call of which the chain holds hashes only.
pub const EVIDENCE_HASH_ONLY: &str = "hash-only";
/// `evidence_class` of a call to a process that the host started: hashes as well, and the host's word on what ran.
pub const EVIDENCE_HOST_SPAWNED: &str = "host-spawned";
/// `evidence_class` of a call over TLS to a server whose key or certificate the catalog pins.
pub const EVIDENCE_TLS_PINNED: &str = "tls-pinned";
