//! The kill switch: identities whose calls are all refused.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use claim::operator::Blocked;

use super::window::{Count, Window};
use super::{Names, Stop};
use crate::config;
use crate::error::Code;
use crate::operator::InForce;

/// Who is blocked from the start, and when others are.
pub struct KillSwitch {
    settings: Option<config::KillSwitch>,
    /// By the signed controls.
    blocked: Vec<Blocked>,
}

/// Whether an identity is blocked, and how its last calls went.
#[derive(Debug)]
pub(super) struct State {
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
    pub(super) fn new(settings: &config::KillSwitch, in_force: Option<&InForce>) -> Option<Self> {
        let blocked = in_force.map_or_else(Vec::new, |in_force| in_force.controls.blocked.clone());
        let settings = settings.enabled.then(|| settings.clone());
        (settings.is_some() || !blocked.is_empty()).then_some(Self { settings, blocked })
    }

    /// An identity before its first call.
    pub(super) fn state(&self, subject: &str, issuer: &str) -> State {
        let window = |settings: &config::KillSwitch| RefCell::new(Window::new(settings.window_seconds));
        State {
            blocked: Cell::new(self.blocked.iter().any(|one| is(one, subject, issuer)).then_some(By::Controls)),
            window: self.settings.as_ref().map(window),
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.settings.is_some()
    }

    /// Whom the signed controls block, and nobody can be.
    pub(super) fn warnings(&self, names: &Names<'_>) -> Vec<String> {
        let nobody = self.blocked.iter().filter(|one| !names.has(&one.subject, one.issuer.as_deref()));
        nobody.map(|one| format!("controls: blocked: there is no identity {:?}", one.subject)).collect()
    }

    pub(super) fn ended(&self, state: &State, denied: bool, now: Duration) -> Option<Tripped> {
        let settings = self.settings.as_ref()?;
        let Count { calls, denied } = state.window.as_ref()?.borrow_mut().count(denied, now);
        let too_many = calls >= settings.min_calls && denied * 100 >= settings.deny_rate_percent * calls;
        if !too_many || state.blocked.get().is_some() {
            return None;
        }
        state.blocked.set(Some(By::Switch));
        Some(Tripped { calls, denied, settings: settings.clone() })
    }
}

impl State {
    pub(super) fn admit(&self) -> Result<(), Stop> {
        let reason = match self.blocked.get() {
            None => return Ok(()),
            Some(By::Controls) => "the operator's controls block this identity",
            Some(By::Switch) => "the kill switch has tripped for this identity",
        };
        Err(Stop::new(Code::KillSwitch, "kill_switch", reason))
    }

    /// Blocks the identity; false if it is blocked.
    pub(super) fn trip(&self) -> bool {
        let free = self.blocked.get().is_none();
        if free {
            self.blocked.set(Some(By::Switch));
        }
        free
    }

    /// Decides the identity's calls again, and forgets how the last ones went.
    ///
    /// # Errors
    /// It is not blocked, or not by the switch.
    pub(super) fn unblock(&self) -> Result<(), Refusal> {
        match self.blocked.get() {
            None => Err(Refusal::NotBlocked),
            Some(By::Controls) => Err(Refusal::ByControls),
            Some(By::Switch) => {
                self.blocked.set(None);
                if let Some(window) = &self.window {
                    window.borrow_mut().clear();
                }
                Ok(())
            }
        }
    }

    /// Whether nothing of it would be missed: no block but that of the controls, which it would have again, and no calls.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        let empty = |window: &RefCell<Window>| window.borrow_mut().is_empty(now);
        self.blocked.get() != Some(By::Switch) && self.window.as_ref().is_none_or(empty)
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
    use crate::controls::Names;
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
        let switch = KillSwitch::new(&settings(false), Some(&blocks)).unwrap();
        let [a, b, c] =
            NAMES.iter().map(|(subject, issuer)| switch.state(subject, issuer)).collect::<Vec<_>>().try_into().unwrap();
        assert!(a.admit().is_err() && b.admit().is_err());
        assert!(c.admit().is_ok(), "of another issuer");
        assert_eq!(switch.warnings(&Names::These(NAMES.to_vec())).len(), 2);
        assert_eq!(switch.warnings(&Names::Of(Some("i"))).len(), 1, "c of another issuer");
        assert_eq!(switch.warnings(&Names::Of(None)).len(), 0, "issuers are not known beforehand");
        assert_eq!(a.unblock(), Err(Refusal::ByControls));
        assert!(KillSwitch::new(&settings(false), Some(&in_force(&[]))).is_none(), "nothing to do");
    }

    #[test]
    fn the_deny_rate_trips_once_and_for_one() {
        let switch = KillSwitch::new(&settings(true), Some(&in_force(&[]))).unwrap();
        let (a, b) = (switch.state("a", ""), switch.state("b", ""));
        let at = Duration::from_secs;
        assert!(a.is_idle(at(1)));
        assert_eq!(switch.ended(&a, true, at(1)), None);
        assert_eq!(switch.ended(&a, true, at(1)), None);
        assert_eq!(switch.ended(&a, false, at(2)), None);
        let tripped = switch.ended(&a, false, at(3)).unwrap();
        assert_eq!((tripped.calls, tripped.denied), (4, 2));
        assert_eq!(switch.ended(&a, true, at(3)), None, "once");
        assert!(a.admit().is_err() && b.admit().is_ok());
        assert!(!a.trip() && b.trip());
        assert!(!a.is_idle(at(1000)) && !b.is_idle(at(3)), "blocked");
        assert_eq!(a.unblock(), Ok(()));
        assert_eq!(a.unblock(), Err(Refusal::NotBlocked));
        assert!(a.is_idle(at(3)));
        assert_eq!(switch.ended(&a, true, at(3)), None, "earlier calls are forgotten");
        assert!(a.admit().is_ok());
        assert!(!a.is_idle(at(3)) && a.is_idle(at(1000)), "a call counts as long as the window lasts");
    }
}
