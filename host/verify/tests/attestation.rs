//! What a gateway shows before a client's first byte: every way in which it can be wrong has a name of its own.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod fixture;

use std::collections::BTreeSet;

use claim::binding::{BootBinding, binding, boot_x, challenge_x};
use claim::bootlog::Isolation;
use claim::evidence::{BootEvidence, CMW_EXTENSION, Evidence, SoftwareEvidence};
use claim::json::{Json, to_json};
use claim::key::Key;
use claim::{Digest, b64u};
use fixture::{boot_id, bundle_hash, catalog_hash, config_hash, key};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use verify::attestation::{Options, Reason, Shown, Verdict, tls_key, verify_attestation};
use verify::references::References;
use verify::{Outcome, Status, Timestamp};

const NONCE: [u8; 32] = [0x42; 32];
const SOFTWARE: Options<'static> = options(true);

const fn options(accept_software: bool) -> Options<'static> {
    Options { accept_software, at: Timestamp::from_seconds(1_795_330_500), collateral: None }
}

fn artifact() -> Digest {
    Digest::of("an enclave")
}

fn references() -> Json {
    let list = |hash: Digest| Json::Array(vec![hash.prefixed().into()]);
    let image = Json::from([("type", "software".into()), ("artifact", artifact().prefixed().into())]);
    Json::from([
        ("version", Json::Int(1)),
        ("images", Json::Array(vec![image])),
        ("config_hashes", list(config_hash())),
        ("bundle_hashes", list(bundle_hash())),
        ("catalog_hashes", list(catalog_hash())),
    ])
}

fn approved() -> References {
    References::parse(references().sorted_ascii().as_bytes()).unwrap()
}

fn software(key: &Key, x: &Digest) -> Evidence {
    Evidence::Software(SoftwareEvidence::new(key, artifact(), &binding(&key.public().thumbprint(), x)))
}

/// An honest gateway, and everything that it shows, to be spoilt.
struct Gateway {
    tls: KeyPair,
    boot: BootBinding,
    /// The document in the certificate.
    document: Json,
    answer: Json,
}

impl Gateway {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// Consistent in itself, with another boot.
    fn with(change: impl FnOnce(&mut BootBinding)) -> Self {
        let tls = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut boot = BootBinding {
            boot_id: boot_id(),
            tls_spki: vec![Digest::of(tls.subject_public_key_info()), Digest::of("the public name's")],
            bundle_hash: bundle_hash(),
            catalog_hash: catalog_hash(),
            config_hash: config_hash(),
            controls_hash: Digest::of("controls"),
            isolation: Isolation::Process,
            dev: true,
            time_source: "host".to_owned(),
        };
        change(&mut boot);
        let document = document(&key(), &boot);
        let answer = answer(&key(), &boot, &NONCE);
        Self { tls, boot, document, answer }
    }

    fn extension(&self) -> Vec<u8> {
        extension(&record(&self.document.sorted_ascii()))
    }

    fn judge_showing(&self, leaf: &[u8], options: Options<'_>) -> Verdict {
        let answer = self.answer.sorted_ascii();
        let shown = Shown { leaf, answer: answer.as_bytes(), nonce: &NONCE };
        verify_attestation(&shown, &approved(), &options)
    }

    fn judge(&self) -> Verdict {
        self.judge_showing(&certificate(&self.tls, &[self.extension()]), SOFTWARE)
    }
}

fn document(key: &Key, boot: &BootBinding) -> Json {
    let evidence = software(key, &boot_x(boot).unwrap());
    to_json(&BootEvidence { boot: boot.clone(), public_key: key.public().x(), evidence }).unwrap()
}

/// `GET /attestation`.
fn answer(key: &Key, boot: &BootBinding, nonce: &[u8]) -> Json {
    let x = boot_x(boot).unwrap();
    Json::from([
        ("platform", "software-only".into()),
        ("hardware_evidence", Json::Null),
        ("boot", to_json(boot).unwrap()),
        ("boot_x", x.hex().into()),
        ("public_key", key.public().x().into()),
        ("nonce", b64u::encode(nonce).into()),
        ("boot_evidence", to_json(&software(key, &x)).unwrap()),
        ("challenge_evidence", to_json(&software(key, &challenge_x(&x, nonce))).unwrap()),
    ])
}

/// The CMW record of a document.
fn record(document: &str) -> String {
    format!(r#"["application/vnd.cmcp.boot-evidence+json","{}",4]"#, b64u::encode(document.as_bytes()))
}

/// A UTF8String in DER with its length in three bytes or the fewest.
fn extension(text: &str) -> Vec<u8> {
    let length = text.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut value = vec![0x0c];
    if text.len() > 127 {
        value.push(0x80 | u8::try_from(digits.len()).unwrap());
    }
    [value, digits, text.as_bytes().to_vec()].concat()
}

fn certificate(tls: &KeyPair, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let custom = |value: &Vec<u8>| CustomExtension::from_oid_content(CMW_EXTENSION, value.clone());
    params.custom_extensions = extensions.iter().map(custom).collect();
    params.self_signed(tls).unwrap().der().to_vec()
}

fn refused(verdict: &Verdict, reason: Reason) {
    assert_eq!((verdict.status, verdict.failure_reason), (Status::Unverified, Some(reason)), "{:#?}", verdict.checks);
    assert_eq!(verdict.boot, None);
    assert!(verdict.checks.iter().any(|check| check.outcome == Outcome::Fail && !check.expected.is_empty()));
}

#[test]
fn an_approved_gateway_is_partially_verified_over_software() {
    let gateway = Gateway::new();
    let verdict = gateway.judge();
    assert_eq!((verdict.status, verdict.failure_reason), (Status::PartiallyVerified, None), "{:#?}", verdict.checks);
    let boot = verdict.boot.unwrap();
    assert_eq!((boot.binding, boot.key), (gateway.boot, key().public()));
    let open: Vec<_> = verdict.checks.iter().filter(|check| check.outcome != Outcome::Pass).collect();
    assert_eq!((open.len(), open[0].name), (1, "hardware"));
}

#[test]
fn the_extension_that_enclaves_write_is_read() {
    let gateway = Gateway::new();
    let x = boot_x(&gateway.boot).unwrap();
    let evidence = software(&key(), &x);
    let document = BootEvidence { boot: gateway.boot.clone(), public_key: key().public().x(), evidence };
    assert_eq!(document.extension().unwrap(), gateway.extension());
}

#[test]
fn software_and_dev_mode_are_refused_unless_asked_for() {
    let gateway = Gateway::new();
    let leaf = certificate(&gateway.tls, &[gateway.extension()]);
    let verdict = gateway.judge_showing(&leaf, options(false));
    refused(&verdict, Reason::SoftwareEvidence);
    assert!(verdict.checks.iter().any(|check| check.name == "mode" && check.outcome == Outcome::Fail));
}

#[test]
fn certificates_without_one_readable_piece_of_evidence_are_refused() {
    let gateway = Gateway::new();
    let good = gateway.extension();
    let showing = |extensions: &[Vec<u8>]| gateway.judge_showing(&certificate(&gateway.tls, extensions), SOFTWARE);
    refused(&showing(&[]), Reason::ExtensionMissing);
    refused(&showing(&[good.clone(), good.clone()]), Reason::ExtensionTwice);
    refused(&showing(&[good.clone(), b"\x05\x00".to_vec()]), Reason::ExtensionTwice);

    // 32 KiB are read, one byte more is not, whatever it holds.
    let padded = |length: usize| extension(&"x".repeat(length - 4));
    assert_eq!(padded(32 << 10).len(), 32 << 10);
    refused(&showing(&[padded(32 << 10)]), Reason::ExtensionMalformed);
    refused(&showing(&[padded((32 << 10) + 1)]), Reason::ExtensionTooLong);

    let text = record(&gateway.document.sorted_ascii());
    let as_ia5 = [&[0x16][..], &good[1..]].concat();
    let long_form = [&[0x0c, 0x83, 0x00][..], &good[2..]].concat();
    let trailing = [&good[..], &[0]].concat();
    for (what, value) in [
        ("an IA5String", as_ia5),
        ("a length that is not the shortest", long_form),
        ("a byte behind it", trailing),
        ("the text without DER", text.clone().into_bytes()),
        ("not UTF-8", vec![0x0c, 1, 0xff]),
        ("nothing", Vec::new()),
        ("CBOR", b"\x83\x01\x41\x02\x04".to_vec()),
        ("another media type", extension(&text.replace("boot-evidence", "other"))),
        ("endorsements", extension(&text.replace(",4]", ",2]"))),
        ("a fourth element", extension(&text.replace(",4]", ",4,4]"))),
        ("no indicator", extension(&text.replace(",4]", "]"))),
        ("padded base64", extension(&text.replace("\",4]", "==\",4]"))),
        ("an object", extension("{}")),
        ("no JSON", extension("[")),
    ] {
        let verdict = showing(&[value]);
        assert_eq!(verdict.failure_reason, Some(Reason::ExtensionMalformed), "{what}");
        refused(&verdict, Reason::ExtensionMalformed);
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let gateway = Gateway::new();
    let good = certificate(&gateway.tls, &[gateway.extension()]);
    assert_eq!(tls_key(&good), Some(Digest::of(gateway.tls.subject_public_key_info())));
    for wrong in [&good[1..], &good[..good.len() - 1], b"", &[&good[..], b"\0"].concat()] {
        refused(&gateway.judge_showing(wrong, SOFTWARE), Reason::CertificateMalformed);
        assert_eq!(tls_key(wrong), None);
    }
}

#[test]
fn documents_and_answers_are_read_strictly() {
    let change = |member: &str, value: Json| Gateway::new().document.with(member, value);
    for document in [
        change("more", Json::Null),
        Gateway::new().document.without("boot"),
        Gateway::new().document.without("public_key"),
        change("boot", Gateway::new().document.get("boot").unwrap().clone().with("more", Json::Int(1))),
    ] {
        refused(&Gateway { document, ..Gateway::new() }.judge(), Reason::DocumentMalformed);
    }
    for member in ["boot", "boot_x", "public_key", "nonce", "boot_evidence", "challenge_evidence"] {
        let mut gateway = Gateway::new();
        gateway.answer = gateway.answer.without(member);
        refused(&gateway.judge(), Reason::AnswerMalformed);
    }
    let gateway = Gateway::new();
    let leaf = certificate(&gateway.tls, &[gateway.extension()]);
    for answer in ["", "[]", "<html>", r#"{"boot":1,"boot":1}"#] {
        let shown = Shown { leaf: &leaf, answer: answer.as_bytes(), nonce: &NONCE };
        refused(&verify_attestation(&shown, &approved(), &SOFTWARE), Reason::AnswerMalformed);
    }
    // What this build does not know in an answer, the next one may.
    let mut gateway = Gateway::new();
    gateway.answer = gateway.answer.with("more", Json::Null);
    assert_eq!(gateway.judge().status, Status::PartiallyVerified);
}

#[test]
fn evidence_of_unknown_types_and_shapes_is_refused() {
    let evidence = Gateway::new().document.get("evidence").unwrap().clone();
    for (evidence, reason) in [
        (evidence.clone().with("type", "arm-cca".into()), Reason::EvidenceTypeUnknown),
        (evidence.clone().with("type", "sev-snp".into()), Reason::EvidenceMalformed),
        (evidence.clone().with("type", "Software".into()), Reason::EvidenceTypeUnknown),
        (evidence.without("type"), Reason::EvidenceMalformed),
        (evidence.without("artifact"), Reason::EvidenceMalformed),
        (evidence.clone().with("more", Json::Null), Reason::EvidenceMalformed),
        (Json::Null, Reason::EvidenceMalformed),
    ] {
        let mut gateway = Gateway::new();
        gateway.document = gateway.document.with("evidence", evidence.clone());
        refused(&gateway.judge(), reason);
        for member in ["boot_evidence", "challenge_evidence"] {
            let mut gateway = Gateway::new();
            gateway.answer = gateway.answer.with(member, evidence.clone());
            refused(&gateway.judge(), reason);
        }
    }
}

#[test]
fn certificate_and_answer_are_of_one_boot_and_one_key() {
    let honest = Gateway::new();
    let mut other = honest.boot.clone();
    other.boot_id.0[0] ^= 1;
    let gateway = Gateway { answer: answer(&key(), &other, &NONCE), ..Gateway::new() };
    refused(&gateway.judge(), Reason::BootMismatch);
    let mut same_id = honest.boot.clone();
    same_id.controls_hash = Digest::of("others");
    let gateway = Gateway { answer: answer(&key(), &same_id, &NONCE), ..Gateway::new() };
    refused(&gateway.judge(), Reason::BootMismatch);

    let mut gateway = Gateway::new();
    gateway.answer = answer(&Key::from_seed([1; 32]), &gateway.boot, &NONCE);
    refused(&gateway.judge(), Reason::KeyMismatch);
    let mut gateway = Gateway::new();
    gateway.document = gateway.document.with("public_key", "AA".into());
    gateway.answer = gateway.answer.with("public_key", "AA".into());
    refused(&gateway.judge(), Reason::KeyMismatch);

    let mut gateway = Gateway::new();
    gateway.answer = gateway.answer.with("boot_x", Digest::of("other").hex().into());
    refused(&gateway.judge(), Reason::BootDigestMismatch);
}

#[test]
fn evidence_is_for_this_challenge() {
    let mut old = Gateway::new();
    old.answer = answer(&key(), &old.boot, &[0x41; 32]);
    refused(&old.judge(), Reason::NonceMismatch);
    // The replay says that it is fresh.
    old.answer = old.answer.with("nonce", b64u::encode(&NONCE).into());
    refused(&old.judge(), Reason::ChallengeNotBound);
}

#[test]
fn evidence_is_for_this_boot_and_key() {
    let honest = Gateway::new();
    let mut other = honest.boot.clone();
    other.config_hash = Digest::of("other");
    let of_other = |key: &Key| to_json(&software(key, &boot_x(&other).unwrap())).unwrap();
    let stranger = Key::from_seed([1; 32]);
    let of_stranger = to_json(&software(&stranger, &boot_x(&honest.boot).unwrap())).unwrap();
    for evidence in [of_other(&key()), of_stranger] {
        let mut gateway = Gateway { boot: honest.boot.clone(), ..Gateway::new() };
        gateway.document = gateway.document.with("evidence", evidence.clone());
        refused(&gateway.judge(), Reason::BootNotBound);
        let mut gateway = Gateway::new();
        gateway.answer = gateway.answer.with("boot_evidence", evidence);
        refused(&gateway.judge(), Reason::BootNotBound);
    }
}

#[test]
fn evidence_is_signed_by_the_key() {
    for member in ["boot_evidence", "challenge_evidence"] {
        let mut gateway = Gateway::new();
        let evidence = gateway.answer.get(member).unwrap().clone();
        // A good signature, over something else.
        let other = b64u::encode(&[9; 64]);
        for signature in [key().sign_software_evidence(&[9; 64]), other, String::new()] {
            gateway.answer = gateway.answer.with(member, evidence.clone().with("signature", signature.into()));
            refused(&gateway.judge(), Reason::EvidenceSignatureInvalid);
        }
    }
}

#[test]
fn another_image_in_any_piece_of_evidence_is_refused() {
    let other = Digest::of("another enclave").prefixed();
    let spoil = |evidence: &Json| evidence.clone().with("artifact", other.as_str().into());
    let mut gateway = Gateway::new();
    gateway.document = gateway.document.clone().with("evidence", spoil(gateway.document.get("evidence").unwrap()));
    refused(&gateway.judge(), Reason::ImageNotApproved);
    for member in ["boot_evidence", "challenge_evidence"] {
        let mut gateway = Gateway::new();
        gateway.answer = gateway.answer.clone().with(member, spoil(gateway.answer.get(member).unwrap()));
        refused(&gateway.judge(), Reason::ImageNotApproved);
    }
}

#[test]
fn every_hash_is_approved_on_its_own() {
    type Change = fn(&mut BootBinding);
    let changes: [(Change, Reason); 3] = [
        (|boot| boot.config_hash = bundle_hash(), Reason::ConfigNotApproved),
        (|boot| boot.bundle_hash = catalog_hash(), Reason::BundleNotApproved),
        (|boot| boot.catalog_hash = config_hash(), Reason::CatalogNotApproved),
    ];
    for (change, reason) in changes {
        refused(&Gateway::with(change).judge(), reason);
    }
}

/// Somebody in between passes everything on, the certificate's evidence included, and has another TLS key.
#[test]
fn evidence_behind_another_tls_key_is_refused() {
    let gateway = Gateway::new();
    let theirs = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    refused(&gateway.judge_showing(&certificate(&theirs, &[gateway.extension()]), SOFTWARE), Reason::TlsKeyNotBound);
    refused(&Gateway::with(|boot| boot.tls_spki.clear()).judge(), Reason::TlsKeyNotBound);
    // The second key of the boot is as good as the first.
    assert_eq!(Gateway::with(|boot| boot.tls_spki.reverse()).judge().status, Status::PartiallyVerified);
}

/// No byte of what is shown can change without a refusal, but in what is for people.
#[test]
fn every_flipped_bit_of_the_certificates_document_is_found() {
    let gateway = Gateway::new();
    let document = gateway.document.sorted_ascii();
    for bit in (0..document.len() * 8).step_by(3) {
        let mut bytes = document.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let text = format!(r#"["application/vnd.cmcp.boot-evidence+json","{}",4]"#, b64u::encode(&bytes));
        let leaf = certificate(&gateway.tls, &[extension(&text)]);
        assert_eq!(gateway.judge_showing(&leaf, SOFTWARE).status, Status::Unverified, "bit {bit}");
    }
}

/// Those of a connection are the bridge's, in `tests/tests/e2e/attested.rs`.
#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    let verdict = Verdict::refused(Reason::NotTls, "TLS", "something else");
    refused(&verdict, Reason::NotTls);
}
