//! `PUT /secrets/{name}`: the operator brings a secret for one tool server.

use claim::bootlog::{BootId, ControlRecord};
use claim::json::Json;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use zeroize::Zeroize;

use super::orders;
use super::private::{Answer, Refused};
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http;
use crate::limits;
use crate::secrets::{Order, Refusal};

/// Takes a secret, on record.
pub(super) async fn provision(gateway: &Gateway, name: &str, request: Request<Incoming>) -> Answer {
    gateway.audit.admit()?;
    let order = read(gateway, request).await?;
    let key = gateway.config.operator.public_key().map_err(|_| Code::Internal)?;
    let boot_id = BootId(gateway.boot.id);
    let taking = gateway.secrets.admit(&gateway.catalog, boot_id, key.as_ref(), name, &order)?;
    let server = gateway.catalog.servers().get(taking.server).map_or("", |server| server.identity.as_str());
    let (at, server) = (gateway.clock.now(), server.to_owned());
    let record = ControlRecord::SecretProvisioned { at, name: name.to_owned(), server: server.clone() };
    let (ticket, place) = (gateway.record_control(&record)?, taking.server);
    taking.put();
    // What is open was opened without it, or with the one before.
    gateway.upstreams.close_all(place);
    let stored = gateway.stored(&ticket).await;
    stored.map_err(|code| Refused::saying(code, "the secret is taken all the same"))?;
    let answer = Json::from([("name", Json::from(name)), ("server", Json::from(server))]);
    Ok(http::json(StatusCode::OK, answer.sorted_ascii()))
}

async fn read(gateway: &Gateway, request: Request<Incoming>) -> Result<Order, Refused> {
    let body = orders::body(gateway, request, limits::MAX_SECRET_ORDER_BYTES, Code::SecretRefused).await?;
    let order = Order::parse(&body).map_err(|error| Refused::saying(Code::SecretRefused, error.to_string()));
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    order
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::saying(Code::SecretRefused, refusal.to_string())
    }
}
