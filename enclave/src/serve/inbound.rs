//! An agent's connection: HTTP/1.1 with keep-alive over TLS over the relayed stream.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::spawn_local;

use super::routes;
use crate::gateway::Gateway;
use crate::http::Body;
use crate::identity::spiffe::Certificate;
use crate::limits;
use crate::mcp;
use crate::mcp::outbox::{self, Outbox};
use crate::tls::Inbound;
use crate::transport::BoxStream;

/// What belongs to a connection.
#[derive(Default)]
pub(super) struct Connection {
    /// The session of a caller that names none; made when first needed.
    pub(super) session_id: OnceCell<String>,
    /// What the agent has shown in the handshake.
    pub(super) certificate: Option<Certificate>,
}

/// Serves requests until the peer closes or breaks the protocol.
pub(super) async fn serve(gateway: Rc<Gateway>, stream: BoxStream) {
    let (stream, shown) = match &gateway.boot.inbound {
        Inbound::Plain(_) => (stream, None),
        // What is no TLS 1.3 gets TLS's own alert, and nothing is served.
        Inbound::Tls(server) => match server.accept(stream).await {
            Ok(accepted) => accepted,
            Err(_) => return,
        },
    };
    let certificate = shown.map(Certificate::new);
    http(gateway, stream, Connection { certificate, ..Connection::default() }).await;
}

async fn http(gateway: Rc<Gateway>, stream: BoxStream, connection: Connection) {
    let limits = &gateway.config.limits;
    let connection = Rc::new(connection);
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_timeout())
        .max_headers(limits.max_headers)
        .max_buf_size(limits::MAX_HEAD_BYTES)
        .half_close(false);
    let service = service_fn(|request: Request<Incoming>| {
        let outbox = Outbox::new(mcp::accepts_streams(request.headers()));
        let (gateway, connection, messages) = (gateway.clone(), connection.clone(), outbox.clone());
        let request = async move {
            let answer = routes::serve(gateway.clone(), connection, request, messages).await;
            gateway.answered(&answer);
            answer
        };
        Ongoing { request: Some(Box::pin(request)), outbox }
    });
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// A request that is being served, as part of its connection's task. When it has messages before its answer, or the agent
/// hangs up, it goes on in a task of its own: a call reaches its terminal entry whatever happens. After a panic there is
/// nothing left to go on with, and the connection ends.
struct Ongoing<F: Future<Output = Response<Body>> + 'static> {
    request: Option<Pin<Box<F>>>,
    outbox: Rc<Outbox>,
}

impl<F: Future<Output = Response<Body>>> Future for Ongoing<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut request) = self.request.take() else { return Poll::Pending };
        let polled = request.as_mut().poll(context);
        if let Some(stream) = self.outbox.take_stream() {
            let outbox = self.outbox.clone();
            spawn_local(async move {
                let answer = match polled {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => request.await,
                };
                outbox.finish(answer).await;
            });
            return Poll::Ready(Ok(outbox::response(stream)));
        }
        if polled.is_pending() {
            self.request = Some(request);
        }
        polled.map(Ok)
    }
}

impl<F: Future<Output = Response<Body>> + 'static> Drop for Ongoing<F> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.outbox.hang_up();
            spawn_local(request);
        }
    }
}
