//! The gateway at an address, and which TLS keys it must have: the only way by which a byte leaves for it over https.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use claim::Digest;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError,
    SignatureScheme,
};

use super::Identity;
use crate::attestation::{Reason, tls_key};

/// Why a connection is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {text}")]
pub struct Refusal {
    /// By name.
    pub reason: Reason,
    /// In words.
    pub text: String,
}

/// A gateway, before and after it was verified.
pub(super) struct Peer {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Until it is verified.
    unknown: Arc<ClientConfig>,
    /// From then on.
    verified: Arc<ClientConfig>,
    /// The certificate of the first connection, until it is verified.
    first: Mutex<Option<Vec<u8>>>,
    /// `tls_spki` of the boot that was verified; every handshake after that looks at them before it shows anything.
    keys: Arc<OnceLock<Vec<Digest>>>,
    /// The first connection that ended at another key. From then on there is none.
    refusal: OnceLock<Refusal>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Peer({}:{})", self.host, self.port)
    }
}

impl Peer {
    /// Nothing is known of it, and nothing sent. The identity is for who was verified.
    pub(super) fn new(host: &str, port: u16, identity: Option<&Identity>) -> Result<Self, rustls::Error> {
        let keys = Arc::default();
        let unknown = Arc::new(tls_config(&keys, None)?);
        let verified = if identity.is_some() { Arc::new(tls_config(&keys, identity)?) } else { Arc::clone(&unknown) };
        Ok(Self {
            host: host.to_owned(),
            port,
            unknown,
            verified,
            first: Mutex::default(),
            keys,
            refusal: OnceLock::new(),
        })
    }

    /// How the next handshake goes.
    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(if self.keys.get().is_some() { &self.verified } else { &self.unknown })
    }

    /// Whether connections of before the verdict are of another kind than those after it.
    pub(super) fn has_identity(&self) -> bool {
        !Arc::ptr_eq(&self.verified, &self.unknown)
    }

    /// The name that rustls wants for a connection. It is not sent: without SNI the gateway shows its own certificate.
    pub(super) fn name(&self) -> Result<ServerName<'static>, io::Error> {
        ServerName::try_from(self.host.clone()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Says who answered in a handshake that is done, before anything else is sent.
    ///
    /// # Errors
    /// Somebody else than was verified; or who was verified, after somebody else has answered once.
    pub(super) fn admit(&self, connection: &ClientConnection) -> Result<(), Refusal> {
        let leaf = connection.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec()).unwrap_or_default();
        let Some(keys) = self.keys.get() else {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf);
            return Ok(());
        };
        if let Some(stranger) = stranger(keys, &leaf) {
            return Err(self.refuse(&stranger));
        }
        self.refusal.get().map_or(Ok(()), |refusal| Err(refusal.clone()))
    }

    /// What a handshake failed of, if TLS itself or this peer says so. A connection that broke off says nothing.
    pub(super) fn refused(&self, error: &io::Error) -> Option<Refusal> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        if let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error
            && let Some(stranger) = inner.downcast_ref::<Stranger>()
        {
            return Some(self.refuse(stranger));
        }
        Some(refused(error))
    }

    /// From now on there are no connections.
    fn refuse(&self, Stranger(found): &Stranger) -> Refusal {
        let text = format!(
            "{}:{} answered with the TLS key {found}, which the boot that was verified does not have; it was restarted, \
             or somebody else answers. Start again to verify who it is now",
            self.host, self.port
        );
        self.refusal.get_or_init(|| Refusal { reason: Reason::NewBoot, text }).clone()
    }

    /// The certificate that the first connection showed.
    pub(super) fn leaf(&self) -> Vec<u8> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// From now on only these keys.
    pub(super) fn require(&self, keys: Vec<Digest>) {
        let _ = self.keys.set(keys);
    }

    /// Why there are no more connections.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.get()
    }
}

/// TLS 1.3, no name sent, nothing resumed, nothing early; the certificate is for [`Peer::admit`] and the verdict to judge.
fn tls_config(keys: &Arc<OnceLock<Vec<Digest>>>, identity: Option<&Identity>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(HasTheKey(provider, Arc::clone(keys))));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
    };
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Somebody with another TLS key than those of the boot that was verified; what was found.
#[derive(Debug, thiserror::Error)]
#[error("TLS key {0} is none of the boot that was verified")]
struct Stranger(String);

fn stranger(keys: &[Digest], leaf: &[u8]) -> Option<Stranger> {
    match tls_key(leaf) {
        Some(key) if keys.contains(&key) => None,
        found => Some(Stranger(found.map_or_else(|| "none".to_owned(), |key| key.to_string()))),
    }
}

/// Checks that the handshake is signed with the certificate's key, and that it is one of these once they are known: before the client
/// shows a certificate of its own. Whose key it is no issuer says, but evidence.
#[derive(Debug)]
struct HasTheKey(Arc<CryptoProvider>, Arc<OnceLock<Vec<Digest>>>);

impl ServerCertVerifier for HasTheKey {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.1.get().and_then(|keys| stranger(keys, leaf)) {
            None => Ok(ServerCertVerified::assertion()),
            Some(stranger) => Err(CertificateError::Other(OtherError(Arc::new(stranger))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn refused(error: &rustls::Error) -> Refusal {
    use rustls::Error;
    let reason = match error {
        Error::InvalidMessage(_) => Reason::NotTls,
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => Reason::TlsVersion,
        _ => Reason::TlsHandshake,
    };
    Refusal { reason, text: error.to_string() }
}
