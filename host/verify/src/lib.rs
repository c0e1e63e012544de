#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod attestation;
mod audit;
pub mod cli;
#[cfg(feature = "connect")]
pub mod connect;
pub mod evidence;
pub mod references;
mod shape;
mod shapes;
mod store;
mod trace_claim;
mod trust_record;
mod verdict;

pub use claim::Digest;
pub use claim::bootlog::BootId;
pub use claim::key::PublicKey;
pub use claim::profile::Profile;
pub use claim::sealing::AuditorKey;
pub use claim::time::Timestamp;

pub use audit::{BundleFailure, BundleOptions, BundleReason, BundleVerdict, Finality, verify_audit_bundle};
pub use shape::{Fault, Misfit};
pub use store::{
    AuditorSecret, BootReport, ExportError, ExportOptions, Exported, Head, HeadError, HeadVerdict, NotASecret, Place,
    Progress, ProofError, ProvenEntries, SealedTo, StoreError, StoreFailure, StoreOptions, StoreReason, StoreVerdict,
    TornTail, UnknownOutcome, export_session, read_proof, verify_store,
};
pub use trace_claim::{
    ALLOWED_SKEW_SECONDS, Approval, Approved, DEFAULT_MAX_AGE_SECONDS, Options, ReferenceValues, Requirement,
    SOFTWARE_ONLY, verify_trace_claim,
};
pub use trust_record::{RecordOptions, RecordReason, RecordVerdict, verify_trust_record};
pub use verdict::{Check, ClaimReason, Outcome, Status, Verdict};
