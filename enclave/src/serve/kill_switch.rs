//! The kill switch by hand: `POST /kill-switch/trip` and `/kill-switch/unblock`, for the operator.

use std::rc::Rc;

use claim::bootlog::ControlRecord;
use claim::json::{Json, from_json};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;

use super::orders;
use super::private::{Answer, Refused};
use crate::controls::KillRefusal;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body};
use crate::identity::{ANONYMOUS, Identity};
use crate::limits;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// Refuse all calls of an identity.
    Trip,
    /// Decide them again.
    Unblock,
}

/// Whom it is about, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// A subject of the configuration; may be left out without authentication, where there is one identity.
    subject: Option<String>,
    /// If the identity's issuer shall be checked.
    issuer: Option<String>,
    /// For the record.
    reason: Option<String>,
}

/// Serves one order.
pub(super) async fn turn(gateway: &Gateway, turn: Turn, request: Request<Incoming>) -> Answer {
    let order = read(gateway, request).await?;
    if !gateway.controls.has_kill_switch() {
        return Err(state("kill_switch.enabled is false"));
    }
    let identity = meant(gateway, &order)?;
    match turn {
        Turn::Trip => trip(gateway, &identity, &order).await,
        Turn::Unblock => unblock(gateway, &identity, &order).await,
    }
}

async fn trip(gateway: &Gateway, identity: &Identity, order: &Order) -> Answer {
    if !gateway.controls.trip(identity) {
        return Err(state("this identity is blocked already"));
    }
    let (sessions, ticket) = gateway.tripped_by_operator(identity, order.reason.as_deref())?;
    let (subject, issuer) = identity.name();
    let mut line = Json::from([("subject", Json::from(subject))]);
    if let Some(issuer) = issuer {
        line = line.with("issuer", Json::from(issuer));
    }
    let stored = gateway.stored(&ticket).await;
    stored.map_err(|code| Refused::saying(code, "the identity is blocked all the same"))?;
    Ok(done(&[
        ("blocked", line.clone()),
        ("sessions", Json::from(u64::try_from(sessions).unwrap_or(u64::MAX))),
        ("until", Json::from("unblock or restart")),
        ("add_to_controls_blocked", Json::from(line.sorted_ascii())),
    ]))
}

async fn unblock(gateway: &Gateway, identity: &Identity, order: &Order) -> Answer {
    gateway.controls.unblock(identity).map_err(|refusal| match refusal {
        KillRefusal::NotBlocked => state("this identity is not blocked"),
        KillRefusal::ByControls => {
            state("controls.json blocks this identity; take it out there, sign, and start again")
        }
    })?;
    let (subject, issuer) = identity.name();
    let (at, reason) = (gateway.clock.now(), order.reason.clone());
    let record = ControlRecord::KillSwitchUnblock { at, subject: subject.clone(), issuer, reason };
    let ticket = gateway.record_control(&record)?;
    let stored = gateway.stored(&ticket).await;
    stored.map_err(|code| Refused::saying(code, "the identity is unblocked all the same"))?;
    Ok(done(&[("unblocked", Json::from(subject))]))
}

async fn read(gateway: &Gateway, request: Request<Incoming>) -> Result<Order, Refused> {
    let body = orders::body(gateway, request, limits::MAX_ORDER_BYTES, Code::InvalidParams).await?;
    let tree = if body.is_empty() { Ok(Json::from([])) } else { claim::json::parse(&body) };
    let tree = tree.map_err(|error| Refused::saying(Code::ParseError, error.to_string()))?;
    // The words go into the audit chain.
    tree.require_printable().map_err(|error| invalid(error.to_string()))?;
    let shape = "a JSON object with subject, issuer and reason, each optional";
    from_json(&tree).map_err(|error| invalid(format!("{error}; expected {shape}")))
}

fn meant(gateway: &Gateway, order: &Order) -> Result<Rc<Identity>, Refused> {
    let subject = order.subject.as_deref().unwrap_or(ANONYMOUS);
    let unknown = || invalid(format!("subject: {subject:?} cannot be anybody's"));
    let identity = gateway.access.named(subject)?.ok_or_else(unknown)?;
    match order.issuer.as_deref() {
        Some(issuer) if identity.issuer().unwrap_or_default() != issuer => {
            Err(invalid(format!("issuer: {issuer:?} is not the issuer of {subject:?}")))
        }
        _ => Ok(identity),
    }
}

fn state(text: &str) -> Refused {
    Refused::saying(Code::KillSwitchState, text)
}

fn invalid(text: String) -> Refused {
    Refused::saying(Code::InvalidParams, text)
}

fn done(members: &[(&str, Json)]) -> Response<Body> {
    let members = members.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    http::json(StatusCode::OK, Json::Object(members.collect()).sorted_ascii())
}
