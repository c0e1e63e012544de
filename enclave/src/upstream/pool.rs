//! Connections to one tool server: kept alive, bounded, each used by one call at a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wire::{EnclaveOpen, OpenAnswer, Text};
use zeroize::Zeroize;

use super::http1::{self, Answer, Connection, Error, Head, Method};
use super::tls::Tls;
use super::{Fault, fault};
use crate::catalog::Endpoint;
use crate::error::Code;
use crate::limits;
use crate::secrets::Slot;
use crate::transport::{BoxStream, Callback};

/// How long a connection is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// For one call.
    Call,
    /// For a message to a server that works on a call: calls that wait for it must not keep it waiting.
    Message,
    /// Until an agent has heard enough.
    Stream,
    /// For a call that waits for its agent, or did: others must not have to wait for that.
    Parked,
}

pub(super) struct Pool {
    endpoint: Endpoint,
    authority: String,
    tls: Option<Tls>,
    secret: Option<Rc<Slot>>,
    callback: Callback,
    calls: Semaphore,
    messages: Semaphore,
    streams: Semaphore,
    parked: Semaphore,
    idle: RefCell<Vec<Connection<BoxStream>>>,
    /// How often all connections were given up: one that is older is not kept.
    generation: Cell<u32>,
}

/// A connection in use, with the body of its answer. Dropped without [`Lease::give_back`] it is closed.
pub(super) struct Lease {
    answer: Answer<BoxStream>,
    permit: Permit,
}

/// One of the connections that a pool may have.
struct Permit {
    pool: Rc<Pool>,
    hold: Hold,
    /// The pool's when it was taken.
    generation: u32,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.permits(self.hold).add_permits(1);
    }
}

/// A request as bytes. One with a secret in it is cleared when it is over.
struct Request {
    bytes: Vec<u8>,
    secret: bool,
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.secret {
            self.bytes.zeroize();
        }
    }
}

impl Lease {
    /// The next piece of the body as it comes; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.answer.chunk().await
    }

    /// Bytes that are still to come at least, by the server's word.
    pub(super) fn announced(&self) -> u64 {
        self.answer.announced()
    }

    /// Keeps the connection for the next call, if the server does and the whole answer has arrived.
    pub(super) fn give_back(self) {
        let pool = &self.permit.pool;
        if pool.generation.get() == self.permit.generation {
            pool.idle.borrow_mut().extend(self.answer.into_connection());
        }
    }

    /// Holds the connection for a call that waits for its agent. False if too many do.
    pub(super) fn park(&mut self) -> bool {
        if self.permit.hold == Hold::Parked {
            return true;
        }
        let parked = Permit::taken(&self.permit.pool, Hold::Parked);
        parked.is_some_and(|mut parked| {
            parked.generation = self.permit.generation;
            self.permit = parked;
            true
        })
    }
}

impl Permit {
    fn new(pool: &Rc<Pool>, hold: Hold) -> Self {
        Self { pool: pool.clone(), hold, generation: pool.generation.get() }
    }

    /// One that is free now.
    fn taken(pool: &Rc<Pool>, hold: Hold) -> Option<Self> {
        pool.permits(hold).try_acquire().ok()?.forget();
        Some(Self::new(pool, hold))
    }
}

impl Pool {
    pub(super) fn new(
        endpoint: &Endpoint,
        tls: Option<Tls>,
        secret: Option<Rc<Slot>>,
        callback: Callback,
        connections: usize,
    ) -> Self {
        Self {
            endpoint: endpoint.clone(),
            authority: endpoint.authority(),
            tls,
            secret,
            callback,
            calls: Semaphore::new(connections),
            messages: Semaphore::new(connections),
            streams: Semaphore::new(connections),
            parked: Semaphore::new(connections),
            idle: RefCell::default(),
            generation: Cell::default(),
        }
    }

    /// Sends a request over an idle connection, or a new one, and reads the head of the answer. A request is repeated only
    /// if not one byte of it was written.
    pub(super) async fn send(
        self: &Rc<Self>,
        method: Method,
        fields: &[(&str, &str)],
        body: &[u8],
        hold: Hold,
    ) -> Result<(Head, Lease), Fault> {
        let request = self.request(method, fields, body)?;
        let permit = self.permit(hold).await?;
        loop {
            let (connection, fresh) = match self.idle().await {
                Some(connection) => (connection, false),
                None => (self.connect().await?, true),
            };
            match connection.send(&request.bytes).await {
                Ok((head, answer)) => return Ok((head, Lease { answer, permit })),
                Err(Error::Unsent) if !fresh => {}
                Err(error) => return Err(fault("connection", &error)),
            }
        }
    }

    /// Writes a request down, with the secret that the server is shown, if it is there.
    fn request(&self, method: Method, fields: &[(&str, &str)], body: &[u8]) -> Result<Request, Fault> {
        let write = |secret: Option<(&str, &str)>| {
            let fields = [("host", self.authority.as_str())].into_iter().chain(secret).chain(fields.iter().copied());
            http1::request(method, &self.endpoint.target, fields, body)
        };
        let (written, secret) = match &self.secret {
            None => (write(None), false),
            Some(slot) => (slot.with_field(write).ok_or_else(|| missing(slot))?, true),
        };
        written.map(|bytes| Request { bytes, secret }).map_err(|error| fault("request", &error))
    }

    /// Calls wait for each other; a stream that would have to wait is refused, for those before it may never end.
    async fn permit(self: &Rc<Self>, hold: Hold) -> Result<Permit, Fault> {
        if hold == Hold::Stream {
            let full = "limits.upstream_connections_per_server event streams are open";
            return Permit::taken(self, hold).ok_or_else(|| Fault::new(Code::UpstreamUnavailable, full));
        }
        let permit = self.permits(hold).acquire().await;
        permit.map_err(|_| Fault::new(Code::Internal, "connection pool was closed"))?.forget();
        Ok(Permit::new(self, hold))
    }

    fn permits(&self, hold: Hold) -> &Semaphore {
        match hold {
            Hold::Call => &self.calls,
            Hold::Message => &self.messages,
            Hold::Stream => &self.streams,
            Hold::Parked => &self.parked,
        }
    }

    /// The connection that was used last and is still good; those that are not are closed.
    async fn idle(&self) -> Option<Connection<BoxStream>> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if connection.is_quiet().await {
                return Some(connection);
            }
        }
    }

    /// Closes the connections that no call uses, and the others when their calls are over.
    pub(super) fn close_all(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.idle.borrow_mut().clear();
    }

    async fn connect(&self) -> Result<Connection<BoxStream>, Fault> {
        let stream = match timeout(limits::ANSWER_TIMEOUT, self.dial()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(text)) => return Err(Fault::new(Code::UpstreamUnavailable, text)),
            Err(_) => return Err(Fault::new(Code::UpstreamUnavailable, "host did not answer the dial request")),
        };
        match &self.tls {
            None => Ok(Connection::new(stream)),
            Some(tls) => Ok(Connection::new(Box::pin(tls.handshake(stream)).await?)),
        }
    }

    async fn dial(&self) -> Result<BoxStream, String> {
        let open = EnclaveOpen::Dial { host: Text(self.endpoint.host.clone()), port: self.endpoint.port };
        let mut stream = self.callback.open().await.map_err(|error| error.to_string())?;
        wire::write(&mut stream, &open).await.map_err(|error| error.to_string())?;
        match wire::read(&mut stream).await.map_err(|error| error.to_string())? {
            OpenAnswer::Ready => Ok(stream),
            OpenAnswer::Refused(refusal) => Err(format!("host could not connect: {refusal:?}")),
        }
    }
}

fn missing(slot: &Slot) -> Fault {
    let text = format!("secret {} has not been provisioned since the start", slot.name());
    Fault::new(Code::SecretNotProvisioned, text)
}
