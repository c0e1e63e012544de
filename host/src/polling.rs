//! Busy polling, as in the enclave and for the same reason: to wake a sleeping thread costs more than to relay a call.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

use crate::limits;

/// When something was relayed last, and for how many agents.
#[derive(Debug)]
pub struct Polling {
    /// One permit less for each agent that is connected.
    agents: Arc<Semaphore>,
    origin: Instant,
    /// Polled until then, in microseconds since the origin.
    until: AtomicU64,
    resumed: Notify,
}

impl Polling {
    /// Polling that looks at the room for agents, of [`limits::CONNECTIONS`] permits.
    pub fn new(agents: Arc<Semaphore>) -> Self {
        Self { agents, origin: Instant::now(), until: AtomicU64::new(0), resumed: Notify::new() }
    }

    /// Runs a relay. Whenever it has something to do, it soon has more.
    pub async fn during<F: Future>(&self, relay: F) -> F::Output {
        let mut relay = pin!(relay);
        poll_fn(|context| {
            if self.few_agents() {
                self.until.store(self.now().saturating_add(limits::POLL_US), Relaxed);
                self.resumed.notify_one();
            }
            relay.as_mut().poll(context)
        })
        .await
    }

    /// Polls whenever something is expected and few agents are connected. Never returns.
    pub async fn run(self: Arc<Self>) {
        loop {
            if self.few_agents() && self.now() < self.until.load(Relaxed) {
                // Whoever is to answer runs first.
                std::thread::yield_now();
                yield_now().await;
            } else {
                self.resumed.notified().await;
            }
        }
    }

    fn few_agents(&self) -> bool {
        limits::CONNECTIONS.saturating_sub(self.agents.available_permits()) <= limits::POLLED_AGENTS
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
