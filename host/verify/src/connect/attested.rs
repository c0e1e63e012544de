//! Verifies a gateway, then talks to it and to nobody else.

use std::sync::Arc;
use std::time::Duration;

use claim::b64u;
use ureq::http::{StatusCode, Uri, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body};

use super::Identity;
use super::gateway::{CONNECT_TIMEOUT, UrlError};
use super::peer::{Peer, Refusal};
use super::transport::Handshake;
use crate::attestation::{Options, Reason, Shown, Verdict, verify_attestation};
use crate::references::References;

/// For the answer of `GET /attestation`, and to an operator's request.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest such answer in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// Bytes of a challenge.
const NONCE: usize = 32;
/// Where https is, if the URL does not say.
const HTTPS_PORT: u16 = 443;

/// A gateway that was verified. Every connection of it ends at a TLS key that the evidence names, or is not used.
pub struct Attested {
    pub(super) peer: Arc<Peer>,
    pub(super) agent: Agent,
    /// `https://host:port`.
    pub(super) origin: String,
    /// Of the URL.
    pub(super) path: String,
}

/// A gateway that could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// No address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// No connection, or it broke off, or there is no randomness for a challenge.
    #[error("{0}")]
    Unreachable(String),
}

/// Connects, sends a challenge and judges what comes back. A gateway that is refused has been told the challenge, and
/// nothing else: the identity is shown in later handshakes.
///
/// # Errors
/// See [`AttestError`].
pub fn attest(
    url: &str,
    references: &References,
    options: &Options<'_>,
    identity: Option<&Identity>,
) -> Result<(Verdict, Option<Attested>), AttestError> {
    let attested = Attested::at(url, identity)?;
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|error| AttestError::Unreachable(error.to_string()))?;
    let answer = match attested.challenge(&nonce)? {
        Ok(answer) => answer,
        Err(refusal) => return Ok((Verdict::refused(refusal.reason, "a gateway over TLS 1.3", refusal.text), None)),
    };
    let leaf = attested.peer.leaf();
    let verdict = verify_attestation(&Shown { leaf: &leaf, answer: &answer, nonce: &nonce }, references, options);
    let verified = verdict.boot.as_ref().map(|boot| {
        attested.peer.require(boot.binding.tls_spki.clone());
        attested
    });
    Ok((verdict, verified))
}

impl Attested {
    /// Not verified yet.
    fn at(url: &str, identity: Option<&Identity>) -> Result<Self, AttestError> {
        let malformed = || UrlError::Malformed(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| malformed())?;
        let authority = parsed.authority().filter(|_| parsed.scheme_str() == Some("https")).ok_or_else(malformed)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(HTTPS_PORT);
        let peer = Peer::new(host, port, identity).map_err(|error| AttestError::Unreachable(error.to_string()))?;
        let peer = Arc::new(peer);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build();
        let connector = <TcpConnector as Connector<()>>::chain(TcpConnector::default(), Handshake(Arc::clone(&peer)));
        Ok(Self {
            peer,
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            origin: format!("https://{}:{port}", authority.host()),
            path: if parsed.path() == "/" { "/mcp" } else { parsed.path() }.to_owned(),
        })
    }

    /// Sends the challenge: the answer, or why there is none to judge.
    fn challenge(&self, nonce: &[u8]) -> Result<Result<Vec<u8>, Refusal>, AttestError> {
        let url = format!("{}/attestation?nonce={}", self.origin, b64u::encode(nonce));
        let unreachable = |error: ureq::Error| AttestError::Unreachable(format!("{}: {error}", self.origin));
        let mut request = self.agent.get(&url).config().timeout_global(Some(ANSWER_TIMEOUT)).build();
        if self.peer.has_identity() {
            // What follows needs a handshake that shows it.
            request = request.header(header::CONNECTION, "close");
        }
        let mut response = match request.call() {
            Ok(response) => response,
            Err(error) => return refusal(error).map(Err).map_err(unreachable),
        };
        let status = response.status();
        let body = read_body(response.body_mut()).map_err(unreachable)?;
        if status == StatusCode::OK {
            return Ok(Ok(body));
        }
        let text = format!("GET /attestation: HTTP {status}");
        Ok(Err(Refusal { reason: Reason::NotAnswered, text }))
    }

    /// Why there are no more connections: behind the address is somebody else than was verified.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.peer.refusal()
    }
}

pub(super) fn read_body(body: &mut Body) -> Result<Vec<u8>, ureq::Error> {
    body.with_config().limit(LONGEST_ANSWER).read_to_vec()
}

/// The refusal in an error of the HTTP client, or the error.
fn refusal(error: ureq::Error) -> Result<Refusal, ureq::Error> {
    match error {
        ureq::Error::Other(inner) => inner.downcast::<Refusal>().map(|refusal| *refusal).map_err(ureq::Error::Other),
        other => Err(other),
    }
}
