//! Handshakes with servers that are the right one, or nearly.

use std::cell::Cell;
use std::io;
use std::pin::Pin as Pinned;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use claim::Digest;
use claim::time::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio_rustls::TlsAcceptor;

use super::{Roots, Tls};
use crate::catalog::{Endpoint, Pin, RotationMode};
use crate::error::Code;
use crate::gateway::Clock;
use crate::tls::{HTTP, provider};
use crate::transport::BoxStream;
use crate::upstream::Fault;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 12, 31);
    params
}

fn own(key: &KeyPair) -> Certificate {
    params(&["other.example"]).self_signed(key).unwrap()
}

fn pin(mode: RotationMode, bytes: &[u8]) -> Pin {
    Pin { mode, sha256: *Digest::of(bytes).bytes() }
}

fn key_pin(key: &KeyPair) -> Pin {
    pin(RotationMode::KeyPinned, &key.subject_public_key_info())
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn acceptor(certificate: &Certificate, key: &KeyPair, protocols: &[&[u8]]) -> TlsAcceptor {
    let provider = provider();
    let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = provider.key_provider.load_private_key(pkcs8).unwrap();
    let shown = CertifiedKey::new(vec![certificate.der().clone()], signer);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn tls(pin: impl Into<Option<Pin>>, roots: &Roots, now: &str) -> Tls {
    let endpoint = Endpoint::parse("https://tools.example/mcp").unwrap();
    Tls::new(&endpoint, pin.into(), None, roots, &Clock::starting_at(Timestamp::parse(now).unwrap())).unwrap()
}

const NOW: &str = "2026-11-23T00:00:00Z";

/// The client's end of a handshake.
async fn handshake(
    tls: &Tls,
    server: TlsAcceptor,
) -> Result<(BoxStream, tokio_rustls::server::TlsStream<DuplexStream>), Fault> {
    let (near, far) = duplex(1 << 16);
    let (client, server) = tokio::join!(tls.handshake(Box::new(near)), server.accept(far));
    Ok((client?, server.expect("the client is content, so the server is")))
}

fn failure(tls: &Tls, server: TlsAcceptor) -> String {
    let fault = block_on(handshake(tls, server)).err().expect("refused");
    assert_eq!((fault.code, fault.sent), (Code::UpstreamTls, false));
    fault.detail
}

#[test]
fn a_pin_is_all_that_counts() {
    let key = KeyPair::generate().unwrap();
    let certificate = own(&key);
    for pin in [key_pin(&key), pin(RotationMode::CertPinned, certificate.der())] {
        // Neither the name nor the dates are the right ones.
        let tls = tls(pin, &Roots::default(), "2040-01-01T00:00:00Z");
        assert!(block_on(handshake(&tls, acceptor(&certificate, &key, &[]))).is_ok(), "{pin:?}");
    }
}

#[test]
fn a_pin_says_what_it_expected_and_found() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let renewed = own(&key);
    let expected = key_pin(&key);
    let found = key_pin(&other);
    let detail = failure(&tls(expected, &Roots::default(), NOW), acceptor(&own(&other), &other, &[]));
    assert_eq!(detail, format!("tool server's key is {found}, and the catalog pins {expected}"));

    let expected = pin(RotationMode::CertPinned, b"an earlier certificate");
    let found = pin(RotationMode::CertPinned, renewed.der());
    let detail = failure(&tls(expected, &Roots::default(), NOW), acceptor(&renewed, &key, &[]));
    assert_eq!(detail, format!("tool server's certificate is {found}, and the catalog pins {expected}"));
}

/// Certificates are public: only the signature of the handshake shows who has the key.
#[test]
fn the_right_certificate_without_its_key_is_refused() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = own(&key);
    for pin in [key_pin(&key), pin(RotationMode::CertPinned, certificate.der())] {
        let detail = failure(&tls(pin, &Roots::default(), NOW), acceptor(&certificate, &other, &[]));
        assert_eq!(detail, "a signature of the tool server or its CA does not verify");
    }
}

#[test]
fn without_a_pin_a_ca_vouches_for_the_name_at_the_enclave_s_time() {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = params(&[]);
    ca.distinguished_name.push(DnType::CommonName, "CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let pem = |label: &str| {
        use base64ct::{Base64, Encoding};
        format!("CA\n-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(ca_certificate.der()))
    };
    let roots = Roots::parse(Some(&pem("CERTIFICATE"))).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = |names: &[&str]| params(names).signed_by(&key, &issuer).unwrap();
    let right = leaf(&["tools.example"]);
    assert!(block_on(handshake(&tls(None, &roots, NOW), acceptor(&right, &key, &[]))).is_ok());
    for (certificate, now, expected) in [
        (&leaf(&["other.example"]), NOW, "tool server's certificate is not for tools.example"),
        (&right, "2031-01-01T00:00:00Z", "tool server's certificate was valid until 2030-12-31T00:00:00Z"),
        (&right, "2019-01-01T00:00:00Z", "tool server's certificate is valid from 2020-01-01T00:00:00Z"),
        (&own(&key), NOW, "tool server's certificate is not vouched for by any of upstream.ca_roots"),
    ] {
        assert_eq!(failure(&tls(None, &roots, now), acceptor(certificate, &key, &[])), expected);
    }
    for wrong in ["", "words alone", &pem("PRIVATE KEY"), &pem("CERTIFICATE").replace('M', "*")] {
        let refused = Roots::parse(Some(wrong)).unwrap_err();
        assert_eq!(refused.field.0, "upstream.ca_roots", "{wrong}");
        assert!(wrong.is_empty() || !refused.found.0.contains(wrong), "{}", refused.found.0);
    }
}

#[test]
fn what_speaks_something_else_is_named() {
    let key = KeyPair::generate().unwrap();
    let tls = tls(key_pin(&key), &Roots::default(), NOW);
    let refused = |bytes: &'static [u8]| {
        block_on(async {
            let (near, mut far) = duplex(1 << 16);
            let speak = async move {
                far.write_all(bytes).await.unwrap();
                let _ = far.read(&mut [0; 4096]).await;
            };
            let (client, ()) = tokio::join!(tls.handshake(Box::new(near)), speak);
            client.err().expect("refused")
        })
    };
    for (bytes, detail) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "what answers does not speak TLS 1.3"),
        (b"", "connection closed in the TLS handshake"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "tool server ended the TLS handshake with the alert ProtocolVersion"),
    ] {
        let fault = refused(bytes);
        assert_eq!((fault.code, fault.sent, fault.detail.as_str()), (Code::UpstreamTls, false, detail));
    }
    let other = failure(&tls, acceptor(&own(&key), &key, &[b"h2"]));
    assert_eq!(other, "tool server ended the TLS handshake with the alert NoApplicationProtocol");
    assert!(block_on(handshake(&tls, acceptor(&own(&key), &key, &[b"h2", HTTP]))).is_ok());
}

#[test]
fn an_end_is_an_end_only_if_the_server_says_so() {
    let key = KeyPair::generate().unwrap();
    let tls = tls(key_pin(&key), &Roots::default(), NOW);
    let read = |close: bool| {
        block_on(async {
            let (mut client, mut server) = handshake(&tls, acceptor(&own(&key), &key, &[])).await.unwrap();
            server.write_all(b"all").await.unwrap();
            server.flush().await.unwrap();
            if close {
                server.shutdown().await.unwrap();
            }
            drop(server);
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.map(|_| read).map_err(|error| error.kind())
        })
    };
    assert_eq!(read(true), Ok(b"all".to_vec()));
    assert_eq!(read(false), Err(io::ErrorKind::UnexpectedEof));
}

#[test]
fn a_dropped_connection_says_so_and_a_closed_one_takes_no_byte() {
    let key = KeyPair::generate().unwrap();
    let tls = tls(key_pin(&key), &Roots::default(), NOW);
    block_on(async {
        let (client, mut server) = handshake(&tls, acceptor(&own(&key), &key, &[])).await.unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0, "close_notify arrived");

        let (mut client, server) = handshake(&tls, acceptor(&own(&key), &key, &[])).await.unwrap();
        drop(server);
        assert!(client.write(b"request").await.is_err(), "nothing was written");
    });
}

/// What was partly written may not be taken for what was not.
#[test]
fn a_request_that_was_cut_off_counts_as_written() {
    let key = KeyPair::generate().unwrap();
    let tls = tls(key_pin(&key), &Roots::default(), NOW);
    let written = |left: usize| {
        block_on(async {
            let (near, far) = duplex(1 << 20);
            let room = Rc::new(Cell::new(usize::MAX));
            let near = Breaking { stream: near, room: room.clone() };
            let acceptor = acceptor(&own(&key), &key, &[]);
            let (client, _server) = tokio::join!(tls.handshake(Box::new(near)), acceptor.accept(far));
            let mut client = client.unwrap();
            room.set(left);
            (client.write(&vec![b'x'; 1 << 18]).await.is_ok(), client.write(b"rest").await.is_ok())
        })
    };
    assert_eq!(written(0), (false, false));
    assert_eq!(written(1), (true, false));
    assert_eq!(written(40_000), (true, false));
}

/// Takes so many bytes more, and then breaks.
struct Breaking {
    stream: DuplexStream,
    room: Rc<Cell<usize>>,
}

impl AsyncRead for Breaking {
    fn poll_read(mut self: Pinned<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pinned::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(mut self: Pinned<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.room.get());
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.room.set(self.room.get() - taken);
        Pinned::new(&mut self.stream).poll_write(cx, &bytes[..taken])
    }

    fn poll_flush(mut self: Pinned<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pinned::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pinned<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pinned::new(&mut self.stream).poll_shutdown(cx)
    }
}
