//! How old evidence may be. The boot's is renewed long before it has outlived its validity; a session's is made when its first
//! call comes, and again for a claim that would speak of old evidence. What it means that the hardware does not answer is
//! `attestation.staleness_policy`; when it answers again, all is as before.
//!
//! In dev mode there is nothing to renew, and none of this happens.

use std::rc::Rc;
use std::time::Duration;

use claim::Digest;
use claim::binding::{binding, session_x};
use claim::bootlog::RecordKind;
use claim::entry::EntryType;
use claim::evidence::{BootEvidence, Evidence};
use claim::json::{Json, JsonError, to_json};
use claim::time::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use wire::{LogEvent, Provider};

use crate::audit::Ticket;
use crate::config::Severity;
use crate::error::Code;
use crate::evidence::AttestFailure;
use crate::gateway::{Gateway, event};
use crate::limits;
use crate::session::Session;

/// What the boot shows of itself, as it was made last.
#[derive(Debug)]
pub struct Attested {
    /// The document.
    pub shown: BootEvidence,
    /// When it was asked for.
    pub at: Timestamp,
    /// SA of the document, and its SHA-256.
    bytes: Vec<u8>,
    digest: Digest,
}

/// Evidence over a session's binding, by where it is stored.
pub struct SessionEvidence {
    /// SHA-256 of its SA.
    pub digest: Digest,
    /// Where the boot log holds it.
    pub ticket: Ticket,
    /// When it was asked for.
    pub at: Timestamp,
    /// The boot's evidence of that time.
    pub boot: Rc<Attested>,
}

/// What vouches for a session.
#[derive(Default)]
pub struct Standing {
    /// Evidence over its binding, as it was made last.
    pub evidence: Option<Rc<SessionEvidence>>,
    /// The chain says that evidence does not count, and nothing else since.
    pub stale: bool,
    /// When a call asked for evidence last.
    tried_at: Option<Timestamp>,
}

/// Why a call does not go on.
pub struct Unvouched {
    /// The code.
    pub code: Code,
    /// In words of this enclave.
    pub reason: String,
}

/// Whose turn it is at the hardware, whose own queue is short.
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(limits::MAX_SESSION_ATTESTATIONS))
    }
}

impl Attested {
    /// Evidence of this time.
    ///
    /// # Errors
    /// A document that has no canonical form.
    pub fn new(shown: BootEvidence, at: Timestamp) -> Result<Self, JsonError> {
        let bytes = shown.bytes()?;
        Ok(Self { digest: Digest::of(&bytes), bytes, shown, at })
    }

    /// SA of the document.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Gateway {
    /// Whether hardware vouches for the boot.
    pub fn on_hardware(&self) -> bool {
        self.boot.attestor.about().provider != Provider::SoftwareOnly
    }

    /// The boot's evidence as it is now.
    pub fn attested(&self) -> Rc<Attested> {
        self.boot.attested.borrow().clone()
    }

    /// Puts the boot's evidence on record.
    pub fn record_attested(&self) {
        if self.on_hardware() {
            self.audit.push(RecordKind::Evidence, 0, self.attested().bytes());
        }
    }

    fn validity(&self) -> Duration {
        Duration::from_secs(self.config.attestation.validity_seconds)
    }

    fn is_older(&self, at: Timestamp, limit: Duration) -> bool {
        self.age(at) > limit
    }

    fn age(&self, at: Timestamp) -> Duration {
        let micros = self.clock.now().micros().saturating_sub(at.micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// Whether the boot's evidence has outlived its validity.
    fn is_stale(&self) -> bool {
        self.is_older(self.boot.attested.borrow().at, self.validity())
    }
}

/// Renews the boot's evidence half way through its validity, and tries again until the hardware answers, for ever.
pub async fn keep_fresh(gateway: Rc<Gateway>) {
    if !gateway.on_hardware() {
        return;
    }
    loop {
        let age = gateway.age(gateway.attested().at);
        sleep((gateway.validity() / 2).saturating_sub(age)).await;
        let (mut pause, mut said) = (limits::RENEW_FIRST, false);
        while renew(&gateway).await.is_err() {
            if gateway.is_stale() && !std::mem::replace(&mut said, true) {
                gateway.events.log(LogEvent::AttestationStale);
            }
            sleep(pause).await;
            pause = (pause * 2).min(limits::RENEW_LONGEST);
        }
        if said {
            gateway.events.log(LogEvent::AttestationRenewed);
        }
    }
}

async fn renew(gateway: &Gateway) -> Result<(), AttestFailure> {
    let (at, before) = (gateway.clock.now(), gateway.attested());
    let of_boot = binding(&gateway.key.public().thumbprint(), &gateway.boot.x);
    let evidence = gateway.boot.attestor.refresh(&gateway.key, &of_boot).await?;
    let shown = BootEvidence { evidence, ..before.shown.clone() };
    let attested = Attested::new(shown, at).map_err(|_| AttestFailure::Report)?;
    gateway.boot.attested.replace(Rc::new(attested));
    gateway.record_attested();
    Ok(())
}

/// Whether there is nothing to do for a call: its session has evidence, and the boot's counts.
pub fn is_vouched(gateway: &Gateway, session: &Session) -> bool {
    !gateway.on_hardware() || (session.has_evidence() && !gateway.is_stale())
}

/// For a call, before anything is decided: its session has evidence, and the boot's evidence counts; or the policy is to go on
/// without, on record.
///
/// # Errors
/// [`Code::AttestationFailed`], [`Code::AttestationStale`].
pub async fn vouch(gateway: &Gateway, session: &Session) -> Result<(), Unvouched> {
    if !session.has_evidence() && !was_tried_lately(gateway, session) {
        let attested = attest(gateway, session).await;
        session.state.borrow_mut().standing.tried_at = Some(gateway.clock.now());
        if let Err(failure) = attested {
            let reason = format!("no evidence of the session: {failure}");
            return tolerate(gateway, session, Code::AttestationFailed, reason);
        }
    }
    if gateway.is_stale() {
        let at = gateway.attested().at;
        let reason = format!("evidence of {at} has outlived its validity and cannot be renewed");
        return tolerate(gateway, session, Code::AttestationStale, reason);
    }
    Ok(())
}

/// Whoever goes on without evidence does not wait for it at each call.
fn was_tried_lately(gateway: &Gateway, session: &Session) -> bool {
    let state = session.state.borrow();
    state.standing.stale && state.standing.tried_at.is_some_and(|at| gateway.age(at) < limits::RENEW_LONGEST)
}

/// For a claim: its evidence is not older than half its validity, if that can be had. A chain that has ended stays as it is.
pub async fn for_claim(gateway: &Gateway, session: &Session) {
    if !gateway.on_hardware() || session.state.borrow().ended {
        return;
    }
    if !gateway.stopping.get() && is_due(gateway, session) {
        let attempt = async {
            if gateway.is_stale() {
                let _ = renew(gateway).await;
            }
            attest(gateway, session).await
        };
        let _ = timeout(limits::CLAIM_EVIDENCE_TIMEOUT, attempt).await;
    }
    if !session.has_evidence() || gateway.is_stale() {
        let _ = note_stale(gateway, session, Code::AttestationStale, "a claim without evidence that counts");
    }
}

fn is_due(gateway: &Gateway, session: &Session) -> bool {
    let state = session.state.borrow();
    let old = |evidence: &Rc<SessionEvidence>| gateway.is_older(evidence.at, gateway.validity() / 2);
    state.standing.stale || state.standing.evidence.as_ref().is_none_or(old)
}

/// Makes evidence over a session's binding and puts it on record. Of several that are made at once, one counts.
async fn attest(gateway: &Gateway, session: &Session) -> Result<(), AttestFailure> {
    let (root, before) = {
        let state = session.state.borrow();
        (state.chain.root(), state.standing.evidence.as_ref().map(|evidence| evidence.at))
    };
    let root = root.ok_or(AttestFailure::Ended)?;
    let turn = timeout(limits::ATTEST_TIMEOUT, gateway.turns.0.acquire()).await;
    let _turn = turn.map_err(|_| AttestFailure::Busy)?.map_err(|_| AttestFailure::Ended)?;
    let at = gateway.clock.now();
    if session.state.borrow().standing.evidence.as_ref().map(|evidence| evidence.at) != before {
        return Ok(());
    }
    let bound = binding(&gateway.key.public().thumbprint(), &session_x(&root));
    let evidence = gateway.boot.attestor.over(&gateway.key, &bound).await?;
    let made_meanwhile = session.state.borrow().standing.evidence.as_ref().map(|evidence| evidence.at) != before;
    if made_meanwhile || session.state.borrow().ended {
        return Ok(());
    }
    keep(gateway, session, &evidence, at).map_err(|_| AttestFailure::Report)
}

/// In one step: the evidence, and the entry that names it and the boot's.
fn keep(gateway: &Gateway, session: &Session, evidence: &Evidence, at: Timestamp) -> Result<(), Code> {
    let bytes = to_json(evidence).map_err(|_| Code::Internal)?.sorted_ascii().into_bytes();
    let (digest, boot) = (Digest::of(&bytes), gateway.attested());
    let detail = Json::from([
        ("boot_evidence", Json::String(boot.digest.prefixed())),
        ("session_evidence", Json::String(digest.prefixed())),
    ]);
    let ticket = gateway.audit.push(RecordKind::Evidence, session.number, &bytes);
    session.state.borrow_mut().recorded_in(&ticket);
    let label = session.labels().max().as_str();
    gateway.record(session, &event(EntryType::AttestationRefresh, label, &detail))?;
    let mut state = session.state.borrow_mut();
    state.standing.evidence = Some(Rc::new(SessionEvidence { digest, ticket, at, boot }));
    state.standing.stale = false;
    Ok(())
}

fn tolerate(gateway: &Gateway, session: &Session, code: Code, reason: String) -> Result<(), Unvouched> {
    match gateway.config.attestation.staleness_policy {
        Severity::FailClosed => Err(Unvouched { code, reason }),
        Severity::WarnOnly => note_stale(gateway, session, code, &reason).map_err(|code| Unvouched { code, reason }),
    }
}

/// Says in the chain, once until there is new evidence, that the evidence does not count.
fn note_stale(gateway: &Gateway, session: &Session, code: Code, reason: &str) -> Result<(), Code> {
    if std::mem::replace(&mut session.state.borrow_mut().standing.stale, true) {
        return Ok(());
    }
    let detail = Json::from([("error_code", Json::from(code.name())), ("reason", Json::from(reason))]);
    let label = session.labels().max().as_str();
    gateway.record(session, &event(EntryType::AttestationStale, label, &detail)).map(drop)
}
