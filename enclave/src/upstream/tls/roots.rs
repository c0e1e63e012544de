//! The CAs that vouch for tool servers without a pin.

use std::sync::Arc;

use rustls::RootCertStore;
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::refusal;
use crate::tls;

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
        let read = |pem| tls::roots(FIELD, pem).map(Arc::new);
        pem.map(read).transpose().map(Self)
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
