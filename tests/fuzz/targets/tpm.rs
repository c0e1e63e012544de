//! TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC and certificates of attestation keys: no panic, nothing is read past its end, and
//! nothing that a fixed key did not sign is signed by it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use verify::Timestamp;
use verify::evidence::tpm::{self, Attest, Signature, Signed, TpmPublic, Vouching};
use verify::evidence::x509::{Anchors, Chains, PublicKey};
use verify::evidence::{Answer, Material, Question, Report};

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| Anchors::with(Vec::new()).expect("built in"));

/// TPMT_PUBLIC of the P-256 key whose private part is 1.
static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let public = TpmPublic::parse(include_bytes!("../corpus/tpm/public"));
    public.expect("a key").key
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(attest) = Attest::parse(bytes) {
        assert!(Attest::parse(&[bytes, &[0]].concat()).is_err());
        assert_eq!(attest.selects_all(), attest.selection() == "sha256:ffffff");
    }
    if Signature::parse(bytes).is_ok() {
        assert!(Signature::parse(&[bytes, &[0]].concat()).is_err());
    }
    if let Ok(public) = TpmPublic::parse(bytes) {
        assert!(TpmPublic::parse(&[bytes, &[0]].concat()).is_err());
        assert!(public.faults().len() < 7);
    }
    let (message, signature) = bytes.split_at(bytes.len() / 2);
    let mut report = Report::default();
    let quote = Signed { message, signature, pcrs: &[[0; 32]; 24] };
    assert!(tpm::appraise(&quote, &KEY, Some(b"nonce"), &mut report).is_none());

    let chains = Chains::default();
    let at = Timestamp::from_seconds(1_780_000_000);
    let material = Material { certificates: &[], crls: &[], anchors: &ANCHORS, chains: &chains, at };
    let mut report = Report::default();
    tpm::vouched(Some(bytes), true, &KEY, Vouching::AzureConfidential, &material, &mut report);
    assert_ne!(report.answer(Question::Genuine), Answer::Yes);
});
