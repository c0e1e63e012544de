//! Hardware evidence: is it genuine, is it current, is it of what was approved?
//!
//! Pure: bytes, certificates, approved values and a time come in, lines come out. No clock, no network, no file. Every
//! byte is a stranger's until a signature of a pinned vendor root covers it.
//!
//! Three questions, never merged ([`Question`]); each check answers one of them and fails for one reason ([`Check`]).

pub(crate) mod bytes;
mod checks;
mod report;
pub mod x509;

pub use checks::{Check, Question};
pub use report::{Answer, Line, Mismatch, Report};
