//! An operator clears labels, on record: a session's, and in scope `identity` those of all sessions of the identity.
//!
//! The chain goes on under the same id: a `session_reset` entry says what was held. Calls that are under way bring their labels back
//! when they end, so that a reset loses nothing that an agent has yet to learn.

use std::rc::Rc;

use claim::entry::{Draft, EntryType, SealedEntry};
use claim::json::Json;

use crate::audit::Ticket;
use crate::config::Scope;
use crate::error::Code;
use crate::gateway::{Gateway, event};
use crate::labels::{Label, Labels};
use crate::session::Session;

/// Clears the labels of a session: `{session_id, identity, scope, labels_before, labels, in_flight, sessions, boot_id, batch,
/// audit_entry_hash}`, in which `sessions` counts the chains that have an entry of it and the last three are a receipt.
///
/// # Errors
/// [`Code::SessionClosing`], [`Code::SessionHalted`]: the chain has ended, nothing changed. [`Code::AuditUnavailable`]: the labels are
/// cleared and the record is not stored yet; no record of a later call can come before it.
pub async fn reset(gateway: &Gateway, session: &Rc<Session>) -> Result<Json, Code> {
    let before = session.labels();
    // One step: no call sees some of the labels cleared.
    let (entry, ticket) = clear(gateway, session, session)?;
    let others = others(gateway, session);
    for other in &others {
        clear(gateway, other, session)?;
    }
    session.identity.clear();
    let (after, in_flight) = (session.labels(), session.in_flight());
    gateway.stored(&ticket).await?;
    Ok(Json::from([
        ("session_id", Json::from(session.id.as_str())),
        ("identity", session.identity.subject().map_or(Json::Null, Json::from)),
        ("scope", Json::from(session.identity.scope().as_str())),
        ("labels_before", names(before)),
        ("labels", names(after)),
        ("in_flight", Json::Int(in_flight.into())),
        ("sessions", Json::Int(i64::try_from(others.len()).unwrap_or(i64::MAX).saturating_add(1))),
        ("boot_id", Json::from(gateway.boot.id_hex.as_str())),
        ("batch", Json::Int(i64::try_from(ticket.batch()).unwrap_or(i64::MAX))),
        ("audit_entry_hash", Json::String(entry.hash.hex())),
    ]))
}

/// The identity's other sessions whose labels have to be cleared with this one's.
fn others(gateway: &Gateway, session: &Session) -> Vec<Rc<Session>> {
    if session.identity.scope() == Scope::Session {
        return Vec::new();
    }
    let mut all = gateway.sessions.borrow().of(&session.identity);
    all.retain(|other| {
        let state = other.state.borrow();
        other.number != session.number && !state.ended && !state.halted && state.held() != Labels::PUBLIC
    });
    all
}

/// Records first: what fails clears nothing.
fn clear(gateway: &Gateway, session: &Session, named: &Session) -> Result<(SealedEntry, Ticket), Code> {
    let (ended, halted) = (session.state.borrow().ended, session.state.borrow().halted);
    if ended || halted {
        return Err(if halted { Code::SessionHalted } else { Code::SessionClosing });
    }
    let before = session.labels();
    let detail = Json::from([
        ("by", Json::from("operator")),
        // The session goes on as itself, which readers want said: deployed verifiers know resets that begin another session.
        ("closed_session_id", Json::from(session.id.as_str())),
        ("successor_session_id", Json::from(session.id.as_str())),
        ("scope", Json::from(session.identity.scope().as_str())),
        ("labels_before", names(before)),
        ("in_flight", Json::Int(session.in_flight().into())),
        ("requested_for", Json::from(named.id.as_str())),
    ]);
    let draft = Draft {
        session_sensitivity_after: Some(Label::Public.as_str()),
        ..event(EntryType::SessionReset, before.max().as_str(), &detail)
    };
    let recorded = gateway.record(session, &draft)?;
    session.clear();
    Ok(recorded)
}

fn names(labels: Labels) -> Json {
    Json::Array(labels.iter().map(|label| Json::from(label.as_str())).collect())
}
