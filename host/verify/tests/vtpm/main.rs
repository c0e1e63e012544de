//! Quotes, keys, logs and paravisors' reports of a machine of our own: every check refuses what it is there for, and it
//! alone. What real machines made is judged in tests/oracles; here what is changed is signed again, so that nothing but the
//! check in question can object.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken fixture ends the test")]

mod azure;
mod commands;
mod image;
mod keys;
mod logs;
mod machine;
mod paravisor;
mod quotes;
#[path = "../snp_vendor/mod.rs"]
#[expect(dead_code, reason = "it makes more than is needed here")]
mod snp_vendor;

use verify::Outcome;
use verify::evidence::tpm::pcrs::Values;
use verify::evidence::{Answer, Report};

const NONCE: [u8; 32] = [0x4e; 32];

/// Refused, by this check and no other.
fn refused(report: &Report, reason: &str, name: &str) {
    let failed: Vec<_> = report.lines().iter().filter(|line| line.outcome == Outcome::Fail).collect();
    assert_eq!(failed.len(), 1, "{name}: {failed:#?}");
    assert_eq!(report.reason(), Some(reason), "{name}: {failed:#?}");
    assert_eq!(report.answer(failed[0].check.question()), Answer::No, "{name}");
}

fn accepted(report: &Report, name: &str) {
    let wrong: Vec<_> = report.lines().iter().filter(|line| line.outcome != Outcome::Pass).collect();
    assert!(wrong.is_empty() && !report.lines().is_empty(), "{name}: {wrong:#?}");
}

fn values() -> Values {
    machine::pcrs(&machine::boot())
}
