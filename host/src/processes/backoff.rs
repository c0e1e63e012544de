//! Patience with tool servers that end soon after they were started.

use std::time::{Duration, Instant};

use crate::limits;

/// How often in a row processes of one server died young, and until when no other is started.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// A process ended by itself after this time. The first one may be an accident.
    pub(super) fn died(&mut self, after: Duration) {
        if after >= limits::PROCESS_YOUNG {
            *self = Self::default();
            return;
        }
        self.deaths = self.deaths.saturating_add(1);
        let doubled = 1_u32.checked_shl(self.deaths.saturating_sub(2)).unwrap_or(u32::MAX);
        let pause = limits::RESTART_FIRST.saturating_mul(doubled).min(limits::RESTART_LONGEST);
        self.until = Instant::now().checked_add(pause).filter(|_| self.deaths > 1);
    }

    pub(super) fn is_too_early(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    #[cfg(test)]
    fn pause(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_a_long_life_forgives() {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            backoff.died(Duration::ZERO);
            pauses.push(backoff.pause());
        }
        assert_eq!(pauses[0], Duration::ZERO);
        let about =
            |pause: Duration, expected: Duration| pause <= expected && pause + Duration::from_millis(50) > expected;
        assert!(about(pauses[1], limits::RESTART_FIRST) && about(pauses[2], limits::RESTART_FIRST * 2));
        assert!(about(pauses[39], limits::RESTART_LONGEST));
        assert!(backoff.is_too_early());
        backoff.died(limits::PROCESS_YOUNG);
        assert!(!backoff.is_too_early());
    }
}
