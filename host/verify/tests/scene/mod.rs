//! A session of a gateway on a machine with a TPM, and everything that it shows of itself: the machine's keys and CA are of
//! the test, everything is signed as real ones sign.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a broken fixture ends the test")]

use base64ct::Encoding as _;
use claim::attachment::{Attachment, Collateral, VERSION};
use claim::b64u::{self, Octets};
use claim::binding::{BootBinding, binding, boot_x, nonce_text, session_x};
use claim::bootlog::Isolation;
use claim::entry::{Chain, Draft};
use claim::evidence::{BootEvidence, Evidence, Pcrs, Settings, SignedAttest, TpmEvidence, TpmQuote};
use claim::gateway::AttestationEvidence;
use claim::json::{Json, parse};
use claim::key::Key;
use claim::profile::{Platform, Profile, Runtime, TaggedDigest};
use claim::{Digest, hex};
use sha2::{Digest as _, Sha256};
use verify::evidence::tpm::qualifying_data;
use verify::references::References;
use verify::{Approval, Approved, Options, ReferenceValues, Verdict, verify_trace_claim};

use crate::fixture::{self, SESSION, boot_id, bundle_hash, catalog_hash, config_hash};
use crate::vtpm_machine::{ATTESTATION_KEY, ATTESTS, Ak, Attest, Ca, boot as events, log, pcrs};

/// A machine with its attestation key certified, in one boot of its TPM.
pub(crate) struct Machine {
    pub(crate) ca: Ca,
    pub(crate) ak: Ak,
    pub(crate) certificate: Vec<u8>,
    pub(crate) pcrs: [[u8; 32]; 24],
    pub(crate) resets: u32,
}

impl Machine {
    /// After the gateway has measured its settings.
    pub(crate) fn new(settings: &[Settings]) -> Self {
        let (ca, ak) = (Ca::new(), Ak::ecc());
        let certificate = ca.certify(&ak, "attestation key of a test", ATTESTS);
        let mut machine = Self { ca, ak, certificate, pcrs: pcrs(&events()), resets: 3 };
        for settings in settings {
            machine.extend(settings);
        }
        machine
    }

    pub(crate) fn extend(&mut self, settings: &Settings) {
        let pcr = &mut self.pcrs[15];
        *pcr = Sha256::new().chain_update(*pcr).chain_update(settings.digest().bytes()).finalize().into();
    }

    /// Evidence over a binding.
    pub(crate) fn attest(&self, bound: &[u8; 64]) -> Evidence {
        let mut quote = Attest::over(&self.pcrs, &qualifying_data(bound));
        quote.resets = self.resets;
        let message = quote.bytes();
        let signature = self.ak.sign(&message);
        Evidence::Tpm(TpmEvidence {
            ak_public: Octets(self.ak.public(ATTESTATION_KEY)),
            quote: TpmQuote { message: Octets(message), signature: Octets(signature), pcrs: Pcrs(self.pcrs) },
            key_quote: self.key_quote(&bound[..32]),
            ak_certificate: Some(Octets(self.certificate.clone())),
        })
    }

    /// As deployed verifiers read it: PCR 0 to 7, for the key alone.
    fn key_quote(&self, thumbprint: &[u8]) -> SignedAttest {
        let mut quote = Attest::over(&self.pcrs, thumbprint);
        quote.resets = self.resets;
        quote.selections[0].1 = vec![0xff, 0, 0];
        quote.digest = Sha256::digest(self.pcrs[..8].as_flattened()).to_vec();
        let message = quote.bytes();
        SignedAttest { signature: Octets(self.ak.sign(&message)), message: Octets(message) }
    }
}

pub(crate) fn settings_with(bundle_hash: Digest) -> Settings {
    Settings {
        bundle_hash,
        catalog_hash: catalog_hash(),
        config_hash: config_hash(),
        controls_hash: Digest::of("controls"),
    }
}

pub(crate) fn settings() -> Settings {
    settings_with(bundle_hash())
}

pub(crate) fn boot() -> BootBinding {
    BootBinding {
        boot_id: boot_id(),
        tls_spki: vec![Digest::of("tls key")],
        bundle_hash: bundle_hash(),
        catalog_hash: catalog_hash(),
        config_hash: config_hash(),
        controls_hash: Digest::of("controls"),
        isolation: Isolation::Vm,
        dev: false,
        time_source: "host".into(),
    }
}

/// What the gateway hands out of one session.
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) key: Key,
    pub(crate) attachment: Attachment,
    pub(crate) claim: Vec<u8>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::on(Machine::new(&[settings()]), fixture::key(), &boot(), SESSION)
    }

    pub(crate) fn on(machine: Machine, key: Key, boot: &BootBinding, session: &str) -> Self {
        let (attachment, claim) = shown(&machine, &key, boot, session);
        Self { machine, key, attachment, claim }
    }

    /// Of the same machine and boot, another session.
    pub(crate) fn other_session(&self) -> (Attachment, Vec<u8>) {
        shown(&self.machine, &self.key, &self.attachment.boot.boot, "another-session")
    }

    pub(crate) fn references(&self) -> Json {
        let list = |hash: Digest| Json::Array(vec![hash.prefixed().into()]);
        let pcr = |index: usize| Json::from(format!("sha256:{}", hex::encode(&self.machine.pcrs[index])));
        let pcrs = Json::from([("4", pcr(4)), ("9", pcr(9)), ("11", pcr(11))]);
        let root = Json::from([
            ("type", "tpm".into()),
            ("certificate", b64u::encode(self.machine.ca.certificate.der()).into()),
            ("test_only", true.into()),
        ]);
        Json::from([
            ("version", Json::Int(1)),
            ("images", Json::Array(vec![Json::from([("type", "pcrs".into()), ("pcrs", pcrs)])])),
            ("config_hashes", list(config_hash())),
            ("bundle_hashes", list(bundle_hash())),
            ("catalog_hashes", list(catalog_hash())),
            ("roots", Json::Array(vec![root])),
        ])
    }

    pub(crate) fn options(&self) -> Options {
        let references = References::parse(self.references().sorted_ascii().as_bytes()).unwrap();
        Options {
            reference_values: ReferenceValues::Given(Box::new(references)),
            attachment: Some(self.attachment.bytes().unwrap()),
            ..fixture::options()
        }
    }

    pub(crate) fn judge(&self) -> Verdict {
        self.judge_with(&self.options())
    }

    pub(crate) fn judge_with(&self, options: &Options) -> Verdict {
        let approved = Approved { policy_bundle_hash: Approval::NotGiven, tool_catalog_hash: Approval::NotGiven };
        verify_trace_claim(&self.claim, &approved, options)
    }
}

/// Attachment and claim of a session.
fn shown(machine: &Machine, key: &Key, boot: &BootBinding, session: &str) -> (Attachment, Vec<u8>) {
    let x = boot_x(boot).unwrap();
    let thumbprint = key.public().thumbprint();
    let detail = fixture::session_start(1, &x.hex());
    let drafts: Vec<Draft<'_>> = fixture::drafts(&detail, session);
    let mut chain = Chain::new();
    let entries: Vec<_> = drafts.iter().map(|draft| parse(&chain.seal(draft).bytes).unwrap()).collect();
    let bound = binding(&thumbprint, &session_x(&chain.root().unwrap()));
    let evidence = machine.attest(&bound);
    let mut facts = fixture::facts(&chain, &drafts);
    facts.session_id = session.into();
    facts.runtime = Runtime {
        platform: Platform::Tpm2,
        measurement: TaggedDigest::Sha256(Digest::of(machine.pcrs[..8].as_flattened())),
        nonce: Some(nonce_text(&bound)),
        firmware_version: Some("1.2".into()),
        rim_uri: None,
    };
    facts.attestation_evidence = Some(of_claim(machine, &evidence));
    let claim = key.sign_claim(&facts.claim(Profile::TraceV02, &key.public())).unwrap();
    let document = BootEvidence {
        boot: boot.clone(),
        public_key: key.public().x(),
        evidence: machine.attest(&binding(&thumbprint, &x)),
    };
    let attachment = Attachment {
        version: VERSION,
        boot: document,
        settings: vec![settings_with(boot.bundle_hash)],
        session_start: entries.first().cloned(),
        session: Some(evidence),
        event_log: Some(Octets(log(&events()))),
        collateral: Some(Collateral::default()),
    };
    (attachment, claim.bytes())
}

/// The deployed layout of `tpm2`.
fn of_claim(machine: &Machine, evidence: &Evidence) -> AttestationEvidence {
    let Evidence::Tpm(tpm) = evidence else { panic!("a TPM") };
    let pem = |der: &[u8]| {
        let text = base64ct::Base64::encode_string(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let chain = [pem(&machine.certificate), pem(machine.ca.certificate.der())].concat();
    AttestationEvidence {
        raw_evidence: Some(b64u::encode(&tpm.key_quote.message.0)),
        quote_signature: Some(b64u::encode(&tpm.key_quote.signature.0)),
        cert_chain: Some(b64u::encode(chain.as_bytes())),
        ek_cert_chain: None,
    }
}
