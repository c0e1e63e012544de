//! Certificates of CAs in the configuration.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::refusal;

/// Reads the certificates in PEM of this field; what stands between them is skipped.
///
/// # Errors
/// No certificate, or one that cannot be read. The text is not repeated.
pub fn roots(field: &str, pem: &str) -> Result<RootCertStore, BootRefusal> {
    let mut store = RootCertStore::empty();
    for (place, found) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let unreadable = |error: String| invalid(field, &format!("certificate {}: {error}", place + 1));
        let certificate = found.map_err(|error| unreadable(error.to_string()))?;
        store.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if store.is_empty() { Err(invalid(field, "no certificate")) } else { Ok(store) }
}

fn invalid(field: &str, found: &str) -> BootRefusal {
    let expected = "certificates of CAs in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE";
    refusal(RefusalCode::InvalidValue, &Document::Config, field, found, expected)
}
