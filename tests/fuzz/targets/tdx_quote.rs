//! A TDX quote with the certificates in it: anything gets answers, and none without collateral is "genuine" or "current".
#![no_main]

use std::sync::LazyLock;

use verify::Timestamp;
use verify::evidence::x509::{Anchors, Chains};
use verify::evidence::{Answer, Material, Question, Report, tdx};
use verify::references::TdxPolicy;

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| Anchors::with(Vec::new()).expect("built in"));
static CHAINS: LazyLock<Chains> = LazyLock::new(Chains::default);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let at = Timestamp::from_seconds(1_780_000_000);
    let material = Material { certificates: &[], crls: &[], anchors: &ANCHORS, chains: &CHAINS, at };
    let mut report = Report::default();
    tdx::appraise(bytes, None, None, false, &material, &TdxPolicy::default(), &mut report);
    assert!(Question::ALL.iter().all(|question| report.answer(*question) != Answer::Yes));
});
