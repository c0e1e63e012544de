//! What the host learns: counters and log events, as numbers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;
use wire::{CodeTotal, Counters, Decision, LogEvent, ToolTotals};

use crate::error::Code;
use crate::limits;

mod totals;

use totals::Totals;

/// Counters and a bounded queue of log events for the control stream.
#[derive(Default)]
pub struct Events {
    queue: RefCell<VecDeque<LogEvent>>,
    dropped: Cell<u64>,
    counters: RefCell<Counters>,
    totals: RefCell<Totals>,
    ready: Notify,
}

impl Events {
    /// Makes room for the totals of so many tools.
    pub fn expect_tools(&self, tools: usize) {
        self.totals.replace(Totals::of_catalog(tools));
    }

    /// Counts a call that has ended by its decision and by its latency in microseconds. `tool` is its place in the catalog,
    /// if it is there.
    pub fn call(&self, decision: Decision, tool: Option<usize>, latency_us: u64) {
        let mut counters = self.counters.borrow_mut();
        if let Some(count) = counters.calls.get_mut(decision as usize) {
            *count = count.saturating_add(1);
        }
        self.totals.borrow_mut().call(tool, decision, latency_us);
    }

    /// Counts an answer with an error code.
    pub fn answered(&self, code: Code) {
        self.totals.borrow_mut().answer(code);
    }

    /// How many tools the host has old totals of.
    pub fn changed_tools(&self) -> usize {
        self.totals.borrow().changed()
    }

    /// The totals of at most so many of them, for the host.
    pub fn take_tools(&self, most: usize) -> Vec<ToolTotals> {
        self.totals.borrow_mut().take_tools(most)
    }

    /// The totals by error code, for the host, if they changed.
    pub fn take_codes(&self) -> Option<Vec<CodeTotal>> {
        self.totals.borrow_mut().take_codes()
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
