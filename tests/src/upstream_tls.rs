//! TLS in front of the tool servers of the tests, and the certificates that they show.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use claim::Digest;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, crypto, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::tls::{Ca, base64, params, pem};

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

impl Identity {
    /// A certificate for these names (or addresses), signed by its own key.
    pub fn own(names: &[&str]) -> Self {
        Self::renewed(&KeyPair::generate().expect("a key"), names, 2099)
    }

    /// A certificate with this key, valid from 2020 to the end of a year.
    pub fn renewed(key: &KeyPair, names: &[&str], until: i32) -> Self {
        let params = params(names, |params| valid_until(params, until));
        Self::of(vec![params.self_signed(key).expect("a certificate").der().clone()], key)
    }

    /// A certificate of this CA for these names, valid from 2020 to the end of a year.
    pub fn issued(ca: &Ca, names: &[&str], until: i32) -> Self {
        let (key, leaf) = ca.issue(names, |params| valid_until(params, until));
        Self::of(vec![leaf], &key)
    }

    fn of(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        Self { chain, pkcs8: key.serialize_der(), spki: key.subject_public_key_info() }
    }

    /// The leaf in DER.
    pub fn leaf(&self) -> &[u8] {
        &self.chain[0]
    }

    /// `tls_fingerprint` of its key, for `rotation_mode` `key-pinned`.
    pub fn key_pin(&self) -> String {
        fingerprint(&self.spki)
    }

    /// `tls_fingerprint` of its leaf, for `rotation_mode` `cert-pinned`.
    pub fn certificate_pin(&self) -> String {
        fingerprint(self.leaf())
    }

    /// Its chain with another key: it cannot sign a handshake for the certificate that it shows.
    #[must_use]
    pub fn without_its_key(mut self) -> Self {
        self.pkcs8 = KeyPair::generate().expect("a key").serialize_der();
        self
    }

    /// Its chain and key in PEM.
    pub fn pem_with_key(&self) -> String {
        let chain: String = self.chain.iter().map(pem).collect();
        format!("{chain}-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(&self.pkcs8))
    }

    /// As a server; with a CA, one that wants clients' certificates of it.
    fn config(&self, clients: Option<&CertificateDer<'static>>) -> ServerConfig {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()));
        let signer = provider.key_provider.load_private_key(key).expect("a key");
        // Not `with_single_cert`, which would notice a key that is another's.
        let shown = rustls::sign::CertifiedKey::new(self.chain.clone(), signer);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect("TLS 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.clone()).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        builder.with_cert_resolver(Arc::new(Shown(Arc::new(shown))))
    }
}

#[derive(Debug)]
struct Shown(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Shown {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Valid from 2020 to the end of a year.
fn valid_until(params: &mut CertificateParams, until: i32) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 12, 31);
}

fn fingerprint(bytes: &[u8]) -> String {
    format!("SHA256:{}", base64(Digest::of(bytes).bytes()))
}

/// How a connection ends whose tool server has closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With close_notify.
    Said,
    /// Without: as if it had been cut off.
    Cut,
}

/// TLS in front of a tool server that knows none; it serves until the test process ends.
#[derive(Clone)]
pub struct TlsFront {
    /// Where it listens.
    pub address: SocketAddr,
    shown: Arc<Mutex<(Arc<ServerConfig>, Ending)>>,
    connections: Arc<Mutex<usize>>,
    hang_up: watch::Sender<()>,
}

impl TlsFront {
    /// Serves a tool server as this identity.
    pub fn start(tool: SocketAddr, identity: &Identity) -> Self {
        Self::serving(tool, identity.config(None))
    }

    /// The same to clients alone that have a certificate of this CA.
    pub fn start_asking(tool: SocketAddr, identity: &Identity, clients: &Ca) -> Self {
        Self::serving(tool, identity.config(Some(&clients.root)))
    }

    fn serving(tool: SocketAddr, config: ServerConfig) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let front = Self {
            address: listener.local_addr().expect("an address"),
            shown: Arc::new(Mutex::new((Arc::new(config), Ending::Said))),
            connections: Arc::default(),
            hang_up: watch::Sender::new(()),
        };
        let serving = front.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    let (front, mut over) = (serving.clone(), serving.hang_up.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            _ = front.serve(stream, tool) => {}
                            _ = over.changed() => {}
                        }
                    });
                }
            });
        });
        front
    }

    /// Its address for a catalog.
    pub fn url(&self) -> String {
        format!("https://{}/mcp", self.address)
    }

    /// Shows another identity to connections that begin from now on.
    pub fn show(&self, identity: &Identity) {
        self.shown.lock().expect("not poisoned").0 = Arc::new(identity.config(None));
    }

    /// Changes how connections end that begin from now on.
    pub fn end(&self, ending: Ending) {
        self.shown.lock().expect("not poisoned").1 = ending;
    }

    /// Closes all connections.
    pub fn hang_up(&self) {
        self.hang_up.send_replace(());
    }

    /// Handshakes that were completed.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("not poisoned")
    }

    async fn serve(&self, stream: TcpStream, tool: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (config, ending) = self.shown.lock().expect("not poisoned").clone();
        let tls = TlsAcceptor::from(config).accept(stream).await?;
        *self.connections.lock().expect("not poisoned") += 1;
        let (mut from_tool, mut to_tool) = TcpStream::connect(tool).await?.into_split();
        let (mut from_enclave, mut to_enclave) = tokio::io::split(tls);
        let outward = async {
            let mut buffer = vec![0; 16 << 10];
            loop {
                match from_enclave.read(&mut buffer).await {
                    Ok(read @ 1..) => to_tool.write_all(&buffer[..read]).await?,
                    _ => return Ok::<(), io::Error>(()),
                }
            }
        };
        tokio::select! {
            ended = outward => ended,
            ended = copy(&mut from_tool, &mut to_enclave) => {
                ended?;
                if ending == Ending::Said {
                    to_enclave.shutdown().await?;
                }
                Ok(())
            }
        }
    }
}
