//! A machine with a TPM, a CA that vouches for its key, and a firmware that keeps a log: everything signed as real ones sign,
//! by keys of our own, so that each test can change one thing.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a broken fixture ends the test")]

use p256::ecdsa::Signature;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SigningKey, date_time_ymd,
};
use sha2::{Digest, Sha256, Sha384};
use verify::evidence::x509::{Anchor, Anchors, Certificate, PublicKey, RootKind};

pub(crate) const ALL: [u8; 3] = [0xff; 3];
pub(crate) const SHA1: u16 = 0x04;
pub(crate) const SHA256: u16 = 0x0b;
pub(crate) const SHA384: u16 = 0x0c;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
pub(crate) const ATTESTATION_KEY: u32 = 0x0005_0072;

/// What a TPM signs.
#[derive(Clone)]
pub(crate) struct Attest {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) signer: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) clock: u64,
    pub(crate) resets: u32,
    pub(crate) restarts: u32,
    pub(crate) safe: u8,
    pub(crate) firmware: u64,
    pub(crate) selections: Vec<(u16, Vec<u8>)>,
    pub(crate) digest: Vec<u8>,
    pub(crate) behind: Vec<u8>,
}

impl Attest {
    pub(crate) fn over(pcrs: &[[u8; 32]; 24], extra: &[u8]) -> Self {
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            signer: [&[0, 0x0b][..], &[7; 32]].concat(),
            extra: extra.to_vec(),
            clock: 1_000,
            resets: 3,
            restarts: 0,
            safe: 1,
            firmware: 0x2020_0312_0012_0003,
            selections: vec![(SHA256, ALL.to_vec())],
            digest: Sha256::digest(pcrs.as_flattened()).to_vec(),
            behind: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.magic.to_be_bytes()[..], &self.kind.to_be_bytes()].concat();
        bytes.extend(sized(&self.signer));
        bytes.extend(sized(&self.extra));
        bytes.extend(self.clock.to_be_bytes());
        bytes.extend(self.resets.to_be_bytes());
        bytes.extend(self.restarts.to_be_bytes());
        bytes.push(self.safe);
        bytes.extend(self.firmware.to_be_bytes());
        bytes.extend(u32::try_from(self.selections.len()).unwrap().to_be_bytes());
        for (hash, bitmap) in &self.selections {
            bytes.extend(hash.to_be_bytes());
            bytes.push(u8::try_from(bitmap.len()).unwrap());
            bytes.extend(bitmap);
        }
        bytes.extend(sized(&self.digest));
        bytes.extend(&self.behind);
        bytes
    }
}

/// TPM2B.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// An attestation key.
pub(crate) struct Ak {
    pair: KeyPair,
}

impl Ak {
    pub(crate) fn ecc() -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    pub(crate) fn rsa() -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap() }
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey::from_spki(&self.pair.subject_public_key_info()).unwrap()
    }

    fn is_ecc(&self) -> bool {
        matches!(self.key(), PublicKey::P256(_))
    }

    /// TPMT_SIGNATURE.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(message).unwrap();
        if !self.is_ecc() {
            return [&[0, 0x14, 0, 0x0b][..], &sized(&signature)].concat();
        }
        let signature = Signature::from_der(&signature).unwrap();
        let (r, s) = (signature.r().to_bytes(), signature.s().to_bytes());
        // As some TPMs do: without zeros in front.
        let [r, s] = [r, s].map(|number| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>());
        [&[0, 0x18, 0, 0x0b][..], &sized(&r), &sized(&s)].concat()
    }

    /// TPMT_PUBLIC.
    pub(crate) fn public(&self, attributes: u32) -> Vec<u8> {
        let (kind, scheme) = if self.is_ecc() { (0x23_u16, 0x18_u8) } else { (1, 0x14) };
        let mut bytes = [&kind.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &[0, 0]].concat();
        bytes.extend([0, 0x10, 0, scheme, 0, 0x0b]);
        match self.key() {
            PublicKey::Rsa(key) => {
                bytes.extend([8, 0, 0, 0, 0, 0]);
                bytes.extend(sized(&rsa::traits::PublicKeyParts::n(&key).to_bytes_be()));
            }
            PublicKey::P256(_) => {
                bytes.extend([0, 3, 0, 0x10]);
                let point = self.pair.public_key_raw();
                bytes.extend(sized(&point[1..33]));
                bytes.extend(sized(&point[33..]));
            }
            PublicKey::P384(_) => unreachable!(),
        }
        bytes
    }

    /// JWK of the runtime claims.
    pub(crate) fn jwk(&self) -> String {
        let PublicKey::Rsa(key) = self.key() else { unreachable!("of an RSA key") };
        let modulus = claim::b64u::encode(&rsa::traits::PublicKeyParts::n(&key).to_bytes_be());
        format!(r#"{{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"{modulus}"}}"#)
    }
}

/// A CA for attestation keys.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: Certificate,
}

/// tcg-kp-AIKCertificate.
pub(crate) const ATTESTS: &[u64] = &[2, 23, 133, 8, 3];
pub(crate) const CONFIDENTIAL: &str = "0123456789ab.ConfidentialVM.Azure.windows.net";

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = named("TPM CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = Certificate::from_der(params.self_signed(&pair).unwrap().der()).unwrap();
        Self { issuer: Issuer::new(params, pair), certificate }
    }

    pub(crate) fn certify(&self, ak: &Ak, name: &str, usage: &[u64]) -> Vec<u8> {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(usage.to_vec())];
        params.signed_by(&ak.pair, &self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn anchors(&self, kind: RootKind) -> Anchors {
        Anchors::with(vec![Anchor { certificate: self.certificate.clone(), kind, test_only: true }]).unwrap()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    params
}

pub(crate) const APPLICATION: u32 = 0x8000_0003;
pub(crate) const ACTION: u32 = 0x8000_0007;
pub(crate) const SEPARATOR: u32 = 4;
pub(crate) const NO_ACTION: u32 = 3;
pub(crate) const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
pub(crate) const RETURNING: &[u8] = b"Returning from EFI Application from Boot Option";

/// An event: register, type, what is hashed into the digest, data.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) register: u32,
    pub(crate) kind: u32,
    pub(crate) hashed: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn event(register: u32, kind: u32, data: &[u8]) -> Event {
    Event { register, kind, hashed: data.to_vec(), data: data.to_vec() }
}

/// A start of the EFI program whose hash is that of `program`.
pub(crate) fn started(program: &[u8]) -> Event {
    Event { register: 4, kind: APPLICATION, hashed: program.to_vec(), data: b"UEFI_IMAGE_LOAD_EVENT".to_vec() }
}

pub(crate) fn locality(locality: u8) -> Event {
    Event { register: 0, kind: NO_ACTION, hashed: Vec::new(), data: [b"StartupLocality\0", &[locality][..]].concat() }
}

/// A boot of an image of two EFI programs.
pub(crate) fn boot() -> Vec<Event> {
    vec![
        event(0, 8, b"firmware"),
        event(4, ACTION, CALLING),
        event(4, SEPARATOR, &[0; 4]),
        started(b"uki"),
        started(b"linux"),
        event(9, 0xd, b"command line"),
        event(11, 0xd, b".linux"),
    ]
}

/// Header of a crypto-agile log.
pub(crate) fn header(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    spec.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (algorithm, size) in algorithms {
        spec.extend(algorithm.to_le_bytes());
        spec.extend(size.to_le_bytes());
    }
    spec.push(0);
    let mut bytes = [&0_u32.to_le_bytes()[..], &NO_ACTION.to_le_bytes(), &[0; 20]].concat();
    bytes.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    bytes.extend(spec);
    bytes
}

pub(crate) fn event_bytes(event: &Event) -> Vec<u8> {
    let mut bytes = [event.register, event.kind, 2].map(u32::to_le_bytes).concat();
    let zero = event.kind == NO_ACTION;
    bytes.extend(SHA256.to_le_bytes());
    bytes.extend(if zero { vec![0; 32] } else { Sha256::digest(&event.hashed).to_vec() });
    bytes.extend(SHA384.to_le_bytes());
    bytes.extend(if zero { vec![0; 48] } else { Sha384::digest(&event.hashed).to_vec() });
    bytes.extend(u32::try_from(event.data.len()).unwrap().to_le_bytes());
    bytes.extend(&event.data);
    bytes
}

pub(crate) fn log(events: &[Event]) -> Vec<u8> {
    let mut bytes = header(&[(SHA256, 32), (SHA384, 48)]);
    bytes.extend(events.iter().flat_map(event_bytes));
    bytes
}

/// What a TPM's SHA-256 bank holds after these events.
pub(crate) fn pcrs(events: &[Event]) -> [[u8; 32]; 24] {
    let mut pcrs = [[0; 32]; 24];
    for event in events.iter().filter(|event| event.kind != NO_ACTION) {
        let pcr = &mut pcrs[usize::try_from(event.register).unwrap()];
        *pcr = Sha256::new().chain_update(*pcr).chain_update(Sha256::digest(&event.hashed)).finalize().into();
    }
    pcrs
}

/// A paravisor's report around claims, as SEV-SNP's hardware names them.
pub(crate) fn hcl(claims: &str) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0x50..0x70].copy_from_slice(&Sha256::digest(claims));
    hcl_around(&report, claims)
}

/// A paravisor's report around an SNP report and claims.
pub(crate) fn hcl_around(report: &[u8], claims: &str) -> Vec<u8> {
    let size = u32::try_from(claims.len()).unwrap();
    let mut bytes = b"HCLA".to_vec();
    bytes.resize(0x20, 0);
    bytes.extend(report);
    bytes.extend([size + 20, 1, 2, 1, size].map(u32::to_le_bytes).concat());
    bytes.extend(claims.bytes());
    bytes.resize(2600, 0);
    bytes
}

pub(crate) const USER_DATA: [u8; 64] = [0xa5; 64];

/// Runtime claims of a VM whose console is off.
pub(crate) fn claims(ak: &Ak) -> String {
    let (jwk, data) = (ak.jwk(), claim::hex::encode(&USER_DATA).to_uppercase());
    format!(
        r#"{{"keys":[{jwk},{{"kid":"HCLEkPub","kty":"RSA"}}],"vm-configuration":{{"console-enabled":false,"secure-boot":true,"tpm-enabled":true,"vmUniqueId":"1B2C"}},"user-data":"{data}"}}"#
    )
}
