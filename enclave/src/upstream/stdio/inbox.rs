//! What waits for one request, in bounded memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits;
use crate::upstream::Fault;

/// Messages in the order they came.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: RefCell<VecDeque<Bytes>>,
    held: Cell<usize>,
    /// Bytes that came, since they were counted anew.
    read: Cell<usize>,
    end: RefCell<Option<Result<(), Fault>>>,
    arrived: Notify,
}

impl Inbox {
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Adds the answer.
    pub(super) fn push(&self, message: Bytes) {
        self.held.set(self.held.get().saturating_add(message.len()));
        self.queue.borrow_mut().push_back(message);
        self.arrived.notify_one();
    }

    /// Adds what comes before the answer, unless too much of it waits already: whoever reads slowly must not hold up the
    /// others on the process. False if it was left out.
    pub(super) fn offer(&self, message: Bytes) -> bool {
        let full = self.held.get().saturating_add(message.len()) > limits::MAX_HELD && self.held.get() > 0;
        if !full {
            self.push(message);
        }
        !full
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    /// Counts what came for the request; whether it is within the cap.
    pub(super) fn count(&self, bytes: usize, cap: usize) -> bool {
        self.read.set(self.read.get().saturating_add(bytes));
        self.read.get() <= cap
    }

    pub(super) fn forget_read(&self) {
        self.read.set(0);
    }

    /// No more will come, and perhaps why not.
    pub(super) fn end(&self, end: Result<(), Fault>) {
        self.end.borrow_mut().get_or_insert(end);
        self.arrived.notify_one();
    }

    /// The next message, or the end.
    pub(super) async fn next(&self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(message) = self.queue.borrow_mut().pop_front() {
                self.held.set(self.held.get().saturating_sub(message.len()));
                return Ok(Some(message));
            }
            match self.end.borrow().clone() {
                Some(Err(fault)) => return Err(fault),
                Some(Ok(())) => return Ok(None),
                None => {}
            }
            self.arrived.notified().await;
        }
    }
}
