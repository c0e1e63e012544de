//! The measured image: its formats, what firmware and kernel will measure of it, and how two images differ.
//!
//! Every format is a pure function of its arguments: no clock, no randomness, no environment. Equal inputs give equal bytes.
#![forbid(unsafe_code)]

pub mod authenticode;
pub mod cli;
pub mod cpio;
pub mod diff;
pub mod disk;
pub mod esp;
pub mod gpt;
pub mod measurements;
pub mod payload;
pub mod pcr;
pub mod pe;
pub mod predict;
pub mod snp;
pub mod tar;
pub mod uki;
pub mod vhd;
