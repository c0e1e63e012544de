//! The built enclave with a TPM in software: what it produces is judged by tpm2-tools, and a TPM that lies gets a named error.
//!
//! What only hardware can show is not shown here: that Azure's paravisor makes a new report when the index is read, that a
//! TPM is a real one, and everything of `tsm`.

mod azure;
mod lies;
mod refusals;
mod tpm;

use std::path::Path;

use claim::binding::{BootBinding, binding, boot_x, challenge_x};
use claim::evidence::{BootEvidence, Evidence, Pcrs, SignedAttest, TpmQuote};
use claim::key::PublicKey;
use claim::{Digest, b64u};
use serde_json::{Value, json};
use tests::hostile::{HostileHost, Unbooted, bundle};
use tests::http::{Connection, Message};
use tests::setup::Setup;
use tests::swtpm::Swtpm;
use tests::tls::{self, Trust};
use tests::upstream::Upstream;
use wire::{BootBundle, BootRefusal, ControlEvent, ControlRequest};

/// X25519 key of nobody who is asked here.
const AUDITOR: &str = "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08";
const NONCE: [u8; 32] = [0x5a; 32];

/// A configuration that starts without dev mode.
fn production(url: &str) -> Setup {
    Setup::quickstart(url).agents(&["alice"]).sealed_to(AUDITOR)
}

fn outside_dev_mode(setup: &Setup) -> BootBundle {
    BootBundle { dev: false, tls: true, ..bundle(setup) }
}

fn unbooted(tpm: &Path) -> Unbooted {
    Unbooted::start_with(&["--tpm", &format!("unix:{}", tpm.display())])
}

fn boot(tpm: &Path, setup: &Setup) -> HostileHost {
    unbooted(tpm).boot(outside_dev_mode(setup))
}

fn refusal(tpm: &Path, setup: &Setup) -> BootRefusal {
    match unbooted(tpm).ask(&ControlRequest::Boot(outside_dev_mode(setup))) {
        ControlEvent::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A connection of an agent, and the certificate that it was shown.
fn connect(host: &HostileHost) -> (Connection, Vec<u8>) {
    let met = tls::over(host.inbound(), None, &Trust::Anybody).expect("TLS");
    (met.connection, met.leaf)
}

fn get(host: &HostileHost, path: &str) -> Message {
    connect(host).0.request("GET", path, &[], b"").expect("an answer")
}

fn challenge(host: &HostileHost) -> Message {
    get(host, &challenge_path())
}

fn challenge_path() -> String {
    format!("/attestation?nonce={}", b64u::encode(&NONCE))
}

/// What a boot has shown, and the bindings that it should be over.
struct Shown {
    boot: BootBinding,
    of_boot: [u8; 64],
    of_challenge: [u8; 64],
    thumbprint: Digest,
    boot_evidence: Evidence,
    challenge_evidence: Evidence,
    answer: Value,
}

impl Shown {
    fn by(host: &HostileHost) -> Self {
        let answer = challenge(host);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let answer = answer.json();
        let read = |name: &str| answer[name].clone();
        let boot: BootBinding = serde_json::from_value(read("boot")).expect("a binding");
        let key = PublicKey::from_x(answer["public_key"].as_str().expect("a key")).expect("a key");
        let x = boot_x(&boot).expect("a digest");
        let thumbprint = key.thumbprint();
        let boot_evidence: Evidence = serde_json::from_value(read("boot_evidence")).expect("evidence");
        let shown = BootEvidence { boot: boot.clone(), public_key: key.x(), evidence: boot_evidence.clone() };
        let (_, leaf) = connect(host);
        let extension = shown.extension().expect("an extension");
        assert!(leaf.windows(extension.len()).any(|window| window == extension), "the certificate has the same");
        Self {
            of_boot: binding(&thumbprint, &x),
            of_challenge: binding(&thumbprint, &challenge_x(&x, &NONCE)),
            thumbprint,
            boot_evidence,
            challenge_evidence: serde_json::from_value(read("challenge_evidence")).expect("evidence"),
            boot,
            answer,
        }
    }
}

/// Has tpm2-tools judge a quote by this key (in PEM, or a TPM2B_PUBLIC): its signature, its PCRs, its qualifyingData.
fn judged(tpm: &Swtpm, key: &str, quote: &SignedAttest, pcrs: &[[u8; 32]], nonce: &Digest) -> bool {
    std::fs::write(tpm.file("message"), &quote.message.0).expect("a file");
    std::fs::write(tpm.file("signature"), &quote.signature.0).expect("a file");
    std::fs::write(tpm.file("pcrs"), serialized(pcrs)).expect("a file");
    let nonce = nonce.hex();
    let words =
        ["tpm2_checkquote", "-u", key, "-m", "message", "-s", "signature", "-f", "pcrs", "-g", "sha256", "-q", &nonce];
    tpm.try_tool(&words).status.success()
}

/// Leaves evidence to `tests/oracles`, in the folder `ATTESTED`.
fn leave(name: &str, evidence: &Evidence, bound: &[u8; 64], of_boot: &[u8; 64]) {
    let Some(folder) = std::env::var_os("ATTESTED") else { return };
    std::fs::create_dir_all(&folder).expect("a folder");
    let left = json!({"evidence": evidence, "bound": b64u::encode(bound), "of_boot": b64u::encode(of_boot)});
    std::fs::write(Path::new(&folder).join(format!("{name}.json")), left.to_string()).expect("a file");
}

impl Shown {
    fn leave(&self, name: &str) {
        leave(&format!("{name}-boot"), &self.boot_evidence, &self.of_boot, &self.of_boot);
        leave(&format!("{name}-challenge"), &self.challenge_evidence, &self.of_challenge, &self.of_boot);
    }
}

/// PCR 0 and so on as tpm2-tools keeps them: its TPML_PCR_SELECTION in memory, and TPML_DIGESTs with room for eight each.
fn serialized(pcrs: &[[u8; 32]]) -> Vec<u8> {
    let mask = (1_u32 << pcrs.len()) - 1;
    let mut bytes = [&1_u32.to_le_bytes()[..], &0x000b_u16.to_le_bytes(), &[3], &mask.to_le_bytes()].concat();
    bytes.resize(132, 0);
    let lists = pcrs.chunks(8);
    bytes.extend(u32::try_from(lists.len()).expect("few").to_le_bytes());
    for list in lists {
        bytes.extend(u32::try_from(list.len()).expect("few").to_le_bytes());
        for value in list {
            bytes.extend(32_u16.to_le_bytes());
            bytes.extend(value);
            bytes.extend([0; 32]);
        }
        bytes.resize(bytes.len() + (8 - list.len()) * 66, 0);
    }
    bytes
}

/// The same of a quote over all PCRs; and that it is refused for another nonce, with another PCR, and with another key's message.
fn holds(tpm: &Swtpm, key: &str, quote: &TpmQuote, bound: &[u8; 64]) {
    let TpmQuote { message, signature, pcrs: Pcrs(pcrs) } = quote.clone();
    let signed = SignedAttest { message, signature };
    let nonce = Digest::of(bound);
    assert!(judged(tpm, key, &signed, &pcrs, &nonce));
    assert!(!judged(tpm, key, &signed, &pcrs, &Digest::of("another")));
    let mut others = pcrs;
    others[4][0] ^= 1;
    assert!(!judged(tpm, key, &signed, &others, &nonce));
    let mut forged = signed.clone();
    let last = forged.message.0.len() - 40;
    forged.message.0[last] ^= 1;
    assert!(!judged(tpm, key, &forged, &pcrs, &nonce));
}

/// What PCR 15 is after these extensions.
fn extended(digests: &[Digest]) -> [u8; 32] {
    let fold = |pcr: Digest, digest: &Digest| Digest::of([*pcr.bytes(), *digest.bytes()].concat());
    *digests.iter().fold(Digest::from_bytes([0; 32]), fold).bytes()
}

fn settings(boot: &BootBinding) -> claim::evidence::Settings {
    claim::evidence::Settings {
        bundle_hash: boot.bundle_hash,
        catalog_hash: boot.catalog_hash,
        config_hash: boot.config_hash,
        controls_hash: boot.controls_hash,
    }
}

/// A PCR by tpm2-tools, once the enclave has gone.
fn pcr(tpm: &Swtpm, number: usize) -> [u8; 32] {
    tpm.tool(&["tpm2_pcrread", "-o", "values", &format!("sha256:{number}")]);
    std::fs::read(tpm.file("values")).expect("a file").try_into().expect("32 bytes")
}

fn provider(setup: Setup, name: &str) -> Setup {
    setup.with("/attestation/provider", json!(name))
}
