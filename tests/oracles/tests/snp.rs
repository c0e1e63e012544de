//! SEV-SNP: the verdict on every recorded report, and ours beside that of `sev` on each of them and on thousands of mutants.

mod snp_mutants;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use oracles::{crate_source, fixtures};
use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use snp_mutants::{Mutant, Place, mutants};
use verify::evidence::snp::{self, SIZE};
use verify::evidence::x509::{Anchors, Certificate, Chains, Crl};
use verify::evidence::{Answer, Material, Question, Report};
use verify::references::{SnpPolicy, TcbVersions};
use verify::{Outcome, Timestamp};

use Answer::{No, Open, Yes};

/// What is expected of a recorded report: genuine, current, and why not.
struct Row {
    path: &'static str,
    at: &'static str,
    genuine: Answer,
    current: Answer,
    reason: Option<&'static str>,
}

const fn row(
    path: &'static str,
    at: &'static str,
    genuine: Answer,
    current: Answer,
    reason: Option<&'static str>,
) -> Row {
    Row { path, at, genuine, current, reason }
}

/// Microcode that was loaded after the boot and not committed: what runs is not what it can be taken back to.
const PROVISIONAL: Option<&str> = Some("SNP_FIRMWARE_PROVISIONAL");

const STRANGE_KEY: &str = "azure-snp/kinvolk-snpcrate-hcl";

/// Every folder below `snp` and `azure-snp`, the report alone of the latter.
const TABLE: [Row; 26] = [
    row("snp/genoa-v3-azure-trustee", "2026-01-01", Yes, Yes, None),
    row("snp/genoa-v3-veraison", "2026-01-01", Yes, Yes, None),
    row("snp/genoa-v5-oak-oc", "2026-01-01", Yes, Yes, None),
    // Without the key's certificate nothing is judged, and nothing is wrong.
    row("snp/milan-v2-azure-hcl-kinvolk", "2026-01-01", Open, Open, None),
    row("snp/milan-v2-azure-hcl-trustee", "2026-01-01", Yes, No, PROVISIONAL),
    row("snp/milan-v2-azure-svn4-trustee", "2026-01-01", Yes, No, PROVISIONAL),
    // Its firmware is also below the minimum.
    row("snp/milan-v2-debug-policy-gosevguest", "2026-01-01", No, No, Some("SNP_DEBUG_ALLOWED")),
    row("snp/milan-v2-virtee", "2026-01-01", Yes, Yes, None),
    row("snp/milan-v3-azure-svn10-trustee-v0", "2026-01-01", Yes, Yes, None),
    row("snp/milan-v3-azure-svn12-cmcp", "2026-01-01", Yes, No, Some("SNP_CERTIFICATE_NOT_VALID")),
    row("snp/milan-v3-azure-svn12-cmcp", "2026-08-01", Yes, Yes, None),
    row("snp/milan-v3-azure-svn12-trustee-v2", "2026-01-01", Yes, Yes, None),
    row("snp/milan-v3-oak-cb", "2026-01-01", Yes, Yes, None),
    row("snp/milan-v3-oak-oc-release", "2026-01-01", Yes, Yes, None),
    // Its microcode is provisional, too.
    row("snp/milan-v3-vlek-vmpl1-trustee", "2025-06-01", No, No, Some("SNP_VMPL_NOT_ACCEPTED")),
    row("snp/milan-v4-gce-openpcc", "2026-01-01", Open, Open, None),
    row("snp/turin-v5-oak-oc", "2026-01-01", Yes, Yes, None),
    // What stands where the report should be is none.
    row("azure-snp/azuretools-hcl", "2026-01-01", No, Open, Some("SNP_VERSION_UNKNOWN")),
    row("azure-snp/cmcp-envelope", "2026-08-01", Yes, Yes, None),
    row("azure-snp/kinvolk-hcl-only", "2026-01-01", Open, Open, None),
    // Its certificate is of another chip.
    row(STRANGE_KEY, "2026-01-01", No, No, Some("SNP_CHIP_MISMATCH")),
    row("azure-snp/trustee-base", "2026-01-01", Yes, No, PROVISIONAL),
    row("azure-snp/trustee-genoa", "2026-01-01", Yes, Yes, None),
    row("azure-snp/trustee-v0", "2026-01-01", Yes, Yes, None),
    row("azure-snp/trustee-v2", "2026-01-01", Yes, Yes, None),
    row("malformed/hcl", "2026-01-01", No, Open, Some("SNP_VERSION_UNKNOWN")),
];

/// A report with certificates that were recorded with it.
#[derive(Clone)]
struct Sample {
    name: String,
    report: Vec<u8>,
    certificates: Vec<Certificate>,
}

impl Sample {
    /// From a folder of the collection.
    fn read(root: &Path, folder: &str) -> Self {
        let path = root.join(folder);
        let file = |name: &str| fs::read(path.join(name)).ok();
        let hcl = ["hcl.bin", "azuretools-snp-type-mismatch.bin"].into_iter().find_map(file);
        let report = file("report.bin").or_else(|| hcl.map(|hcl| hcl[0x20..][..SIZE].to_vec()));
        let names = ["vek.der", "ask.der", "ark.der", "certs.pem", "vcek_chain.pem"];
        let certificates = names.into_iter().filter_map(file).flat_map(|bytes| Certificate::from_file(&bytes).unwrap());
        Self { name: folder.to_owned(), report: report.expect(folder), certificates: certificates.collect() }
    }

    fn vek(&self) -> Option<&Certificate> {
        let names = [Some("SEV-VCEK"), Some("SEV-VLEK")];
        self.certificates.iter().find(|certificate| names.contains(&certificate.common_name().as_deref()))
    }

    fn with_key_of(&self, other: &Self) -> Self {
        let name = format!("{} with the key of {}", self.name, other.name);
        Self { name, report: self.report.clone(), certificates: other.certificates.clone() }
    }
}

/// What ships with the crate `sev`.
fn published() -> Sample {
    let data = crate_source("sev").join("tests/certs_data");
    let hex = fs::read_to_string(data.join("report_milan.hex")).unwrap();
    let digits = hex.trim().as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let report = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let files = ["vcek_milan.der", "cert_chain_milan"].map(|name| fs::read(data.join(name)).unwrap());
    let certificates = files.iter().flat_map(|bytes| Certificate::from_file(bytes).unwrap()).collect();
    Sample { name: "sev: report_milan.hex".to_owned(), report, certificates }
}

/// What ships with the crate `az-cvm-vtpm`: its certificate is of another chip.
fn published_with_strange_key() -> Sample {
    let data = crate_source("az-cvm-vtpm").join("test");
    let [hcl, pem] = ["hcl-report-snp.bin", "certs.pem"].map(|name| fs::read(data.join(name)).unwrap());
    let certificates = Certificate::from_file(&pem).unwrap();
    Sample { name: "az-cvm-vtpm: hcl-report-snp.bin".to_owned(), report: hcl[0x20..][..SIZE].to_vec(), certificates }
}

/// Every recorded report that comes with its own key's certificate; without the collection the published one.
fn samples() -> Vec<Sample> {
    let mut samples = vec![published()];
    if let Some(root) = fixtures() {
        let rows = TABLE.iter().filter(|row| row.path != STRANGE_KEY);
        samples.extend(rows.map(|row| Sample::read(&root, row.path)));
    }
    let mut seen = BTreeSet::new();
    samples.retain(|sample| sample.vek().is_some() && seen.insert(sample.report.clone()));
    samples
}

fn at(day: &str) -> Timestamp {
    Timestamp::parse(&format!("{day}T00:00:00Z")).unwrap()
}

/// Minimums that all but the oldest of the recorded platforms reach.
fn policy() -> SnpPolicy {
    let mut policy = SnpPolicy::default();
    policy.minimum_tcb.milan = Some(TcbVersions { fmc: 0, bootloader: 3, tee: 0, snp: 8, microcode: 115 });
    policy.minimum_tcb.genoa = Some(TcbVersions { fmc: 0, bootloader: 10, tee: 0, snp: 23, microcode: 84 });
    policy.minimum_tcb.turin = Some(TcbVersions { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 71 });
    policy
}

/// Pinned roots, and what was verified before.
struct Verifier {
    anchors: Anchors,
    chains: Chains,
}

impl Verifier {
    fn new() -> Self {
        Self { anchors: Anchors::with(Vec::new()).unwrap(), chains: Chains::default() }
    }

    fn judge(&self, sample: &Sample, crls: &[Crl], at: Timestamp) -> Report {
        let (anchors, chains) = (&self.anchors, &self.chains);
        let material = Material { certificates: &sample.certificates, crls, anchors, chains, at };
        let mut report = Report::default();
        snp::appraise(&sample.report, None, &material, &policy(), &mut report);
        report
    }

    /// Whether signature and chain are right: what `sev` has an opinion on.
    fn endorsed(&self, sample: &Sample) -> Result<(), &'static str> {
        let report = self.judge(sample, &[], at("2026-01-01"));
        let outcome = |id: &str| report.lines().iter().rfind(|line| line.check.id() == id);
        match ["snp.chain", "snp.signature"].map(outcome) {
            [Some(chain), _] if chain.outcome != Outcome::Pass => Err(chain.check.reason()),
            [_, Some(signature)] if signature.outcome != Outcome::Pass => Err(signature.check.reason()),
            [Some(_), Some(_)] => Ok(()),
            _ => Err(report.reason().unwrap_or("not judged")),
        }
    }
}

fn sev_endorses(sample: &Sample) -> bool {
    let certificate = |name: &str| {
        let found = sample
            .certificates
            .iter()
            .find(|certificate| certificate.common_name().is_some_and(|it| it.starts_with(name)));
        found.and_then(|certificate| SevCertificate::from_der(certificate.der()).ok())
    };
    let vek = sample.vek().and_then(|vek| SevCertificate::from_der(vek.der()).ok());
    let ca = sample.certificates.iter().find(|certificate| {
        certificate
            .common_name()
            .is_some_and(|it| it.starts_with("SEV-") && !["SEV-VCEK", "SEV-VLEK"].contains(&it.as_str()))
    });
    let ask = ca.and_then(|ask| SevCertificate::from_der(ask.der()).ok());
    let (Some(ark), Some(ask), Some(vek)) = (certificate("ARK-"), ask, vek) else { return false };
    let chain = Chain { ca: sev::certs::snp::ca::Chain { ark, ask }, vek };
    AttestationReport::from_bytes(&sample.report).is_ok_and(|report| (&chain, &report).verify().is_ok())
}

fn assert_row(report: &Report, row: &Row) {
    let answers = [Question::Genuine, Question::Current].map(|question| report.answer(question));
    println!(
        "{:40} {} genuine {:10} current {:10} {}",
        row.path,
        row.at,
        answers[0].as_str(),
        answers[1].as_str(),
        report.reason().unwrap_or("")
    );
    assert_eq!(answers, [row.genuine, row.current], "{}: {report:#?}", row.path);
    assert_eq!(report.reason(), row.reason, "{}", row.path);
}

#[test]
fn every_recorded_report_has_its_verdict() {
    let verifier = Verifier::new();
    for (sample, expected) in [
        (published(), row("sev: report_milan.hex", "2026-01-01", Yes, Yes, None)),
        (published_with_strange_key(), row("az-cvm-vtpm", "2026-01-01", No, No, Some("SNP_CHIP_MISMATCH"))),
    ] {
        assert_row(&verifier.judge(&sample, &[], at(expected.at)), &expected);
    }
    let Some(root) = fixtures() else { return println!("the collection is not here: what is published alone") };
    for row in &TABLE {
        assert_row(&verifier.judge(&Sample::read(&root, row.path), &[], at(row.at)), row);
    }
    for parent in ["snp", "azure-snp"] {
        for folder in fs::read_dir(root.join(parent)).unwrap() {
            let path = format!("{parent}/{}", folder.unwrap().file_name().to_str().unwrap());
            assert!(TABLE.iter().any(|row| row.path == path), "{path} has no row");
        }
    }
}

#[test]
fn a_key_of_another_chip_or_firmware_is_refused_by_name() {
    let verifier = Verifier::new();
    let samples = samples();
    let mut reasons = BTreeMap::new();
    for (sample, other) in samples.iter().flat_map(|sample| samples.iter().map(move |other| (sample, other))) {
        if sample.vek() == other.vek() {
            continue;
        }
        let report = verifier.judge(&sample.with_key_of(other), &[], at("2026-01-01"));
        assert_eq!(report.answer(Question::Genuine), No, "{} with the key of {}", sample.name, other.name);
        *reasons.entry(report.reason().unwrap()).or_insert(0) += 1;
    }
    println!("{reasons:#?}");
    let known = ["SNP_CHIP_MISMATCH", "SNP_PRODUCT_MISMATCH", "SNP_ENDORSEMENT_OF_OTHER_KEY"];
    assert!(reasons.keys().all(|reason| known.contains(reason)), "{reasons:?}");
    if fixtures().is_some() {
        assert_eq!(reasons.len(), known.len(), "{reasons:?}");
    }
}

#[test]
fn a_published_key_of_turin_is_not_milan_s() {
    let mut sample = published();
    let turin = fs::read(crate_source("sev").join("tests/certs_data/vcek_turin.der")).unwrap();
    sample.certificates = Certificate::from_file(&turin).unwrap();
    let report = Verifier::new().judge(&sample, &[], at("2026-01-01"));
    assert_eq!((report.answer(Question::Genuine), report.reason()), (No, Some("SNP_CHIP_MISMATCH")));
}

#[test]
fn certificates_that_amd_did_not_sign_are_refused() {
    let Some(root) = fixtures() else { return };
    for name in ["test-vcek-invalid-legacy.der", "test-vcek-invalid-new.der"] {
        let mut sample = published();
        sample.certificates =
            Certificate::from_file(&fs::read(root.join("malformed/snp").join(name)).unwrap()).unwrap();
        let report = Verifier::new().judge(&sample, &[], at("2026-01-01"));
        assert_eq!((report.answer(Question::Genuine), report.reason()), (No, Some("SNP_CHAIN_INVALID")), "{name}");
    }
}

#[test]
fn amd_s_lists_of_revoked_certificates() {
    let Some(root) = fixtures() else { return };
    let amd = root.join("roots/amd");
    let list = |name: &str| Crl::from_der(&fs::read(amd.join(name)).unwrap()).unwrap();
    let certificate = |name: &str| Certificate::from_der(&fs::read(amd.join(name)).unwrap()).unwrap();
    let (newest, old) = (list("crl_genoa_2026-08-19.der"), list("crl_genoa_openpcc.der"));
    let genoa = Sample::read(&root, "snp/genoa-v5-oak-oc");
    let verifier = Verifier::new();
    for (crls, day, current, reason) in [
        (vec![newest.clone()], "2026-09-01", Yes, None),
        (vec![newest.clone()], "2026-10-05", No, Some("SNP_CRL_EXPIRED")),
        (vec![newest.clone()], "2026-08-01", No, Some("SNP_CRL_EXPIRED")),
        (vec![old.clone()], "2026-09-01", No, Some("SNP_CRL_EXPIRED")),
        (vec![old.clone(), newest.clone()], "2026-09-01", Yes, None),
        // Milan's says nothing of Genoa's keys.
        (vec![list("crl_milan_openpcc.der")], "2026-09-01", Yes, None),
    ] {
        let report = verifier.judge(&genoa, &crls, at(day));
        assert_eq!((report.answer(Question::Current), report.reason()), (current, reason), "{day}");
    }
    // The first ASK of Genoa is revoked; the one in use is not.
    for list in [&newest, &old] {
        assert!(list.verify(&certificate("ARK-Genoa.der")).is_ok());
        assert!(list.verify(&certificate("ARK-Milan.der")).is_err());
        assert!(list.revokes(&[2, 0, 1]));
        assert!(!list.revokes(certificate("SEV-Genoa.der").serial()));
    }
}

/// Why ours and `sev` may differ, and who then accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdicts {
    BothAccept,
    BothRefuse,
    /// Bytes of a TCB version without a meaning: they are signed, but `sev` verifies what it writes again, with zeros there.
    SevRewritesTcb,
    /// Bytes around the signature's numbers: nobody signed them, `sev` does not look at them.
    SevIgnoresPadding,
    /// The certificate's outer algorithm is not the one that its CA signed: `sev` looks at its name alone.
    SevIgnoresAlgorithm,
    /// The signature of a certificate says that bits of its last byte are unused: `sev` reads them all the same.
    SevIgnoresUnusedBits,
}

fn compare(verifier: &Verifier, mutant: &Mutant) -> Verdicts {
    let sample = match Certificate::from_der(&mutant.vek) {
        Ok(vek) => {
            let certificates = std::iter::once(vek).chain(mutant.cas.iter().cloned()).collect();
            Sample { name: mutant.name.clone(), report: mutant.report.clone(), certificates }
        }
        Err(error) => {
            assert!(SevCertificate::from_der(&mutant.vek).is_err(), "{}: {error}", mutant.name);
            return Verdicts::BothRefuse;
        }
    };
    match (verifier.endorsed(&sample), sev_endorses(&sample)) {
        (Ok(()), true) => Verdicts::BothAccept,
        (Err(_), false) => Verdicts::BothRefuse,
        (Err("SNP_SIGNATURE_INVALID"), true) if mutant.place == Place::TcbReserved => Verdicts::SevRewritesTcb,
        (Err("SNP_RESERVED_IN_USE"), true) if mutant.place == Place::SignaturePadding => Verdicts::SevIgnoresPadding,
        (Err("SNP_CHAIN_INVALID"), true) if mutant.place == Place::OuterAlgorithm => Verdicts::SevIgnoresAlgorithm,
        (Err("SNP_CHAIN_INVALID"), true) if mutant.place == Place::UnusedBits => Verdicts::SevIgnoresUnusedBits,
        (ours, sev) => panic!("{}: ours {ours:?}, sev {sev}", mutant.name),
    }
}

#[test]
fn our_verdict_on_signature_and_chain_is_that_of_sev() {
    let verifier = Verifier::new();
    let mut table: BTreeMap<(Verdicts, &str), usize> = BTreeMap::new();
    for sample in samples() {
        let vek = sample.vek().unwrap().clone();
        let cas: Vec<_> = sample.certificates.iter().filter(|certificate| **certificate != vek).cloned().collect();
        for mutant in mutants(&sample.name, &sample.report, vek.der(), &cas) {
            *table.entry((compare(&verifier, &mutant), mutant.kind)).or_default() += 1;
        }
    }
    for ((verdicts, kind), count) in &table {
        println!("{:22} {kind:24} {count:5}", format!("{verdicts:?}"));
    }
    let total: usize = table.values().sum();
    assert!(total > if fixtures().is_some() { 5000 } else { 1000 }, "{total} mutants");
    for (verdicts, kind) in table.keys() {
        assert_eq!(*verdicts == Verdicts::BothAccept, *kind == "as recorded", "{verdicts:?}: {kind}");
    }
    // The differences are these, and all of them: refused here, accepted there.
    let found: BTreeSet<_> = table.keys().map(|(verdicts, _)| *verdicts).collect();
    assert_eq!(found, BTreeSet::from(EXPECTED));
}

const EXPECTED: [Verdicts; 6] = [
    Verdicts::BothAccept,
    Verdicts::BothRefuse,
    Verdicts::SevRewritesTcb,
    Verdicts::SevIgnoresPadding,
    Verdicts::SevIgnoresAlgorithm,
    Verdicts::SevIgnoresUnusedBits,
];
