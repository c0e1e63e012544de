//! SEV-SNP reports: no panic, and nothing is genuine without a certificate. What follows a report's 1184 bytes is its key's.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use verify::Timestamp;
use verify::evidence::snp::{self, SIZE};
use verify::evidence::x509::{Anchors, Certificate, Chains};
use verify::evidence::{Answer, Material, Question, Report};
use verify::references::SnpPolicy;

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| Anchors::with(Vec::new()).expect("built in"));

fuzz_target!(|bytes: &[u8]| {
    let (report, certificate) = bytes.split_at(SIZE.min(bytes.len()));
    let certificates = Vec::from_iter(Certificate::from_der(certificate));
    let chains = Chains::default();
    let at = Timestamp::from_seconds(1_780_000_000);
    let material = Material { certificates: &certificates, crls: &[], anchors: &ANCHORS, chains: &chains, at };
    let mut lines = Report::default();
    let found = snp::appraise(report, Some(&[0; 64]), &material, &SnpPolicy::default(), &mut lines);
    assert_eq!(found.is_some(), snp::AttestationReport::parse(report).is_ok());
    assert!(found.is_some() || lines.reason().is_some());
    assert!(!certificates.is_empty() || lines.answer(Question::Genuine) != Answer::Yes);
});
