//! A server is the one that the catalog pins, by its key or its certificate, and by nothing else: no CA, no name, no date.

use claim::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, SignatureScheme};
use std::sync::Arc;
use webpki::EndEntityCert;

use crate::catalog::{Pin, RotationMode};

/// Accepts what is pinned. The handshake's signature shows that the server has the key of the certificate that it sent.
#[derive(Debug)]
pub(super) struct Pinned {
    pin: Pin,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Another server than the one that is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tool server's {} is {}, and the catalog pins {expected}", .expected.of(), Pin { sha256: *.found, ..*.expected })]
pub(super) struct Mismatch {
    pub(super) expected: Pin,
    pub(super) found: [u8; 32],
}

impl Pinned {
    pub(super) fn new(pin: Pin, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { pin, algorithms }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let found = match self.pin.mode {
            RotationMode::KeyPinned => Digest::of(parsed.subject_public_key_info()),
            RotationMode::CertPinned => Digest::of(leaf),
        };
        if found.bytes() == &self.pin.sha256 {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = Mismatch { expected: self.pin, found: *found.bytes() };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
