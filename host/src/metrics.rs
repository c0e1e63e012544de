//! What an operator sees of a running gateway: the enclave's totals and the host's own, as Prometheus metrics.
//!
//! An enclave counts from zero; the host adds the totals of those that have ended, so that counters never go backwards while
//! it runs. What an enclave counted in the second before it died is lost with it. The numbers are for operators: nothing is
//! decided by them, and who wants proof has the claims.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::{CodeTotal, Counters, ToolTotals};

mod exposition;
pub mod scrape;
pub mod server;
pub mod status;

/// Totals of all enclaves of this process, and its own.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Names of the catalog's tools, sorted: the enclave speaks of them by their place here.
    tools: Vec<String>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Enclaves that have ended.
    ended: Totals,
    /// The one that runs.
    running: Totals,
    up: bool,
    restarts: u64,
    sessions_lost: u64,
    connections_open: u64,
    connections: u64,
    turned_away: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    counters: Counters,
    tools: BTreeMap<u32, ToolTotals>,
    codes: BTreeMap<u16, u64>,
}

/// An agent's connection while it is relayed.
#[derive(Debug)]
pub struct Connected(Arc<Metrics>);

impl Drop for Connected {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.connections_open = state.connections_open.saturating_sub(1);
    }
}

impl Metrics {
    /// For a catalog with these tools, sorted.
    pub fn new(tools: Vec<String>) -> Self {
        Self { tools, state: Mutex::default() }
    }

    /// An enclave serves.
    pub fn enclave_started(&self) {
        self.state().up = true;
    }

    /// The enclave has ended. Its totals are kept; its open sessions are lost.
    pub fn enclave_ended(&self) {
        let state = &mut *self.state();
        let ended = std::mem::take(&mut state.running);
        state.up = false;
        state.sessions_lost = state.sessions_lost.saturating_add(ended.counters.sessions_open);
        state.ended.add(&ended);
    }

    /// An enclave serves in place of one that has ended.
    pub fn enclave_restarted(&self) {
        let state = &mut *self.state();
        state.up = true;
        state.restarts = state.restarts.saturating_add(1);
    }

    /// The running enclave's totals.
    pub fn counters(&self, counters: Counters) {
        self.state().running.counters = counters;
    }

    /// The running enclave's totals by tool: those that changed.
    pub fn tools(&self, tools: Vec<ToolTotals>) {
        self.state().running.tools.extend(tools.into_iter().map(|totals| (totals.tool, totals)));
    }

    /// The running enclave's totals by error code.
    pub fn codes(&self, codes: &[CodeTotal]) {
        self.state().running.codes.extend(codes.iter().map(|total| (total.code, total.answers)));
    }

    /// An agent has connected.
    pub fn connected(self: &Arc<Self>) -> Connected {
        let state = &mut *self.state();
        state.connections = state.connections.saturating_add(1);
        state.connections_open = state.connections_open.saturating_add(1);
        Connected(Arc::clone(self))
    }

    /// An agent was not served, because too many are.
    pub fn turned_away(&self) {
        let state = &mut *self.state();
        state.turned_away = state.turned_away.saturating_add(1);
    }

    /// In the text exposition format.
    pub fn text(&self) -> String {
        exposition::text(&self.tools, &self.state().clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Over all enclaves; sessions are open only in the one that runs.
    fn totals(&self) -> Totals {
        let mut all = self.ended.clone();
        all.add(&self.running);
        all.counters.sessions_open = self.running.counters.sessions_open;
        all
    }
}

impl Totals {
    fn add(&mut self, more: &Self) {
        let (counters, added) = (&mut self.counters, &more.counters);
        add(&mut counters.sessions_total, added.sessions_total);
        add_all(&mut counters.calls, &added.calls);
        add(&mut counters.batches, added.batches);
        add(&mut counters.records, added.records);
        add(&mut counters.audit_unavailable, added.audit_unavailable);
        for (tool, added) in &more.tools {
            let totals = self.tools.entry(*tool).or_insert_with(|| ToolTotals { tool: *tool, ..ToolTotals::default() });
            add_all(&mut totals.calls, &added.calls);
            add_all(&mut totals.latency, &added.latency);
            add(&mut totals.latency_sum_us, added.latency_sum_us);
        }
        for (code, added) in &more.codes {
            add(self.codes.entry(*code).or_default(), *added);
        }
    }
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

fn add_all(counts: &mut [u64], more: &[u64]) {
    counts.iter_mut().zip(more).for_each(|(count, more)| add(count, *more));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(sessions_open: u64, sessions_total: u64) -> Counters {
        Counters { sessions_open, sessions_total, calls: [1, 2, 3, 4], batches: 5, records: 6, audit_unavailable: 7 }
    }

    fn tool(tool: u32, allowed: u64) -> ToolTotals {
        let mut totals =
            ToolTotals { tool, calls: [allowed, 0, 0, 0], latency_sum_us: allowed, ..ToolTotals::default() };
        totals.latency[3] = allowed;
        totals
    }

    #[test]
    fn totals_outlive_an_enclave() {
        let metrics = Metrics::new(vec!["a".to_owned(), "b".to_owned()]);
        metrics.enclave_started();
        metrics.counters(counters(2, 3));
        metrics.tools(vec![tool(0, 5), tool(u32::MAX, 1)]);
        metrics.codes(&[CodeTotal { code: 7, answers: 2 }]);
        metrics.enclave_ended();
        let between = metrics.state().totals();
        assert_eq!((between.counters.sessions_open, between.counters.sessions_total), (0, 3));
        assert_eq!(between.tools[&0].calls[0], 5, "also while no enclave runs");

        metrics.enclave_restarted();
        metrics.counters(counters(1, 1));
        metrics.tools(vec![tool(0, 1)]);
        metrics.tools(vec![tool(0, 2), tool(1, 1)]);
        metrics.codes(&[CodeTotal { code: 7, answers: 1 }, CodeTotal { code: 8, answers: 1 }]);
        let state = metrics.state().clone();
        let totals = state.totals();
        assert_eq!((totals.counters.sessions_open, totals.counters.sessions_total), (1, 4));
        assert_eq!((totals.counters.calls, totals.counters.records), ([2, 4, 6, 8], 12));
        let tools: Vec<_> =
            totals.tools.values().map(|totals| (totals.tool, totals.calls[0], totals.latency[3])).collect();
        assert_eq!(tools, [(0, 7, 7), (1, 1, 1), (u32::MAX, 1, 1)]);
        assert_eq!(totals.codes, BTreeMap::from([(7, 3), (8, 1)]));
        assert_eq!((state.up, state.restarts, state.sessions_lost), (true, 1, 2));
    }

    #[test]
    fn connections_are_open_until_they_end() {
        let metrics = Arc::new(Metrics::default());
        let first = metrics.connected();
        let second = metrics.connected();
        drop(first);
        let state = metrics.state().clone();
        assert_eq!((state.connections_open, state.connections), (1, 2));
        drop(second);
        assert_eq!(metrics.state().connections_open, 0);
    }
}
