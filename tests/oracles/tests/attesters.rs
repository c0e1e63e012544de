//! What the built enclave produced (`tests/tests/attesters` leaves it in the folder `ATTESTED`), read by the TPM software stack
//! and judged by our verifier. That the signatures hold, tpm2-tools have said before.

use std::path::PathBuf;

use claim::evidence::{Evidence, SignedAttest, TpmEvidence, TpmQuote};
use claim::{Digest, b64u};
use serde_json::Value;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{Attest as Theirs, AttestInfo, Public, Signature as TheirSignature};
use tss_esapi::traits::UnMarshall;
use verify::evidence::tpm::{self, TpmPublic};
use verify::evidence::x509::PublicKey;
use verify::evidence::{Report, hcl};
use verify::references::AzurePolicy;

/// Evidence and the bindings that it is for.
struct Attested {
    name: String,
    evidence: Evidence,
    bound: [u8; 64],
    of_boot: [u8; 64],
}

fn attested() -> Vec<Attested> {
    let Some(folder) = std::env::var_os("ATTESTED").map(PathBuf::from) else {
        eprintln!("without ATTESTED there is nothing to judge: tests/run oracles");
        return Vec::new();
    };
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 6, "boot and challenge evidence of three providers, not {files:?}");
    let read = |path: &PathBuf| {
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let binding = |name: &str| b64u::decode_array(json[name].as_str().unwrap()).unwrap();
        Attested {
            name: path.display().to_string(),
            evidence: serde_json::from_value(json["evidence"].clone()).unwrap(),
            bound: binding("bound"),
            of_boot: binding("of_boot"),
        }
    };
    files.iter().map(read).collect()
}

/// As the TPM software stack reads it: a quote over these PCRs of one bank, with this qualifyingData.
fn reads(signed: &SignedAttest, pcrs: &[[u8; 32]], qualifying: &[u8]) {
    let theirs = Theirs::unmarshall(&signed.message.0).unwrap();
    let AttestInfo::Quote { info } = theirs.attested() else { panic!("{theirs:?}") };
    assert_eq!(theirs.extra_data().value(), qualifying);
    assert_eq!(info.pcr_digest().value(), Digest::of(pcrs.concat()).bytes());
    let [selection] = info.pcr_selection().get_selections() else { panic!("{info:?}") };
    assert_eq!(selection.hashing_algorithm(), HashingAlgorithm::Sha256);
    let selected: u32 = selection.selected().into_iter().map(u32::from).sum();
    assert_eq!(selected, (1 << pcrs.len()) - 1);
}

/// By our verifier, with a TPM's numbers for another nonce refused.
fn judged(quote: &TpmQuote, key: &PublicKey, bound: &[u8; 64]) {
    let judge = |qualifying: &[u8]| {
        let mut report = Report::default();
        tpm::appraise(&quote.into(), key, Some(qualifying), &mut report);
        report.reason()
    };
    assert_eq!(judge(&tpm::qualifying_data(bound)), None);
    assert!(judge(&[0; 32]).is_some());
}

fn whole(quote: &TpmQuote) -> SignedAttest {
    SignedAttest { message: quote.message.clone(), signature: quote.signature.clone() }
}

fn of_tpm(evidence: &TpmEvidence, bound: &[u8; 64]) {
    let TpmEvidence { ak_public, quote, key_quote, .. } = evidence;
    reads(&whole(quote), &quote.pcrs.0, Digest::of(bound).bytes());
    reads(key_quote, &quote.pcrs.0[..8], &bound[..32]);
    for signed in [&whole(quote), key_quote] {
        assert!(matches!(TheirSignature::unmarshall(&signed.signature.0).unwrap(), TheirSignature::EcDsa(_)));
    }
    let public = Public::unmarshall(&ak_public.0).unwrap();
    let attributes = public.object_attributes();
    assert!(matches!(public, Public::Ecc { .. }));
    assert!(attributes.restricted() && attributes.sign_encrypt() && !attributes.decrypt());
    assert!(attributes.fixed_tpm() && attributes.fixed_parent() && attributes.sensitive_data_origin());
    let ours = TpmPublic::parse(&ak_public.0).unwrap();
    assert_eq!(ours.faults(), Vec::<String>::new());
    judged(quote, &ours.key, bound);
}

#[test]
fn the_tpm_software_stack_and_our_verifier_read_what_the_enclave_produced() {
    for Attested { name, evidence, bound, of_boot } in attested() {
        println!("{name}");
        match &evidence {
            Evidence::Tpm(evidence) => of_tpm(evidence, &bound),
            Evidence::Azure(evidence) => {
                let quote = &evidence.quote;
                reads(&whole(quote), &quote.pcrs.0, Digest::of(bound).bytes());
                let signature = TheirSignature::unmarshall(&quote.signature.0).unwrap();
                assert!(matches!(signature, TheirSignature::RsaSsa(_)));
                let mut report = Report::default();
                let read = hcl::appraise(&evidence.hcl_report.0, Some(&of_boot), &AzurePolicy::default(), &mut report);
                assert_eq!(report.reason(), None);
                let (_, claims) = read.unwrap();
                judged(quote, &claims.ak, &bound);
            }
            other => panic!("{other:?}"),
        }
    }
}
