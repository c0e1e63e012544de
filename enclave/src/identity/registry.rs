//! The identities of this boot: as many as the configuration allows.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::{Identity, Named};
use crate::config::Scope;
use crate::limits;

/// Identities by their subject. There is one issuer, or the subject names its own: no two issuers share a subject.
pub(super) struct Registry {
    identities: RefCell<HashMap<String, Rc<Identity>>>,
    made: Cell<u64>,
    max: usize,
    /// When room was last looked for.
    swept: Cell<Option<Instant>>,
    scope: Scope,
}

impl Registry {
    /// Room for so many identities.
    pub(super) fn new(max: usize, scope: Scope) -> Self {
        Self { identities: RefCell::default(), made: Cell::new(0), max, swept: Cell::new(None), scope }
    }

    /// The identity of this subject.
    pub(super) fn find(&self, subject: &str) -> Option<Rc<Identity>> {
        self.identities.borrow().get(subject).cloned()
    }

    /// Whoever calls without authentication; nobody finds it by name.
    pub(super) fn anonymous(&self) -> Rc<Identity> {
        Identity::new(self.number(), None, self.scope)
    }

    /// A new identity, of the configuration and so beyond the limit.
    pub(super) fn add(&self, subject: &str, issuer: &str) -> Rc<Identity> {
        let named = Named { subject: subject.to_owned(), issuer: issuer.to_owned() };
        let identity = Identity::new(self.number(), Some(named), self.scope);
        self.identities.borrow_mut().insert(subject.to_owned(), identity.clone());
        identity
    }

    /// The identity of this subject, which may be new. Where there is no room, identities that hold nothing and that nobody knows any
    /// more make some, after `forget` has let go of those that are known for convenience only; at most once a second, because it
    /// looks at all of them. Nothing if there is none.
    pub(super) fn enter(&self, subject: &str, issuer: &str, forget: impl FnOnce()) -> Option<Rc<Identity>> {
        if let Some(known) = self.find(subject) {
            return Some(known);
        }
        if self.is_full() && self.swept.get().is_none_or(|at| at.elapsed() >= limits::SWEEP_INTERVAL) {
            forget();
            self.swept.set(Some(Instant::now()));
            let needed = |identity: &Rc<Identity>| Rc::strong_count(identity) > 1 || identity.holds();
            self.identities.borrow_mut().retain(|_, identity| needed(identity));
        }
        (!self.is_full()).then(|| self.add(subject, issuer))
    }

    fn is_full(&self) -> bool {
        self.identities.borrow().len() >= self.max
    }

    fn number(&self) -> u64 {
        self.made.replace(self.made.get().saturating_add(1))
    }
}
