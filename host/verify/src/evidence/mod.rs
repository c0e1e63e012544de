//! Hardware evidence: is it genuine, is it current, is it of what was approved?
//!
//! Pure: bytes, certificates, approved values and a time come in, lines come out. No clock, no network, no file. Every
//! byte is a stranger's until a signature of a pinned vendor root covers it.
//!
//! Three questions, never merged ([`Question`]); each check answers one of them and fails for one reason ([`Check`]).

pub mod appraise;
pub mod azure;
pub(crate) mod bytes;
mod checks;
pub mod event_log;
pub mod hcl;
mod report;
pub mod snp;
pub mod tdx;
pub mod tpm;
pub mod x509;

use claim::time::Timestamp;

use x509::{Anchors, Certificate, Chains, Crl};

pub use bytes::Truncated;
pub use checks::{Check, Question};
pub use report::{Answer, Line, Mismatch, Report};

/// What a verifier has besides the evidence. Certificates and lists come from anybody: each is believed for its signature.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// Certificates, in any order.
    pub certificates: &'a [Certificate],
    /// Lists of revoked certificates.
    pub crls: &'a [Crl],
    /// Pinned roots.
    pub anchors: &'a Anchors,
    /// Signatures of certificates that were right before.
    pub chains: &'a Chains,
    /// The time at which is judged.
    pub at: Timestamp,
}
