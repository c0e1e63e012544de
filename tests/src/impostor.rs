//! Something that answers in a gateway's place, as each test wants, and remembers what reached it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use claim::binding::{BootBinding, binding, boot_x, challenge_x};
use claim::bootlog::{BootId, Isolation};
use claim::evidence::{BootEvidence, CMW_EXTENSION, Evidence, SoftwareEvidence};
use claim::key::Key;
use claim::{Digest, b64u};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme, StreamOwned};
use serde_json::{Value, json};

use crate::http::{Connection, Message, response_bytes};

/// A boot that never was, consistent in itself.
pub struct Boot {
    /// Its Ed25519 key.
    pub key: Key,
    /// Its TLS key.
    pub tls: Arc<KeyPair>,
    /// What it runs.
    pub binding: BootBinding,
    /// SHA-256 of its program.
    pub artifact: Digest,
}

impl Boot {
    /// Boots of different numbers have nothing in common but what they run.
    pub fn new(number: u8) -> Self {
        let tls = KeyPair::generate().expect("a key");
        let binding = BootBinding {
            boot_id: BootId([number; 16]),
            tls_spki: vec![Digest::of(tls.subject_public_key_info())],
            bundle_hash: Digest::of("bundle"),
            catalog_hash: Digest::of("catalog"),
            config_hash: Digest::of("config"),
            controls_hash: Digest::of("controls"),
            isolation: Isolation::Process,
            dev: true,
            time_source: "host".to_owned(),
        };
        Self { key: Key::from_seed([number; 32]), tls: Arc::new(tls), binding, artifact: Digest::of("enclave") }
    }

    fn x(&self) -> Digest {
        boot_x(&self.binding).expect("a boot")
    }

    fn software(&self, x: &Digest) -> Evidence {
        let bytes = binding(&self.key.public().thumbprint(), x);
        Evidence::Software(SoftwareEvidence::new(&self.key, self.artifact, &bytes))
    }

    /// Value of the certificate's extension.
    pub fn extension(&self) -> Vec<u8> {
        let evidence = self.software(&self.x());
        let document = BootEvidence { boot: self.binding.clone(), public_key: self.key.public().x(), evidence };
        document.extension().expect("an extension")
    }

    /// `GET /attestation?nonce=`.
    pub fn answer(&self, nonce: &str) -> Value {
        let challenge = challenge_x(&self.x(), &b64u::decode(nonce).expect("a nonce"));
        json!({
            "boot": self.binding,
            "boot_x": self.x().hex(),
            "public_key": self.key.public().x(),
            "nonce": nonce,
            "boot_evidence": self.software(&self.x()),
            "challenge_evidence": self.software(&challenge),
        })
    }

    /// Reference values that approve it.
    pub fn references(&self) -> Value {
        json!({
            "version": 1,
            "images": [{"type": "software", "artifact": self.artifact}],
            "config_hashes": [self.binding.config_hash],
            "bundle_hashes": [self.binding.bundle_hash],
            "catalog_hashes": [self.binding.catalog_hash],
        })
    }

    /// Shows it as a gateway does.
    pub fn face(self) -> Face {
        let certificate = certificate(&self.tls, &[self.extension()]);
        let tls = Arc::clone(&self.tls);
        Face::tls(certificate, &tls, move |nonce| self.answer(nonce).to_string())
    }
}

/// A self-signed certificate with these values of the extension.
pub fn certificate(key: &KeyPair, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let custom = |value: &Vec<u8>| CustomExtension::from_oid_content(CMW_EXTENSION, value.clone());
    params.custom_extensions = extensions.iter().map(custom).collect();
    params.self_signed(key).expect("a certificate").der().to_vec()
}

/// What `GET /attestation` answers for a nonce, if it answers.
type Attestation = dyn Fn(&str) -> String + Send + Sync;

/// What clients meet.
pub enum Face {
    /// These bytes after the client's first, then the end.
    Raw(Vec<u8>),
    /// TLS 1.3 and HTTP, and who has shown a client certificate, which is asked for and not required.
    Tls(Arc<ServerConfig>, Box<Attestation>, Arc<Curious>),
}

impl Face {
    /// TLS with this certificate, signed with this key, and this answer to a challenge.
    pub fn tls(certificate: Vec<u8>, key: &KeyPair, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialize_der());
        let signer = provider.key_provider.load_private_key(pkcs8.into()).expect("a key");
        let certified = CertifiedKey::new(vec![certificate.into()], signer);
        let curious = Arc::new(Curious { provider: Arc::clone(&provider), shown: AtomicUsize::new(0) });
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(Arc::clone(&curious) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Self::Tls(Arc::new(config), Box::new(answer), curious)
    }
}

/// Asks for client certificates, takes any and counts them.
#[derive(Debug)]
pub struct Curious {
    provider: Arc<CryptoProvider>,
    shown: AtomicUsize,
}

impl ClientCertVerifier for Curious {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.shown.fetch_add(1, Ordering::SeqCst);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The server; it serves until the test process ends.
#[derive(Clone)]
pub struct Impostor {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    face: Mutex<Arc<Face>>,
    open: Mutex<Vec<TcpStream>>,
    challenges: Mutex<Vec<Message>>,
    requests: Mutex<Vec<Message>>,
    raw: Mutex<Vec<u8>>,
    next_event: Mutex<Receiver<()>>,
    events: Sender<()>,
}

impl Impostor {
    /// Listens on loopback.
    pub fn start(face: Face) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let (events, next_event) = channel();
        let shared = Arc::new(Shared {
            face: Mutex::new(Arc::new(face)),
            open: Mutex::default(),
            challenges: Mutex::default(),
            requests: Mutex::default(),
            raw: Mutex::default(),
            next_event: Mutex::new(next_event),
            events,
        });
        let server = Self { address: listener.local_addr().expect("an address"), shared };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.shared.open.lock().expect("not poisoned").push(stream.try_clone().expect("a handle"));
                let (server, face) =
                    (accepting.clone(), Arc::clone(&accepting.shared.face.lock().expect("not poisoned")));
                thread::spawn(move || server.serve(stream, &face));
            }
        });
        server
    }

    /// Shows another face to later clients, and ends every connection.
    pub fn becomes(&self, face: Face) {
        *self.shared.face.lock().expect("not poisoned") = Arc::new(face);
        for stream in self.shared.open.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Every `GET /attestation` that reached it.
    pub fn challenges(&self) -> Vec<Message> {
        self.shared.challenges.lock().expect("not poisoned").clone()
    }

    /// Every other request that reached it.
    pub fn requests(&self) -> Vec<Message> {
        self.shared.requests.lock().expect("not poisoned").clone()
    }

    /// How many handshakes have shown its face a client certificate.
    pub fn shown(&self) -> usize {
        match &**self.shared.face.lock().expect("not poisoned") {
            Face::Raw(_) => 0,
            Face::Tls(_, _, curious) => curious.shown.load(Ordering::SeqCst),
        }
    }

    /// What reached a [`Face::Raw`].
    pub fn raw(&self) -> Vec<u8> {
        self.shared.raw.lock().expect("not poisoned").clone()
    }

    /// Lets `GET /events` send one more.
    pub fn send_event(&self) {
        self.shared.events.send(()).expect("the server runs");
    }

    fn serve(&self, mut stream: TcpStream, face: &Face) {
        let _ = stream.set_nodelay(true);
        match face {
            Face::Raw(bytes) => {
                let mut first = [0; 8192];
                let read = stream.read(&mut first).unwrap_or(0);
                self.shared.raw.lock().expect("not poisoned").extend(&first[..read]);
                let _ = stream.write_all(bytes);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                while let Ok(1..) = stream.read(&mut first).inspect(|read| {
                    self.shared.raw.lock().expect("not poisoned").extend(&first[..*read]);
                }) {}
            }
            Face::Tls(config, attestation, _) => {
                let socket = stream.try_clone().expect("a handle");
                let session = ServerConnection::new(Arc::clone(config)).expect("a session");
                let mut connection = Connection::over(StreamOwned::new(session, stream));
                while let Ok(request) = connection.receive() {
                    if self.answer(&request, attestation, &mut connection).is_err() {
                        break;
                    }
                }
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    fn answer(&self, request: &Message, attestation: &Attestation, client: &mut Connection) -> std::io::Result<()> {
        if let Some(nonce) = request.target().1.strip_prefix("/attestation?nonce=") {
            self.shared.challenges.lock().expect("not poisoned").push(request.clone());
            let answer = attestation(nonce);
            let status = if answer.is_empty() { 404 } else { 200 };
            return client.send(&response_bytes(status, "application/json", answer.as_bytes()));
        }
        self.shared.requests.lock().expect("not poisoned").push(request.clone());
        match request.target() {
            ("GET", "/events") => self.stream(client),
            ("GET", "/cut") => {
                client.send(b"HTTP/1.1 200 OK\r\n\r\nhalf an ans")?;
                Err(std::io::ErrorKind::ConnectionAborted.into())
            }
            (_, "/echo") => client.send(&response_bytes(200, "application/octet-stream", &request.body)),
            _ => {
                let id = serde_json::from_slice::<Value>(&request.body).unwrap_or_default()["id"].clone();
                let result = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                client.send(&response_bytes(200, "application/json", answer.as_bytes()))
            }
        }
    }

    /// Two events, each when the test says so.
    fn stream(&self, client: &mut Connection) -> std::io::Result<()> {
        client.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for number in 0..2 {
            self.shared.next_event.lock().expect("not poisoned").recv().expect("the test runs");
            client.send(format!("9\r\ndata: {number}\n\n\r\n").as_bytes())?;
        }
        client.send(b"0\r\n\r\n")
    }
}
