//! One booted gateway: what was loaded, what is running, and the ways records come to be.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use claim::attachment::Collateral;
use claim::bootlog::{ControlRecord, RecordKind};
use claim::entry::{Draft, EntryType, PolicyDecision, SealedEntry};
use claim::evidence::Settings;
use claim::json::Json;
use claim::key::Key;
use claim::names::check_id;
use claim::profile::EnforcementMode;
use claim::time::Timestamp;
use hyper::Response;

use crate::audit::{Audit, Ticket};
use crate::boot::Boot;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::controls::Controls;
use crate::error::Code;
use crate::events::Events;
use crate::freshness::Turns;
use crate::http::Body;
use crate::identity::{Access, Credential, Identity};
use crate::operator::{Authority, InForce};
use crate::policy::Policy;
use crate::polling::Polling;
use crate::random;
use crate::secrets::Secrets;
use crate::session::{Session, Sessions, Source};
use crate::upstream::Upstreams;

/// Wall time as the host gave it at boot, advanced by the monotonic clock alone.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Timestamp,
    since: Instant,
}

impl Clock {
    /// A clock that shows this time now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { wall, since: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.since.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.wall.micros().saturating_add(elapsed))
    }
}

/// Everything that serving a request needs.
pub struct Gateway {
    /// The configuration.
    pub config: Config,
    /// The approved tools.
    pub catalog: Catalog,
    /// The compiled policies of sessions that begin now; each session keeps its own.
    pub policy: RefCell<Rc<Policy>>,
    /// What PCR 15 was extended with in this boot, in order, where there is a TPM; the last is in force.
    pub settings: RefCell<Vec<Settings>>,
    /// Which policies may take their place.
    pub authority: Authority,
    /// The operator's controls, if there are any.
    pub in_force: Option<InForce>,
    /// What stops calls beside the policies.
    pub controls: Controls,
    /// The key of this boot.
    pub key: Rc<Key>,
    /// What identifies this boot.
    pub boot: Boot,
    /// Wall time.
    pub clock: Clock,
    /// The boot log.
    pub audit: Rc<Audit>,
    /// Who may call.
    pub access: Access,
    /// What the host says goes with the evidence; the newest, believed for nothing.
    pub collateral: RefCell<Option<Rc<Collateral>>>,
    /// Whose turn it is to have evidence made.
    pub turns: Turns,
    /// Open and closed sessions.
    pub sessions: RefCell<Sessions>,
    /// Tool servers.
    pub upstreams: Upstreams,
    /// What they are shown.
    pub secrets: Secrets,
    /// Keeps the thread awake between the steps of few calls.
    pub polling: Rc<Polling>,
    /// What the host learns.
    pub events: Rc<Events>,
    /// Calls that wait for their agents between two rounds.
    pub parked: Cell<usize>,
    /// Set at shutdown: nothing new is admitted.
    pub stopping: Cell<bool>,
}

/// How a caller names its session.
#[derive(Clone, Debug)]
pub struct SessionRef {
    /// Whose session it is, as the caller has shown.
    pub credential: Rc<Credential>,
    /// The id.
    pub id: String,
    /// Where it came from.
    pub source: Source,
    /// The caller's challenge, which the first entry commits to.
    pub challenge: Option<String>,
}

/// An entry of what is no call: nothing is decided or inspected, and the session holds the same before and after.
pub fn event<'a>(entry_type: EntryType, label: &'a str, detail: &'a Json) -> Draft<'a> {
    Draft {
        entry_type,
        policy_decision: Some(PolicyDecision::NotApplicable),
        response_inspection_result: Some("n/a"),
        session_sensitivity_before: Some(label),
        session_sensitivity_after: Some(label),
        detail: Some(detail),
        ..Draft::default()
    }
}

impl Gateway {
    /// The open session that the caller names; a new one if there is none.
    ///
    /// # Errors
    /// [`Code::SessionLimit`], [`Code::SessionClosing`], [`Code::SessionHalted`], [`Code::InvalidParams`] for a
    /// malformed id.
    pub fn session(&self, wanted: &SessionRef) -> Result<Rc<Session>, Code> {
        if let Some(session) = self.sessions.borrow().open(&wanted.credential.identity, &wanted.id) {
            let state = session.state.borrow();
            if state.halted {
                return Err(Code::SessionHalted);
            }
            if state.closing || state.ended {
                return Err(Code::SessionClosing);
            }
            drop(state);
            return Ok(session);
        }
        check_id(&wanted.id).map_err(|_| Code::InvalidParams)?;
        let session = self.sessions.borrow_mut().create(&wanted.credential.identity, &wanted.id, self.policy())?;
        let detail = self.start_detail(&session, wanted);
        let label = session.labels().max().as_str();
        let start = Draft { session_sensitivity_before: None, ..event(EntryType::SessionStart, label, &detail) };
        if let Err(error) = self.record(&session, &start) {
            self.sessions.borrow_mut().remove(&session);
            return Err(error);
        }
        Ok(session)
    }

    /// `session_start.detail`: what the chain's root, and with it the hardware quote, commits to.
    fn start_detail(&self, session: &Session, wanted: &SessionRef) -> Json {
        let text = |text: &str| Json::String(text.to_owned());
        let mut detail = Json::from([
            ("boot", text(&self.boot.x.hex())),
            ("policy_bundle_hash", text(&session.policy.bundle_hash().prefixed())),
            ("catalog_hash", text(&self.catalog.hash().prefixed())),
            ("config_hash", text(&self.boot.config_hash.prefixed())),
            ("enforcement_mode", text(EnforcementMode::from(self.config.attestation.enforcement_mode).as_str())),
            ("durability", text(self.config.audit.durability.as_str())),
            ("time_source", text("host")),
            ("session_number", Json::Int(i64::try_from(session.number).unwrap_or(i64::MAX))),
            ("session_id_source", text(wanted.source.as_str())),
            ("challenge", wanted.challenge.as_deref().map_or(Json::Null, text)),
        ]);
        if let Some(identity) = session.identity.detail() {
            detail = detail.with("identity", identity);
        }
        self.with_operator(detail, session)
    }

    /// Adds what the operator's signature stands for.
    fn with_operator(&self, mut detail: Json, session: &Session) -> Json {
        if let Some(key) = session.policy.signed_by() {
            detail = detail.with("policy_signed_by", Json::String(key.prefixed()));
        }
        if let Some(InForce { controls, hash }) = &self.in_force {
            let epoch = Json::Int(i64::try_from(controls.epoch).unwrap_or(i64::MAX));
            detail = detail.with("controls_epoch", epoch).with("controls_hash", Json::String(hash.prefixed()));
        }
        detail
    }

    /// Open sessions of an identity whose chains have not ended.
    pub fn open_sessions_of(&self, identity: &Identity) -> Vec<Rc<Session>> {
        let mut sessions = self.sessions.borrow().of(identity);
        sessions.retain(|session| !session.state.borrow().ended);
        sessions
    }

    /// The policies of sessions that begin now.
    pub fn policy(&self) -> Rc<Policy> {
        self.policy.borrow().clone()
    }

    /// Gives sessions that begin from now on these policies.
    pub fn put_in_force(&self, policy: Rc<Policy>) {
        self.policy.replace(policy);
    }

    /// Adds a change of what is in force to the boot log.
    ///
    /// # Errors
    /// [`Code::Internal`] if it has no canonical form.
    pub fn record_control(&self, record: &ControlRecord) -> Result<Ticket, Code> {
        let bytes = record.bytes().map_err(|_| Code::Internal)?;
        Ok(self.audit.push(RecordKind::Control, 0, &bytes))
    }

    /// Seals an entry into a session's chain and adds it to the boot log. Ids, session and time are filled in here.
    ///
    /// # Errors
    /// [`Code::Internal`] when the kernel gives no random bytes.
    pub fn record(&self, session: &Session, draft: &Draft<'_>) -> Result<(SealedEntry, Ticket), Code> {
        let entry_id = random::uuid().map_err(|_| Code::Internal)?;
        let draft = Draft { entry_id: &entry_id, timestamp_utc: self.clock.now(), session_id: &session.id, ..*draft };
        let mut state = session.state.borrow_mut();
        let sealed = state.seal(&draft);
        let ticket = self.audit.push(RecordKind::Entry, session.number, &sealed.bytes);
        state.recorded_in(&ticket);
        state.used = Instant::now();
        Ok((sealed, ticket))
    }

    /// Sends what waits in the log and waits for it.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`].
    pub async fn stored(&self, ticket: &Ticket) -> Result<(), Code> {
        let wait = self.polling.wait();
        let stored = ticket.stored().await;
        drop(wait);
        if stored.is_err() {
            self.events.audit_unavailable();
        }
        stored
    }

    /// Whether what the policy denies is not forwarded.
    pub fn enforces(&self) -> bool {
        self.config.attestation.enforcement_mode == crate::config::EnforcementMode::Enforcing
    }

    /// Counts an answer that carries an error code.
    pub fn answered(&self, answer: &Response<Body>) {
        if let Some(code) = answer.extensions().get::<Code>() {
            self.events.answered(*code);
        }
    }

    /// How long a session may be idle.
    pub fn idle_limit(&self) -> Duration {
        Duration::from_secs(self.config.limits.session_idle_seconds)
    }

    /// Counters for the host.
    pub fn counters(&self) -> wire::Counters {
        let (open, total) = self.sessions.borrow().counts();
        self.events.counters(open, total, self.audit.acknowledged())
    }
}
