//! What the host learns: counters and log events, as numbers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;
use wire::{Counters, Decision, LogEvent};

use crate::limits;

/// Counters and a bounded queue of log events for the control stream.
#[derive(Default)]
pub struct Events {
    queue: RefCell<VecDeque<LogEvent>>,
    dropped: Cell<u64>,
    counters: RefCell<Counters>,
    ready: Notify,
}

impl Events {
    /// Counts a call by its decision.
    pub fn call(&self, decision: Decision) {
        let mut counters = self.counters.borrow_mut();
        let index = match decision {
            Decision::Allow => 0,
            Decision::Deny => 1,
            Decision::AdvisoryDeny => 2,
            Decision::Fault => 3,
        };
        if let Some(count) = counters.calls.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }

    /// Counts an answer withheld because the store did not answer.
    pub fn audit_unavailable(&self) {
        let mut counters = self.counters.borrow_mut();
        counters.audit_unavailable = counters.audit_unavailable.saturating_add(1);
    }

    /// The counters, with what others count.
    pub fn counters(&self, sessions_open: u64, sessions_total: u64, stored: (u64, u64)) -> Counters {
        let (batches, records) = stored;
        Counters { sessions_open, sessions_total, batches, records, ..self.counters.borrow().clone() }
    }

    /// A log event; dropped and counted when the host reads too slowly.
    pub fn log(&self, event: LogEvent) {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= limits::MAX_LOG_EVENTS {
            self.dropped.set(self.dropped.get().saturating_add(1));
            return;
        }
        queue.push_back(event);
        self.ready.notify_one();
    }

    pub(crate) fn store_unavailable(&self) {
        self.log(LogEvent::StoreUnavailable);
    }

    pub(crate) fn store_recovered(&self, refused: u64) {
        self.log(LogEvent::StoreRecovered { refused });
    }

    pub(crate) fn store_lost(&self, batch: u64) {
        self.log(LogEvent::StoreLost { batch });
    }

    /// The next log event.
    pub async fn next(&self) -> LogEvent {
        loop {
            if let Some(event) = self.queue.borrow_mut().pop_front() {
                return event;
            }
            match self.dropped.replace(0) {
                0 => self.ready.notified().await,
                events => return LogEvent::Dropped { events },
            }
        }
    }
}
