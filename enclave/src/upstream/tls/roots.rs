//! The CAs that vouch for tool servers without a pin.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::refusal;

const FIELD: &str = "upstream.ca_roots";

/// The CAs of `upstream.ca_roots`, if there are any.
#[derive(Clone, Debug, Default)]
pub struct Roots(Option<Arc<RootCertStore>>);

impl Roots {
    /// Reads certificates in PEM; what stands between them is skipped.
    ///
    /// # Errors
    /// No certificate, or one that cannot be read. The text is not repeated.
    pub fn parse(pem: Option<&str>) -> Result<Self, BootRefusal> {
        let Some(pem) = pem else { return Ok(Self::default()) };
        let mut store = RootCertStore::empty();
        for (place, found) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let unreadable = |error: String| invalid(&format!("certificate {}: {error}", place + 1));
            let certificate = found.map_err(|error| unreadable(error.to_string()))?;
            store.add(certificate).map_err(|error| unreadable(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(invalid("no certificate"));
        }
        Ok(Self(Some(Arc::new(store))))
    }

    pub(super) fn store(&self) -> Option<Arc<RootCertStore>> {
        self.0.clone()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Nothing shows that a server is the right one.
pub(in crate::upstream) fn missing(name: &str) -> BootRefusal {
    let found = format!("nothing, and {name} has an https url without a pin");
    let expected = "certificates of the CAs that vouch for it, in PEM; or its pin as server.tls_fingerprint in the catalog \
                    (docs/operate.md says how to compute it)";
    refusal(RefusalCode::Missing, &Document::Config, FIELD, &found, expected)
}

fn invalid(found: &str) -> BootRefusal {
    let expected = "certificates of CAs in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE";
    refusal(RefusalCode::InvalidValue, &Document::Config, FIELD, found, expected)
}
