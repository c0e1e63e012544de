//! Ours beside other people's verifiers, in one run on one machine. Fails if ours is slower, a tenth being noise.
//!
//! `cargo run --release --bin speed [ITERATIONS]`, default 200. Each row is the median; both sides take turns, so that whatever
//! else the machine does falls on both.

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use claim::json::parse;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::verify::QuoteVerifier;
use oracles::crate_source;
use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable, builtin::milan, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use verify::Timestamp;
use verify::evidence::x509::{Anchors, Certificate, Chains};
use verify::evidence::{Material, Report, snp, tdx};
use verify::references::{SnpPolicy, TdxPolicy};

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
    for row in snp().into_iter().chain(tdx()) {
        let (ours, other) = medians(&row, iterations);
        let (name, theirs) = (row.name, row.theirs);
        println!("{name:44} {:>7} us {:>7} us {theirs}", ours.as_micros(), other.as_micros());
        slower |= ours > other + other / 10;
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

/// A quote that ships with `dcap-qvl`: from its bytes and those of its collateral to a verdict.
fn tdx() -> Vec<Row> {
    let data = crate_source("dcap-qvl").join("sample");
    let quote = fs::read(data.join("tdx_quote")).expect("a sample");
    let collateral = fs::read(data.join("tdx_quote_collateral.json")).expect("a sample");
    let name = |chain| {
        if chain { "TDX quote and collateral, chains seen before" } else { "TDX quote and collateral from bytes" }
    };
    let row = |cached| Row {
        name: name(cached),
        theirs: "dcap-qvl",
        ours: tdx_ours(&quote, &collateral, cached),
        other: tdx_dcap(&quote, &collateral),
    };
    vec![row(false), row(true)]
}

/// When the sample's collateral was current.
const TDX_AT: i64 = 1_751_328_000;

fn tdx_ours(quote: &[u8], collateral: &[u8], cached: bool) -> Box<dyn Fn()> {
    let (quote, collateral) = (quote.to_vec(), collateral.to_vec());
    let anchors = Anchors::with(Vec::new()).expect("built in");
    let (policy, at, kept) = (TdxPolicy::default(), Timestamp::from_seconds(TDX_AT), Chains::default());
    Box::new(move || {
        let fresh = Chains::default();
        let chains = if cached { &kept } else { &fresh };
        let material = Material { certificates: &[], crls: &[], anchors: &anchors, chains, at };
        let collateral = parse(&collateral).expect("a sample");
        let mut lines = Report::default();
        black_box(tdx::appraise(&quote, None, Some(&collateral), false, &material, &policy, &mut lines));
        assert_eq!(lines.reason(), None);
    })
}

fn tdx_dcap(quote: &[u8], collateral: &[u8]) -> Box<dyn Fn()> {
    let (quote, collateral) = (quote.to_vec(), collateral.to_vec());
    let verifier = QuoteVerifier::new_prod().with_config::<RustCryptoConfig>();
    let at = TDX_AT.unsigned_abs();
    Box::new(move || {
        let collateral: QuoteCollateralV3 = serde_json::from_slice(&collateral).expect("a sample");
        black_box(verifier.verify(&quote, &collateral, at).expect("a sample"));
    })
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
