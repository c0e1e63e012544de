//! The session table: open sessions, and what is remembered of closed ones.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use claim::Digest;

use super::{Issued, Session};
use crate::config::Config;
use crate::error::Code;
use crate::freshness::SessionEvidence;
use crate::identity::Identity;
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
    /// First hash of its chain.
    pub root: Digest,
    /// Last hash of its chain.
    pub tip: Digest,
    /// Number of its entries.
    pub length: u64,
    /// Evidence over its binding, as it was made last; on hardware only.
    pub evidence: Option<Rc<SessionEvidence>>,
}

/// What an id stands for.
pub enum Find {
    /// An open session.
    Open(Rc<Session>),
    /// A closed one.
    Closed(Closed),
}

/// All sessions of this boot, within the configured limits. What one identity opens, no other finds.
pub struct Sessions {
    /// By the identity's number; none is empty.
    tables: HashMap<u64, Table>,
    max_open: usize,
    max_open_each: usize,
    max_closed: usize,
    open: usize,
    closed: usize,
    total: u64,
}

/// The sessions of one identity, which stays known for as long as it has any.
struct Table {
    _identity: Rc<Identity>,
    open: HashMap<String, Rc<Session>>,
    closed: HashMap<String, Closed>,
    /// Oldest first.
    closed_order: VecDeque<(String, u64)>,
}

impl Sessions {
    /// An empty table.
    pub fn new(config: &Config) -> Self {
        Self {
            tables: HashMap::new(),
            max_open: config.limits.max_sessions,
            max_open_each: config.max_sessions_per_identity(),
            max_closed: config.limits.closed_sessions,
            open: 0,
            closed: 0,
            total: 0,
        }
    }

    /// The identity's open session of this id.
    pub fn open(&self, identity: &Identity, id: &str) -> Option<Rc<Session>> {
        self.tables.get(&identity.number)?.open.get(id).cloned()
    }

    /// The identity's session of this id, open or closed.
    pub fn find(&self, identity: &Identity, id: &str) -> Option<Find> {
        self.tables.get(&identity.number)?.find(id)
    }

    /// The sessions of this id, of whichever identity.
    pub fn find_all(&self, id: &str) -> Vec<Find> {
        self.tables.values().filter_map(|table| table.find(id)).collect()
    }

    /// A new session. None is evicted for it: what labels a session holds must not be forgotten.
    ///
    /// # Errors
    /// [`Code::SessionLimit`] when the table, or the identity's part of it, is full.
    pub fn create(&mut self, identity: &Rc<Identity>, id: &str, policy: Rc<Policy>) -> Result<Rc<Session>, Code> {
        let open = self.tables.get(&identity.number).map_or(0, |table| table.open.len());
        if self.open >= self.max_open || open >= self.max_open_each {
            return Err(Code::SessionLimit);
        }
        self.total += 1;
        self.open += 1;
        let session = Rc::new(Session::new(self.total, identity.clone(), id.to_owned(), policy));
        self.table(identity).open.insert(id.to_owned(), session.clone());
        Ok(session)
    }

    /// Moves a session from the open to the closed ones. Beyond the limit the oldest closed one is forgotten of the identity
    /// that has most of them (its claim stays in the store).
    pub fn close(&mut self, session: &Session, closed: Closed) {
        self.remove(session);
        let table = self.table(&session.identity);
        table.closed_order.push_back((session.id.clone(), closed.number));
        table.closed.insert(session.id.clone(), closed);
        self.closed += 1;
        while self.closed > self.max_closed {
            let fullest = self.tables.iter_mut().max_by_key(|(_, table)| table.closed_order.len());
            let Some((&number, table)) = fullest else { return };
            table.forget_oldest();
            self.closed -= 1;
            self.tidy(number);
        }
    }

    /// Forgets an open session without a trace.
    pub fn remove(&mut self, session: &Session) {
        let number = session.identity.number;
        let Some(table) = self.tables.get_mut(&number) else { return };
        if table.open.get(&session.id).is_some_and(|open| open.number == session.number) {
            table.open.remove(&session.id);
            self.open -= 1;
            self.tidy(number);
        }
    }

    fn table(&mut self, identity: &Rc<Identity>) -> &mut Table {
        self.tables.entry(identity.number).or_insert_with(|| Table {
            _identity: identity.clone(),
            open: HashMap::new(),
            closed: HashMap::new(),
            closed_order: VecDeque::new(),
        })
    }

    /// Forgets an identity's table if nothing is in it.
    fn tidy(&mut self, number: u64) {
        if self.tables.get(&number).is_some_and(|table| table.open.is_empty() && table.closed_order.is_empty()) {
            self.tables.remove(&number);
        }
    }

    /// Open sessions that no call has used for this long.
    pub fn idle(&self, limit: Duration) -> Vec<Rc<Session>> {
        let idle = |session: &&Rc<Session>| !session.busy() && session.state.borrow().used.elapsed() >= limit;
        self.iter().filter(idle).cloned().collect()
    }

    /// All open sessions.
    pub fn all(&self) -> Vec<Rc<Session>> {
        self.iter().cloned().collect()
    }

    /// The identity's open sessions.
    pub fn of(&self, identity: &Identity) -> Vec<Rc<Session>> {
        self.tables.get(&identity.number).map_or_else(Vec::new, |table| table.open.values().cloned().collect())
    }

    /// Open sessions, and sessions ever started.
    pub fn counts(&self) -> (u64, u64) {
        (self.open as u64, self.total)
    }

    fn iter(&self) -> impl Iterator<Item = &Rc<Session>> {
        self.tables.values().flat_map(|table| table.open.values())
    }
}

impl Table {
    fn find(&self, id: &str) -> Option<Find> {
        let open = self.open.get(id).cloned().map(Find::Open);
        open.or_else(|| self.closed.get(id).cloned().map(Find::Closed))
    }

    fn forget_oldest(&mut self) {
        let Some((id, number)) = self.closed_order.pop_front() else { return };
        if self.closed.get(&id).is_some_and(|closed| closed.number == number) {
            self.closed.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use claim::Digest;

    use super::{Closed, Find, Sessions};
    use crate::audit::Ticket;
    use crate::config::Config;
    use crate::error::Code;
    use crate::identity::Identity;
    use crate::identity::tests::{access, config};
    use crate::policy::tests::quickstart;
    use crate::session::{Issued, Session};

    fn closed(session: &Session) -> Closed {
        let digest = Digest::of(b"x");
        let claim = Issued { sequence: 1, length: 2, digest, ticket: Ticket::settled(0) };
        let (id, number) = (session.id.clone(), session.number);
        Closed { id, number, claim, batches: (0, 0), root: digest, tip: digest, length: 2, evidence: None }
    }

    fn limited(text: &str) -> (Sessions, Vec<Rc<Identity>>, Config) {
        let config = config(text);
        let access = access(&config);
        let identities = ["a", "b"].iter().filter_map(|subject| access.identity(subject)).collect();
        (Sessions::new(&config), identities, config)
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nothing_open() {
        let config = config(r#"{"limits": {"max_sessions": 2, "closed_sessions": 1}}"#);
        let anybody = access(&config).agent(&hyper::HeaderMap::new()).unwrap().identity.clone();
        let mut sessions = Sessions::new(&config);
        let first = sessions.create(&anybody, "a", quickstart()).unwrap();
        sessions.create(&anybody, "b", quickstart()).unwrap();
        assert_eq!(sessions.create(&anybody, "c", quickstart()).err(), Some(Code::SessionLimit));
        sessions.close(&first, closed(&first));
        assert!(matches!(sessions.find(&anybody, "a"), Some(Find::Closed(closed)) if closed.number == 1));
        let again = sessions.create(&anybody, "a", quickstart()).unwrap();
        assert_eq!(again.number, 3);
        assert!(matches!(sessions.find(&anybody, "a"), Some(Find::Open(_))));
        sessions.close(&again, closed(&again));
        assert!(matches!(sessions.find(&anybody, "a"), Some(Find::Closed(closed)) if closed.number == 3));
        assert_eq!(sessions.counts(), (1, 3));
    }

    #[test]
    fn an_identity_finds_its_own_and_fills_its_own_part() {
        let limits = r#""limits": {"max_sessions": 3, "max_sessions_per_identity": 2}"#;
        let (mut sessions, identities, _) = limited(&crate::identity::tests::two(limits));
        let [a, b] = identities.as_slice() else { panic!() };
        let first = sessions.create(a, "x", quickstart()).unwrap();
        assert!(sessions.find(b, "x").is_none());
        let second = sessions.create(b, "x", quickstart()).unwrap();
        assert_ne!(first.number, second.number);
        assert_eq!(sessions.find_all("x").len(), 2);
        sessions.create(a, "y", quickstart()).unwrap();
        assert_eq!(sessions.create(a, "z", quickstart()).err(), Some(Code::SessionLimit), "a has two");
        assert_eq!(sessions.create(b, "z", quickstart()).err(), Some(Code::SessionLimit), "there are three");
        sessions.close(&first, closed(&first));
        assert!(sessions.create(b, "z", quickstart()).is_ok());
        assert_eq!((sessions.of(a).len(), sessions.of(b).len()), (1, 2));
    }

    #[test]
    fn who_closes_many_forgets_its_own() {
        let (mut sessions, identities, _) =
            limited(&crate::identity::tests::two(r#""limits": {"closed_sessions": 3}"#));
        let [a, b] = identities.as_slice() else { panic!() };
        for (identity, id) in [(b, "first"), (a, "1"), (a, "2"), (a, "3"), (a, "4")] {
            let session = sessions.create(identity, id, quickstart()).unwrap();
            sessions.close(&session, closed(&session));
        }
        assert!(sessions.find(b, "first").is_some());
        let kept: Vec<_> = ["1", "2", "3", "4"].into_iter().filter(|id| sessions.find(a, id).is_some()).collect();
        assert_eq!(kept, ["3", "4"]);
    }
}
