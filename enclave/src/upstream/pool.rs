//! Connections to one tool server: kept alive, bounded, each used by one call at a time.

use std::cell::RefCell;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use wire::{EnclaveOpen, OpenAnswer, Text};

use super::http1::{self, Answer, Connection, Error, Head, Method};
use super::{Fault, fault};
use crate::catalog::Endpoint;
use crate::error::Code;
use crate::limits;
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
}

pub(super) struct Pool {
    endpoint: Endpoint,
    authority: String,
    callback: Callback,
    permits: Semaphore,
    messages: Semaphore,
    streams: Semaphore,
    idle: RefCell<Vec<Connection<BoxStream>>>,
}

/// A connection in use, with the body of its answer. Dropped without [`Lease::give_back`] it is closed.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    answer: Answer<BoxStream>,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
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
        self.pool.idle.borrow_mut().extend(self.answer.into_connection());
    }
}

impl Pool {
    pub(super) fn new(endpoint: &Endpoint, callback: Callback, connections: usize) -> Self {
        Self {
            endpoint: endpoint.clone(),
            authority: endpoint.authority(),
            callback,
            permits: Semaphore::new(connections),
            messages: Semaphore::new(connections),
            streams: Semaphore::new(connections),
            idle: RefCell::default(),
        }
    }

    /// Sends a request over an idle connection, or a new one, and reads the head of the answer. A request is repeated only
    /// if not one byte of it was written.
    pub(super) async fn send(
        &self,
        method: Method,
        fields: &[(&str, &str)],
        body: &[u8],
        hold: Hold,
    ) -> Result<(Head, Lease<'_>), Fault> {
        let fields = [("host", self.authority.as_str())].into_iter().chain(fields.iter().copied());
        let request = http1::request(method, &self.endpoint.target, fields, body);
        let request = request.map_err(|error| fault("request", &error))?;
        let permit = self.permit(hold).await?;
        loop {
            let (connection, fresh) = match self.idle().await {
                Some(connection) => (connection, false),
                None => (self.connect().await?, true),
            };
            match connection.send(&request).await {
                Ok((head, answer)) => return Ok((head, Lease { pool: self, answer, _permit: permit })),
                Err(Error::Unsent) if !fresh => {}
                Err(error) => return Err(fault("connection", &error)),
            }
        }
    }

    /// Calls wait for each other; a stream that would have to wait is refused, for those before it may never end.
    async fn permit(&self, hold: Hold) -> Result<SemaphorePermit<'_>, Fault> {
        let permits = match hold {
            Hold::Call => &self.permits,
            Hold::Message => &self.messages,
            Hold::Stream => {
                let full = "limits.upstream_connections_per_server event streams are open";
                return self.streams.try_acquire().map_err(|_| Fault::new(Code::UpstreamUnavailable, full));
            }
        };
        permits.acquire().await.map_err(|_| Fault::new(Code::Internal, "connection pool was closed"))
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

    async fn connect(&self) -> Result<Connection<BoxStream>, Fault> {
        match timeout(limits::ANSWER_TIMEOUT, self.dial()).await {
            Ok(Ok(stream)) => Ok(Connection::new(stream)),
            Ok(Err(text)) => Err(Fault::new(Code::UpstreamUnavailable, text)),
            Err(_) => Err(Fault::new(Code::UpstreamUnavailable, "host did not answer the dial request")),
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
