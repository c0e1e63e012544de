//! TLS 1.3 towards tool servers. The host resolves and connects; the handshake decides whether what answers is the right server.
//!
//! Nothing is resumed: each connection shows the server's certificate anew, so that a pin or a date that no longer holds ends with the
//! connections that are open, and nothing that a server says is kept for later. Connections are kept alive, so handshakes are few.

mod failure;
mod roots;
mod stream;
mod verifier;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, version};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wire::{BootRefusal, Document, RefusalCode};

use self::stream::{Counted, Secured};
use self::verifier::Pinned;
use super::Fault;
use crate::catalog::{Endpoint, Pin};
use crate::document::refusal;
use crate::error::Code;
use crate::gateway::Clock;
use crate::limits;
use crate::secrets::ClientCertificate;
use crate::tls;
use crate::transport::BoxStream;

pub use self::roots::Roots;
pub(super) use self::roots::missing;

/// How connections to one tool server are secured.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// With a pin that alone decides, or with a CA; `shown` is what shows the server who calls.
    ///
    /// # Errors
    /// Neither, or a host that no certificate can name.
    pub(super) fn new(
        endpoint: &Endpoint,
        pin: Option<Pin>,
        shown: Option<Arc<ClientCertificate>>,
        roots: &Roots,
        clock: &Clock,
    ) -> Result<Self, BootRefusal> {
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| refused("server.url", &endpoint.host, "a host name that a certificate can have"))?;
        let provider = tls::provider();
        let verifier: Arc<dyn ServerCertVerifier> = match (pin, roots.store()) {
            (Some(pin), _) => Arc::new(Pinned::new(pin, provider.signature_verification_algorithms)),
            (None, Some(store)) => WebPkiServerVerifier::builder_with_provider(store, provider.clone())
                .build()
                .map_err(|error| refused("upstream.ca_roots", &error.to_string(), "certificates of CAs"))?,
            (None, None) => return Err(missing(&endpoint.host)),
        };
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| refused("", &error.to_string(), "TLS 1.3"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        if let Some(shown) = shown {
            config.client_auth_cert_resolver = shown;
        }
        config.alpn_protocols = vec![tls::HTTP.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Makes sure of the server behind a stream that the host says leads there.
    ///
    /// # Errors
    /// [`Code::UpstreamTls`]; then nothing of a request was sent.
    pub(super) async fn handshake(&self, stream: BoxStream) -> Result<BoxStream, Fault> {
        let connected = self.connector.connect(self.name.clone(), Counted::new(stream));
        let detail = match timeout(limits::HANDSHAKE_TIMEOUT, connected).await {
            Ok(Ok(stream)) => return Ok(Box::new(Secured::new(stream))),
            Ok(Err(error)) => failure::describe(&error),
            Err(_) => format!("TLS handshake did not end within {} s", limits::HANDSHAKE_TIMEOUT.as_secs()),
        };
        Err(Fault::new(Code::UpstreamTls, detail))
    }
}

fn refused(field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::InvalidValue, &Document::Config, field, found, expected)
}
