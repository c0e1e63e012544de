//! The client towards tool servers: kept-alive HTTP/1.1 over streams that the host dials.
//!
//! The host resolves and connects; nothing it relays is believed beyond what the tool server's answer must be anyway.

pub mod http1;

mod dialect;
mod exchange;
mod link;
mod pool;
mod sse;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OnceCell;

use self::http1::Error;
use self::pool::Pool;
use crate::catalog::Catalog;
use crate::error::Code;
use crate::transport::Callback;

pub use self::dialect::{Client, Dialect, NOBODY, Outgoing, approved, client_info};
pub use self::exchange::Exchange;
pub use self::link::Link;

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
        Self { code, detail: detail.into(), sent: code != Code::UpstreamUnavailable }
    }

    /// The same, when what failed came before the request.
    pub(crate) fn before_the_call(self) -> Self {
        Self { detail: format!("before the request: {}", self.detail), sent: false, ..self }
    }
}

/// All tool servers of the catalog.
pub struct Upstreams {
    pools: Vec<Pool>,
    /// By server: the link that everybody without a session of their own uses.
    shared: Vec<RefCell<Rc<OnceCell<Rc<Link>>>>>,
    max_response: usize,
    /// For messages that get no answer.
    timeout: Duration,
}

impl Upstreams {
    /// One pool for each server of the catalog.
    pub fn new(catalog: &Catalog, callback: &Callback, limits: &crate::config::Limits) -> Self {
        let connections = limits.upstream_connections_per_server;
        let pool = |server| Pool::new(server, callback.clone(), connections);
        Self {
            pools: catalog.servers().iter().map(pool).collect(),
            shared: catalog.servers().iter().map(|_| RefCell::default()).collect(),
            max_response: limits.max_response_bytes,
            timeout: Duration::from_millis(limits.upstream_timeout_ms),
        }
    }

    fn pool(&self, server: usize) -> Result<&Pool, Fault> {
        self.pools.get(server).ok_or_else(|| Fault::new(Code::Internal, "tool server without a pool"))
    }

    /// The link for requests that no legacy session of an agent stands behind.
    ///
    /// # Errors
    /// As [`Upstreams::link`].
    pub async fn shared(&self, server: usize) -> Result<Rc<Link>, Fault> {
        let place = self.shared.get(server).ok_or_else(|| Fault::new(Code::Internal, "no such tool server"))?;
        let cell = place.borrow().clone();
        if let Some(link) = cell.get() {
            return Ok(link.clone());
        }
        // Boxed, as everything that few calls need: what a future may hold is copied with every call.
        Box::pin(cell.get_or_try_init(|| async { self.link(server, &NOBODY).await.map(Rc::new) })).await.cloned()
    }

    /// Forgets a shared link whose session has ended.
    pub fn forget(&self, link: &Rc<Link>) {
        let Some(place) = self.shared.get(link.server) else { return };
        let current = place.borrow().get().is_some_and(|current| Rc::ptr_eq(current, link));
        if current {
            place.replace(Rc::default());
        }
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
