//! A platform made here: Intel's chain of certificates, collateral and quotes under a root for tests, with every field free.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use verify::Timestamp;
use verify::evidence::x509::{Anchor, Certificate, RootKind};

use crate::judges::Case;

/// SEQUENCE of what is given.
pub fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = vec![tag];
    match length {
        0..128 => der.push(u8::try_from(length).unwrap()),
        128..256 => der.extend([0x81, u8::try_from(length).unwrap()]),
        _ => der.extend([0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()]),
    }
    der.extend_from_slice(content);
    der
}

fn oid(digits: &str) -> Vec<u8> {
    tlv(6, &hex(digits))
}

/// An id below that of the SGX extension.
fn sgx(arcs: &[u8]) -> Vec<u8> {
    tlv(6, &[&hex("2a864886f84d010d01")[..], arcs].concat())
}

fn int(value: u16) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let bytes = if bytes[0] == 0 { &bytes[1..] } else { &bytes[..] };
    tlv(2, &if bytes[0] >= 0x80 { [&[0], bytes].concat() } else { bytes.to_vec() })
}

pub fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

fn point(key: &SigningKey) -> Vec<u8> {
    key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
}

fn signed(body: Vec<u8>, issuer: &SigningKey) -> Vec<u8> {
    let signature: Signature = issuer.sign(&body);
    let signature = [&[0], signature.to_der().as_bytes()].concat();
    seq(&[body, ecdsa(), tlv(3, &signature)])
}

fn ecdsa() -> Vec<u8> {
    seq(&[oid("2a8648ce3d040302")])
}

fn name(common: &str) -> Vec<u8> {
    seq(&[tlv(0x31, &seq(&[oid("550403"), tlv(0x0c, common.as_bytes())]))])
}

/// UTCTime of the first of January.
fn year(year: u16) -> Vec<u8> {
    tlv(0x17, format!("{:02}0101000000Z", year % 100).as_bytes())
}

/// A certificate to be.
#[derive(Clone)]
pub struct Issue {
    pub subject: &'static str,
    pub key: u8,
    pub issuer: &'static str,
    pub issuer_key: u8,
    pub serial: u8,
    /// First of January of both years.
    pub years: (u16, u16),
    pub ca: Option<u8>,
    /// Value of the SGX extension.
    pub platform: Option<Vec<u8>>,
}

impl Issue {
    fn der(&self) -> Vec<u8> {
        let extension = |id: &str, critical: bool, value: Vec<u8>| {
            let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
            seq(&[oid(id), critical, tlv(4, &value)])
        };
        let (constraints, usage) = match self.ca {
            Some(below) => (seq(&[tlv(1, &[0xff]), int(below.into())]), tlv(3, &[1, 0x06])),
            None => (seq(&[]), tlv(3, &[6, 0xc0])),
        };
        let mut extensions = vec![extension("551d0f", true, usage), extension("551d13", true, constraints)];
        extensions.extend(self.platform.clone().map(|value| extension("2a864886f84d010d01", false, value)));
        let algorithm = seq(&[oid("2a8648ce3d0201"), oid("2a8648ce3d030107")]);
        let public = tlv(3, &[&[0], &point(&key(self.key))[..]].concat());
        let body = seq(&[
            tlv(0xa0, &int(2)),
            int(self.serial.into()),
            ecdsa(),
            name(self.issuer),
            seq(&[year(self.years.0), year(self.years.1)]),
            name(self.subject),
            seq(&[algorithm, public]),
            tlv(0xa3, &seq(&extensions)),
        ]);
        signed(body, &key(self.issuer_key))
    }
}

/// A list of revoked serial numbers to be.
#[derive(Clone)]
pub struct List {
    pub issuer: &'static str,
    pub key: u8,
    pub revoked: Vec<u8>,
    pub years: (u16, u16),
}

impl List {
    fn der(&self) -> Vec<u8> {
        let entries = self.revoked.iter().map(|serial| seq(&[int((*serial).into()), year(self.years.0)]));
        let entries: Vec<_> = entries.collect();
        let number = seq(&[oid("551d14"), tlv(4, &int(1))]);
        let mut body = vec![int(1), ecdsa(), name(self.issuer), year(self.years.0), year(self.years.1)];
        body.extend((!entries.is_empty()).then(|| seq(&entries)));
        body.push(tlv(0xa0, &seq(&[number])));
        signed(seq(&body), &key(self.key))
    }
}

/// Everything that a verdict depends on.
#[derive(Clone)]
pub struct World {
    pub version: u16,
    pub tee_type: u32,
    pub body_type: u16,
    pub qe_vendor: [u8; 16],
    pub tee_tcb_svn: [u8; 16],
    pub tee_tcb_svn_now: [u8; 16],
    pub mr_signer_seam: [u8; 48],
    pub seam_attributes: u64,
    pub td_attributes: u64,
    pub mr_service_td: [u8; 48],
    pub service_td_hashes: [[u8; 48]; 2],
    pub rtmr: [[u8; 48]; 4],
    /// Key that signs the quote; the quoting enclave names that of number 5.
    pub quote_key: u8,
    pub qe_misc_select: u32,
    pub qe_attributes: u64,
    pub qe_mr_signer: [u8; 32],
    pub qe_isv_prod_id: u16,
    pub qe_isv_svn: u16,
    pub qe_report_data_end: u8,
    /// Key that signs the quoting enclave's report.
    pub qe_key: u8,
    pub certification: u16,
    pub chain_in_collateral: bool,
    pub sgx: [u8; 16],
    pub pce: u16,
    pub fmspc: [u8; 6],
    pub pce_id: [u8; 2],
    /// Turns the SGX extension into what it should not be.
    pub extension: fn(Vec<u8>) -> Option<Vec<u8>>,
    pub ca: Issue,
    pub pck: Issue,
    pub signer: Issue,
    /// Between signer and root.
    pub signer_ca: Option<Issue>,
    pub root_crl: List,
    pub pck_crl: List,
    pub tcb_info: Value,
    pub qe_identity: Value,
    /// What becomes of the documents' texts, before or after they are signed.
    pub before: fn(String) -> String,
    pub after: fn(String) -> String,
    pub at: &'static str,
}

const ROOT: &str = "Root for tests";
const CA: &str = "Intel SGX PCK Platform CA";
const SIGNER: &str = "Intel SGX TCB Signing";

fn root() -> Issue {
    let years = (2020, 2045);
    Issue { subject: ROOT, key: 1, issuer: ROOT, issuer_key: 1, serial: 1, years, ca: Some(1), platform: None }
}

/// The root under which all of it is.
pub fn anchor() -> Anchor {
    let certificate = Certificate::from_der(&root().der()).unwrap();
    Anchor { certificate, kind: RootKind::IntelSgx, test_only: true }
}

/// A TCB level.
pub fn level(sgx: u8, pce: u16, tdx: [u8; 3], status: &str, advisories: &[&str]) -> Value {
    let components = |first: &[u8]| -> Vec<Value> {
        (0..16).map(|at| json!({"svn": first.get(at).copied().unwrap_or_default()})).collect()
    };
    json!({
        "tcb": {"sgxtcbcomponents": components(&[sgx; 4]), "pcesvn": pce, "tdxtcbcomponents": components(&tdx)},
        "tcbDate": "2025-05-14T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories,
    })
}

/// A level of a component with one SVN.
pub fn svn_level(svn: u16, status: &str, advisories: &[&str]) -> Value {
    json!({"tcb": {"isvsvn": svn}, "tcbDate": "2025-05-14T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories})
}

impl Default for World {
    fn default() -> Self {
        let years = (2021, 2040);
        let issue = |subject, key, issuer, issuer_key, ca| Issue {
            subject,
            key,
            issuer,
            issuer_key,
            serial: key,
            years,
            ca,
            platform: None,
        };
        let list = |issuer, key| List { issuer, key, revoked: vec![77], years: (2026, 2027) };
        let zeros = "0".repeat(96);
        let module = json!({"mrsigner": zeros, "attributes": "0".repeat(16), "attributesMask": "F".repeat(16)});
        let mut identity = module.clone();
        identity["id"] = "TDX_01".into();
        identity["tcbLevels"] = json!([svn_level(5, "UpToDate", &[]), svn_level(2, "OutOfDate", &["INTEL-SA-7"])]);
        Self {
            version: 4,
            tee_type: 0x81,
            body_type: 3,
            qe_vendor: hex("939a7233f79c4ca9940a0db3957f0607").try_into().unwrap(),
            tee_tcb_svn: *b"\x05\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0\0",
            tee_tcb_svn_now: *b"\x05\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0\0",
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: 1 << 28,
            mr_service_td: [0; 48],
            service_td_hashes: [[0; 48]; 2],
            rtmr: [[1; 48], [2; 48], [3; 48], [0; 48]],
            quote_key: 5,
            qe_misc_select: 0,
            qe_attributes: 0x15,
            qe_mr_signer: [0xdc; 32],
            qe_isv_prod_id: 2,
            qe_isv_svn: 6,
            qe_report_data_end: 0,
            qe_key: 3,
            certification: 5,
            chain_in_collateral: false,
            sgx: [4; 16],
            pce: 13,
            fmspc: [0, 0x80, 0x6f, 5, 0, 0],
            pce_id: [0, 0],
            extension: Some,
            ca: issue(CA, 2, ROOT, 1, Some(0)),
            pck: issue("Intel SGX PCK Certificate", 3, CA, 2, None),
            signer: issue(SIGNER, 4, ROOT, 1, None),
            signer_ca: None,
            root_crl: list(ROOT, 1),
            pck_crl: list(CA, 2),
            tcb_info: json!({
                "id": "TDX", "version": 3, "issueDate": "2026-05-20T00:00:00Z", "nextUpdate": "2026-06-20T00:00:00Z",
                "fmspc": "00806F050000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 19,
                "tdxModule": module, "tdxModuleIdentities": [identity],
                "tcbLevels": [
                    level(4, 13, [5, 0, 4], "UpToDate", &[]),
                    level(3, 11, [3, 0, 3], "OutOfDate", &["INTEL-SA-2", "INTEL-SA-1"]),
                ],
            }),
            qe_identity: json!({
                "id": "TD_QE", "version": 2, "issueDate": "2026-05-21T00:00:00Z", "nextUpdate": "2026-06-21T00:00:00Z",
                "tcbEvaluationDataNumber": 19, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
                "attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
                "mrsigner": "DC".repeat(32), "isvprodid": 2,
                "tcbLevels": [svn_level(4, "UpToDate", &[]), svn_level(2, "OutOfDate", &["INTEL-SA-9"])],
            }),
            before: |text| text,
            after: |text| text,
            at: "2026-06-01T00:00:00Z",
        }
    }
}

impl World {
    pub fn case(&self, name: &str) -> Case {
        let at = Timestamp::parse(self.at).unwrap();
        Case { name: name.to_owned(), quote: self.quote(), collateral: self.collateral().to_string().into_bytes(), at }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = self.tee_tcb_svn.to_vec();
        body.extend([0xaa; 48]);
        body.extend(self.mr_signer_seam);
        body.extend(self.seam_attributes.to_le_bytes());
        body.extend(self.td_attributes.to_le_bytes());
        body.extend(0x618e7_u64.to_le_bytes());
        body.extend([0xbb; 48]);
        body.extend([0; 3 * 48]);
        body.extend(self.rtmr.concat());
        body.extend([0xcc; 64]);
        if self.version == 5 && self.body_type >= 3 {
            body.extend(self.tee_tcb_svn_now);
            body.extend(self.mr_service_td);
        }
        if self.version == 5 && self.body_type == 4 {
            body.extend([7; 1 + 32 + 48]);
            body.extend(self.service_td_hashes[0]);
            body.extend([7; 8 + 16 + 16 + 12]);
            body.extend(self.service_td_hashes[1]);
            body.extend([7; 8]);
        }
        body
    }

    fn quote(&self) -> Vec<u8> {
        let body = self.body();
        let mut quote = [self.version.to_le_bytes(), 2_u16.to_le_bytes()].concat();
        quote.extend(self.tee_type.to_le_bytes());
        quote.extend([0; 4]);
        quote.extend(self.qe_vendor);
        quote.extend([9; 20]);
        if self.version == 5 {
            quote.extend(self.body_type.to_le_bytes());
            quote.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        }
        quote.extend(body);
        let signature: Signature = key(self.quote_key).sign(&quote);
        let mut data = signature.to_bytes().to_vec();
        data.extend(&point(&key(5))[1..]);
        let certification = self.quoting_enclave();
        data.extend(6_u16.to_le_bytes());
        data.extend(u32::try_from(certification.len()).unwrap().to_le_bytes());
        data.extend(certification);
        quote.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        quote.extend(data);
        quote
    }

    fn quoting_enclave(&self) -> Vec<u8> {
        let authentication: Vec<u8> = (0..32).collect();
        let named = Sha256::new().chain_update(&point(&key(5))[1..]).chain_update(&authentication).finalize();
        let mut report = vec![4; 16];
        report.extend(self.qe_misc_select.to_le_bytes());
        report.extend([0; 28]);
        report.extend(self.qe_attributes.to_le_bytes());
        report.extend([0xe7, 0, 0, 0, 0, 0, 0, 0]);
        report.extend([0xee; 32]);
        report.extend([0; 32]);
        report.extend(self.qe_mr_signer);
        report.extend([0; 96]);
        report.extend(self.qe_isv_prod_id.to_le_bytes());
        report.extend(self.qe_isv_svn.to_le_bytes());
        report.extend([0; 60]);
        report.extend(named);
        report.extend([0; 31]);
        report.push(self.qe_report_data_end);
        assert_eq!(report.len(), 384);
        let signature: Signature = key(self.qe_key).sign(&report);
        report.extend(signature.to_bytes());
        report.extend(32_u16.to_le_bytes());
        report.extend(authentication);
        let chain = if self.certification == 5 { self.pck_chain().into_bytes() } else { vec![0; 36] };
        report.extend(self.certification.to_le_bytes());
        report.extend(u32::try_from(chain.len()).unwrap().to_le_bytes());
        report.extend(chain);
        report
    }

    fn pck_chain(&self) -> String {
        let octets = |bytes: &[u8]| tlv(4, bytes);
        let mut tcb: Vec<_> = (1..).zip(self.sgx).map(|(at, svn)| seq(&[sgx(&[2, at]), int(svn.into())])).collect();
        tcb.push(seq(&[sgx(&[2, 17]), int(self.pce)]));
        tcb.push(seq(&[sgx(&[2, 18]), octets(&self.sgx)]));
        let platform = seq(&[
            seq(&[sgx(&[1]), octets(&[0x11; 16])]),
            seq(&[sgx(&[2]), seq(&tcb)]),
            seq(&[sgx(&[3]), octets(&self.pce_id)]),
            seq(&[sgx(&[4]), octets(&self.fmspc)]),
            seq(&[sgx(&[5]), tlv(10, &[0])]),
        ]);
        let pck = Issue { platform: (self.extension)(platform), ..self.pck.clone() };
        pem(&[pck.der(), self.ca.der(), root().der()])
    }

    pub fn collateral(&self) -> Value {
        let mut chain = vec![self.signer.der()];
        chain.extend(self.signer_ca.as_ref().map(Issue::der));
        chain.push(root().der());
        let sign = |text: &str| {
            let signature: Signature = key(self.signer.key).sign(text.as_bytes());
            claim::hex::encode(&signature.to_bytes())
        };
        let tcb_info = (self.before)(self.tcb_info.to_string());
        let qe_identity = (self.before)(self.qe_identity.to_string());
        let mut collateral = json!({
            "pck_crl_issuer_chain": pem(&[self.ca.der(), root().der()]),
            "root_ca_crl": claim::hex::encode(&self.root_crl.der()),
            "pck_crl": claim::hex::encode(&self.pck_crl.der()),
            "tcb_info_issuer_chain": pem(&chain),
            "tcb_info_signature": sign(&tcb_info),
            "tcb_info": (self.after)(tcb_info),
            "qe_identity_issuer_chain": pem(&chain),
            "qe_identity_signature": sign(&qe_identity),
            "qe_identity": (self.after)(qe_identity),
        });
        if self.chain_in_collateral {
            collateral["pck_certificate_chain"] = self.pck_chain().into();
        }
        collateral
    }
}

fn pem(chain: &[Vec<u8>]) -> String {
    let block = |der: &Vec<u8>| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(der));
    chain.iter().map(block).collect()
}

fn base64(bytes: &[u8]) -> String {
    let text = claim::b64u::encode(bytes).replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - text.len() % 4) % 4);
    let text = text + &padding;
    text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
}
