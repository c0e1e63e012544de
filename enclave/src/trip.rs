//! The kill switch on record: a control record in the boot log, and an entry in each open session of the identity.

use std::rc::Rc;

use claim::bootlog::ControlRecord;
use claim::entry::EntryType;
use claim::json::Json;

use crate::audit::Ticket;
use crate::controls::Tripped;
use crate::error::Code;
use crate::gateway::{Gateway, event};
use crate::identity::Identity;
use crate::session::Session;

/// `detail.control` of the entry, by which verifiers know it.
const CONTROL: &str = "kill_switch";

/// Why the switch tripped.
enum Trigger<'a> {
    DenyRate(&'a Tripped),
    Operator(Option<&'a str>),
}

impl Gateway {
    /// Records that too many calls of a session's identity were denied. The switch has blocked it already: a record that
    /// cannot be written now is written when the store answers, before any other answer leaves.
    pub fn tripped(&self, session: &Session, tripped: &Tripped) {
        let _ = self.record_trip(&session.identity, &Trigger::DenyRate(tripped));
    }

    /// Records that the operator tripped the switch.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn tripped_by_operator(&self, identity: &Identity, reason: Option<&str>) -> Result<(usize, Ticket), Code> {
        self.record_trip(identity, &Trigger::Operator(reason))
    }

    fn record_trip(&self, identity: &Identity, trigger: &Trigger<'_>) -> Result<(usize, Ticket), Code> {
        let (subject, issuer) = identity.name();
        let ticket = self.record_control(&ControlRecord::KillSwitchTrip {
            at: self.clock.now(),
            subject,
            issuer,
            trigger: trigger.name().to_owned(),
            reason: trigger.reason(),
        })?;
        let sessions = self.open_sessions_of(identity);
        for session in &sessions {
            self.record_trip_in(session, trigger)?;
        }
        Ok((sessions.len(), ticket))
    }

    fn record_trip_in(&self, session: &Rc<Session>, trigger: &Trigger<'_>) -> Result<(), Code> {
        let label = session.labels().max().as_str();
        let detail = trigger.detail();
        self.record(session, &event(EntryType::SuspiciousCallSequence, label, &detail))?;
        let mut state = session.state.borrow_mut();
        state.trips = state.trips.saturating_add(1);
        Ok(())
    }
}

impl Trigger<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::DenyRate(_) => "deny_rate",
            Self::Operator(_) => "operator",
        }
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::DenyRate(_) | Self::Operator(None) => None,
            Self::Operator(Some(reason)) => Some((*reason).to_owned()),
        }
    }

    fn detail(&self) -> Json {
        let detail = Json::from([("control", Json::from(CONTROL)), ("trigger", Json::from(self.name()))]);
        match self {
            Self::Operator(None) => detail,
            Self::Operator(Some(reason)) => detail.with("reason", Json::from(*reason)),
            Self::DenyRate(Tripped { calls, denied, settings }) => {
                let number = |number: u64| Json::Int(i64::try_from(number).unwrap_or(i64::MAX));
                detail
                    .with("calls", number(*calls))
                    .with("denied", number(*denied))
                    .with("window_seconds", number(settings.window_seconds))
                    .with("deny_rate_percent", number(settings.deny_rate_percent))
                    .with("min_calls", number(settings.min_calls))
            }
        }
    }
}
