//! Quotes of TPMs, certificates of their keys, paravisors' reports and event logs that real machines made: what is accepted,
//! what is refused and why; and what other implementations say of the same bytes.
//!
//! Recorded evidence is beside the repository; without it the samples of the crate az-cvm-vtpm are judged.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod azure;
mod certificates;
mod differential;
mod image;
mod logs;
mod paravisor;
mod quotes;
mod support;
