//! Running totals by tool and by error code: what the host shows to an operator. Numbers alone, bounded by the catalog and the
//! list of codes; counting a call adds to a few integers.

use std::collections::VecDeque;

use wire::{CodeTotal, Decision, LATENCY_BOUNDS_US, ToolTotals};

use crate::error::Code;

/// Slots for error codes: their numbers count from 1.
const CODES: usize = match Code::ALL.last() {
    Some(last) => *last as usize + 1,
    None => 1,
};

/// The totals, and which of them the host does not have yet.
#[derive(Debug)]
pub(super) struct Totals {
    /// One slot per tool of the catalog, and one for everything else.
    tools: Vec<Slot>,
    /// Slots that changed since they were taken, each once.
    changed: VecDeque<usize>,
    codes: [u64; CODES],
    codes_changed: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    totals: ToolTotals,
    changed: bool,
}

impl Default for Totals {
    fn default() -> Self {
        Self::of_catalog(0)
    }
}

impl Totals {
    /// Nothing counted yet, for a catalog of so many tools.
    pub(super) fn of_catalog(tools: usize) -> Self {
        let slot = |tool: usize| {
            let tool = u32::try_from(tool).ok().filter(|_| tool < tools).unwrap_or(u32::MAX);
            Slot { totals: ToolTotals { tool, ..ToolTotals::default() }, changed: false }
        };
        Self {
            tools: (0..=tools).map(slot).collect(),
            changed: VecDeque::with_capacity(tools.saturating_add(1)),
            codes: [0; CODES],
            codes_changed: false,
        }
    }

    /// Counts a call that has ended: of the tool at this place of the catalog, or of anything else.
    pub(super) fn call(&mut self, tool: Option<usize>, decision: Decision, latency_us: u64) {
        let other = self.tools.len().saturating_sub(1);
        let index = tool.unwrap_or(other).min(other);
        let Some(slot) = self.tools.get_mut(index) else { return };
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < latency_us);
        let counts = [slot.totals.calls.get_mut(decision as usize), slot.totals.latency.get_mut(bucket)];
        for count in counts.into_iter().flatten() {
            *count = count.saturating_add(1);
        }
        slot.totals.latency_sum_us = slot.totals.latency_sum_us.saturating_add(latency_us);
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push_back(index);
        }
    }

    /// Counts an answer with an error code.
    pub(super) fn answer(&mut self, code: Code) {
        if let Some(count) = self.codes.get_mut(usize::from(code.number())) {
            *count = count.saturating_add(1);
            self.codes_changed = true;
        }
    }

    /// How many tools the host has old totals of.
    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// The totals of at most so many of these tools. They are the host's now.
    pub(super) fn take_tools(&mut self, most: usize) -> Vec<ToolTotals> {
        let indexes = self.changed.drain(..most.min(self.changed.len()));
        let taken = indexes.filter_map(|index| {
            let slot = self.tools.get_mut(index)?;
            slot.changed = false;
            Some(slot.totals.clone())
        });
        taken.collect()
    }

    /// The totals by error code, if they changed. They are the host's now.
    pub(super) fn take_codes(&mut self) -> Option<Vec<CodeTotal>> {
        if !std::mem::take(&mut self.codes_changed) {
            return None;
        }
        let counts = (0..).zip(self.codes).filter(|(_, answers)| *answers > 0);
        Some(counts.map(|(code, answers)| CodeTotal { code, answers }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_once_by_decision_and_once_by_latency() {
        let mut totals = Totals::of_catalog(2);
        let calls = [
            (Some(1), Decision::Allow, 0),
            (Some(1), Decision::Allow, 100),
            (Some(1), Decision::Fault, 101),
            (None, Decision::Deny, 60_000_001),
            (Some(7), Decision::AdvisoryDeny, u64::MAX),
        ];
        for (tool, decision, latency) in calls {
            totals.call(tool, decision, latency);
        }
        assert_eq!(totals.changed(), 2, "each slot once");
        let [tool, other] = <[ToolTotals; 2]>::try_from(totals.take_tools(9)).unwrap();
        assert_eq!((tool.tool, tool.calls, tool.latency_sum_us), (1, [2, 0, 0, 1], 201));
        assert_eq!(tool.latency.get(..3), Some(&[2, 1, 0][..]));
        assert_eq!((other.tool, other.calls, other.latency_sum_us), (u32::MAX, [0, 1, 1, 0], u64::MAX));
        assert_eq!(other.latency.last(), Some(&2));
        for slot in [tool, other] {
            assert_eq!(slot.calls.iter().sum::<u64>(), slot.latency.iter().sum::<u64>());
        }
        assert_eq!(totals.take_tools(9), Vec::new(), "unchanged");
    }

    #[test]
    fn tools_are_taken_in_pieces_and_come_again_when_they_change() {
        let mut totals = Totals::of_catalog(1000);
        (0..1000).for_each(|tool| totals.call(Some(tool), Decision::Allow, 1));
        assert_eq!(totals.take_tools(400).len(), 400);
        totals.call(Some(0), Decision::Allow, 1);
        totals.call(Some(999), Decision::Allow, 1);
        assert_eq!(totals.changed(), 601, "the first again, the last only once");
        let rest = totals.take_tools(1000);
        assert_eq!(rest.last().map(|slot| (slot.tool, slot.calls)), Some((0, [2, 0, 0, 0])));
        assert!(rest.iter().any(|slot| slot.tool == 999 && slot.calls == [2, 0, 0, 0]));
        assert_eq!(totals.changed(), 0);
    }

    #[test]
    fn every_code_has_a_slot() {
        let mut totals = Totals::default();
        assert_eq!(totals.take_codes(), None);
        assert!(Code::ALL.is_sorted_by_key(|code| code.number()), "the last has the highest number");
        for code in Code::ALL {
            totals.answer(*code);
        }
        let taken = totals.take_codes().unwrap();
        assert!(
            taken.iter().map(|total| (total.code, total.answers)).eq(Code::ALL.iter().map(|code| (code.number(), 1)))
        );
        assert_eq!(totals.take_codes(), None, "unchanged");
    }
}
