//! How many of an identity's last calls were denied, in constant time and memory.

use std::time::Duration;

/// Parts of a window: it is as long as configured, give or take one of them.
const PARTS: usize = 32;

/// Calls of the last so many seconds.
#[derive(Debug)]
pub(super) struct Window {
    /// Length of a part in milliseconds.
    part_ms: u64,
    parts: [Count; PARTS],
    /// Number of the newest part since the start of the clock.
    newest: u64,
    sum: Count,
}

/// Calls, and how many of them were denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) calls: u64,
    pub(super) denied: u64,
}

impl Window {
    pub(super) fn new(seconds: u64) -> Self {
        let part_ms = seconds.saturating_mul(1000).div_ceil(PARTS as u64).max(1);
        Self { part_ms, parts: [Count::default(); PARTS], newest: 0, sum: Count::default() }
    }

    /// Counts a call that ended now; all that are in the window.
    pub(super) fn count(&mut self, denied: bool, now: Duration) -> Count {
        self.advance(self.part_of(now));
        let one = Count { calls: 1, denied: u64::from(denied) };
        if let Some(part) = self.part(self.newest) {
            *part = part.plus(one);
        }
        self.sum = self.sum.plus(one);
        self.sum
    }

    /// Whether no call is in it.
    pub(super) fn is_empty(&mut self, now: Duration) -> bool {
        self.advance(self.part_of(now));
        self.sum == Count::default()
    }

    fn part_of(&self, now: Duration) -> u64 {
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / self.part_ms
    }

    /// Forgets all calls.
    pub(super) fn clear(&mut self) {
        self.parts = [Count::default(); PARTS];
        self.sum = Count::default();
    }

    /// Empties the parts between the newest and this one.
    fn advance(&mut self, to: u64) {
        let steps = to.saturating_sub(self.newest);
        for step in 1..=steps.min(PARTS as u64) {
            let old = self.part(self.newest + step).map(std::mem::take).unwrap_or_default();
            self.sum = self.sum.minus(old);
        }
        self.newest += steps;
    }

    fn part(&mut self, number: u64) -> Option<&mut Count> {
        self.parts.get_mut(usize::try_from(number % PARTS as u64).unwrap_or_default())
    }
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, denied: self.denied + other.denied }
    }

    fn minus(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_sub(other.calls), denied: self.denied.saturating_sub(other.denied) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Count, PARTS, Window};

    proptest! {
        /// Against a list of all calls: those of the newest parts are counted, and none that is older than the window.
        #[test]
        fn a_window_counts_what_is_in_it(seconds in 1_u64..600, steps in prop::collection::vec((0_u64..40_000, any::<bool>()), 1..200)) {
            let mut window = Window::new(seconds);
            let (mut now, mut all) = (0, Vec::new());
            for (step, denied) in steps {
                now += step;
                all.push((now, denied));
                let counted = window.count(denied, Duration::from_millis(now));
                let since = |oldest: u64| {
                    let recent = all.iter().filter(|(at, _)| *at >= oldest);
                    Count { calls: recent.clone().count() as u64, denied: recent.filter(|(_, denied)| *denied).count() as u64 }
                };
                let part = window.part_ms;
                let first_part = (now / part).saturating_sub(PARTS as u64 - 1);
                prop_assert_eq!(counted, since(first_part * part));
                // The window is as long as it says, give or take a part.
                let (least, most) = (since(now.saturating_sub(part * (PARTS as u64 - 1))), since(now.saturating_sub(part * PARTS as u64)));
                prop_assert!(least.calls <= counted.calls && counted.calls <= most.calls);
                prop_assert!(part * PARTS as u64 >= seconds * 1000 && part * (PARTS as u64 - 1) <= seconds * 1000);
            }
        }
    }

    #[test]
    fn a_long_silence_empties_it() {
        let mut window = Window::new(10);
        window.count(true, Duration::ZERO);
        assert_eq!(window.count(true, Duration::from_secs(9)), Count { calls: 2, denied: 2 });
        assert_eq!(window.count(false, Duration::from_secs(100_000)), Count { calls: 1, denied: 0 });
        window.clear();
        assert_eq!(window.count(false, Duration::from_secs(100_000)), Count { calls: 1, denied: 0 });
    }
}
