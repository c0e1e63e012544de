//! A small HTTP client: one request, one bounded answer.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};
use ureq::{Agent, Body, Error};

use super::azure;
use crate::limits;

/// Where systems keep the certificates of public authorities.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The client.
pub(super) struct Http(Agent);

/// An answer with status 200.
pub(super) struct Answer {
    response: ureq::http::response::Parts,
    pub(super) body: Vec<u8>,
}

impl Http {
    /// A client; with `relay` the metadata service is reached there.
    pub(super) fn new(relay: Option<SocketAddr>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(limits::COLLATERAL_TIMEOUT))
            .build();
        let connector = <TcpConnector as Connector<()>>::chain(TcpConnector::default(), Tls);
        Self(Agent::with_parts(config, connector, Places { relay, names: DefaultResolver::default() }))
    }

    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let request = headers.iter().fold(self.0.get(url), |request, (name, value)| request.header(*name, *value));
        answer(url, request.call())
    }

    pub(super) fn post(&self, url: &str, body: &Value) -> Result<Answer, String> {
        let request = self.0.post(url).header("Content-Type", "application/json").header("Metadata", "true");
        answer(url, request.send(body.to_string()))
    }
}

/// Where names are, but for the one that is behind a relay.
#[derive(Debug)]
struct Places {
    relay: Option<SocketAddr>,
    names: DefaultResolver,
}

impl Resolver for Places {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        match self.relay {
            Some(relay) if uri.host() == azure::IMDS.strip_prefix("http://") => {
                let mut addresses = self.empty();
                addresses.push(relay);
                Ok(addresses)
            }
            _ => self.names.resolve(uri, config, timeout),
        }
    }
}

fn answer(url: &str, response: Result<Response<Body>, Error>) -> Result<Answer, String> {
    let failed = |error: Error| format!("{url}: {error}");
    let (response, mut body) = response.map_err(failed)?.into_parts();
    if response.status != 200 {
        return Err(format!("{url}: HTTP status {}", response.status.as_u16()));
    }
    let body = body.with_config().limit(limits::COLLATERAL_ANSWER).read_to_vec().map_err(failed)?;
    Ok(Answer { response, body })
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers.get(name)?.to_str().ok()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("answer is not what was expected: {error}"))
    }
}

/// Puts our TLS under https; http stays what it is.
#[derive(Debug)]
struct Tls;

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Secured<In>>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(socket) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(socket)));
        }
        let name = details.uri.host().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).map_err(|error| Error::Io(io::Error::other(error)))?;
        let connection =
            ClientConnection::new(config()?.into(), name).map_err(|error| Error::Io(io::Error::other(error)))?;
        let mut stream = StreamOwned::new(connection, TransportAdapter::new(socket, Arc::clone(&details.current_time)));
        stream.sock.set_timeout(details.timeout);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Secured { buffers, stream })))
    }
}

/// TLS 1.3 with servers that the system's authorities vouch for. Nothing of what they say is believed for that.
fn config() -> Result<ClientConfig, io::Error> {
    let mut roots = RootCertStore::empty();
    let file = std::env::var_os("SSL_CERT_FILE").map(Into::into);
    let pem = match &file {
        Some(file) => std::fs::read::<&std::path::PathBuf>(file)?,
        None => ROOTS.iter().find_map(|file| std::fs::read(file).ok()).unwrap_or_default(),
    };
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() {
        let text = format!(
            "no certification authorities in {}; install ca-certificates or set SSL_CERT_FILE",
            ROOTS.join(", ")
        );
        return Err(io::Error::other(text));
    }
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A connection over TLS.
struct Secured<In: Transport> {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter<In>>,
}

impl<In: Transport> std::fmt::Debug for Secured<In> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secured")
    }
}

impl<In: Transport> Transport for Secured<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(self.buffers.output().get(..amount).unwrap_or_default())?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let received = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(received);
        Ok(received > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
