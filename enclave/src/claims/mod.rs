//! What outsiders get: claims, trust records, audit bundles, and the answer to a challenge.

mod attachment;
mod deployed;
mod export;
mod facts;
mod history;

use std::rc::Rc;

use claim::b64u;
use claim::binding::{binding, challenge_x, nonce_text};
use claim::bootlog::RecordKind;
use claim::entry::EntryType;
use claim::gateway::SignedClaim;
use claim::json::{Json, to_json};
use claim::record::TrustRecord;
use tokio::task::spawn_local;
use wire::Provider;

pub use self::attachment::attachment;
pub use self::export::export;
use self::facts::Snapshot;
use crate::boot::Boot;
use crate::error::Code;
use crate::freshness;
use crate::gateway::{Gateway, event};
use crate::limits;
use crate::recall;
use crate::session::{Closed, Find, Issued, Session};

/// The session's claim as it stands. Asking again with no new entry returns the same bytes, read back from the store.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub async fn issue(gateway: &Gateway, session: &Session) -> Result<(Vec<u8>, Issued), Code> {
    freshness::for_claim(gateway, session).await;
    loop {
        let snapshot = Snapshot::of(session)?;
        if let Some(issued) = snapshot.current_claim() {
            // If it was not stored in time it may be now: the store's answer decides.
            let _ = issued.ticket.stored().await;
            return Ok((recall::claim(gateway, session.number, &issued).await?, issued));
        }
        if !gateway.audit.is_open() {
            return Err(Code::AuditUnavailable);
        }
        let signed = snapshot.sign(gateway, session).await?;
        let bytes = signed.bytes();
        let issued = {
            let mut state = session.state.borrow_mut();
            if state.claim != snapshot.previous_claim() {
                // Another request has issued a claim meanwhile.
                continue;
            }
            let ticket = gateway.audit.push(RecordKind::Claim, session.number, &bytes);
            state.recorded_in(&ticket);
            let issued = snapshot.issued(signed.hash(), ticket);
            state.claim = Some(issued.clone());
            issued
        };
        gateway.stored(&issued.ticket).await?;
        return Ok((bytes, issued));
    }
}

/// Ends a session: waits for its calls, seals its chain, issues the final claim and forgets all but its digest.
///
/// # Errors
/// [`Code::SessionClosing`] when it is being closed already; [`Code::AuditUnavailable`] leaves it ended and open to
/// another attempt.
pub async fn close(gateway: &Rc<Gateway>, session: &Rc<Session>, reason: &str) -> Result<Vec<u8>, Code> {
    if std::mem::replace(&mut session.state.borrow_mut().closing, true) {
        return Err(Code::SessionClosing);
    }
    if let Some(agent) = session.agent.get() {
        agent.end(gateway).await;
    }
    session.parking.end(gateway).await;
    session.quiet().await;
    session.links.end(gateway);
    let closed = seal_and_issue(gateway, session, reason).await;
    match closed {
        Ok((bytes, closed)) => {
            gateway.sessions.borrow_mut().close(session, closed);
            Ok(bytes)
        }
        Err(code) => {
            session.state.borrow_mut().closing = false;
            Err(code)
        }
    }
}

async fn seal_and_issue(gateway: &Gateway, session: &Session, reason: &str) -> Result<(Vec<u8>, Closed), Code> {
    // Nothing can be added to a chain that has ended.
    freshness::for_claim(gateway, session).await;
    if !session.state.borrow().ended {
        let label = session.state.borrow().held().max().as_str();
        let detail = Json::from([("reason", Json::String(reason.to_owned()))]);
        gateway.record(session, &event(EntryType::SessionEnd, label, &detail))?;
        session.state.borrow_mut().ended = true;
    }
    let (bytes, claim) = issue(gateway, session).await?;
    let state = session.state.borrow();
    let closed = Closed {
        id: session.id.clone(),
        number: session.number,
        claim,
        batches: state.batches().ok_or(Code::Internal)?,
        root: state.chain.root().ok_or(Code::Internal)?,
        tip: state.chain.tip().ok_or(Code::Internal)?,
        length: state.chain.length(),
        evidence: state.standing.evidence.clone(),
    };
    Ok((bytes, closed))
}

/// Closes idle sessions, for ever.
pub async fn sweep(gateway: Rc<Gateway>) {
    let mut ticks = tokio::time::interval(limits::SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        for session in gateway.sessions.borrow().idle(gateway.idle_limit()) {
            let gateway = gateway.clone();
            spawn_local(async move { close(&gateway, &session, "idle").await.is_ok() });
        }
    }
}

/// The TRACE trust record of a session; it names the session's claim by digest and echoes the caller's challenge.
///
/// # Errors
/// As [`issue`].
pub async fn trust_record(gateway: &Gateway, found: &Find, nonce: Option<&str>) -> Result<Vec<u8>, Code> {
    let bytes = match found {
        Find::Open(session) => issue(gateway, session).await?.0,
        Find::Closed(closed) => recall::claim(gateway, closed.number, &closed.claim).await?,
    };
    let claim = SignedClaim::parse(&bytes).map_err(|_| Code::Internal)?;
    let record = TrustRecord::about(&claim, facts::record_context(gateway, nonce), &gateway.key.public());
    let signed = gateway.key.sign_record(&record).map_err(|_| Code::Internal)?;
    signed.bytes().map_err(|_| Code::Internal)
}

/// Evidence of this boot, bound to the caller's challenge. `nonce` has passed [`check_nonce`].
///
/// # Errors
/// [`Code::AttestationFailed`].
pub async fn attestation(gateway: &Gateway, nonce: &str) -> Result<String, Code> {
    let challenge = challenge_x(&gateway.boot.x, &b64u::decode(nonce).unwrap_or_default());
    let challenge = binding(&gateway.key.public().thumbprint(), &challenge);
    let text = |text: &str| Json::String(text.to_owned());
    let (Boot { attestor, .. }, attested) = (&gateway.boot, gateway.attested());
    let about = attestor.about();
    let evidence = attestor.challenged(&gateway.key, &challenge).await.map_err(|_| Code::AttestationFailed)?;
    let (hardware, note) = match about.provider {
        Provider::SoftwareOnly => (Json::Null, "software only: nothing but this process vouches for these values"),
        _ => (text(about.platform.as_str()), "judge boot_evidence and challenge_evidence: nothing else is proof"),
    };
    let answer = Json::from([
        ("platform", text(about.platform.as_str())),
        ("measurement", text(&about.measurement.to_string())),
        ("firmware_version", about.firmware_version.as_deref().map_or(Json::Null, text)),
        ("generated_at", text(&attested.at.to_string())),
        ("hardware_evidence", hardware),
        ("note", text(note)),
        ("boot", to_json(&attested.shown.boot).map_err(|_| Code::Internal)?),
        ("boot_evidence", to_json(&attested.shown.evidence).map_err(|_| Code::Internal)?),
        ("challenge_evidence", to_json(&evidence).map_err(|_| Code::Internal)?),
        ("boot_x", text(&gateway.boot.x.hex())),
        ("settings", to_json(&*gateway.settings.borrow()).map_err(|_| Code::Internal)?),
        ("public_key", text(&gateway.key.public().x())),
        ("nonce", text(nonce)),
        ("binding", text(&nonce_text(&challenge))),
    ]);
    Ok(answer.sorted_ascii())
}

/// A challenge is 16 to 64 bytes in canonical base64url without padding.
///
/// # Errors
/// What it should be, as text.
pub fn check_nonce(nonce: &str) -> Result<(), String> {
    match b64u::decode(nonce) {
        Some(bytes) if limits::NONCE_BYTES.contains(&bytes.len()) => Ok(()),
        _ => Err("nonce must be 16 to 64 bytes in base64url without padding".to_owned()),
    }
}
