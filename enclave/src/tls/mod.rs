//! TLS 1.3 towards agents. It ends here: the host relays ciphertext.
//!
//! There are up to two keys, made at boot and named in the boot binding. The certificate of the first is the enclave's own and
//! carries the evidence of this boot (RFC 9999), for clients that verify it. The second is for `tls.public_name`: its request for a
//! certificate goes out, the chain that a CA issued comes in, and clients that know CAs and nothing of evidence connect.
//! Those trust the CA, and the operator not to have another certificate issued for the name.

mod certificate;
mod chain;
mod roots;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use claim::Digest;
use claim::key::PublicKey;
use claim::time::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig, version};
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::certificate::TlsKey;
use crate::evidence::DevMode;
use crate::gateway::Clock;
use crate::limits;
use crate::transport::BoxStream;

pub use self::chain::ChainError;
pub use self::roots::{issuers, not_after, roots};

/// The application protocol (ALPN) that is spoken over TLS on either side.
pub const HTTP: &[u8] = b"http/1.1";

/// The cryptography of TLS on either side: TLS 1.3, the hybrid key exchange with ML-KEM first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Dates in certificates are compared with the gateway's own time.
impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.now().micros()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No key, or no certificate for it.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The key or its certificate does not work.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The CAs of client certificates cannot be used.
    #[error("client certificates cannot be verified: {0}")]
    Clients(#[from] VerifierBuilderError),
}

/// How agents' connections arrive.
pub enum Inbound {
    /// As they are. The host reads and may alter them, so only dev mode can make this.
    Plain(DevMode),
    /// In TLS.
    Tls(Box<Server>),
}

impl Inbound {
    /// The server, if there is TLS.
    pub fn server(&self) -> Option<&Server> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(server) => Some(server),
        }
    }
}

/// The keys of one boot, before there is evidence of them.
pub struct Keys {
    own: TlsKey,
    public: Option<(String, TlsKey)>,
}

impl Keys {
    /// New keys; a second one if there is a public name.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate(public_name: Option<&str>) -> Result<Self, TlsError> {
        let public = public_name.map(|name| Ok::<_, rcgen::Error>((name.to_owned(), TlsKey::generate()?)));
        Ok(Self { own: TlsKey::generate()?, public: public.transpose()? })
    }

    /// SHA-256 of each key's SubjectPublicKeyInfo: `tls_spki` of the boot binding.
    pub fn spki(&self) -> Vec<Digest> {
        let public = self.public.as_ref().map(|(_, key)| key);
        std::iter::once(&self.own).chain(public).map(|key| Digest::of(key.spki())).collect()
    }

    /// Serves them: the first in a certificate with this extension, which names the key of this boot. Clients may show a certificate
    /// of these CAs, if there are any, with dates that hold by this clock.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn serve(
        self,
        key: &PublicKey,
        extension: Vec<u8>,
        clients: Option<RootCertStore>,
        clock: Clock,
    ) -> Result<Server, TlsError> {
        let certificate = self.own.self_signed(key, extension)?;
        let provider = provider();
        let own = CertifiedKey::new(vec![certificate], signer(&provider, &self.own)?);
        let public = self.public.map(|(name, key)| {
            let signer = signer(&provider, &key)?;
            Ok::<_, TlsError>(Public { name, key, signer, served: RwLock::default() })
        });
        let certificates = Arc::new(Certificates { own: Arc::new(own), public: public.transpose()? });
        let clients = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            // Without one /health and /attestation answer, and the operator's token counts.
            Some(roots) => WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
                .allow_unauthenticated()
                .build()?,
        };
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![HTTP.to_vec()];
        // A resumed connection would show no certificate, and early data can be played twice.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Server { acceptor: TlsAcceptor::from(Arc::new(config)), certificates })
    }
}

fn signer(provider: &CryptoProvider, key: &TlsKey) -> Result<Arc<dyn SigningKey>, TlsError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(key.pkcs8());
    Ok(provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(pkcs8))?)
}

/// Answers agents' handshakes.
pub struct Server {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl Server {
    /// The agent's plain stream, after the handshake, and the verified certificate that it has shown.
    ///
    /// # Errors
    /// The peer's, or that it took too long.
    pub async fn accept(&self, stream: BoxStream) -> io::Result<(BoxStream, Option<CertificateDer<'static>>)> {
        let accepted = timeout(limits::HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await;
        let stream = accepted.map_err(io::Error::from)??;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        Ok((Box::new(stream), shown))
    }

    /// The public name's request for a certificate: PKCS #10 in PEM.
    ///
    /// # Errors
    /// [`ChainError::NoName`] without a public name.
    pub fn request(&self) -> Result<String, ChainError> {
        let public = self.certificates.public.as_ref().ok_or(ChainError::NoName)?;
        public.key.request(&public.name).map_err(|error| ChainError::Request(error.to_string()))
    }

    /// Serves a chain in PEM, leaf first, to clients that ask for the public name, from now on.
    ///
    /// # Errors
    /// Why it is not one for that name and key; then nothing changes.
    pub fn install(&self, pem: &[u8], now: Timestamp) -> Result<(), ChainError> {
        let public = self.certificates.public.as_ref().ok_or(ChainError::NoName)?;
        let chain = chain::read(pem, &public.name, public.key.spki(), now)?;
        let served = Arc::new(CertifiedKey::new(chain, public.signer.clone()));
        *public.served.write().unwrap_or_else(PoisonError::into_inner) = Some(served);
        Ok(())
    }
}

/// Which certificate a client is shown.
#[derive(Debug)]
struct Certificates {
    own: Arc<CertifiedKey>,
    public: Option<Public>,
}

/// The public name, and the chain for it once it is there. rustls wants this shared between threads; there is one.
#[derive(Debug)]
struct Public {
    name: String,
    key: TlsKey,
    signer: Arc<dyn SigningKey>,
    served: RwLock<Option<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name();
        let public =
            self.public.as_ref().filter(|public| wanted.is_some_and(|name| public.name.eq_ignore_ascii_case(name)));
        let served = public.and_then(|public| public.served.read().unwrap_or_else(PoisonError::into_inner).clone());
        Some(served.unwrap_or_else(|| self.own.clone()))
    }
}
