//! The session table: open sessions, and what is remembered of closed ones.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use claim::Digest;

use super::{Issued, Session};
use crate::error::Code;
use crate::policy::Policy;

/// What remains of a closed session: enough to check what the store gives back.
#[derive(Clone)]
pub struct Closed {
    /// The id.
    pub id: String,
    /// Number in this boot.
    pub number: u64,
    /// The final claim.
    pub claim: Issued,
    /// Batches that hold its records: first and last.
    pub batches: (u64, u64),
    /// Last hash of its chain.
    pub tip: Digest,
    /// Number of its entries.
    pub length: u64,
}

/// What an id stands for.
pub enum Find {
    /// An open session.
    Open(Rc<Session>),
    /// A closed one.
    Closed(Closed),
}

/// All sessions of this boot, within the configured limits.
pub struct Sessions {
    open: HashMap<String, Rc<Session>>,
    closed: HashMap<String, Closed>,
    closed_order: VecDeque<(String, u64)>,
    max_open: usize,
    max_closed: usize,
    total: u64,
}

impl Sessions {
    /// An empty table.
    pub fn new(max_open: usize, max_closed: usize) -> Self {
        Self {
            open: HashMap::new(),
            closed: HashMap::new(),
            closed_order: VecDeque::new(),
            max_open,
            max_closed,
            total: 0,
        }
    }

    /// The open session of this id.
    pub fn open(&self, id: &str) -> Option<Rc<Session>> {
        self.open.get(id).cloned()
    }

    /// The session of this id, open or closed.
    pub fn find(&self, id: &str) -> Option<Find> {
        self.open(id).map(Find::Open).or_else(|| self.closed.get(id).cloned().map(Find::Closed))
    }

    /// A new session. None is evicted for it: what labels a session holds must not be forgotten.
    ///
    /// # Errors
    /// [`Code::SessionLimit`] when the table is full.
    pub fn create(&mut self, id: &str, policy: Rc<Policy>) -> Result<Rc<Session>, Code> {
        if self.open.len() >= self.max_open {
            return Err(Code::SessionLimit);
        }
        self.total += 1;
        let session = Rc::new(Session::new(self.total, id.to_owned(), policy));
        self.open.insert(id.to_owned(), session.clone());
        Ok(session)
    }

    /// Moves a session from the open to the closed ones; the oldest closed one beyond the limit is forgotten (its claim
    /// stays in the store).
    pub fn close(&mut self, session: &Session, closed: Closed) {
        self.remove(session);
        self.closed_order.push_back((session.id.clone(), closed.number));
        self.closed.insert(session.id.clone(), closed);
        while self.closed_order.len() > self.max_closed {
            let Some((id, number)) = self.closed_order.pop_front() else { return };
            if self.closed.get(&id).is_some_and(|closed| closed.number == number) {
                self.closed.remove(&id);
            }
        }
    }

    /// Forgets an open session without a trace.
    pub fn remove(&mut self, session: &Session) {
        if self.open.get(&session.id).is_some_and(|open| open.number == session.number) {
            self.open.remove(&session.id);
        }
    }

    /// Open sessions that no call has used for this long.
    pub fn idle(&self, limit: Duration) -> Vec<Rc<Session>> {
        self.open
            .values()
            .filter(|session| !session.busy() && session.state.borrow().used.elapsed() >= limit)
            .cloned()
            .collect()
    }

    /// All open sessions.
    pub fn all(&self) -> Vec<Rc<Session>> {
        self.open.values().cloned().collect()
    }

    /// Open sessions, and sessions ever started.
    pub fn counts(&self) -> (u64, u64) {
        (self.open.len() as u64, self.total)
    }
}

#[cfg(test)]
mod tests {
    use claim::Digest;

    use super::{Closed, Find, Sessions};
    use crate::audit::Ticket;
    use crate::error::Code;
    use crate::policy::tests::quickstart;
    use crate::session::Issued;

    fn closed(number: u64) -> Closed {
        let digest = Digest::of(b"x");
        let claim = Issued { sequence: 1, length: 2, digest, ticket: Ticket::settled(0) };
        Closed { id: "a".to_owned(), number, claim, batches: (0, 0), tip: digest, length: 2 }
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nothing_open() {
        let mut sessions = Sessions::new(2, 1);
        let first = sessions.create("a", quickstart()).unwrap();
        sessions.create("b", quickstart()).unwrap();
        assert_eq!(sessions.create("c", quickstart()).err(), Some(Code::SessionLimit));
        sessions.close(&first, closed(first.number));
        assert!(matches!(sessions.find("a"), Some(Find::Closed(closed)) if closed.number == 1));
        let again = sessions.create("a", quickstart()).unwrap();
        assert_eq!(again.number, 3);
        assert!(matches!(sessions.find("a"), Some(Find::Open(_))));
        sessions.close(&again, closed(3));
        assert!(matches!(sessions.find("a"), Some(Find::Closed(closed)) if closed.number == 3));
        assert_eq!(sessions.counts(), (1, 3));
    }
}
