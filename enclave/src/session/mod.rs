//! Sessions: what one agent did in one go, its chain, its labels, its running totals.
//!
//! A session holds counters and the chain's ends, never its history; memory does not grow with its calls.

mod summary;
mod table;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use claim::Digest;
use claim::entry::{Chain, Draft, EntryType, SealedEntry};
use tokio::sync::Notify;

pub use self::summary::{Boundary, Outcome, Summary};
pub use self::table::{Closed, Find, Sessions};
use crate::audit::Ticket;
use crate::catalog::{Scope, Server};
use crate::freshness::Standing;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::labels::{Label, Labels};
use crate::mcp::agent::Agent;
use crate::mcp::parked::Parking;
use crate::mcp::rounds::Rounds;
use crate::policy::Policy;
use crate::upstream::{Client, Fault, Link, Links, NOBODY, NOTHING};

/// Where a session's id came from; all but the gateway's own are the caller's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `_meta["io.cmcp/session_id"]`.
    Meta,
    /// Header `X-Cmcp-Session`.
    Header,
    /// `params._cmcp.session_id`.
    Seed,
    /// The MCP session that `initialize` opened.
    McpSession,
    /// Made for the connection.
    Connection,
    /// An operator's, to hold the record of a reset.
    Operator,
}

impl Source {
    /// Name in the session's first entry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "self-asserted:_meta",
            Self::Header => "self-asserted:header",
            Self::Seed => "self-asserted:_cmcp",
            Self::McpSession => "gateway:mcp-session",
            Self::Connection => "gateway:connection",
            Self::Operator => "operator:reset",
        }
    }
}

/// One open session.
pub struct Session {
    /// Number in this boot, from 1; never used twice.
    pub number: u64,
    /// Whose it is.
    pub identity: Rc<Identity>,
    /// The id that the caller knows.
    pub id: String,
    /// The policy bundle that decides, from its first entry to its last.
    pub policy: Rc<Policy>,
    /// The MCP session that `initialize` opened, if that is what this is.
    pub agent: OnceCell<Rc<Agent>>,
    /// Calls that wait for the agent between two rounds.
    pub parking: Parking,
    /// Links to processes of tool servers that are this session's own.
    pub links: Links,
    /// Everything that changes.
    pub state: RefCell<State>,
    /// Calls that are between their decision and their terminal entry.
    in_flight: Cell<u32>,
    /// How often its labels were cleared.
    resets: Cell<u64>,
    quiet: Notify,
}

/// What changes in a session.
pub struct State {
    /// The session chain's ends and length.
    pub chain: Chain,
    labels: Labels,
    shown: Labels,
    /// Totals for the claim.
    pub summary: Summary,
    /// Calls that want input.
    pub rounds: Rounds,
    /// Definitions that are not the approved ones and are on record: the tool's place in the catalog, and the digest.
    pub drifts: BTreeSet<(usize, Option<Digest>)>,
    /// First batch of the boot log that holds a record of the session.
    first_batch: Option<u64>,
    /// The last record's ticket.
    pub last: Option<Ticket>,
    /// The last claim issued.
    pub claim: Option<Issued>,
    /// Last use, for idle expiry.
    pub used: Instant,
    /// No new calls: the session is being closed.
    pub closing: bool,
    /// The chain has its session_end.
    pub ended: bool,
    /// How often the kill switch tripped for its identity.
    pub trips: u32,
    /// A fault inside the gateway ended the chain.
    pub halted: bool,
    /// What vouches for it, on hardware.
    pub standing: Standing,
}

/// A claim that was issued, by where it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// `gateway.sequence_number`.
    pub sequence: u64,
    /// Length of the chain that it speaks of.
    pub length: u64,
    /// SHA-256 of its bytes, which are its sorted-ASCII form: also the next claim's `prev_claim_hash`.
    pub digest: Digest,
    /// Where the boot log holds it.
    pub ticket: Ticket,
}

impl Session {
    /// A session without entries.
    pub fn new(number: u64, identity: Rc<Identity>, id: String, policy: Rc<Policy>) -> Self {
        let state = State {
            chain: Chain::default(),
            labels: Labels::PUBLIC,
            shown: Labels::PUBLIC,
            summary: Summary::default(),
            rounds: Rounds::default(),
            drifts: BTreeSet::new(),
            first_batch: None,
            last: None,
            claim: None,
            used: Instant::now(),
            closing: false,
            ended: false,
            trips: 0,
            halted: false,
            standing: Standing::default(),
        };
        Self {
            number,
            identity,
            id,
            policy,
            agent: OnceCell::new(),
            parking: Parking::default(),
            links: Links::default(),
            state: RefCell::new(state),
            in_flight: Cell::new(0),
            resets: Cell::new(0),
            quiet: Notify::new(),
        }
    }

    /// The labels that it holds: its own, and those of its identity as they are now.
    pub fn labels(&self) -> Labels {
        let mut state = self.state.borrow_mut();
        state.labels = state.labels.join(self.identity.labels());
        state.labels
    }

    /// It holds these labels too, and so does its identity; all that it holds.
    pub fn join(&self, labels: Labels) -> Labels {
        self.identity.join(labels);
        let mut state = self.state.borrow_mut();
        state.labels = state.labels.join(labels);
        state.labels
    }

    /// Forgets its own labels, on record ([`crate::reset`]).
    pub fn clear(&self) {
        self.state.borrow_mut().labels = Labels::PUBLIC;
        self.resets.set(self.resets.get().saturating_add(1));
    }

    /// Whether there is evidence over its binding.
    pub fn has_evidence(&self) -> bool {
        self.state.borrow().standing.evidence.is_some()
    }

    /// How often its labels were cleared: a call that sees this change was under way meanwhile.
    pub fn resets(&self) -> u64 {
        self.resets.get()
    }

    /// The link to a tool server for calls of this session that no MCP session stands behind: a process of the session's own
    /// where the catalog wants that, else the one that all such sessions share whose agents can be asked this. A process is
    /// told what the first call's agent can be asked.
    ///
    /// # Errors
    /// What the server or the host did instead; the next caller tries again.
    pub async fn link(&self, gateway: &Gateway, server: usize, capabilities: &str) -> Result<Rc<Link>, Fault> {
        if !has_own(gateway, server) {
            return gateway.upstreams.shared(server, told_together(gateway, server, capabilities)).await;
        }
        let client = Client { capabilities, ..NOBODY };
        let opening = || async { gateway.upstreams.link(server, &client).await.map(Rc::new) };
        self.links.open(server, NOTHING, opening).await
    }

    /// The same, if it is open already.
    pub fn link_if_open(&self, gateway: &Gateway, server: usize, capabilities: &str) -> Option<Rc<Link>> {
        if has_own(gateway, server) {
            return self.links.if_open(server, NOTHING);
        }
        gateway.upstreams.shared.if_open(server, told_together(gateway, server, capabilities))
    }

    /// A call begins.
    pub fn enter(&self) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
    }

    /// A call has its terminal entry.
    pub fn leave(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.in_flight.get() == 0 {
            self.quiet.notify_waiters();
        }
    }

    /// Calls that are under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Whether calls are under way.
    pub fn busy(&self) -> bool {
        self.in_flight() > 0
    }

    /// Waits until no call is under way.
    pub async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            if !self.busy() {
                return;
            }
            quiet.await;
        }
    }
}

/// What a server of several sessions is told: nothing if it is one process, whose questions belong to no call.
fn told_together<'a>(gateway: &Gateway, server: usize, capabilities: &'a str) -> &'a str {
    let scope = gateway.catalog.servers().get(server).and_then(Server::scope);
    if scope.is_none() { capabilities } else { NOTHING }
}

/// Whether each session has a link of its own to a server.
fn has_own(gateway: &Gateway, server: usize) -> bool {
    gateway.catalog.servers().get(server).and_then(Server::scope) == Some(Scope::Session)
}

impl State {
    /// Labels that the session brought to itself, or has seen its identity hold; [`Session::labels`] may know of more.
    pub fn held(&self) -> Labels {
        self.labels
    }

    /// Labels that stand for those of its entries, of those before a reset too: a claim says what the session touched, and no operator
    /// can take that back. Calls that have no entry yet are not in it: a claim speaks of what its chain shows.
    pub fn shown(&self) -> Labels {
        self.shown
    }

    /// Adds an entry to the chain.
    pub fn seal(&mut self, draft: &Draft<'_>) -> SealedEntry {
        let before = draft.session_sensitivity_before.filter(|_| draft.entry_type != EntryType::SessionReset);
        let named = [before, draft.session_sensitivity_after].into_iter().flatten().filter_map(Label::parse);
        self.shown = named.collect::<Labels>().join(self.shown);
        self.chain.seal(draft)
    }

    /// Remembers where a record of this session will be.
    pub fn recorded_in(&mut self, ticket: &Ticket) {
        self.first_batch.get_or_insert(ticket.batch());
        self.last = Some(ticket.clone());
    }

    /// Batches that hold the session's records: first and last.
    pub fn batches(&self) -> Option<(u64, u64)> {
        Some((self.first_batch?, self.last.as_ref()?.batch()))
    }
}
