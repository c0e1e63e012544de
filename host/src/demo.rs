//! `host demo-server`: a small MCP server over streamable HTTP or stdio, the tool server of the quickstart.
//!
//! It speaks the legacy era (2024-11-05 to 2025-11-25), answers with plain JSON, keeps no session and holds no secret.
//! Its `salesforce.contacts` is defined by the quickstart's own catalog, so the two cannot drift apart. With a [`Script`] it is
//! the tool server of any other catalog.

use std::convert::Infallible;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::limits;

mod rpc;
mod script;
mod tools;

use rpc::{Reply, Server};

pub use script::Script;

/// A demo server that is bound but not yet served.
#[derive(Debug)]
pub struct DemoServer {
    listener: TcpListener,
    server: Arc<Server>,
}

impl DemoServer {
    /// Binds the address.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, server: Arc::new(Server::new()) })
    }

    /// Answers by a script from now on.
    #[must_use]
    pub fn scripted(self, script: Script) -> Self {
        Self { server: Arc::new(Server::scripted(script)), ..self }
    }

    /// For another runtime.
    ///
    /// # Errors
    /// The socket cannot be taken from this runtime.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.listener.into_std()
    }

    /// From another runtime.
    ///
    /// # Errors
    /// The socket cannot be given to this runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, server: Arc::new(Server::new()) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the runtime stops.
    pub async fn serve(self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(connection(stream, Arc::clone(&self.server)));
                }
                // Out of file descriptors, most likely: wait for some to come free.
                Err(_) => tokio::time::sleep(limits::ACCEPT_PAUSE).await,
            }
        }
    }
}

/// Serves standard input and output, a message a line, until the input ends; by a script, if there is one.
///
/// # Errors
/// A stream that breaks.
pub fn serve_stdio(script: Option<Script>) -> io::Result<()> {
    let server = script.map_or_else(Server::new, Server::scripted);
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut line = Vec::new();
        if (&mut input).take(limits::DEMO_BODY as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Reply::Json { body, .. } = server.reply(&line) {
            output.write_all(&[&body, &b"\n"[..]].concat())?;
            output.flush()?;
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, server: Arc<Server>) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(&server, request).await) }
    });
    // A connection that breaks is the client's affair.
    let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(server: &Server, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/mcp" {
        return plain(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::POST => post(server, request.into_body()).await,
        // Nothing is kept for a session, so ending one always succeeds.
        Method::DELETE => plain(StatusCode::OK),
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
            response
        }
    }
}

async fn post(server: &Server, body: Incoming) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(body, limits::DEMO_BODY).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    match server.reply(&body.to_bytes()) {
        Reply::Accepted => plain(StatusCode::ACCEPTED),
        Reply::Json { status, body, session } => {
            let mut response = plain(status);
            *response.body_mut() = Full::new(body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(id) = session.and_then(|id| HeaderValue::from_str(&id).ok()) {
                response.headers_mut().insert("mcp-session-id", id);
            }
            response
        }
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
