//! What outlives the enclave: claims, trust records, canonical JSON, audit chains, the boot log, and every hash and
//! signature that an outsider checks. The byte formats are in `SPEC.md`, with vectors.
//!
//! The enclave writes with this crate and the verifier reads with it. Nothing here has a clock, a network or a random
//! number generator.

#![forbid(unsafe_code)]

pub mod attachment;
pub mod b64u;
pub mod binding;
pub mod bootlog;
pub mod der;
pub mod digest;
pub mod entry;
pub mod evidence;
pub mod gateway;
pub mod hashes;
pub mod json;
pub mod key;
pub mod names;
pub mod operator;
pub mod profile;
pub mod record;
pub mod sealing;
pub mod time;

pub mod hex;
mod members;
mod terms;

pub use digest::{Digest, DigestError, Hasher};
