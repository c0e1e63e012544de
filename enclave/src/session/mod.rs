//! Sessions: what one agent did in one go, its chain, its labels, its running totals.
//!
//! A session holds counters and the chain's ends, never its history; memory does not grow with its calls.

mod summary;
mod table;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use claim::Digest;
use claim::entry::{Chain, Draft, SealedEntry};
use tokio::sync::Notify;

pub use self::summary::{Boundary, Outcome, Summary};
pub use self::table::{Closed, Find, Sessions};
use crate::audit::Ticket;
use crate::labels::Labels;
use crate::mcp::agent::Agent;
use crate::mcp::rounds::Rounds;
use crate::policy::Policy;

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
        }
    }
}

/// One open session.
pub struct Session {
    /// Number in this boot, from 1; never used twice.
    pub number: u64,
    /// The id that the caller knows.
    pub id: String,
    /// The policy bundle that decides, from its first entry to its last.
    pub policy: Rc<Policy>,
    /// The MCP session that `initialize` opened, if that is what this is.
    pub agent: OnceCell<Rc<Agent>>,
    /// Everything that changes.
    pub state: RefCell<State>,
    /// Calls that are between their decision and their terminal entry.
    in_flight: Cell<u32>,
    quiet: Notify,
}

/// What changes in a session.
pub struct State {
    /// The session chain's ends and length.
    pub chain: Chain,
    /// Labels that the session holds.
    pub labels: Labels,
    /// Totals for the claim.
    pub summary: Summary,
    /// Calls that want input.
    pub rounds: Rounds,
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
    /// A fault inside the gateway ended the chain.
    pub halted: bool,
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
    pub fn new(number: u64, id: String, policy: Rc<Policy>) -> Self {
        let state = State {
            chain: Chain::default(),
            labels: Labels::PUBLIC,
            summary: Summary::default(),
            rounds: Rounds::default(),
            first_batch: None,
            last: None,
            claim: None,
            used: Instant::now(),
            closing: false,
            ended: false,
            halted: false,
        };
        Self {
            number,
            id,
            policy,
            agent: OnceCell::new(),
            state: RefCell::new(state),
            in_flight: Cell::new(0),
            quiet: Notify::new(),
        }
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

    /// Whether calls are under way.
    pub fn busy(&self) -> bool {
        self.in_flight.get() > 0
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

impl State {
    /// Adds an entry to the chain.
    pub fn seal(&mut self, draft: &Draft<'_>) -> SealedEntry {
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
