//! The client towards tool servers: kept-alive HTTP/1.1 over streams that the host dials.
//!
//! The host resolves and connects; nothing it relays is believed beyond what the tool server's answer must be anyway.

mod pool;
mod sse;

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;
use tokio::time::timeout;

use self::pool::Pool;
use crate::catalog::{Catalog, Server};
use crate::error::Code;
use crate::http::{self, BodyError};
use crate::transport::Callback;

/// Why a tool server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For the agent.
    pub code: Code,
    /// For the audit entry.
    pub detail: String,
}

impl Fault {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// All tool servers of the catalog.
pub struct Upstreams {
    pools: Vec<Pool>,
    timeout: Duration,
    max_response: usize,
}

impl Upstreams {
    /// One pool per distinct tool server url.
    pub fn new(catalog: &Catalog, callback: &Callback, limits: &crate::config::Limits) -> Self {
        let connections = limits.upstream_connections_per_server;
        let mut pools: Vec<Pool> = Vec::new();
        for tool in catalog.tools() {
            if !pools.iter().any(|pool| pool.serves(&tool.server)) {
                pools.push(Pool::new(&tool.server, callback.clone(), connections));
            }
        }
        Self {
            pools,
            timeout: Duration::from_millis(limits.upstream_timeout_ms),
            max_response: limits.max_response_bytes,
        }
    }

    /// Sends a JSON-RPC request and returns the bytes of the JSON-RPC answer to it.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`] only when the request was not sent.
    pub async fn call(&self, server: &Server, body: String, id: &RawValue) -> Result<Bytes, Fault> {
        let pool = self
            .pools
            .iter()
            .find(|pool| pool.serves(server))
            .ok_or_else(|| Fault::new(Code::Internal, "tool server without a pool"))?;
        match timeout(self.timeout, self.exchange(pool, body.into(), id)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Fault::new(Code::UpstreamTimeout, format!("no answer within {} ms", self.timeout.as_millis())))
            }
        }
    }

    async fn exchange(&self, pool: &Pool, body: Bytes, id: &RawValue) -> Result<Bytes, Fault> {
        let (response, lease) = pool.send(body).await?;
        let answer = self.answer(response, id).await?;
        lease.give_back();
        Ok(answer)
    }

    async fn answer(&self, response: Response<Incoming>, id: &RawValue) -> Result<Bytes, Fault> {
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("text/event-stream") && head.status == StatusCode::OK {
            return sse::answer(body, self.max_response, id).await;
        }
        let bytes = collect(body, self.max_response).await?;
        if head.status.is_success() && media_type.eq_ignore_ascii_case("application/json") {
            return Ok(bytes);
        }
        // Servers answer JSON-RPC errors with 4xx and 5xx too; those are answers when they are JSON-RPC.
        match crate::mcp::envelope::parse_answer(&bytes, id) {
            Ok(Some(_)) if media_type.eq_ignore_ascii_case("application/json") => Ok(bytes),
            _ => Err(Fault::new(
                Code::UpstreamInvalid,
                format!("HTTP {} with a {media_type:?} body", head.status.as_u16()),
            )),
        }
    }
}

/// The whole body of an answer.
async fn collect(body: Incoming, cap: usize) -> Result<Bytes, Fault> {
    http::collect(body, cap).await.map_err(|error| match error {
        BodyError::TooLarge => Fault::new(Code::UpstreamTooLarge, format!("answer is over {cap} bytes")),
        BodyError::Broken(error) => Fault::new(Code::UpstreamInvalid, format!("answer broke off: {error}")),
    })
}
