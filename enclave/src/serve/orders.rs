//! What only the operator may ask for, besides what concerns sessions: each kind in a file of its own.

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;

use super::kill_switch::{self, Turn};
use super::private::{Answer, Refused};
use super::public_name::{self, Step};
use super::secrets;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, BodyError};

/// What is to be done.
pub(super) enum Order<'a> {
    KillSwitch(Turn),
    PublicName(Step),
    Secret(&'a str),
}

/// Does it, for the operator, which the caller has made sure of.
pub(super) async fn serve(gateway: &Gateway, order: Order<'_>, request: Request<Incoming>) -> Answer {
    match order {
        Order::KillSwitch(turn) => kill_switch::turn(gateway, turn, request).await,
        Order::PublicName(step) => public_name::serve(gateway, step, request).await,
        Order::Secret(name) => secrets::provision(gateway, name, request).await,
    }
}

/// The body of an order, at most this long; a longer one is refused with this code.
pub(super) async fn body(
    gateway: &Gateway,
    request: Request<Incoming>,
    cap: usize,
    too_large: Code,
) -> Result<Bytes, Refused> {
    let body = http::collect(request.into_body(), cap, gateway.config.limits.request_timeout()).await;
    body.map_err(|error| match error {
        BodyError::TooLarge => Refused::saying(too_large, format!("at most {cap} bytes")),
        BodyError::Broken(_) => Code::ParseError.into(),
        BodyError::Late => Code::SlowRequest.into(),
    })
}
