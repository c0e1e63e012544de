//! Confidential VMs of Azure as a whole: the chain from the hardware's root to the binding, one link broken at a time.

use claim::b64u::Octets;
use claim::evidence::{AzureEvidence, Pcrs, TpmQuote};
use claim::profile::TaggedDigest;
use sha2::{Digest, Sha256};
use verify::evidence::azure::{self, Subject};
use verify::evidence::snp::Product;
use verify::evidence::tpm::qualifying_data;
use verify::evidence::x509::{Anchor, Anchors, Certificate, Chains, RootKind};
use verify::evidence::{Answer, Material, Question, Report};
use verify::references::{AzurePolicy, Platforms, SnpPolicy, TcbVersions};

use crate::machine::{ATTESTS, Ak, Attest, CONFIDENTIAL, Ca, USER_DATA, claims, hcl_around};
use crate::snp_vendor::{Vendor, at, fields};
use crate::{accepted, refused, values};

/// Of a session; [`USER_DATA`] is of its boot.
const BINDING: [u8; 64] = [0x53; 64];
const ID_KEY: [u8; 48] = [0x1d; 48];
const GUEST_SVN: u32 = 12;

/// AMD's part, Microsoft's part, and a VM.
struct Vm {
    vendor: Vendor,
    ca: Ca,
    ak: Ak,
    platforms: Platforms,
    evidence: AzureEvidence,
    certificates: Vec<Certificate>,
}

impl Vm {
    fn new() -> Self {
        let (vendor, ca, ak) = (Vendor::new(Product::Milan), Ca::new(), Ak::rsa());
        let (claims, quote) = (claims(&ak), quote(&ak, &BINDING));
        let mut layout = vendor.layout();
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(&Sha256::digest(&claims));
        layout.set(fields::REPORT_DATA, &report_data);
        layout.set(fields::ID_KEY_DIGEST, &ID_KEY);
        layout.set(fields::GUEST_SVN, &GUEST_SVN.to_le_bytes());
        let vcek = vendor.vcek(&layout);
        let hcl_report = Octets(hcl_around(&vcek.report(&layout), &claims));
        let certificates = vec![vendor.ask.certificate.clone(), vcek.certificate];
        let ak_certificate = Some(Octets(ca.certify(&ak, CONFIDENTIAL, ATTESTS)));
        let evidence = AzureEvidence { hcl_report, quote, ak_certificate };
        Self { vendor, ca, ak, platforms: platforms(), evidence, certificates }
    }

    fn judge(&self) -> Report {
        self.judge_for(&USER_DATA, &BINDING)
    }

    fn judge_for(&self, boot: &[u8; 64], binding: &[u8; 64]) -> Report {
        let (chains, anchors) = (Chains::default(), self.anchors());
        let certificates = &self.certificates;
        let material = Material { certificates, crls: &[], anchors: &anchors, chains: &chains, at: at("2026-06-01") };
        let evidence = &self.evidence;
        let subject = Subject { evidence, boot: Some(boot), binding: Some(binding), td_quote: None, tdx: None };
        let mut report = Report::default();
        azure::appraise(&subject, &material, &self.platforms, &mut report);
        report
    }

    fn anchors(&self) -> Anchors {
        let amd = self.vendor.anchors().of(RootKind::AmdArk).next().cloned();
        let certificate = self.ca.certificate.clone();
        let microsoft = Anchor { certificate, kind: RootKind::AzureVtpm, test_only: true };
        Anchors::with(amd.into_iter().chain([microsoft]).collect()).unwrap()
    }
}

fn quote(ak: &Ak, binding: &[u8; 64]) -> TpmQuote {
    let message = Attest::over(&values(), &qualifying_data(binding)).bytes();
    TpmQuote { signature: Octets(ak.sign(&message)), message: Octets(message), pcrs: Pcrs(values()) }
}

fn platforms() -> Platforms {
    let mut sev_snp = SnpPolicy::default();
    sev_snp.minimum_tcb.milan = Some(TcbVersions { snp: 24, microcode: 219, bootloader: 4, ..TcbVersions::default() });
    let azure = AzurePolicy {
        id_key_digests: vec![TaggedDigest::Sha384(ID_KEY)],
        minimum_guest_svn: GUEST_SVN,
        ..AzurePolicy::default()
    };
    Platforms { sev_snp, azure, ..Platforms::default() }
}

#[test]
fn the_whole_chain_is_accepted() {
    let vm = Vm::new();
    let report = vm.judge();
    accepted(&report, "good");
    assert!(Question::ALL.iter().all(|question| report.answer(*question) == Answer::Yes));
    assert_eq!(report.test_roots().len(), 2, "both roots are for tests, and it says so");
}

#[test]
fn a_recorded_quote_does_not_pass_for_another_session_or_boot() {
    let vm = Vm::new();
    let mut rebuilt = BINDING;
    rebuilt[63] ^= 1;
    refused(&vm.judge_for(&USER_DATA, &rebuilt), "TPM_NONCE_MISMATCH", "a rebuilt chain");
    let mut other_boot = USER_DATA;
    other_boot[63] ^= 1;
    refused(&vm.judge_for(&other_boot, &BINDING), "HCL_USER_DATA_MISMATCH", "another boot");
}

#[test]
fn the_quote_is_by_the_key_that_the_hardware_names() {
    let mut vm = Vm::new();
    let other = Ak::rsa();
    vm.evidence.quote = quote(&other, &BINDING);
    refused(&vm.judge(), "TPM_SIGNATURE_INVALID", "quote of another vTPM");
    // Put into the claims instead, the other key is not the one that the hardware named; and not the certificate's.
    let hardware = vm.evidence.hcl_report.0[0x20..0x4c0].to_vec();
    vm.evidence.hcl_report = Octets(hcl_around(&hardware, &claims(&other)));
    let report = vm.judge();
    assert_eq!(report.reason(), Some("HCL_CLAIMS_NOT_BOUND"), "{:#?}", report.lines());
    assert_eq!(report.answer(Question::Genuine), Answer::No);
    let mut vm = Vm::new();
    vm.evidence.ak_certificate = Some(Octets(vm.ca.certify(&other, CONFIDENTIAL, ATTESTS)));
    refused(&vm.judge(), "TPM_AK_CERTIFICATE_OF_OTHER_KEY", "certificate of another VM");
}

#[test]
fn a_vm_with_trusted_launch_is_no_confidential_one() {
    let mut vm = Vm::new();
    let name = "0123456789ab.TrustedVM.Azure.windows.net";
    vm.evidence.ak_certificate = Some(Octets(vm.ca.certify(&vm.ak, name, ATTESTS)));
    refused(&vm.judge(), "TPM_AK_NOT_OF_CONFIDENTIAL_VM", name);
}

#[test]
fn the_paravisor_is_known_by_its_signer_or_by_microsofts_certificate() {
    let mut vm = Vm::new();
    vm.platforms.azure.id_key_digests = vec![TaggedDigest::Sha384([2; 48])];
    refused(&vm.judge(), "AZURE_PARAVISOR_NOT_APPROVED", "another signer");
    vm.platforms.azure.id_key_digests.clear();
    accepted(&vm.judge(), "by the certificate");
    vm.evidence.ak_certificate = None;
    refused(&vm.judge(), "TPM_AK_NOT_VOUCHED", "no certificate");
    vm.platforms.azure.require_ak_certificate = false;
    refused(&vm.judge(), "AZURE_PARAVISOR_NOT_APPROVED", "neither");
    vm.platforms.azure.id_key_digests = vec![TaggedDigest::Sha384(ID_KEY)];
    accepted(&vm.judge(), "by its signer");
    vm.platforms.azure.minimum_guest_svn = GUEST_SVN + 1;
    refused(&vm.judge(), "AZURE_PARAVISOR_TOO_OLD", "old paravisor");
    // What is asked of guests of our own says nothing of the paravisor.
    vm.platforms.azure.minimum_guest_svn = 0;
    vm.platforms.sev_snp.id_key_digests = vec![TaggedDigest::Sha384([3; 48])];
    vm.platforms.sev_snp.minimum_guest_svn = 99;
    accepted(&vm.judge(), "policy of our own guests");
}

#[test]
fn the_hardware_is_judged_as_anywhere() {
    let mut vm = Vm::new();
    vm.evidence.hcl_report.0[0x20 + fields::MEASUREMENT] ^= 1;
    refused(&vm.judge(), "SNP_SIGNATURE_INVALID", "another launch digest");
    let mut vm = Vm::new();
    vm.certificates.clear();
    assert_ne!(vm.judge().answer(Question::Genuine), Answer::Yes, "no certificate of the chip's key");
    let mut vm = Vm::new();
    vm.evidence.hcl_report.0[0x4c8] = 4;
    let report = vm.judge();
    assert_eq!(report.reason(), Some("HCL_CLAIMS_NOT_BOUND"), "an SNP report called a TDREPORT");
}
