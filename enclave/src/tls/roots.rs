//! Certificates of CAs in the configuration.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};
use wire::{BootRefusal, Document, RefusalCode};

use super::provider;
use crate::document::refusal;

/// Reads the certificates in PEM of this field; what stands between them is skipped.
///
/// # Errors
/// No certificate, or one that cannot be read. The text is not repeated.
pub fn roots(field: &str, pem: &str) -> Result<RootCertStore, BootRefusal> {
    read(field, pem, |_| true)
}

/// The same, of CAs that say of themselves that they are. A root is believed without that, and whoever has the key of another
/// certificate, such as an agent, could issue certificates of all others.
///
/// # Errors
/// As [`roots`]; one that is no CA's.
pub fn issuers(field: &str, pem: &str) -> Result<RootCertStore, BootRefusal> {
    read(field, pem, is_ca)
}

fn read(field: &str, pem: &str, counts: fn(&CertificateDer<'_>) -> bool) -> Result<RootCertStore, BootRefusal> {
    let mut store = RootCertStore::empty();
    for (place, found) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let unusable = |error: &str| invalid(field, &format!("certificate {}: {error}", place + 1));
        let certificate = found.map_err(|error| unusable(&error.to_string()))?;
        if !counts(&certificate) {
            return Err(unusable("no CA's (basicConstraints)"));
        }
        store.add(certificate).map_err(|error| unusable(&error.to_string()))?;
    }
    if store.is_empty() { Err(invalid(field, "no certificate")) } else { Ok(store) }
}

/// RFC 5280 section 4.2.1.9.
fn is_ca(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
    let then = not_after(&certificate);
    then.is_some_and(|then| matches!(judged(&certificate, then), Err(Error::CaUsedAsEndEntity)))
}

/// The last second of a certificate: what webpki names when it is asked about the end of all times.
pub fn not_after(certificate: &EndEntityCert<'_>) -> Option<UnixTime> {
    match judged(certificate, UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX))) {
        Err(Error::CertExpired { not_after, .. }) => Some(not_after),
        _ => None,
    }
}

/// What is wrong with it at this time, beside that nobody vouches for it: first its dates, then its kind.
fn judged(certificate: &EndEntityCert<'_>, time: UnixTime) -> Result<(), Error> {
    let algorithms = provider().signature_verification_algorithms.all;
    certificate.verify_for_usage(algorithms, &[], &[], time, KeyUsage::client_auth(), None, None).map(drop)
}

fn invalid(field: &str, found: &str) -> BootRefusal {
    let expected = "certificates of CAs in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE";
    refusal(RefusalCode::InvalidValue, &Document::Config, field, found, expected)
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::{issuers, roots};

    fn pem(is_ca: IsCa, until: i32) -> String {
        let mut params = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
        (params.is_ca, params.not_after) = (is_ca, date_time_ymd(until, 1, 1));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let body = Base64::encode_string(certificate.der());
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn agents_are_no_issuers() {
        let unconstrained = || IsCa::Ca(BasicConstraints::Unconstrained);
        for ca in [pem(unconstrained(), 2030), pem(unconstrained(), 2000), pem(unconstrained(), 9999)] {
            assert_eq!(issuers("f", &ca).unwrap().len(), 1, "its dates are judged when it is used");
        }
        for other in [pem(IsCa::NoCa, 2030), pem(IsCa::ExplicitNoCa, 2030)] {
            let refused = issuers("f", &(pem(unconstrained(), 2030) + &other)).unwrap_err();
            assert_eq!(
                (refused.field.0.as_str(), refused.found.0.as_str()),
                ("f", "certificate 2: no CA's (basicConstraints)")
            );
            assert_eq!(roots("f", &other).unwrap().len(), 1, "a server's own certificate is a pin by other means");
        }
        for nothing in ["", "a", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(issuers("f", nothing).is_err(), "{nothing}");
        }
    }
}
