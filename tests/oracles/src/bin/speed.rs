//! Ours beside other people's verifiers, in one run on one machine. Fails if ours is slower.
//!
//! `cargo run --release --bin speed [ITERATIONS]`, default 200. Each row is the median; both sides take turns, so that whatever
//! else the machine does falls on both.

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use oracles::crate_source;
use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable, builtin::milan, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use verify::Timestamp;
use verify::evidence::snp;
use verify::evidence::x509::{Anchors, Certificate, Chains};
use verify::evidence::{Material, Report};
use verify::references::SnpPolicy;

/// The same work, by two.
struct Row {
    name: &'static str,
    theirs: &'static str,
    ours: Box<dyn Fn()>,
    other: Box<dyn Fn()>,
}

fn main() -> ExitCode {
    let iterations = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200);
    let mut slower = false;
    println!("{:44} {:>10} {:>16}", "median of one", "ours", "theirs");
    for row in snp() {
        let (ours, other) = medians(&row, iterations);
        let (name, theirs) = (row.name, row.theirs);
        println!("{name:44} {:>7} us {:>7} us {theirs}", ours.as_micros(), other.as_micros());
        slower |= ours > other;
    }
    if slower {
        println!("ours is slower");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn medians(row: &Row, iterations: usize) -> (Duration, Duration) {
    let time = |work: &dyn Fn()| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    let (mut ours, mut other): (Vec<_>, Vec<_>) = (0..iterations).map(|_| (time(&row.ours), time(&row.other))).unzip();
    ours.sort_unstable();
    other.sort_unstable();
    (ours[iterations / 2], other[iterations / 2])
}

/// A report of Milan that ships with `sev`: from bytes to a verdict on report and chain. Ours checks what `sev` leaves out, too.
fn snp() -> Vec<Row> {
    let data = crate_source("sev").join("tests/certs_data");
    let hex = fs::read_to_string(data.join("report_milan.hex")).expect("a sample");
    let digits = hex.trim().as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
    let report: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect();
    let vek = fs::read(data.join("vcek_milan.der")).expect("a sample");
    let ask = ask();
    vec![
        Row {
            name: "SNP report, certificates and chain from bytes",
            theirs: "sev",
            ours: ours(&report, &vek, &ask, false),
            other: sev_cold(&report, &vek),
        },
        Row {
            name: "SNP report, chain verified before",
            theirs: "sev",
            ours: ours(&report, &vek, &ask, true),
            other: sev_cached(&report, &vek),
        },
    ]
}

fn ask() -> Vec<u8> {
    milan::ask().and_then(|ask| ask.to_der()).expect("built in")
}

fn ours(report: &[u8], vek: &[u8], ask: &[u8], cached: bool) -> Box<dyn Fn()> {
    let (report, vek, ask) = (report.to_vec(), vek.to_vec(), ask.to_vec());
    let anchors = Anchors::with(Vec::new()).expect("built in");
    let (policy, at) = (SnpPolicy::default(), Timestamp::parse("2026-01-01T00:00:00Z").expect("a time"));
    let kept = Chains::default();
    Box::new(move || {
        let fresh = Chains::default();
        let certificates = [&vek, &ask].map(|der| Certificate::from_der(der).expect("a sample"));
        let chains = if cached { &kept } else { &fresh };
        let material = Material { certificates: &certificates, crls: &[], anchors: &anchors, chains, at };
        let mut lines = Report::default();
        black_box(snp::appraise(&report, None, &material, &policy, &mut lines));
        assert_eq!(lines.reason(), None);
    })
}

fn sev_chain(vek: &[u8]) -> Chain {
    let (ark, ask) = (milan::ark().expect("built in"), milan::ask().expect("built in"));
    Chain { ca: ca::Chain { ark, ask }, vek: SevCertificate::from_der(vek).expect("a sample") }
}

fn sev_cold(report: &[u8], vek: &[u8]) -> Box<dyn Fn()> {
    let (report, vek) = (report.to_vec(), vek.to_vec());
    Box::new(move || {
        let chain = sev_chain(&vek);
        let report = AttestationReport::from_bytes(&report).expect("a sample");
        (&chain, &report).verify().expect("a sample");
    })
}

fn sev_cached(report: &[u8], vek: &[u8]) -> Box<dyn Fn()> {
    let (report, vek) = (report.to_vec(), vek.to_vec());
    Box::new(move || {
        let vek = SevCertificate::from_der(&vek).expect("a sample");
        let report = AttestationReport::from_bytes(&report).expect("a sample");
        (&vek, &report).verify().expect("a sample");
    })
}
