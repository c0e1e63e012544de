//! TLS clients of agents and tests: whom they trust, and whom they met.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};

use crate::http::{Connection, READ_TIMEOUT};

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever answers.
    Anybody,
    /// Holders of certificates of this CA.
    Ca(CertificateDer<'static>),
}

/// What a client shows of itself.
pub struct Shows {
    /// Its key.
    pub key: KeyPair,
    /// The certificate of the key.
    pub certificate: CertificateDer<'static>,
}

/// A connection, and the certificate that the server showed.
pub struct Met {
    /// HTTP over it.
    pub connection: Connection,
    /// The server's certificate in DER.
    pub leaf: Vec<u8>,
}

/// Connects over TCP and shakes hands; `name` is the name that is asked for (SNI) and expected, or none.
pub fn connect(address: SocketAddr, name: Option<&str>, trust: &Trust) -> io::Result<Met> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    over(stream, name, trust)
}

/// Connects as whoever has this certificate.
pub fn connect_as(address: SocketAddr, shows: &Shows) -> io::Result<Met> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    shake_hands(ClientConnection::new(config_as(&Trust::Anybody, Some(shows)), name).expect("a client"), stream)
}

/// Shakes hands over any stream.
pub fn over(stream: impl Read + Write + Send + 'static, name: Option<&str>, trust: &Trust) -> io::Result<Met> {
    shake_hands(client(name, trust), stream)
}

fn shake_hands(mut session: ClientConnection, mut stream: impl Read + Write + Send + 'static) -> io::Result<Met> {
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    let leaf = session.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").to_vec();
    Ok(Met { connection: Connection::over(StreamOwned::new(session, stream)), leaf })
}

/// A client that has not spoken yet. An address in place of a name is not sent.
pub fn client(name: Option<&str>, trust: &Trust) -> ClientConnection {
    let name = name.map_or_else(
        || ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)),
        |name| ServerName::try_from(name.to_owned()).expect("a name"),
    );
    ClientConnection::new(config(trust), name).expect("a client")
}

/// TLS 1.3 with this trust.
pub fn config(trust: &Trust) -> Arc<ClientConfig> {
    config_as(trust, None)
}

fn config_as(trust: &Trust, shows: Option<&Shows>) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match trust {
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        Trust::Ca(root) => {
            let mut roots = RootCertStore::empty();
            roots.add(root.clone()).expect("a root");
            builder.with_root_certificates(roots)
        }
    };
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some(Shows { key, certificate }) => {
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            builder.with_client_auth_cert(vec![certificate.clone()], key.into()).expect("a key and its certificate")
        }
    })
}

/// Asks that the server has the key of its certificate, and nothing of the certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
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

/// A CA of its own.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub root: CertificateDer<'static>,
}

impl Default for Ca {
    fn default() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        // Each has a name of its own: one is not taken for another.
        params.distinguished_name.push(DnType::CommonName, base64(&key.subject_public_key_info()));
        let root = params.self_signed(&key).expect("a root").der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }
}

impl Ca {
    /// A certificate for these names and the key of a request (PEM), after a change: leaf and root in PEM.
    pub fn sign(&self, request: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> String {
        let leaf = params(names, change).signed_by(&Requested::of(request), &self.issuer).expect("a certificate");
        [leaf.der(), &self.root].map(pem).concat()
    }

    /// A key and a certificate for these names, after a change.
    pub fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (KeyPair, CertificateDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let leaf = params(names, change).signed_by(&key, &self.issuer).expect("a certificate");
        (key, leaf.der().clone())
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        pem(&self.root)
    }

    /// An agent's key, and a certificate with these URIs that ends at this time.
    pub fn workload(&self, uris: &[&str], until: SystemTime) -> Shows {
        let (key, certificate) = self.issue(&[], |params| {
            params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI"))));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.not_after = until.into();
        });
        Shows { key, certificate }
    }
}

/// A certificate for these names, after a change.
pub(crate) fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    change(&mut params);
    params
}

/// The P-256 point that a request is for.
struct Requested(Vec<u8>);

impl Requested {
    fn of(request: &str) -> Self {
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).expect("a request");
        let start =
            der.windows(P256_SPKI.len()).position(|bytes| bytes == P256_SPKI).expect("a P-256 key") + P256_SPKI.len();
        Self(der[start..start + 65].to_vec())
    }
}

impl PublicKeyData for Requested {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// SubjectPublicKeyInfo of P-256 up to the point (RFC 5480).
const P256_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// A certificate in PEM.
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(certificate))
}

/// Standard base64.
pub fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(bytes)
}
