//! Keys, the enclave's own certificate, and the request for one that a CA signs.

use std::fmt;

use base64ct::{Base64, Encoder};
use claim::evidence::CMW_EXTENSION;
use claim::key::PublicKey;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

/// Characters of a line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;

/// An ECDSA P-256 key of one boot.
pub(super) struct TlsKey {
    pair: KeyPair,
    spki: Vec<u8>,
}

/// Nothing of the key.
impl fmt::Debug for TlsKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsKey").finish_non_exhaustive()
    }
}

impl TlsKey {
    pub(super) fn generate() -> Result<Self, rcgen::Error> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Self { spki: pair.subject_public_key_info(), pair })
    }

    /// SubjectPublicKeyInfo in DER.
    pub(super) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The private key in PKCS #8.
    pub(super) fn pkcs8(&self) -> Vec<u8> {
        self.pair.serialize_der()
    }

    /// A certificate that the key signs itself, for the boot with this key: its names are those of the claims. It ends with the
    /// boot and time is the host's word, so its dates say nothing (RFC 5280 section 4.1.2.5).
    pub(super) fn self_signed(
        &self,
        boot: &PublicKey,
        extension: Vec<u8>,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        let mut params = server(&boot.kid());
        params.subject_alt_names = vec![SanType::URI(boot.subject().try_into()?)];
        params.not_before = date_time_ymd(2026, 11, 22);
        params.not_after = date_time_ymd(9999, 12, 31);
        params.custom_extensions = vec![CustomExtension::from_oid_content(CMW_EXTENSION, extension)];
        Ok(params.self_signed(&self.pair)?.into())
    }

    /// A request for a certificate for this name, in PEM.
    pub(super) fn request(&self, name: &str) -> Result<String, rcgen::Error> {
        let mut params = server(name);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
        Ok(pem("CERTIFICATE REQUEST", params.serialize_request(&self.pair)?.der()))
    }
}

fn server(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut body = vec![0; der.len() * 2 + PEM_LINE];
    let encoded = Encoder::<Base64>::new_wrapped(&mut body, PEM_LINE, base64ct::LineEnding::LF)
        .and_then(|mut encoder| encoder.encode(der).and_then(|()| encoder.finish()))
        .unwrap_or_default();
    format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n")
}
