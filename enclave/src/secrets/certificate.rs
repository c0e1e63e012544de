//! Client certificates: a chain and its private key, shown in the TLS handshake. The key never leaves, it signs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use zeroize::Zeroize;

use super::Refusal;

const SHAPE: &str = "a certificate chain, leaf first, and the leaf's private key (PKCS #8), in PEM";

/// What a handshake shows a server that asks for a certificate: nothing until it is there. rustls wants this shared between threads;
/// there is one.
#[derive(Default)]
pub struct ClientCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl ClientCertificate {
    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.certificate().is_some()
    }

    pub(super) fn put(&self, certificate: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    fn certificate(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Shows nothing of it.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientCertificate")
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certificate()
    }

    fn has_certs(&self) -> bool {
        self.is_there()
    }
}

/// Reads chain and key, which have to belong together.
pub(super) fn read(pem: &[u8]) -> Result<Arc<CertifiedKey>, Refusal> {
    let refused = |_| Refusal::Value(SHAPE);
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let mut key = PrivateKeyDer::from_pem_slice(pem).map_err(refused)?;
    let signer = any_supported_type(&key);
    key.zeroize();
    let certified = CertifiedKey::new(chain, signer.map_err(|_| Refusal::Value(SHAPE))?);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(Refusal::Value("a certificate with its own key: the key is another's"))
        }
        Err(_) => Err(Refusal::Value(SHAPE)),
    }
}
