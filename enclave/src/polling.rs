//! Busy polling: while little is under way, the thread asks for events for a moment instead of sleeping at once.
//!
//! To wake a sleeping thread costs 15 to 50 microseconds in a virtual machine, more than any step of a call, and each call
//! waits three or four times. With many calls under way there is always something to do, and polling would only take the
//! processor from those who are to answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::limits;

/// How busy the thread is, and since when.
#[derive(Default)]
pub struct Polling {
    waits: Cell<u32>,
    until: Cell<Option<Instant>>,
    resumed: Notify,
}

impl Polling {
    /// A step of a call is awaited until what this returns is dropped. From its begin and from its end on, the next event is
    /// expected soon.
    pub fn wait(&self) -> Wait<'_> {
        self.waits.set(self.waits.get().saturating_add(1));
        self.expect();
        Wait(self)
    }

    /// Polls whenever it is worth it. Never returns.
    pub async fn run(self: Rc<Self>) {
        loop {
            if self.worthwhile() {
                // Whoever is to answer runs first.
                std::thread::yield_now();
                yield_now().await;
            } else {
                self.resumed.notified().await;
            }
        }
    }

    fn worthwhile(&self) -> bool {
        self.few() && self.until.get().is_some_and(|until| Instant::now() < until)
    }

    fn few(&self) -> bool {
        self.waits.get() <= limits::POLLED_WAITS
    }

    fn expect(&self) {
        if self.few() {
            self.until.set(Instant::now().checked_add(limits::POLL));
            self.resumed.notify_one();
        }
    }
}

/// A step of a call, while it is awaited.
#[must_use]
pub struct Wait<'a>(&'a Polling);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.waits.set(self.0.waits.get().saturating_sub(1));
        self.0.expect();
    }
}
