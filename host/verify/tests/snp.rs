//! SEV-SNP reports by a vendor of our own: every check refuses what it is there for, and it alone.
//!
//! Reports recorded from hardware are judged in tests/oracles; what is changed here is signed again, so that nothing but the
//! check in question can object.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken fixture ends the test")]

mod snp_vendor;

use std::path::Path;

use claim::profile::TaggedDigest;
use snp_vendor::{Chain, Key, Layout, REPORT_DATA, Vendor, at, fields};
use verify::evidence::snp::{self, AttestationReport, Product};
use verify::evidence::x509::{Certificate, Chains, Crl};
use verify::evidence::{Answer, Material, Question, Report};
use verify::references::{Image, SnpPolicy, TcbVersions};
use verify::{Outcome, Timestamp};

/// What an appraisal is given.
struct Case {
    report: Vec<u8>,
    certificates: Vec<Certificate>,
    crls: Vec<Crl>,
    policy: SnpPolicy,
    at: Timestamp,
}

impl Case {
    fn new(vendor: &Vendor, key: &Key, layout: &Layout) -> Self {
        let certificates = vec![vendor.ask.certificate.clone(), key.certificate.clone()];
        Self { report: key.report(layout), certificates, crls: Vec::new(), policy: policy(), at: at("2026-06-01") }
    }

    fn appraise(&self, vendor: &Vendor) -> Report {
        let mut report = Report::default();
        let (anchors, chains) = (vendor.anchors(), Chains::default());
        let material = Material {
            certificates: &self.certificates,
            crls: &self.crls,
            anchors: &anchors,
            chains: &chains,
            at: self.at,
        };
        let found = snp::appraise(&self.report, Some(&REPORT_DATA), &material, &self.policy, &mut report);
        let images = [Image::SevSnp { measurement: TaggedDigest::Sha384([0x4D; 48]) }];
        if let Some(found) = found {
            snp::approved(&found, &images, &mut report);
        }
        report
    }

    /// That one check objects, and no other.
    fn refused(&self, vendor: &Vendor, reason: &str) {
        let report = self.appraise(vendor);
        let failed: Vec<_> = report.lines().iter().filter(|line| line.outcome == Outcome::Fail).collect();
        assert_eq!(failed.len(), 1, "{reason}: {failed:#?}");
        assert_eq!(report.reason(), Some(reason), "{failed:#?}");
        assert_eq!(report.answer(failed[0].check.question()), Answer::No);
    }

    fn accepted(&self, vendor: &Vendor) {
        let report = self.appraise(vendor);
        let wrong: Vec<_> = report.lines().iter().filter(|line| line.outcome != Outcome::Pass).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(Question::ALL.map(|question| report.answer(question)), [Answer::Yes; 3]);
    }
}

fn policy() -> SnpPolicy {
    let mut policy = SnpPolicy::default();
    let minimum = TcbVersions { fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
    policy.minimum_tcb.milan = Some(minimum);
    policy.minimum_tcb.genoa = Some(minimum);
    policy.minimum_tcb.turin = Some(TcbVersions { fmc: 1, ..minimum });
    policy
}

/// A report by a key that is certified for what it says.
fn case(vendor: &Vendor, change: impl FnOnce(&mut Layout)) -> Case {
    let mut layout = vendor.layout();
    change(&mut layout);
    Case::new(vendor, &vendor.vcek(&layout), &layout)
}

#[test]
fn every_version_of_every_product_is_accepted() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        let vendor = Vendor::new(product);
        for version in 3..=5 {
            case(&vendor, |layout| layout.version(version)).accepted(&vendor);
        }
    }
    for product in [Product::Milan, Product::Genoa] {
        let vendor = Vendor::new(product);
        case(&vendor, |layout| layout.version(2)).accepted(&vendor);
    }
}

#[test]
fn a_provider_s_key_is_of_no_chip() {
    let vendor = Vendor::new(Product::Milan);
    let mut layout = vendor.layout();
    layout.set(fields::KEY_INFO, &[1 << 2, 0, 0, 0]);
    let vlek = |layout: &Layout| vendor.vlek(layout);
    let with = |layout: &Layout, key: &Key| {
        let mut case = Case::new(&vendor, key, layout);
        case.certificates.push(vendor.asvk.certificate.clone());
        case
    };
    with(&layout, &vlek(&layout)).refused(&vendor, "SNP_CHIP_MISMATCH");
    layout.set(fields::CHIP_ID, &[0; 64]);
    with(&layout, &vlek(&layout)).accepted(&vendor);
    // A VLEK by the CA of VCEKs, and a VCEK by the CA of VLEKs.
    with(&layout, &vendor.ask.vlek(&layout)).refused(&vendor, "SNP_PRODUCT_MISMATCH");
    with(&layout, &vendor.vcek(&layout)).refused(&vendor, "SNP_ENDORSEMENT_OF_OTHER_KEY");
    let layout = vendor.layout();
    with(&layout, &vlek(&layout)).refused(&vendor, "SNP_ENDORSEMENT_OF_OTHER_KEY");
    with(&layout, &vendor.asvk.vcek(&layout)).refused(&vendor, "SNP_PRODUCT_MISMATCH");
}

#[test]
fn a_report_is_what_its_version_says() {
    let vendor = Vendor::new(Product::Milan);
    for version in [0, 1, 6, u32::MAX] {
        case(&vendor, |layout| layout.set(fields::VERSION, &version.to_le_bytes()))
            .refused(&vendor, "SNP_VERSION_UNKNOWN");
    }
    let reserved = [0x4C, 0x18B, 0x19F, 0x1EB, 0x1EF, 0x1F8, 0x207, 0x208, 0x29F];
    for offset in reserved {
        case(&vendor, |layout| layout.set(offset, &[1])).refused(&vendor, "SNP_RESERVED_IN_USE");
    }
    case(&vendor, |layout| {
        layout.version(5);
        layout.set(0x207, &[1]);
    })
    .accepted(&vendor);
    case(&vendor, |layout| {
        layout.version(2);
        layout.set(0x188, &[0x19]);
    })
    .refused(&vendor, "SNP_RESERVED_IN_USE");
    // Around the signature, which covers none of it.
    for offset in [0x2A0 + 48, 0x2A0 + 71, 0x2E8 + 48, 0x330, 0x49F] {
        let mut case = case(&vendor, |_| ());
        case.report[offset] = 1;
        case.refused(&vendor, "SNP_RESERVED_IN_USE");
    }
    for size in [0, 3, 4, snp::SIZE - 1, snp::SIZE + 1] {
        let mut case = case(&vendor, |_| ());
        case.report.resize(size, 0);
        case.refused(&vendor, "SNP_REPORT_MALFORMED");
    }
}

#[test]
fn what_a_guest_s_policy_gives_away_is_refused() {
    let vendor = Vendor::new(Product::Genoa);
    let with = |policy: u64| case(&vendor, |layout| layout.set(fields::POLICY, &policy.to_le_bytes()));
    with(0xB_0000).refused(&vendor, "SNP_DEBUG_ALLOWED");
    with(0x7_0000).refused(&vendor, "SNP_MIGRATION_ALLOWED");
    with(0x1_0000).refused(&vendor, "SNP_POLICY_UNKNOWN");
    for bit in [26, 40, 63] {
        with(0x3_0000 | 1 << bit).refused(&vendor, "SNP_POLICY_UNKNOWN");
    }
    with(0x3_0138).refused(&vendor, "SNP_FIRMWARE_BELOW_POLICY");
    with(0x3_0200).refused(&vendor, "SNP_FIRMWARE_BELOW_POLICY");
    with(0x3_0137).accepted(&vendor);
    let mut strict = with(0x3_0000);
    strict.policy.allow_smt = false;
    strict.refused(&vendor, "SNP_SMT_ALLOWED");
    let mut lenient = with(0x7_0000);
    lenient.policy.allow_migration = true;
    lenient.accepted(&vendor);
}

#[test]
fn only_accepted_privilege_levels_speak() {
    let vendor = Vendor::new(Product::Milan);
    for level in [1, 2, 3, u32::MAX] {
        let mut case = case(&vendor, |layout| layout.set(fields::VMPL, &level.to_le_bytes()));
        case.refused(&vendor, "SNP_VMPL_NOT_ACCEPTED");
        case.policy.vmpl = vec![0, 2];
        if level == 2 { case.accepted(&vendor) } else { case.refused(&vendor, "SNP_VMPL_NOT_ACCEPTED") }
    }
}

#[test]
fn keys_that_are_unknown_or_masked_sign_nothing() {
    let vendor = Vendor::new(Product::Milan);
    case(&vendor, |layout| layout.set(fields::ALGORITHM, &[2])).refused(&vendor, "SNP_ALGORITHM_UNKNOWN");
    for info in [0b10, 2 << 2, 7 << 2, 1 << 5, 1 << 31] {
        let info = u32::to_le_bytes(info);
        case(&vendor, |layout| layout.set(fields::KEY_INFO, &info)).refused(&vendor, "SNP_SIGNING_KEY_UNKNOWN");
    }
}

#[test]
fn the_key_is_certified_for_this_chip_and_this_tcb() {
    for product in [Product::Milan, Product::Turin] {
        let vendor = Vendor::new(product);
        let layout = vendor.layout();
        let other = |change: &dyn Fn(&mut Layout)| {
            let mut other = vendor.layout();
            change(&mut other);
            Case::new(&vendor, &vendor.vcek(&other), &layout)
        };
        other(&|layout| layout.set(fields::CHIP_ID + 7, &[9])).refused(&vendor, "SNP_CHIP_MISMATCH");
        for byte in 0..8 {
            // Reserved numbers too: a certificate that has them is for another TCB.
            other(&|layout| layout.set(fields::REPORTED_TCB + byte, &[77])).refused(&vendor, "SNP_KEY_TCB_MISMATCH");
        }
        for number in if product == Product::Turin { [1, 2, 3, 5, 6, 7, 8, 9] } else { [1, 2, 3, 4, 5, 6, 7, 8] } {
            let key = vendor.ask.vcek_without(&layout, &[1, 3, 6, 1, 4, 1, 3704, 1, 3, number]);
            Case::new(&vendor, &key, &layout).refused(&vendor, "SNP_KEY_TCB_MISMATCH");
        }
        let key = vendor.ask.vcek_without(&layout, &[1, 3, 6, 1, 4, 1, 3704, 1, 4]);
        Case::new(&vendor, &key, &layout).refused(&vendor, "SNP_CHIP_MISMATCH");
        let key = vendor.ask.vcek_without(&layout, &[1, 3, 6, 1, 4, 1, 3704, 1, 2]);
        Case::new(&vendor, &key, &layout).refused(&vendor, "SNP_PRODUCT_MISMATCH");
    }
}

#[test]
fn of_many_keys_the_one_that_fits_is_taken() {
    let vendor = Vendor::new(Product::Milan);
    let layout = vendor.layout();
    let mut older = vendor.layout();
    older.set(fields::REPORTED_TCB + 6, &[1]);
    let mut case = Case::new(&vendor, &vendor.vcek(&layout), &layout);
    case.certificates.insert(0, vendor.vcek(&older).certificate);
    case.certificates.insert(0, vendor.vlek(&layout).certificate);
    case.accepted(&vendor);
}

#[test]
fn the_product_is_the_processor_s() {
    let milan = Vendor::new(Product::Milan);
    for (family, model) in [(0x19, 0x11), (0x1A, 0x02), (0x1A, 0x50), (0x17, 0x01)] {
        case(&milan, |layout| layout.set(fields::CPU, &[family, model])).refused(&milan, "SNP_PRODUCT_MISMATCH");
    }
    // Version 2 does not say: what Milan's certificate says is believed.
    case(&milan, |layout| layout.version(2)).accepted(&milan);
}

#[test]
fn another_key_s_signature_or_root_is_refused() {
    let vendor = Vendor::new(Product::Milan);
    let layout = vendor.layout();
    let (key, other) = (vendor.vcek(&layout), vendor.vcek(&layout));
    let mut forged = Case::new(&vendor, &key, &layout);
    forged.report = other.report(&layout);
    forged.refused(&vendor, "SNP_SIGNATURE_INVALID");
    let mut unsigned = Case::new(&vendor, &key, &layout);
    unsigned.report[snp_vendor::SIGNED..].fill(0);
    unsigned.refused(&vendor, "SNP_SIGNATURE_INVALID");
    let stranger = Vendor::new(Product::Milan);
    Case::new(&stranger, &stranger.vcek(&layout), &layout).refused(&vendor, "SNP_CHAIN_INVALID");
    let weak = vendor.ask.vcek_on_p256(&layout);
    Case::new(&vendor, &weak, &layout).refused(&vendor, "SNP_SIGNATURE_INVALID");
}

#[test]
fn what_is_missing_is_said_and_not_guessed() {
    let vendor = Vendor::new(Product::Turin);
    let mut case = case(&vendor, |_| ());
    case.certificates.clear();
    let report = case.appraise(&vendor);
    let lines = report.lines();
    assert_eq!(report.reason(), None);
    assert_eq!(Question::ALL.map(|question| report.answer(question)), [Answer::Open, Answer::Open, Answer::Yes]);
    let missing = lines.iter().find(|line| line.check.id() == "snp.endorsement").unwrap();
    let expected =
        "https://kdsintf.amd.com/vcek/v1/Turin/4343434343434343?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219";
    assert_eq!(missing.actual, format!("missing: {expected}"));
    case.policy = SnpPolicy::default();
    let report = case.appraise(&vendor);
    let open = report.lines().iter().find(|line| line.check.id() == "snp.minimum_tcb").unwrap();
    assert_eq!(open.outcome, Outcome::Open);
    assert!(open.actual.contains("platforms.sev_snp.minimum_tcb.turin"), "{}", open.actual);
}

#[test]
fn old_firmware_is_refused_wherever_it_is() {
    for (product, firmware) in [(Product::Genoa, 6), (Product::Turin, 3)] {
        let vendor = Vendor::new(product);
        // Below the minimum, each of the four by itself.
        for field in [fields::REPORTED_TCB, fields::LAUNCH_TCB] {
            case(&vendor, |layout| layout.set(field + firmware, &[23])).refused(&vendor, "SNP_TCB_BELOW_MINIMUM");
            case(&vendor, |layout| layout.set(field + 7, &[218])).refused(&vendor, "SNP_TCB_BELOW_MINIMUM");
        }
        let mut provisional = case(&vendor, |layout| layout.set(fields::COMMITTED_TCB + firmware, &[23]));
        provisional.policy.allow_provisional_firmware = true;
        provisional.refused(&vendor, "SNP_TCB_BELOW_MINIMUM");
        case(&vendor, |layout| {
            layout.set(fields::COMMITTED_TCB + 7, &[218]);
            layout.set(fields::CURRENT_TCB + 7, &[218]);
        })
        .refused(&vendor, "SNP_TCB_BELOW_MINIMUM");
    }
}

#[test]
fn committed_firmware_is_what_runs() {
    let vendor = Vendor::new(Product::Milan);
    for (offset, newer) in [(fields::CURRENT_TCB + 7, 220), (fields::CURRENT_FIRMWARE, 3)] {
        let mut case = case(&vendor, |layout| layout.set(offset, &[newer]));
        case.refused(&vendor, "SNP_FIRMWARE_PROVISIONAL");
        case.policy.allow_provisional_firmware = true;
        case.accepted(&vendor);
    }
    for (offset, newer) in [(fields::COMMITTED_TCB + 7, 220), (fields::COMMITTED_FIRMWARE, 3)] {
        let mut case = case(&vendor, |layout| layout.set(offset, &[newer]));
        case.policy.allow_provisional_firmware = true;
        case.refused(&vendor, "SNP_COMMITTED_ABOVE_CURRENT");
    }
}

#[test]
fn approved_signers_and_versions_of_the_guest() {
    let vendor = Vendor::new(Product::Milan);
    let mut case = case(&vendor, |layout| {
        layout.set(fields::ID_KEY_DIGEST, &[5; 48]);
        layout.set(fields::AUTHOR_KEY_DIGEST, &[6; 48]);
        layout.set(fields::GUEST_SVN, &[10]);
    });
    case.policy.id_key_digests = vec![TaggedDigest::Sha384([5; 48])];
    case.policy.minimum_guest_svn = 10;
    case.accepted(&vendor);
    case.policy.minimum_guest_svn = 11;
    case.refused(&vendor, "SNP_GUEST_SVN_TOO_LOW");
    case.policy.minimum_guest_svn = 0;
    // Without AUTHOR_KEY_EN the field is anybody's.
    case.policy.author_key_digests = vec![TaggedDigest::Sha384([6; 48])];
    case.refused(&vendor, "SNP_AUTHOR_KEY_NOT_APPROVED");
    case.policy.author_key_digests.clear();
    case.policy.id_key_digests = vec![TaggedDigest::Sha384([4; 48])];
    case.refused(&vendor, "SNP_ID_KEY_NOT_APPROVED");
    let author = self::case(&vendor, |layout| {
        layout.set(fields::KEY_INFO, &[1]);
        layout.set(fields::AUTHOR_KEY_DIGEST, &[6; 48]);
    });
    Case { policy: SnpPolicy { author_key_digests: vec![TaggedDigest::Sha384([6; 48])], ..policy() }, ..author }
        .accepted(&vendor);
}

#[test]
fn all_of_the_binding_and_the_measurement_count() {
    let vendor = Vendor::new(Product::Milan);
    for byte in [0, 31, 32, 63] {
        case(&vendor, |layout| layout.set(fields::REPORT_DATA + byte, &[1]))
            .refused(&vendor, "SNP_REPORT_DATA_MISMATCH");
    }
    case(&vendor, |layout| layout.set(fields::MEASUREMENT + 47, &[1])).refused(&vendor, "SNP_MEASUREMENT_NOT_APPROVED");
}

#[test]
fn certificates_and_lists_have_their_time() {
    let vendor = Vendor::new(Product::Milan);
    for (time, expected) in [
        ("2025-12-31", Some("SNP_CERTIFICATE_NOT_VALID")),
        ("2026-01-01", None),
        ("2032-12-31", None),
        ("2033-01-02", Some("SNP_CERTIFICATE_NOT_VALID")),
    ] {
        let mut case = case(&vendor, |_| ());
        case.at = at(time);
        match expected {
            Some(reason) => case.refused(&vendor, reason),
            None => case.accepted(&vendor),
        }
    }
    let with = |crls: Vec<Crl>| Case { crls, ..case(&vendor, |_| ()) };
    let none: &[u64] = &[];
    with(vec![vendor.crl("2026-05-01", "2026-07-01", none)]).accepted(&vendor);
    for (from, until) in [("2026-04-01", "2026-05-31"), ("2026-06-02", "2026-07-01")] {
        let other = vendor.crl(from, until, none);
        with(vec![other.clone()]).refused(&vendor, "SNP_CRL_EXPIRED");
        with(vec![other, vendor.crl("2026-05-01", "2026-07-01", none)]).accepted(&vendor);
    }
    let mut required = case(&vendor, |_| ());
    required.policy.require_crl = true;
    let report = required.appraise(&vendor);
    assert_eq!((report.reason(), report.answer(Question::Current)), (None, Answer::Open));
}

#[test]
fn what_amd_revoked_stays_revoked() {
    let vendor = Vendor::new(Product::Genoa);
    let with = |crls: Vec<Crl>| Case { crls, ..case(&vendor, |_| ()) };
    let current = |serials: &[u64]| vendor.crl("2026-05-01", "2026-07-01", serials);
    with(vec![current(&[Chain::ASK])]).refused(&vendor, "SNP_CERTIFICATE_REVOKED");
    with(vec![current(&[Chain::ARK])]).refused(&vendor, "SNP_CERTIFICATE_REVOKED");
    with(vec![current(&[Chain::ASK + 1])]).accepted(&vendor);
    // The key's own serial is its CA's to revoke, not the root's.
    with(vec![current(&[Chain::KEY])]).accepted(&vendor);
    // The newer list forgot it.
    let older = vendor.crl("2026-04-01", "2026-04-30", &[Chain::ASK]);
    with(vec![older, current(&[])]).refused(&vendor, "SNP_CERTIFICATE_REVOKED");
    // A list by somebody of the same name.
    let stranger = Vendor::new(Product::Genoa);
    with(vec![stranger.crl("2026-05-01", "2026-07-01", &[])]).refused(&vendor, "SNP_CRL_INVALID");
    // A list about other products' keys says nothing here.
    let milan = Vendor::new(Product::Milan);
    with(vec![milan.crl("2026-05-01", "2026-05-02", &[Chain::ASK])]).accepted(&vendor);
}

#[test]
fn signatures_of_certificates_are_verified_once() {
    let vendor = Vendor::new(Product::Milan);
    let case = case(&vendor, |_| ());
    let (anchors, chains) = (vendor.anchors(), Chains::default());
    let material =
        Material { certificates: &case.certificates, crls: &[], anchors: &anchors, chains: &chains, at: case.at };
    for _ in 0..2 {
        let mut report = Report::default();
        let found = snp::appraise(&case.report, Some(&REPORT_DATA), &material, &case.policy, &mut report);
        assert_eq!((report.reason(), found), (None, AttestationReport::parse(&case.report).ok()));
    }
}

/// Files of a gateway whose platform is of this vendor.
fn files(vendor: &Vendor) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let layout = vendor.layout();
    let key = vendor.vcek(&layout);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("report.bin", &key.report(&layout));
    write("vcek.der", key.certificate.der());
    write("ask.der", vendor.ask.certificate.der());
    write("crl.der", &vendor.crl_der("2026-05-01", "2026-07-01", &[]));
    write("hcl.bin", &[b"HCLA", &[0; 28][..], &key.report(&layout)].concat());
    let root = claim::b64u::encode(vendor.ark.certificate.der());
    let (measurement, hash) = ("4d".repeat(48), format!("sha256:{}", "0".repeat(64)));
    let references = format!(
        r#"{{"version": 1, "images": [{{"type": "sev-snp", "measurement": "sha384:{measurement}"}}],
            "config_hashes": ["{hash}"], "bundle_hashes": ["{hash}"], "catalog_hashes": ["{hash}"],
            "platforms": {{"sev_snp": {{"minimum_tcb": {{"milan": {{"bootloader": 4, "snp": 24, "microcode": 219}}}}}}}},
            "roots": [{{"type": "amd-ark", "certificate": "{root}", "test_only": true}}]}}"#
    );
    write("approved.json", references.as_bytes());
    folder
}

/// Exit code and all output of `cmcp-verify snp-report`.
fn command(folder: &Path, line: &str) -> (u8, String) {
    let file = |word: &str| folder.join(word).display().to_string();
    let words = line.split(' ').map(|word| if word.contains('.') { file(word) } else { word.to_owned() });
    let args = ["cmcp-verify", "snp-report"].into_iter().map(str::to_owned).chain(words);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = verify::cli::run(args.map(Into::into), &mut out, &mut err);
    (exit.code(), String::from_utf8([out, err].concat()).unwrap())
}

#[test]
fn a_report_by_itself_on_the_command_line() {
    let vendor = Vendor::new(Product::Milan);
    let folder = files(&vendor);
    let run = |line: &str| command(folder.path(), line);
    let all =
        "report.bin --certificates vcek.der ask.der --crl crl.der --reference approved.json --at 2026-06-01T00:00:00Z";
    let data = claim::hex::encode(&REPORT_DATA);
    let (code, text) = run(&format!("{all} --report-data {data} --explain"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("RESULT: verified") && text.contains("TEST ONLY") && text.contains("ARK-Milan"), "{text}");
    let (code, text) = run(&format!("{all} --report-data {} --json", "00".repeat(64)));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["failure_reason"]), (1, &"SNP_REPORT_DATA_MISMATCH".into()), "{text}");
    assert_eq!((&json["answers"]["genuine"], &json["answers"]["ours"]), (&"yes".into(), &"no".into()));
    // The vendor is a stranger without the reference values.
    let (code, text) = run("report.bin --certificates vcek.der ask.der --at 2026-06-01T00:00:00Z");
    assert_eq!(code, 1);
    assert!(text.contains("SNP_CHAIN_INVALID"), "{text}");
    let (code, text) = run("report.bin --reference approved.json --at 2026-06-01T00:00:00Z");
    assert_eq!(code, 2);
    assert!(text.contains("https://kdsintf.amd.com/vcek/v1/Milan/"), "{text}");
    let (code, text) = run("hcl.bin --reference approved.json");
    assert_eq!(code, 2);
    assert!(text.contains("from 32 on"), "{text}");
    assert_eq!(run("report.bin --report-data 00").0, 64);
    assert_eq!(run("nothing.bin").0, 2);
}
