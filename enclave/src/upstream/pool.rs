//! Connections to one tool server: kept alive, bounded, each used by one call at a time.

use std::cell::RefCell;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;
use wire::{EnclaveOpen, OpenAnswer, Text};

use super::Fault;
use crate::catalog::Server;
use crate::error::Code;
use crate::limits;
use crate::transport::{BoxStream, Callback};

type Sender = SendRequest<Full<Bytes>>;

pub(super) struct Pool {
    server: Server,
    target: Uri,
    authority: HeaderValue,
    callback: Callback,
    permits: Semaphore,
    idle: RefCell<Vec<Sender>>,
}

/// A connection in use. Dropped without [`Lease::give_back`] it is closed.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    sender: Sender,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Keeps the connection for the next call. Only after the whole answer was read.
    pub(super) fn give_back(self) {
        if !self.sender.is_closed() {
            self.pool.idle.borrow_mut().push(self.sender);
        }
    }
}

impl Pool {
    pub(super) fn new(server: &Server, callback: Callback, connections: usize) -> Self {
        Self {
            server: server.clone(),
            // Both parse: the catalog admits only printable ASCII without spaces.
            target: Uri::try_from(server.endpoint.target.as_str()).unwrap_or_default(),
            authority: HeaderValue::try_from(server.endpoint.authority()).unwrap_or(HeaderValue::from_static("")),
            callback,
            permits: Semaphore::new(connections),
            idle: RefCell::default(),
        }
    }

    pub(super) fn serves(&self, server: &Server) -> bool {
        self.server.endpoint == server.endpoint
    }

    /// Sends a request over an idle connection, or a new one. A request is repeated only if it was never sent.
    pub(super) async fn send(&self, body: Bytes) -> Result<(Response<Incoming>, Lease<'_>), Fault> {
        let mut request = self.request(body);
        let permit =
            self.permits.acquire().await.map_err(|_| Fault::new(Code::Internal, "connection pool was closed"))?;
        loop {
            let idle = self.idle.borrow_mut().pop();
            let (mut sender, fresh) = match idle {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            if sender.ready().await.is_err() {
                if fresh {
                    return Err(Fault::new(Code::UpstreamUnavailable, "connection closed before the request"));
                }
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { pool: self, sender, _permit: permit })),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    Some(_) => {
                        return Err(Fault::new(Code::UpstreamUnavailable, "connection closed before the request"));
                    }
                    None => {
                        let text = format!("connection broke off: {}", error.error());
                        return Err(Fault::new(Code::UpstreamInvalid, text));
                    }
                },
            }
        }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        *request.headers_mut() = headers;
        request
    }

    async fn connect(&self) -> Result<Sender, Fault> {
        let unavailable = |text: String| Fault::new(Code::UpstreamUnavailable, text);
        let stream = match timeout(limits::ANSWER_TIMEOUT, self.dial()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(text)) => return Err(unavailable(text)),
            Err(_) => return Err(unavailable("host did not answer the dial request".to_owned())),
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        spawn_local(connection);
        Ok(sender)
    }

    async fn dial(&self) -> Result<BoxStream, String> {
        let open = EnclaveOpen::Dial { host: Text(self.server.endpoint.host.clone()), port: self.server.endpoint.port };
        let mut stream = self.callback.open().await.map_err(|error| error.to_string())?;
        wire::write(&mut stream, &open).await.map_err(|error| error.to_string())?;
        match wire::read(&mut stream).await.map_err(|error| error.to_string())? {
            OpenAnswer::Ready => Ok(stream),
            OpenAnswer::Refused(refusal) => Err(format!("host could not connect: {refusal:?}")),
        }
    }
}
