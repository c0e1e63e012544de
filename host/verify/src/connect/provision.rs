//! What an operator brings to a gateway that was verified, over the TLS connection that ends in it.

use claim::b64u;
use claim::json::Json;
use claim::operator::{OperatorKey, ProvisionOrder};
use serde_json::Value;
use ureq::RequestBuilder;
use ureq::http::{StatusCode, header};

use super::Token;
use super::attested::{ANSWER_TIMEOUT, Attested, read_body};

/// What goes in or comes out.
#[derive(Clone, Copy)]
pub enum Provision<'a> {
    /// A tool server's secret, and the operator's order that it is for that server alone.
    Secret {
        /// The order, which the operator's key signs.
        order: &'a ProvisionOrder,
        /// The bytes, whose digest is in the order.
        value: &'a [u8],
        /// The operator's key, whose public half is in the gateway's configuration.
        key: &'a OperatorKey,
    },
    /// Asks for the certificate request (PKCS#10, PEM) for the gateway's public name.
    Request,
    /// Brings the certificate chain for it: PEM, the gateway's own first.
    Chain(&'a [u8]),
}

/// Why a gateway did not take or give it.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It is no such order, or there is no connection any more.
    #[error("{0}")]
    Failed(String),
    /// The gateway says no.
    #[error("the gateway refuses: {code}: {text}")]
    Refused {
        /// Its error code.
        code: String,
        /// Its words.
        text: String,
    },
}

impl Attested {
    /// Brings it, with the operator's token: the gateway's answer.
    ///
    /// # Errors
    /// See [`ProvisionError`].
    pub fn provision(&self, what: Provision<'_>, token: &Token) -> Result<Vec<u8>, ProvisionError> {
        match what {
            Provision::Secret { order, value, key } => {
                self.ask(&format!("/secrets/{}", order.name), Some(&signed(order, value, key)), token)
            }
            Provision::Request => self.ask("/tls/csr", None, token),
            Provision::Chain(chain) => self.ask("/tls/chain", Some(chain), token),
        }
    }

    /// GET, or PUT with a body.
    fn ask(&self, path: &str, body: Option<&[u8]>, token: &Token) -> Result<Vec<u8>, ProvisionError> {
        let url = format!("{}{path}", self.origin);
        let failed = |error: ureq::Error| ProvisionError::Failed(format!("{url}: {error}"));
        let response = match body {
            None => timed(self.agent.get(&url)).header(header::AUTHORIZATION, token.header()).call(),
            Some(body) => timed(self.agent.put(&url)).header(header::AUTHORIZATION, token.header()).send(body),
        };
        let mut response = response.map_err(failed)?;
        let status = response.status();
        let answer = read_body(response.body_mut()).map_err(failed)?;
        if status.is_success() { Ok(answer) } else { Err(refused(status, &answer)) }
    }
}

fn timed<Body>(request: RequestBuilder<Body>) -> RequestBuilder<Body> {
    request.config().timeout_global(Some(ANSWER_TIMEOUT)).build()
}

/// SA({value, server, pin, signature}).
fn signed(order: &ProvisionOrder, value: &[u8], key: &OperatorKey) -> Vec<u8> {
    let body = Json::from([
        ("value", b64u::encode(value).into()),
        ("server", order.server.as_str().into()),
        ("pin", order.pin.as_str().into()),
        ("signature", key.sign_provision(order).into()),
    ]);
    body.sorted_ascii().into_bytes()
}

fn refused(status: StatusCode, answer: &[u8]) -> ProvisionError {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let text = |member: &str| answer.pointer(&format!("/error/{member}")).and_then(Value::as_str).map(str::to_owned);
    ProvisionError::Refused {
        code: text("code").unwrap_or_else(|| format!("HTTP {status}")),
        text: text("message").unwrap_or_default(),
    }
}
