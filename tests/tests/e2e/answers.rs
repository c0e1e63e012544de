//! The three answers, end to end: a gateway on a TPM in software, whose key a CA of the test certified, its claim, and a
//! relying party that approved it; and that anything else beside that claim is refused for its own reason.

use std::process::{Command, Output};

use claim::{Digest, b64u};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::bin;
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::store::Auditor;
use tests::swtpm::Swtpm;
use tests::upstream::Upstream;

/// tcg-kp-AIKCertificate.
const ATTESTS: &[u64] = &[2, 23, 133, 8, 3];
/// PCRs that an image is known by.
const IMAGE: [usize; 3] = [4, 9, 11];

/// A gateway on a machine of its own, and who certified the machine's key.
struct Machine {
    gateway: Gateway,
    image: Value,
    ca: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    _parts: (Swtpm, Upstream, Auditor),
}

impl Machine {
    fn start() -> Self {
        let (tpm, tool, auditor) = (Swtpm::start(), Upstream::plain(), Auditor::new());
        // What firmware and image would have measured.
        for number in IMAGE {
            tpm.tool(&["tpm2_pcrextend", &format!("{number}:sha256={}", Digest::of(number.to_string()).hex())]);
        }
        let image = json!({"4": pcr(&tpm, 4), "9": pcr(&tpm, 9), "11": pcr(&tpm, 11)});
        let setup = Setup::quickstart(&tool.url()).agents(&["alice"]).sealed_to(&auditor.key);
        let setup = setup.with("/attestation/provider", json!("tpm"));
        let gateway = Gateway::start_on_tpm(&setup, &tpm.path(), &[]);
        let (ca, root) = authority();
        Self { gateway, image, ca, root, _parts: (tpm, tool, auditor) }
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.gateway.caller("alice").get(path);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// A session of one call: its claim and attachment.
    fn session(&self, id: &str) -> (Value, Value) {
        let alice = self.gateway.caller("alice");
        assert_eq!(alice.call(id, CONTACTS).status(), 200);
        (self.get(&format!("/session/{id}/claim")), self.get(&format!("/session/{id}/evidence")))
    }

    /// The CA certifies the machine's attestation key, as it would after the machine has answered its challenge.
    fn collateral(&self, attachment: &Value) -> Value {
        let public = b64u::decode(attachment["boot"]["evidence"]["ak_public"].as_str().expect("a key"));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "attestation key of a test");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(ATTESTS.to_vec())];
        let key = AttestationKey::of(&public.expect("base64url"));
        let certificate = params.signed_by(&key, &self.ca).expect("a certificate");
        json!({"certificates": [b64u::encode(certificate.der())]})
    }

    /// What a relying party approves that has read the configuration and built the image.
    fn references(&self) -> Value {
        let mut check = Command::new(bin::path("host"));
        check.args(["check", "--json", "--config"]).arg(self.gateway.folder().join("cmcp-config.yaml"));
        let checked: Value = serde_json::from_slice(&check.output().expect("host runs").stdout).expect("JSON");
        json!({
            "version": 1,
            "images": [{"type": "pcrs", "pcrs": self.image}],
            "config_hashes": [checked["config_hash"]],
            "bundle_hashes": [checked["policy_bundle_hash"]],
            "catalog_hashes": [checked["tool_catalog_hash"]],
            "isolation": ["process"],
            "roots": [{"type": "tpm", "certificate": b64u::encode(&self.root), "test_only": true}],
        })
    }
}

/// `sha256:` and the digits of a PCR.
fn pcr(tpm: &Swtpm, number: usize) -> String {
    tpm.tool(&["tpm2_pcrread", "-o", "values", &format!("sha256:{number}")]);
    let value = std::fs::read(tpm.file("values")).expect("a file");
    format!("sha256:{}", claim::hex::encode(&value))
}

fn authority() -> (Issuer<'static, KeyPair>, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "TPM CA of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&key).expect("a certificate").der().to_vec();
    (Issuer::new(params, key), root)
}

/// The point of a P-256 key in a TPM.
struct AttestationKey(Vec<u8>);

impl AttestationKey {
    /// From TPMT_PUBLIC, which ends with the coordinates.
    fn of(public: &[u8]) -> Self {
        let (rest, y) = public.split_at(public.len() - 32);
        let (_, x) = rest[..rest.len() - 2].split_at(rest.len() - 34);
        Self([&[4], x, y].concat())
    }
}

impl PublicKeyData for AttestationKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Files of a relying party.
struct Desk(TempDir);

impl Desk {
    fn new(documents: &[(&str, &Value)]) -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        for (name, document) in documents {
            desk.write(name, document);
        }
        desk
    }

    fn write(&self, name: &str, document: &Value) {
        std::fs::write(self.0.path().join(name), document.to_string()).expect("a file");
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.path().join(name)).expect("a file")).expect("JSON")
    }

    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(bin::path("cmcp-verify"));
        command.args(words).current_dir(self.0.path()).env_remove("CMCP_REFERENCE_VALUES");
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    /// The claim with everything that belongs to it.
    fn claim(&self) -> (Option<i32>, String) {
        let attached = ["--attachment", "evidence.json", "--collateral", "collateral.json"];
        self.run(&[&["claim.json", "--reference", "approved.json"], &attached[..]].concat())
    }

    fn refused(&self, reason: &str) {
        let (exit, text) = self.claim();
        assert_eq!(exit, Some(1), "{reason}: {text}");
        assert!(text.contains(&format!("RESULT: unverified ({reason})")), "{reason}: {text}");
    }
}

#[test]
fn a_claim_on_hardware_is_verified_and_nothing_else_passes_for_it() {
    let machine = Machine::start();
    let (claim, attachment) = machine.session("first");
    let (references, collateral) = (machine.references(), machine.collateral(&attachment));
    let documents = [
        ("claim.json", &claim),
        ("evidence.json", &attachment),
        ("approved.json", &references),
        ("collateral.json", &collateral),
    ];
    let desk = Desk::new(&documents);
    let (exit, text) = desk.claim();
    assert_eq!(exit, Some(0), "{text}");
    for line in ["  genuine  yes", "  current  yes", "  ours     yes", "TEST ONLY: rests on tpm", "RESULT: verified"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (exit, text) = desk.run(&[
        "evidence",
        "evidence.json",
        "--reference",
        "approved.json",
        "--collateral",
        "collateral.json",
        "--json",
    ]);
    let judged: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((exit, &judged["result"]), (Some(0), &json!("verified")), "{text}");
    assert_eq!(judged["test_only_roots"].as_array().map(Vec::len), Some(1));

    other_images_and_settings(&desk, &references);
    let (other_claim, other) = machine.session("second");
    other_sessions(&desk, (&claim, &attachment), (&other_claim, &other));
    other_boots(&desk, &attachment);
    desk.write("evidence.json", &attachment);
    assert_eq!(desk.claim().0, Some(0), "still, with everything as it was");
}

fn other_images_and_settings(desk: &Desk, references: &Value) {
    let other = Digest::of("another").prefixed();
    for number in IMAGE {
        let mut changed = references.clone();
        changed["images"][0]["pcrs"][number.to_string()] = json!(other);
        desk.write("approved.json", &changed);
        desk.refused("PCR_IMAGE_NOT_APPROVED");
    }
    for (list, reason) in [
        ("config_hashes", "CONFIG_NOT_APPROVED"),
        ("bundle_hashes", "POLICY_HASH_MISMATCH"),
        ("catalog_hashes", "CATALOG_HASH_MISMATCH"),
    ] {
        let mut changed = references.clone();
        changed[list] = json!([other]);
        desk.write("approved.json", &changed);
        desk.refused(reason);
    }
    let mut strict = references.clone();
    strict.as_object_mut().expect("an object").remove("isolation");
    desk.write("approved.json", &strict);
    desk.refused("ISOLATION_NOT_APPROVED");
    let mut changed = references.clone();
    changed["roots"] = json!([]);
    desk.write("approved.json", &changed);
    desk.refused("TPM_AK_CHAIN_INVALID");
    desk.write("approved.json", references);
}

/// Another session of the same gateway: its evidence is as good, and about something else.
fn other_sessions(desk: &Desk, (claim, attachment): (&Value, &Value), (other_claim, other): (&Value, &Value)) {
    desk.write("evidence.json", other);
    desk.refused("CLAIM_OF_ANOTHER_SESSION");
    let mut swapped = attachment.clone();
    swapped["session"] = other["session"].clone();
    desk.write("evidence.json", &swapped);
    desk.refused("TPM_NONCE_MISMATCH");
    // A later chain under an earlier quote, which deployed verifiers take.
    let mut stale = other.clone();
    stale["session"] = attachment["session"].clone();
    desk.write("evidence.json", &stale);
    desk.write("claim.json", other_claim);
    desk.refused("TPM_NONCE_MISMATCH");
    desk.write("claim.json", claim);
}

/// A gateway of the same image and configuration on another machine, certified by the same kind of CA.
fn other_boots(desk: &Desk, attachment: &Value) {
    let machine = Machine::start();
    let (_, other) = machine.session("first");
    let (references, collateral) = (desk.read("approved.json"), desk.read("collateral.json"));
    let mut both = references.clone();
    let root = machine.references()["roots"][0].clone();
    both["roots"].as_array_mut().expect("a list").push(root);
    for list in ["config_hashes", "bundle_hashes", "catalog_hashes"] {
        let hash = machine.references()[list][0].clone();
        both[list].as_array_mut().expect("a list").push(hash);
    }
    desk.write("approved.json", &both);
    let mut certificates = collateral.clone();
    let certificate = machine.collateral(&other)["certificates"][0].clone();
    certificates["certificates"].as_array_mut().expect("a list").push(certificate);
    desk.write("collateral.json", &certificates);
    desk.write("evidence.json", &other);
    desk.refused("CLAIM_OF_ANOTHER_KEY");
    let mut mixed = attachment.clone();
    mixed["boot"]["evidence"] = other["boot"]["evidence"].clone();
    desk.write("evidence.json", &mixed);
    desk.refused("TPM_NONCE_MISMATCH");
    desk.write("approved.json", &references);
    desk.write("collateral.json", &collateral);
}

#[test]
fn connect_takes_a_gateway_on_hardware_that_is_genuine_current_and_ours() {
    let machine = Machine::start();
    let (_, attachment) = machine.session("first");
    let (references, collateral) = (machine.references(), machine.collateral(&attachment));
    let desk = Desk::new(&[("approved.json", &references), ("collateral.json", &collateral)]);
    let url = format!("https://{}", machine.gateway.address);
    let words = ["connect", &url, "--reference", "approved.json"];
    let (exit, text) = desk.run(&[&words[..], &["--collateral", "collateral.json"]].concat());
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("RESULT: verified") && text.contains("TEST ONLY"), "{text}");
    let (exit, text) = desk.run(&words);
    assert_eq!((exit, text.contains("TPM_AK_NOT_VOUCHED")), (Some(1), true), "{text}");
    let mut changed = references;
    changed["images"][0]["pcrs"]["11"] = json!(Digest::of("another").prefixed());
    desk.write("approved.json", &changed);
    let (exit, text) = desk.run(&[&words[..], &["--collateral", "collateral.json"]].concat());
    assert_eq!((exit, text.contains("PCR_IMAGE_NOT_APPROVED")), (Some(1), true), "{text}");
}
