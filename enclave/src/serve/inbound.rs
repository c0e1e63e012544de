//! An agent's connection: HTTP/1.1 with keep-alive over the relayed stream.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::spawn_local;

use super::routes;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::limits;
use crate::transport::BoxStream;

/// What belongs to a connection: the session of a caller that names none.
#[derive(Default)]
pub(super) struct Connection {
    /// Made when first needed.
    pub(super) session_id: OnceCell<String>,
}

/// Serves requests until the peer closes or breaks the protocol.
pub(super) async fn serve(gateway: Rc<Gateway>, stream: BoxStream) {
    let limits = &gateway.config.limits;
    let connection = Rc::new(Connection::default());
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.request_timeout_ms))
        .max_headers(limits.max_headers)
        .max_buf_size(limits::MAX_HEAD_BYTES)
        .half_close(false);
    let service = service_fn(|request| {
        // In a task of its own: a call goes on to its terminal entry when the agent hangs up, and a panic stays here.
        let task = spawn_local(routes::serve(gateway.clone(), connection.clone(), request));
        async move { Ok::<_, Infallible>(task.await.unwrap_or_else(|_| routes::refuse(Code::Internal, None))) }
    });
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}
