//! The client towards tool servers: kept-alive HTTP/1.1 over streams that the host dials, and lines to and from processes
//! that the host starts.
//!
//! The host resolves, connects and spawns; nothing it relays is believed beyond what the tool server's answer must be anyway.

pub mod http1;

mod dialect;
mod exchange;
mod link;
mod links;
mod pool;
mod sse;
mod stdio;
mod tls;
mod tools;
pub mod trust;

use std::rc::Rc;
use std::time::Duration;

use wire::BootRefusal;

use self::http1::Error;
use self::pool::Pool;
use self::stdio::Launcher;
use self::tls::Tls;
use self::tools::Changes;
use crate::catalog::{Catalog, Place, Scheme};
use crate::error::Code;
use crate::gateway::Clock;
use crate::secrets::Secrets;
use crate::transport::Callback;

pub use self::dialect::{Client, Dialect, NOBODY, NOTHING, Outgoing, approved, askable, client_info};
pub use self::exchange::Exchange;
pub use self::link::Link;
pub use self::links::Links;
pub use self::tls::Roots;
pub use self::tools::{Keep, Listed, Said};

/// Why a tool server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For the agent.
    pub code: Code,
    /// For the audit entry.
    pub detail: String,
    /// Whether the request was sent: then it may have run.
    pub sent: bool,
}

impl Fault {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let sent = !matches!(code, Code::UpstreamUnavailable | Code::UpstreamTls | Code::SecretNotProvisioned);
        Self { code, detail: detail.into(), sent }
    }

    /// The same, when what failed came before the request.
    pub(crate) fn before_the_call(self) -> Self {
        Self { detail: format!("before the request: {}", self.detail), sent: false, ..self }
    }
}

/// How one server is reached.
enum Way {
    Dial(Rc<Pool>),
    Spawn(Launcher),
}

/// All tool servers of the catalog.
pub struct Upstreams {
    ways: Vec<Way>,
    /// The links that everybody without a session of their own uses.
    pub shared: Links,
    /// By server.
    changes: Vec<Changes>,
    max_response: usize,
    /// For messages that get no answer.
    timeout: Duration,
}

impl Upstreams {
    /// A way to each server of the catalog. The clock judges certificates by their dates, where a CA vouches for them.
    ///
    /// # Errors
    /// A server for which TLS cannot be set up.
    pub fn new(
        catalog: &Catalog,
        callback: &Callback,
        limits: &crate::config::Limits,
        roots: &Roots,
        clock: &Clock,
        secrets: &Secrets,
    ) -> Result<Self, BootRefusal> {
        let connections = limits.upstream_connections_per_server;
        let changes: Vec<Changes> = catalog.servers().iter().map(|_| Changes::default()).collect();
        let servers = catalog.servers().iter().enumerate().zip(&changes);
        let ways = servers.map(|((index, server), changes)| match &server.place {
            Place::Remote(endpoint) => {
                let secret = secrets.slot(index);
                let shown = secret.as_ref().and_then(|slot| slot.certificate());
                let tls = match endpoint.scheme {
                    Scheme::Http => None,
                    Scheme::Https => Some(Tls::new(endpoint, server.pin(), shown, roots, clock)?),
                };
                Ok(Way::Dial(Rc::new(Pool::new(endpoint, tls, secret, callback.clone(), connections))))
            }
            Place::Process(command) => {
                let tool = catalog.behind(index).map(|tool| tool.index).next().unwrap_or(usize::MAX);
                let (cap, changes) = (limits.max_response_bytes, changes.clone());
                Ok(Way::Spawn(Launcher::new(command, tool, cap, changes, callback.clone())))
            }
        });
        let ways = ways.collect::<Result<_, BootRefusal>>()?;
        Ok(Self {
            ways,
            shared: Links::default(),
            changes,
            max_response: limits.max_response_bytes,
            timeout: Duration::from_millis(limits.upstream_timeout_ms),
        })
    }

    /// Gives up the connections to a server, each when its call is over.
    pub fn close_all(&self, server: usize) {
        if let Some(Way::Dial(pool)) = self.ways.get(server) {
            pool.close_all();
        }
    }

    fn pool(&self, server: usize) -> Result<&Rc<Pool>, Fault> {
        match self.ways.get(server) {
            Some(Way::Dial(pool)) => Ok(pool),
            _ => Err(Fault::new(Code::Internal, "tool server without a pool")),
        }
    }

    /// The link for requests that no legacy session of an agent stands behind, whose agents can be asked this ([`askable`]).
    ///
    /// # Errors
    /// As [`Upstreams::link`].
    pub async fn shared(&self, server: usize, capabilities: &str) -> Result<Rc<Link>, Fault> {
        let client = Client { capabilities, ..NOBODY };
        self.shared.open(server, capabilities, || async { self.link(server, &client).await.map(Rc::new) }).await
    }

    /// Forgets a shared link whose session has ended.
    pub fn forget(&self, link: &Rc<Link>) {
        self.shared.forget(link);
    }
}

/// What an error of HTTP means for the call. `part` is what broke off.
fn fault(part: &str, error: &Error) -> Fault {
    match error {
        Error::Unwritable(_) => Fault::new(Code::Internal, error.to_string()),
        Error::Unsent => Fault::new(Code::UpstreamUnavailable, error.to_string()),
        Error::Malformed(_) => Fault::new(Code::UpstreamInvalid, error.to_string()),
        Error::Closed | Error::Io(_) => Fault::new(Code::UpstreamInvalid, format!("{part} broke off: {error}")),
    }
}
