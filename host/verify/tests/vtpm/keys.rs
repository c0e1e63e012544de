//! Attestation keys, and who vouches for them.

use verify::Timestamp;
use verify::evidence::tpm::{self, TpmPublic, Vouching};
use verify::evidence::x509::{Chains, RootKind};
use verify::evidence::{Answer, Material, Question, Report};

use crate::machine::{ATTESTATION_KEY, ATTESTS, Ak, CONFIDENTIAL, Ca};
use crate::{accepted, refused};

#[test]
fn public_areas_are_read_exactly() {
    for ak in [Ak::ecc(), Ak::rsa()] {
        let bytes = ak.public(ATTESTATION_KEY);
        let public = TpmPublic::parse(&bytes).unwrap();
        assert_eq!((public.key, public.attributes), (ak.key(), ATTESTATION_KEY));
        for length in 0..bytes.len() {
            assert!(TpmPublic::parse(&bytes[..length]).is_err(), "cut at {length}");
        }
        assert!(TpmPublic::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn an_attestation_key_is_restricted_and_only_signs() {
    assert!(TpmPublic::parse(&Ak::ecc().public(ATTESTATION_KEY)).unwrap().faults().is_empty());
    for (bit, fault) in [
        (1, "not fixedTPM"),
        (4, "not fixedParent"),
        (5, "not sensitiveDataOrigin"),
        (16, "not restricted"),
        (17, "decrypt"),
        (18, "not sign"),
    ] {
        let public = TpmPublic::parse(&Ak::ecc().public(ATTESTATION_KEY ^ (1 << bit))).unwrap();
        assert_eq!(public.faults(), [fault]);
    }
}

/// What a certificate is judged with.
struct Vouched {
    ca: Ca,
    ak: Ak,
    anchored_as: RootKind,
    at: &'static str,
}

impl Vouched {
    fn new() -> Self {
        Self { ca: Ca::new(), ak: Ak::ecc(), anchored_as: RootKind::AzureVtpm, at: "2026-06-01T00:00:00Z" }
    }

    fn judge(&self, certificate: Option<&[u8]>, vouching: Vouching) -> Report {
        let (anchors, chains) = (self.ca.anchors(self.anchored_as), Chains::default());
        let at = Timestamp::parse(self.at).unwrap();
        let material = Material { certificates: &[], crls: &[], anchors: &anchors, chains: &chains, at };
        let mut report = Report::default();
        tpm::vouched(certificate, true, &self.ak.key(), vouching, &material, &mut report);
        report
    }
}

#[test]
fn a_ca_vouches_for_this_key_as_an_attestation_key_of_a_confidential_vm() {
    let case = Vouched::new();
    let azure = |der: &[u8]| case.judge(Some(der), Vouching::AzureConfidential);
    let good = case.ca.certify(&case.ak, CONFIDENTIAL, ATTESTS);
    let padded = |byte| [good.as_slice(), &[byte; 100]].concat();
    for (der, name) in [(good.clone(), "as issued"), (padded(0), "padded as in NV")] {
        accepted(&azure(&der), name);
    }
    accepted(&azure(&case.ca.certify(&case.ak, "ab.ConfidentialVM.Azure.Microsoft", ATTESTS)), "the other name");

    let other_key = case.ca.certify(&Ak::ecc(), CONFIDENTIAL, ATTESTS);
    let other_use = case.ca.certify(&case.ak, CONFIDENTIAL, &[2, 23, 133, 8, 1]);
    let other_ca = Ca::new().certify(&case.ak, CONFIDENTIAL, ATTESTS);
    for (der, reason) in [
        (padded(1), "TPM_AK_CERTIFICATE_MALFORMED"),
        (good[..good.len() - 1].to_vec(), "TPM_AK_CERTIFICATE_MALFORMED"),
        (other_key, "TPM_AK_CERTIFICATE_OF_OTHER_KEY"),
        (other_use, "TPM_AK_USAGE"),
        (other_ca, "TPM_AK_CHAIN_INVALID"),
    ] {
        refused(&azure(&der), reason, reason);
    }
    for name in [
        "0123456789ab.TrustedVM.Azure.windows.net",
        ".ConfidentialVM.Azure.windows.net",
        "x.TrustedVM.ConfidentialVM.Azure.windows.net",
        "0123456789ab.ConfidentialVM.Azure.windows.net.example",
    ] {
        refused(&azure(&case.ca.certify(&case.ak, name, ATTESTS)), "TPM_AK_NOT_OF_CONFIDENTIAL_VM", name);
    }
}

#[test]
fn a_plain_tpms_key_needs_a_ca_pinned_for_tpms() {
    let mut case = Vouched::new();
    let good = case.ca.certify(&case.ak, "a TPM", ATTESTS);
    let azure = case.ca.certify(&case.ak, CONFIDENTIAL, ATTESTS);
    accepted(&case.judge(Some(&azure), Vouching::Tpm), "a confidential VM's");
    refused(&case.judge(Some(&good), Vouching::Tpm), "TPM_AK_NOT_OF_CONFIDENTIAL_VM", "another VM's of Microsoft");
    refused(&case.judge(None, Vouching::Tpm), "TPM_AK_NOT_VOUCHED", "no certificate");
    for (kind, vouching, right) in [
        (RootKind::Tpm, Vouching::Tpm, true),
        (RootKind::Tpm, Vouching::AzureConfidential, false),
        (RootKind::AmdArk, Vouching::Tpm, false),
        (RootKind::IntelSgx, Vouching::Tpm, false),
    ] {
        case.anchored_as = kind;
        let report = case.judge(Some(&good), vouching);
        if right { accepted(&report, "pinned") } else { refused(&report, "TPM_AK_CHAIN_INVALID", kind.as_str()) }
    }
    case.anchored_as = RootKind::Tpm;
    case.at = "2027-06-01T00:00:00Z";
    let late = case.judge(Some(&good), Vouching::Tpm);
    refused(&late, "TPM_AK_CERTIFICATE_NOT_VALID", "a year later");
    assert_eq!((late.answer(Question::Genuine), late.answer(Question::Current)), (Answer::Yes, Answer::No));
}
