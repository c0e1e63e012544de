//! The boot log's writer: records wait for the batch that carries them, and callers wait for the batch.
//!
//! One batch is on its way at a time; everything that piles up meanwhile is the next one, with one signature and one
//! fsync for all (natural group commit). A batch that the store did not acknowledge is kept and sent again, so the log
//! never has a hole; while it is missing, calls fail closed.

mod records;
mod sealing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use claim::Digest;
use claim::bootlog::{BatchBuilder, GapRecord, Record, RecordKind, batch_hash};
use claim::key::Key;
use claim::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::timeout;
use wire::{Append, Blob};

use self::records::{Opened, Records};
pub use self::sealing::{CannotSeal, Sealer};
use crate::config::Durability;
use crate::error::Code;
use crate::events::Events;
use crate::gateway::Clock;
use crate::limits;
use crate::transport::Callback;

/// Where a record will be: the batch's number, and the wait for it.
#[derive(Clone)]
pub struct Ticket(Rc<Pending>);

struct Pending {
    batch: u64,
    outcome: Cell<Option<Result<(), Code>>>,
    done: Notify,
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.batch() == other.batch()
    }
}

impl Eq for Ticket {}

impl Ticket {
    /// A ticket of a batch that is stored, for tests.
    #[cfg(test)]
    pub(crate) fn settled(batch: u64) -> Self {
        let pending = pending(batch);
        pending.settle(Ok(()));
        Self(pending)
    }

    /// Number of the batch that holds the record.
    pub fn batch(&self) -> u64 {
        self.0.batch
    }

    /// Waits until the batch is stored as the configured durability asks.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`]: the store did not acknowledge it in time. It may still be stored later.
    pub async fn stored(&self) -> Result<(), Code> {
        loop {
            let done = self.0.done.notified();
            match self.0.outcome.get() {
                Some(outcome) => return outcome,
                None => done.await,
            }
        }
    }
}

/// What the store does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Unavailable,
    Lost,
}

/// The boot log of one boot.
pub struct Audit {
    boot_id: [u8; 16],
    durability: Durability,
    callback: Callback,
    store_timeout: Duration,
    events: Rc<Events>,
    clock: Clock,
    closed_since: Cell<Timestamp>,
    state: Cell<State>,
    refused: Cell<u64>,
    stored: Cell<u64>,
    records: Cell<u64>,
    builder: RefCell<BatchBuilder>,
    /// Whoever may read the records, beside this boot; without it the host can.
    sealer: Option<Sealer>,
    current: RefCell<Rc<Pending>>,
    work: Notify,
}

impl Audit {
    /// An empty log. Nothing is written before [`Audit::run`].
    pub fn new(
        boot_id: [u8; 16],
        sealer: Option<Sealer>,
        durability: Durability,
        callback: Callback,
        store_timeout: Duration,
        events: Rc<Events>,
        clock: Clock,
    ) -> Self {
        Self {
            boot_id,
            durability,
            callback,
            store_timeout,
            events,
            closed_since: Cell::new(clock.now()),
            clock,
            state: Cell::new(State::Open),
            refused: Cell::new(0),
            stored: Cell::new(0),
            records: Cell::new(0),
            builder: RefCell::new(BatchBuilder::new(boot_id)),
            sealer,
            current: RefCell::new(pending(0)),
            work: Notify::new(),
        }
    }

    /// Batches and records that the store has acknowledged.
    pub fn acknowledged(&self) -> (u64, u64) {
        (self.stored.get(), self.records.get())
    }

    /// The durability that the configuration names.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether a new call may begin.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`] while the store does not answer; the refusal is counted for the gap record.
    pub fn admit(&self) -> Result<(), Code> {
        match self.state.get() {
            State::Open => Ok(()),
            State::Unavailable | State::Lost => {
                self.refused.set(self.refused.get().saturating_add(1));
                Err(Code::AuditUnavailable)
            }
        }
    }

    /// Whether the store answers, as far as is known.
    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Adds a record to the batch that waits, sealed if there is an auditor. The boot record never is.
    pub fn push(&self, kind: RecordKind, session: u64, bytes: &[u8]) -> Ticket {
        let ticket = Ticket(self.current.borrow().clone());
        let mut builder = self.builder.borrow_mut();
        let added = match &self.sealer {
            Some(sealer) if kind != RecordKind::Boot => sealer.push(&mut builder, kind, session, bytes),
            _ => builder.push(kind, session, bytes),
        };
        // Only a record of more than 4 GiB is refused; no part of the enclave makes one.
        if added.is_err() {
            ticket.0.settle(Err(Code::Internal));
        }
        self.work.notify_one();
        ticket
    }

    /// The body of a record of this boot as the store gave it back. Nothing else is known of it: see [`Sealer::open`].
    ///
    /// # Errors
    /// [`Code::AuditMismatch`]: this boot sealed no such record.
    pub fn body(&self, record: &Record<'_>) -> Result<Vec<u8>, Code> {
        match &self.sealer {
            Some(sealer) => sealer.open(record).ok_or(Code::AuditMismatch),
            None => Ok(record.bytes.to_vec()),
        }
    }

    /// Writes batches until the enclave stops. `previous` is the head of the store before this boot, for the first batch.
    pub async fn run(self: Rc<Self>, key: Rc<Key>, previous: Digest) {
        let mut previous = previous;
        let mut stream: Option<Records> = None;
        loop {
            self.work.notified().await;
            // Calls that are ready to run get to add their records to this batch.
            tokio::task::yield_now().await;
            let Some((pending, append, records)) = self.take(&key, &mut previous) else { continue };
            if !self.builder.borrow().is_empty() {
                self.work.notify_one();
            }
            self.store(&mut stream, &pending, append).await;
            self.stored.set(pending.batch + 1);
            self.records.set(self.records.get().saturating_add(records));
        }
    }

    /// Closes the waiting batch and starts the next.
    fn take(&self, key: &Key, previous: &mut Digest) -> Option<(Rc<Pending>, Append, u64)> {
        let mut builder = self.builder.borrow_mut();
        if builder.is_empty() {
            return None;
        }
        let pending = self.current.replace_with(|current| pending(current.batch + 1));
        let sessions = builder.sessions();
        let records = u64::from(builder.count());
        let bytes = builder.finish(pending.batch, &*previous);
        *previous = batch_hash(&bytes);
        let append = Append {
            batch: pending.batch,
            sync: self.durability != Durability::Process,
            sessions,
            signature: key.sign_batch(*previous),
            bytes: Blob(bytes),
        };
        Some((pending, append, records))
    }

    /// Sends one batch until it is stored. The first failure answers everyone who waits, and closes the gate.
    async fn store(&self, stream: &mut Option<Records>, pending: &Pending, append: Append) {
        loop {
            if self.attempt(stream, &append).await {
                pending.settle(Ok(()));
                return self.recovered();
            }
            *stream = None;
            self.failed(pending);
            tokio::time::sleep(limits::STORE_RETRY).await;
        }
    }

    /// One attempt, over the stream that is open or a new one.
    async fn attempt(&self, stream: &mut Option<Records>, append: &Append) -> bool {
        if stream.is_none() {
            match timeout(limits::ANSWER_TIMEOUT, Records::open(&self.callback, self.boot_id, append.batch)).await {
                Ok(Ok(Opened::Next(opened))) => *stream = Some(opened),
                Ok(Ok(Opened::AlreadyStored(opened))) => {
                    *stream = Some(opened);
                    return true;
                }
                Ok(Ok(Opened::Lost)) => {
                    self.lost(append.batch);
                    return false;
                }
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        let Some(records) = stream else { return false };
        matches!(timeout(self.store_timeout, records.append(append)).await, Ok(Ok(())))
    }

    fn failed(&self, pending: &Pending) {
        pending.settle(Err(Code::AuditUnavailable));
        self.current.borrow().settle(Err(Code::AuditUnavailable));
        if self.state.get() == State::Open {
            self.state.set(State::Unavailable);
            self.closed_since.set(self.clock.now());
            self.events.store_unavailable();
        }
    }

    fn lost(&self, batch: u64) {
        if self.state.replace(State::Lost) != State::Lost {
            self.events.store_lost(batch);
        }
    }

    /// Opens the gate again and says in the log what was refused meanwhile.
    fn recovered(&self) {
        if self.state.get() != State::Unavailable {
            return;
        }
        self.state.set(State::Open);
        let refused = self.refused.replace(0);
        self.events.store_recovered(refused);
        // Whoever adds to the failed current batch from now on waits anew.
        self.current.replace_with(|current| pending(current.batch));
        let gap = GapRecord {
            since: self.closed_since.get(),
            until: self.clock.now(),
            refused_calls: refused,
            reason: "store unavailable".to_owned(),
        };
        if let Ok(bytes) = gap.bytes() {
            self.push(RecordKind::Gap, 0, &bytes);
        }
    }
}

impl Pending {
    fn settle(&self, outcome: Result<(), Code>) {
        if self.outcome.get().is_none() {
            self.outcome.set(Some(outcome));
        }
        self.done.notify_waiters();
    }
}

fn pending(batch: u64) -> Rc<Pending> {
    Rc::new(Pending { batch, outcome: Cell::new(None), done: Notify::new() })
}
