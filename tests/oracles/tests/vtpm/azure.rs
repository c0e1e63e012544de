//! Confidential VMs of Azure as a whole, as recorded: hardware, paravisor, vTPM.

use claim::attachment::Collateral;
use claim::b64u::Octets;
use claim::evidence::{AzureEvidence, Pcrs, TpmQuote};
use claim::profile::TaggedDigest;
use verify::Timestamp;
use verify::evidence::azure::{self, Appraised, Paravisor, Subject};
use verify::evidence::x509::{Anchors, Certificate, Chains};
use verify::evidence::{Answer, Material, Question, Report};
use verify::references::{AzurePolicy, Platforms, SnpPolicy, TcbVersions};

use crate::support::{Seeded, fixture, pcrs, read, rsassa};

struct Vm {
    evidence: AzureEvidence,
    certificates: Vec<Certificate>,
    collateral: Collateral,
    at: Timestamp,
}

fn recorded(folder: &str, at: &str) -> Option<Vm> {
    let folder = fixture(folder)?;
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file()).map(read);
    let quote = TpmQuote {
        message: Octets(file("quote.msg").unwrap()),
        signature: Octets(rsassa(&file("quote.sig").unwrap())),
        pcrs: Pcrs(pcrs(&file("pcrs_sha256.json").unwrap())),
    };
    let names = ["vek.der", "ask.der", "ark.der", "ak_int0.der", "ak_int1.der"];
    let certificates = names.iter().filter_map(|name| file(name));
    Some(Vm {
        evidence: AzureEvidence {
            hcl_report: Octets(file("hcl.bin").unwrap()),
            quote,
            ak_certificate: file("akcert.der").map(Octets),
        },
        certificates: certificates.map(|der| Certificate::from_der(&der).unwrap()).collect(),
        collateral: Collateral {
            td_quote: file("tdquote.bin").map(Octets),
            tdx: file("collateral.json").map(|json| claim::json::parse(&json).unwrap()),
            ..Collateral::default()
        },
        at: Timestamp::parse(at).unwrap(),
    })
}

fn judge(vm: &Vm, platforms: &Platforms, chains: &Chains) -> (Option<Appraised>, Report) {
    let anchors = Anchors::with(Vec::new()).unwrap();
    let material = Material { certificates: &vm.certificates, crls: &[], anchors: &anchors, chains, at: vm.at };
    let td_quote = vm.collateral.td_quote.as_ref().map(|quote| quote.0.as_slice());
    let subject =
        Subject { evidence: &vm.evidence, boot: None, binding: None, td_quote, tdx: vm.collateral.tdx.as_ref() };
    let mut report = Report::default();
    let found = azure::appraise(&subject, &material, platforms, &mut report);
    (found, report)
}

/// Console allowed, as all of these VMs have one; no certificate of the attestation key asked for, as most captures lack it.
fn lenient(signers: &[TaggedDigest], mrtds: &[TaggedDigest]) -> Platforms {
    let mut sev_snp = SnpPolicy::default();
    let lowest = Some(TcbVersions::default());
    (sev_snp.minimum_tcb.milan, sev_snp.minimum_tcb.genoa) = (lowest, lowest);
    let azure = AzurePolicy {
        allow_console: true,
        require_ak_certificate: false,
        id_key_digests: signers.to_vec(),
        mrtds: mrtds.to_vec(),
        ..AzurePolicy::default()
    };
    Platforms { sev_snp, azure, ..Platforms::default() }
}

/// Signers of Microsoft's paravisors, by the first digits that others have noted.
const SIGNERS: [&str; 4] = ["0356215882a8", "934f68bd", "57e229e0", "942fd93ebde6"];

/// The paravisor of a capture: its signer, or its MRTD.
fn paravisor(found: Option<&Appraised>) -> ([Vec<TaggedDigest>; 2], bool) {
    match found.map(|found| &found.paravisor) {
        Some(Paravisor::Snp(report)) => {
            let signer = claim::hex::encode(&report.id_key_digest);
            let known = SIGNERS.iter().any(|digits| signer.starts_with(digits));
            ([vec![TaggedDigest::Sha384(report.id_key_digest)], Vec::new()], known)
        }
        Some(Paravisor::Tdx { mr_td, .. }) => ([Vec::new(), vec![TaggedDigest::Sha384(*mr_td)]], true),
        None => ([Vec::new(), Vec::new()], false),
    }
}

#[test]
fn recorded_machines_have_the_expected_verdicts() {
    use Answer::{No, Yes};
    const TABLE: [(&str, &str, Answer, Answer, Option<&str>); 9] = [
        ("azure-snp/trustee-base", "2026-06-01T00:00:00Z", Yes, No, Some("SNP_FIRMWARE_PROVISIONAL")),
        ("azure-snp/trustee-genoa", "2026-06-01T00:00:00Z", Yes, Yes, None),
        ("azure-snp/trustee-v0", "2026-06-01T00:00:00Z", Yes, Yes, None),
        ("azure-snp/trustee-v2", "2026-06-01T00:00:00Z", Yes, Yes, None),
        ("azure-tdx/flashbots-with-ak-intermediates-1780922561", "2026-06-20T00:00:00Z", Yes, Yes, None),
        (
            "azure-tdx/flashbots-with-ak-intermediates-1780922561",
            "2027-06-20T00:00:00Z",
            Yes,
            No,
            Some("TDX_CRL_EXPIRED"),
        ),
        ("azure-tdx/trustee-base", "2026-07-10T00:00:00Z", Yes, No, Some("TDX_TCB_STATUS_REFUSED")),
        ("azure-tdx/trustee-v0", "2026-07-10T00:00:00Z", Yes, No, Some("TDX_TCB_STATUS_REFUSED")),
        ("azure-tdx/trustee-v1", "2026-07-10T00:00:00Z", Yes, No, Some("TDX_TCB_STATUS_REFUSED")),
    ];
    let mut wrong: Vec<String> = Vec::new();
    for (folder, at, genuine, current, reason) in TABLE {
        let Some(vm) = recorded(folder, at) else { continue };
        let chains = Chains::default();
        let (found, _) = judge(&vm, &lenient(&[], &[]), &chains);
        let ([signers, mrtds], known) = paravisor(found.as_ref());
        assert!(known, "{folder}");
        let (_, report) = judge(&vm, &lenient(&signers, &mrtds), &chains);
        let answers = [Question::Genuine, Question::Current, Question::Ours].map(|question| report.answer(question));
        let failed: Vec<_> = report.lines().iter().filter(|line| line.outcome == verify::Outcome::Fail).collect();
        // No binding of ours is in these captures, so nothing says that they are ours.
        if (answers, report.reason()) != ([genuine, current, Answer::Open], reason) {
            wrong.push(format!("{folder} at {at}: {answers:?}, {failed:#?}"));
        }

        let other = lenient(&[TaggedDigest::Sha384([1; 48])], &[TaggedDigest::Sha384([1; 48])]);
        assert_eq!(judge(&vm, &other, &chains).1.answer(Question::Ours), No, "{folder}: another's paravisor");
        let strict = judge(&vm, &Platforms::default(), &chains).1;
        assert_eq!(strict.reason(), Some("HCL_CONSOLE_ENABLED"), "{folder}");
        let vouched = if vm.evidence.ak_certificate.is_some() { genuine } else { No };
        assert_eq!(strict.answer(Question::Genuine), vouched, "{folder}: Microsoft's certificate");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn parts_of_different_machines_do_not_go_together() {
    let at = "2026-06-01T00:00:00Z";
    let names = ["azure-snp/trustee-base", "azure-snp/trustee-v0", "azure-snp/trustee-v2", "azure-snp/trustee-genoa"];
    for (name, other) in names.iter().zip(names.iter().cycle().skip(1)) {
        let (Some(mut vm), Some(other)) = (recorded(name, at), recorded(other, at)) else { return };
        let chains = Chains::default();
        let own = vm.evidence.quote.clone();
        vm.evidence.quote = other.evidence.quote;
        assert_eq!(
            judge(&vm, &lenient(&[TaggedDigest::Sha384([0; 48])], &[]), &chains).1.answer(Question::Genuine),
            Answer::No
        );
        vm.evidence.quote = own;
        vm.certificates = other.certificates;
        assert_ne!(
            judge(&vm, &lenient(&[], &[]), &chains).1.answer(Question::Genuine),
            Answer::Yes,
            "{name}: keys of another chip"
        );
    }
    let tdx = "azure-tdx/flashbots-with-ak-intermediates-1780922561";
    if let (Some(mut vm), Some(other)) = (recorded(tdx, at), recorded("azure-tdx/trustee-v0", at)) {
        let chains = Chains::default();
        let lines = |vm: &Vm| judge(vm, &lenient(&[], &[]), &chains).1;
        vm.collateral.td_quote = other.collateral.td_quote;
        let failed = lines(&vm);
        assert!(
            failed
                .lines()
                .iter()
                .any(|line| line.check.id() == "azure.td_report" && line.outcome == verify::Outcome::Fail)
        );
        vm.collateral.td_quote = None;
        assert_eq!(lines(&vm).answer(Question::Genuine), Answer::Open, "without the quote the TDREPORT is anybody's");
    }
}

/// One bit anywhere in the hardware's report, the claims or the quote: refused. In the header: the same verdict.
#[test]
fn no_bit_may_change_but_the_headers() {
    let at = "2026-06-01T00:00:00Z";
    let Some(vm) = recorded("azure-snp/trustee-v2", at) else { return };
    let chains = Chains::default();
    let (found, _) = judge(&vm, &lenient(&[], &[]), &chains);
    let ([signers, mrtds], _) = paravisor(found.as_ref());
    let platforms = lenient(&signers, &mrtds);
    let (_, good) = judge(&vm, &platforms, &chains);
    let size = vm.evidence.hcl_report.0.len();
    let mut seeded = Seeded(11);
    for _ in 0..1_500 {
        let mut changed = recorded("azure-snp/trustee-v2", at).unwrap();
        let (at, bit) = (seeded.below(size), seeded.below(8));
        changed.evidence.hcl_report.0[at] ^= 1 << bit;
        let (_, report) = judge(&changed, &platforms, &chains);
        if at < 0x20 {
            assert_eq!(report, good, "byte {at:#x} of the header");
        } else {
            assert!(report.reason().is_some(), "bit {bit} of byte {at:#x}");
        }
    }
}
