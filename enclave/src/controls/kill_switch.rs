//! The kill switch: identities whose calls are all refused.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use claim::operator::Blocked;

use super::Stop;
use super::window::{Count, Window};
use crate::config;
use crate::error::Code;
use crate::operator::InForce;

/// Who is blocked, and how everybody's last calls went.
pub struct KillSwitch {
    settings: Option<config::KillSwitch>,
    identities: Vec<State>,
    warnings: Vec<String>,
}

struct State {
    blocked: Cell<Option<By>>,
    /// Only where the deny rate is watched.
    window: Option<RefCell<Window>>,
}

/// Who blocked an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The signed controls: for this boot.
    Controls,
    /// The operator or the deny rate, until it is unblocked.
    Switch,
}

/// What there is to record of a trip by deny rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// Calls in the window.
    pub calls: u64,
    /// How many of them were denied.
    pub denied: u64,
    /// What the configuration says.
    pub settings: config::KillSwitch,
}

/// Why an identity is not unblocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not blocked.
    NotBlocked,
    /// The signed controls block it.
    ByControls,
}

impl KillSwitch {
    pub(super) fn new(
        settings: &config::KillSwitch,
        in_force: Option<&InForce>,
        names: &[(&str, &str)],
    ) -> Option<Self> {
        let blocked = in_force.map_or(&[][..], |in_force| &in_force.controls.blocked);
        if !settings.enabled && blocked.is_empty() {
            return None;
        }
        let state = |(subject, issuer): &(&str, &str)| State {
            blocked: Cell::new(blocked.iter().any(|one| is(one, subject, issuer)).then_some(By::Controls)),
            window: settings.enabled.then(|| RefCell::new(Window::new(settings.window_seconds))),
        };
        let unknown = |one: &&Blocked| !names.iter().any(|(subject, issuer)| is(one, subject, issuer));
        let warning = |one: &Blocked| format!("controls: blocked: there is no identity {:?}", one.subject);
        Some(Self {
            settings: settings.enabled.then(|| settings.clone()),
            identities: names.iter().map(state).collect(),
            warnings: blocked.iter().filter(unknown).map(warning).collect(),
        })
    }

    pub(super) fn enabled(&self) -> bool {
        self.settings.is_some()
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn admit(&self, who: usize) -> Result<(), Stop> {
        let reason = match self.identities.get(who).map(|state| state.blocked.get()) {
            Some(None) => return Ok(()),
            Some(Some(By::Controls)) => "the operator's controls block this identity",
            Some(Some(By::Switch)) | None => "the kill switch has tripped for this identity",
        };
        Err(Stop::new(Code::KillSwitch, "kill_switch", reason))
    }

    pub(super) fn ended(&self, who: usize, denied: bool, now: Duration) -> Option<Tripped> {
        let settings = self.settings.as_ref()?;
        let state = self.identities.get(who)?;
        let Count { calls, denied } = state.window.as_ref()?.borrow_mut().count(denied, now);
        let too_many = calls >= settings.min_calls && denied * 100 >= settings.deny_rate_percent * calls;
        if !too_many || state.blocked.get().is_some() {
            return None;
        }
        state.blocked.set(Some(By::Switch));
        Some(Tripped { calls, denied, settings: settings.clone() })
    }

    /// Blocks an identity; false if it is blocked.
    pub fn trip(&self, who: usize) -> bool {
        let Some(state) = self.identities.get(who).filter(|state| state.blocked.get().is_none()) else { return false };
        state.blocked.set(Some(By::Switch));
        true
    }

    /// Decides the identity's calls again, and forgets how the last ones went.
    ///
    /// # Errors
    /// It is not blocked, or not by the switch.
    pub fn unblock(&self, who: usize) -> Result<(), Refusal> {
        let state = self.identities.get(who).ok_or(Refusal::NotBlocked)?;
        match state.blocked.get() {
            None => Err(Refusal::NotBlocked),
            Some(By::Controls) => Err(Refusal::ByControls),
            Some(By::Switch) => {
                state.blocked.set(None);
                if let Some(window) = &state.window {
                    window.borrow_mut().clear();
                }
                Ok(())
            }
        }
    }
}

/// Whether the controls mean this identity.
fn is(blocked: &Blocked, subject: &str, issuer: &str) -> bool {
    blocked.subject == subject && blocked.issuer.as_deref().is_none_or(|named| named == issuer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use claim::Digest;
    use claim::operator::{Blocked, Controls};

    use super::{KillSwitch, Refusal};
    use crate::config;
    use crate::operator::InForce;

    const NAMES: &[(&str, &str)] = &[("a", "i"), ("b", ""), ("c", "j")];

    fn in_force(blocked: &[(&str, Option<&str>)]) -> InForce {
        let one = |(subject, issuer): &(&str, Option<&str>)| Blocked {
            subject: (*subject).to_owned(),
            issuer: issuer.map(str::to_owned),
        };
        let blocked = blocked.iter().map(one).collect();
        let controls =
            Controls { epoch: 1, blocked, revoked_keys: Vec::new(), min_policy_version: None, signature: None };
        InForce { controls, hash: Digest::of("") }
    }

    fn settings(enabled: bool) -> config::KillSwitch {
        config::KillSwitch { enabled, window_seconds: 10, deny_rate_percent: 50, min_calls: 4 }
    }

    #[test]
    fn controls_block_whom_they_name() {
        let blocks = in_force(&[("a", Some("i")), ("b", None), ("c", Some("other")), ("gone", None)]);
        let switch = KillSwitch::new(&settings(false), Some(&blocks), NAMES).unwrap();
        assert!(switch.admit(0).is_err() && switch.admit(1).is_err());
        assert!(switch.admit(2).is_ok(), "of another issuer");
        assert!(switch.admit(3).is_err(), "nobody");
        assert_eq!(switch.warnings().len(), 2);
        assert_eq!(switch.unblock(0), Err(Refusal::ByControls));
        assert!(KillSwitch::new(&settings(false), Some(&in_force(&[])), NAMES).is_none(), "nothing to do");
    }

    #[test]
    fn the_deny_rate_trips_once_and_for_one() {
        let switch = KillSwitch::new(&settings(true), Some(&in_force(&[])), NAMES).unwrap();
        let at = Duration::from_secs;
        assert_eq!(switch.ended(0, true, at(1)), None);
        assert_eq!(switch.ended(0, true, at(1)), None);
        assert_eq!(switch.ended(0, false, at(2)), None);
        let tripped = switch.ended(0, false, at(3)).unwrap();
        assert_eq!((tripped.calls, tripped.denied), (4, 2));
        assert_eq!(switch.ended(0, true, at(3)), None, "once");
        assert!(switch.admit(0).is_err() && switch.admit(1).is_ok());
        assert!(!switch.trip(0) && switch.trip(1));
        assert_eq!(switch.unblock(0), Ok(()));
        assert_eq!(switch.unblock(0), Err(Refusal::NotBlocked));
        assert_eq!(switch.ended(0, true, at(3)), None, "earlier calls are forgotten");
        assert!(switch.admit(0).is_ok());
    }
}
