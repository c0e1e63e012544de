//! A vendor of processors: root, intermediates, keys of chips and providers, reports, lists of revoked certificates.

use p384::ecdsa::Signature;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    RevokedCertParams, SigningKey, date_time_ymd,
};
use verify::Timestamp;
use verify::evidence::snp::{Product, SIZE};
use verify::evidence::x509::{Anchor, Anchors, Certificate, Crl, RootKind};

/// Bytes of a report that are signed.
pub(crate) const SIGNED: usize = 0x2A0;
pub(crate) const REPORT_DATA: [u8; 64] = [0x52; 64];

/// Where fields begin (AMD publication 56860, ATTESTATION_REPORT).
pub(crate) mod fields {
    pub(crate) const VERSION: usize = 0;
    pub(crate) const GUEST_SVN: usize = 4;
    pub(crate) const POLICY: usize = 8;
    pub(crate) const VMPL: usize = 0x30;
    pub(crate) const ALGORITHM: usize = 0x34;
    pub(crate) const CURRENT_TCB: usize = 0x38;
    pub(crate) const KEY_INFO: usize = 0x48;
    pub(crate) const REPORT_DATA: usize = 0x50;
    pub(crate) const MEASUREMENT: usize = 0x90;
    pub(crate) const ID_KEY_DIGEST: usize = 0xE0;
    pub(crate) const AUTHOR_KEY_DIGEST: usize = 0x110;
    pub(crate) const REPORTED_TCB: usize = 0x180;
    pub(crate) const CPU: usize = 0x188;
    pub(crate) const CHIP_ID: usize = 0x1A0;
    pub(crate) const COMMITTED_TCB: usize = 0x1E0;
    pub(crate) const CURRENT_FIRMWARE: usize = 0x1E8;
    pub(crate) const COMMITTED_FIRMWARE: usize = 0x1EC;
    pub(crate) const LAUNCH_TCB: usize = 0x1F0;
}

/// The signed bytes of a report.
#[derive(Clone)]
pub(crate) struct Layout {
    product: Product,
    bytes: [u8; SIGNED],
}

impl Layout {
    pub(crate) fn set(&mut self, offset: usize, value: &[u8]) {
        self.bytes[offset..offset + value.len()].copy_from_slice(value);
    }

    pub(crate) fn version(&mut self, version: u32) {
        self.set(fields::VERSION, &version.to_le_bytes());
        let cpu = match self.product {
            Product::Milan => [0x19, 0x01, 0x01],
            Product::Genoa => [0x19, 0x11, 0x01],
            Product::Turin => [0x1A, 0x02, 0x01],
        };
        self.set(fields::CPU, if version < 3 { &[0; 3] } else { &cpu });
    }

    fn tcb(&self) -> [u8; 8] {
        self.bytes[fields::REPORTED_TCB..][..8].try_into().unwrap()
    }

    fn chip(&self) -> &[u8] {
        &self.bytes[fields::CHIP_ID..][..if self.product == Product::Turin { 8 } else { 64 }]
    }
}

/// A certified key.
pub(crate) struct Key {
    pair: KeyPair,
    pub(crate) certificate: Certificate,
}

impl Key {
    /// A report that this key signs.
    pub(crate) fn report(&self, layout: &Layout) -> Vec<u8> {
        let mut report = layout.bytes.to_vec();
        let signature = Signature::from_der(&self.pair.sign(&layout.bytes).unwrap());
        report.resize(SIZE, 0);
        if let Ok(signature) = signature {
            let (mut r, mut s) = (signature.r().to_bytes(), signature.s().to_bytes());
            r.reverse();
            s.reverse();
            report[SIGNED..][..48].copy_from_slice(&r);
            report[SIGNED + 72..][..48].copy_from_slice(&s);
        }
        report
    }
}

/// A CA, and whose keys it certifies.
pub(crate) struct Chain {
    product: Product,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: Certificate,
}

impl Chain {
    pub(crate) const ARK: u64 = 0x7_0000;
    pub(crate) const ASK: u64 = 0x7_0001;
    pub(crate) const KEY: u64 = 0x7_0002;

    pub(crate) fn vcek(&self, layout: &Layout) -> Key {
        self.vcek_without(layout, &[])
    }

    /// A chip's key, without one extension.
    pub(crate) fn vcek_without(&self, layout: &Layout, missing: &[u64]) -> Key {
        let mut extensions = self.extensions(layout);
        extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 3704, 1, 4], layout.chip().to_vec()));
        extensions.retain(|extension| !extension.oid_components().eq(missing.iter().copied()));
        self.certify("SEV-VCEK", extensions, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())
    }

    pub(crate) fn vcek_on_p256(&self, layout: &Layout) -> Key {
        let mut extensions = self.extensions(layout);
        extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 3704, 1, 4], layout.chip().to_vec()));
        self.certify("SEV-VCEK", extensions, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// A provider's key.
    pub(crate) fn vlek(&self, layout: &Layout) -> Key {
        let mut extensions = self.extensions(layout);
        extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 3704, 1, 5], ia5("provider.example")));
        self.certify("SEV-VLEK", extensions, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())
    }

    /// Product name, and a number for each byte of the TCB version (AMD publication 57230).
    fn extensions(&self, layout: &Layout) -> Vec<CustomExtension> {
        let numbers = match self.product {
            Product::Turin => [9, 1, 2, 3, 5, 6, 7, 8],
            _ => [1, 2, 4, 5, 6, 7, 3, 8],
        };
        let name =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 3704, 1, 2], ia5(&format!("{}-B0", self.product)));
        let tcb = numbers.into_iter().zip(layout.tcb()).map(|(number, value)| {
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, number], integer(value))
        });
        std::iter::once(name).chain(tcb).collect()
    }

    fn certify(&self, name: &str, extensions: Vec<CustomExtension>, pair: KeyPair) -> Key {
        let mut params = params(name, Self::KEY, (2026, 2033));
        params.custom_extensions = extensions;
        let certificate = params.signed_by(&pair, &self.issuer).unwrap();
        Key { pair, certificate: Certificate::from_der(certificate.der()).unwrap() }
    }
}

/// Root, CA of chips' keys, CA of providers' keys.
pub(crate) struct Vendor {
    product: Product,
    pub(crate) ark: Chain,
    pub(crate) ask: Chain,
    pub(crate) asvk: Chain,
}

impl Vendor {
    pub(crate) fn new(product: Product) -> Self {
        let ark = authority(product, &format!("ARK-{product}"), Chain::ARK, None);
        Self {
            product,
            ask: authority(product, &format!("SEV-{product}"), Chain::ASK, Some(&ark)),
            asvk: authority(product, &format!("SEV-VLEK-{product}"), Chain::ASK + 0x100, Some(&ark)),
            ark,
        }
    }

    /// The vendors' roots and this one.
    pub(crate) fn anchors(&self) -> Anchors {
        let certificate = self.ark.certificate.clone();
        Anchors::with(vec![Anchor { certificate, kind: RootKind::AmdArk, test_only: true }]).unwrap()
    }

    pub(crate) fn vcek(&self, layout: &Layout) -> Key {
        self.ask.vcek(layout)
    }

    pub(crate) fn vlek(&self, layout: &Layout) -> Key {
        self.asvk.vlek(layout)
    }

    pub(crate) fn crl(&self, from: &str, until: &str, revoked: &[u64]) -> Crl {
        Crl::from_der(&self.crl_der(from, until, revoked)).unwrap()
    }

    pub(crate) fn crl_der(&self, from: &str, until: &str, revoked: &[u64]) -> Vec<u8> {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: serial_number(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let date = |day: &str| {
            let parts: Vec<u16> = day.split('-').map(|part| part.parse().unwrap()).collect();
            date_time_ymd(i32::from(parts[0]), u8::try_from(parts[1]).unwrap(), u8::try_from(parts[2]).unwrap())
        };
        let params = CertificateRevocationListParams {
            this_update: date(from),
            next_update: date(until),
            crl_number: serial_number(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.ark.issuer).unwrap().der().to_vec()
    }

    /// A report of version 3 that nothing is wrong with.
    pub(crate) fn layout(&self) -> Layout {
        let mut layout = Layout { product: self.product, bytes: [0; SIGNED] };
        layout.version(3);
        layout.set(fields::POLICY, &0x3_0000_u64.to_le_bytes());
        layout.set(fields::ALGORITHM, &[1]);
        let tcb =
            if self.product == Product::Turin { [1, 4, 0, 24, 0, 0, 0, 219] } else { [4, 0, 0, 0, 0, 0, 24, 219] };
        for field in [fields::CURRENT_TCB, fields::REPORTED_TCB, fields::COMMITTED_TCB, fields::LAUNCH_TCB] {
            layout.set(field, &tcb);
        }
        layout.set(fields::REPORT_DATA, &REPORT_DATA);
        layout.set(fields::MEASUREMENT, &[0x4D; 48]);
        layout.set(fields::CHIP_ID, if self.product == Product::Turin { &[0x43; 8] } else { &[0x43; 64] });
        layout.set(fields::CURRENT_FIRMWARE, &[2, 55, 1]);
        layout.set(fields::COMMITTED_FIRMWARE, &[2, 55, 1]);
        layout
    }
}

fn authority(product: Product, name: &str, serial: u64, by: Option<&Chain>) -> Chain {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = params(name, serial, (2020, 2045));
    params.is_ca =
        IsCa::Ca(if by.is_some() { BasicConstraints::Constrained(0) } else { BasicConstraints::Unconstrained });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = match by {
        Some(chain) => params.signed_by(&pair, &chain.issuer).unwrap(),
        None => params.self_signed(&pair).unwrap(),
    };
    let certificate = Certificate::from_der(certificate.der()).unwrap();
    Chain { product, issuer: Issuer::new(params, pair), certificate }
}

fn params(name: &str, serial: u64, (from, until): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial_number(serial));
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params
}

fn serial_number(serial: u64) -> rcgen::SerialNumber {
    serial.to_be_bytes()[5..].to_vec().into()
}

/// DER INTEGER of a byte.
fn integer(value: u8) -> Vec<u8> {
    if value < 0x80 { vec![2, 1, value] } else { vec![2, 2, 0, value] }
}

/// DER IA5String.
fn ia5(text: &str) -> Vec<u8> {
    [&[0x16, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Midnight of a day.
pub(crate) fn at(day: &str) -> Timestamp {
    Timestamp::parse(&format!("{day}T00:00:00Z")).unwrap()
}
