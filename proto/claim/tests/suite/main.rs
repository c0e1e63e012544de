//! The crate as others use it. One binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod bootlog;
mod claims;
mod common;
mod deployed;
mod entries;
mod evidence;
mod hashes;
mod json;
mod operator;
mod others;
mod sealing;
mod times;
mod vectors;
