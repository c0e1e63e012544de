//! The client towards tool servers: kept-alive HTTP/1.1 over streams that the host dials.
//!
//! The host resolves and connects; nothing it relays is believed beyond what the tool server's answer must be anyway.

pub mod http1;

mod pool;
mod sse;

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::timeout;

use self::http1::{Error, Head, Method};
use self::pool::{Lease, Pool};
use crate::catalog::{Catalog, Server};
use crate::error::Code;
use crate::http::Whole;
use crate::mcp::envelope::parse_answer;
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
        match timeout(self.timeout, self.exchange(pool, body.as_bytes(), id)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Fault::new(Code::UpstreamTimeout, format!("no answer within {} ms", self.timeout.as_millis())))
            }
        }
    }

    async fn exchange(&self, pool: &Pool, body: &[u8], id: &RawValue) -> Result<Bytes, Fault> {
        let (head, mut lease) = pool.send(Method::Post, &FIELDS, body).await?;
        let answer = self.answer(&head, &mut lease, id).await?;
        lease.give_back();
        Ok(answer)
    }

    async fn answer(&self, head: &Head, lease: &mut Lease<'_>, id: &RawValue) -> Result<Bytes, Fault> {
        let content_type = head.field("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("text/event-stream") && head.status == 200 {
            return sse::answer(lease, self.max_response, id).await;
        }
        let bytes = collect(lease, self.max_response).await?;
        let is_json = media_type.eq_ignore_ascii_case("application/json");
        // Servers answer JSON-RPC errors with 4xx and 5xx too; those are answers when they are JSON-RPC.
        if is_json && (matches!(head.status, 200..=299) || matches!(parse_answer(&bytes, id), Ok(Some(_)))) {
            return Ok(bytes);
        }
        Err(Fault::new(Code::UpstreamInvalid, format!("HTTP {} with a {media_type:?} body", head.status)))
    }
}

/// Header fields of every request, besides those that HTTP asks for.
const FIELDS: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];

/// The whole body of an answer.
async fn collect(lease: &mut Lease<'_>, cap: usize) -> Result<Bytes, Fault> {
    let too_large = || Fault::new(Code::UpstreamTooLarge, format!("answer is over {cap} bytes"));
    let mut whole = Whole::new(cap, lease.announced()).ok_or_else(too_large)?;
    while let Some(piece) = lease.chunk().await.map_err(|error| fault("answer", &error))? {
        if !whole.push(piece) {
            return Err(too_large());
        }
    }
    Ok(whole.bytes())
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
