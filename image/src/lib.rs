//! The measured image: its formats, what firmware and kernel will measure of it, and how two images differ.
//!
//! Every format is a pure function of its arguments: no clock, no randomness, no environment. Equal inputs give equal bytes.
#![forbid(unsafe_code)]

pub mod apt;
pub mod authenticode;
pub mod binary;
pub mod build;
pub mod checkout;
pub mod cli;
pub mod cpio;
pub mod diff;
pub mod disk;
pub mod elf;
pub mod error;
pub mod esp;
pub mod fetch;
pub mod flavour;
pub mod gpt;
pub mod initramfs;
pub mod kernel;
pub mod measurements;
pub mod payload;
pub mod pcr;
pub mod pe;
pub mod pins;
pub mod predict;
pub mod progress;
mod run;
pub mod snp;
pub mod tar;
pub mod tools;
pub mod uki;
pub mod verify;
pub mod vhd;
