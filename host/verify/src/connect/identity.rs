//! The agent's client certificate, for a gateway whose agents have them (`auth.mode: mtls`).

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and its private key. Shown to a gateway that was verified, and not before.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// A text that has no such chain and key; it is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("expected PEM with a certificate chain, the agent's own first, and its private key (PKCS #8)")]
pub struct IdentityError;

impl Identity {
    /// Reads PEM, in which chain and key may come in either order.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn parse(pem: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| IdentityError)?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| IdentityError)?;
        if chain.is_empty() { Err(IdentityError) } else { Ok(Self { chain, key }) }
    }
}
