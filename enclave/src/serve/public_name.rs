//! The certificate of `tls.public_name`: its request goes out, the chain comes in; for the operator.

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode};

use super::orders;
use super::private::{Answer, Refused};
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http;
use crate::limits;
use crate::tls::{ChainError, Server};

/// Which of the two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The request for a certificate.
    Request,
    /// The chain.
    Chain,
}

/// Serves one step.
pub(super) async fn serve(gateway: &Gateway, step: Step, request: Request<Incoming>) -> Answer {
    let plain = || Refused::saying(Code::TlsState, "agents speak plain HTTP here; start with --tls");
    let server = gateway.boot.inbound.server().ok_or_else(plain)?;
    match step {
        Step::Request => {
            let mut answer = http::json(StatusCode::OK, server.request()?);
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"));
            Ok(answer)
        }
        Step::Chain => chain(gateway, server, request).await,
    }
}

async fn chain(gateway: &Gateway, server: &Server, request: Request<Incoming>) -> Answer {
    let pem = orders::body(gateway, request, limits::MAX_CHAIN_BYTES, Code::TlsChainRefused).await?;
    server.install(&pem, gateway.clock.now())?;
    Ok(http::json(StatusCode::OK, r#"{"served":true}"#))
}

impl From<ChainError> for Refused {
    fn from(error: ChainError) -> Self {
        let code = if error == ChainError::NoName { Code::TlsState } else { Code::TlsChainRefused };
        Self::saying(code, error.to_string())
    }
}
