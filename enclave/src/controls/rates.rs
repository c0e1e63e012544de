//! Rate limits: a bucket of tokens for each rule and identity, told by the time at which it would be full again.

use std::cell::Cell;
use std::time::Duration;

use wire::{BootRefusal, Document, RefusalCode};

use super::{Names, Sink, Stop, tool};
use crate::catalog::Catalog;
use crate::config::RateLimit;
use crate::document::refusal;
use crate::error::Code;

/// All rules.
pub(super) struct Rates(Vec<Rule>);

struct Rule {
    /// Of this tool; of everything.
    tool: Option<usize>,
    /// Of this identity; of each for itself.
    subject: Option<String>,
    bucket: Bucket,
}

/// An identity's buckets, by rule: when each is full again, in nanoseconds of the monotonic clock. None where the rule is about
/// others.
#[derive(Debug, Default)]
pub(super) struct Buckets(Vec<Option<Cell<u64>>>);

/// A bucket that holds some calls and gets one back every `interval`.
#[derive(Clone, Copy)]
struct Bucket {
    interval: u64,
    /// Time in which all but one call come back.
    slack: u64,
}

impl Rates {
    pub(super) fn new(limits: &[RateLimit], catalog: &Catalog, names: &Names<'_>) -> Result<Option<Self>, BootRefusal> {
        if limits.is_empty() {
            return Ok(None);
        }
        let rule = |(index, limit): (usize, &RateLimit)| {
            let field = |name: &str| format!("rate_limits[{index}].{name}");
            let of_tool = |name: &String| tool(catalog, &field("tool"), name);
            let of_subject = |name: &String| subject(names, &field("subject"), name).map(|()| name.clone());
            Ok(Rule {
                tool: limit.tool.as_ref().map(of_tool).transpose()?,
                subject: limit.subject.as_ref().map(of_subject).transpose()?,
                bucket: Bucket::new(limit.calls, limit.per_seconds),
            })
        };
        limits.iter().enumerate().map(rule).collect::<Result<_, _>>().map(|rules| Some(Self(rules)))
    }

    /// Full buckets for an identity.
    pub(super) fn buckets(&self, name: &str) -> Buckets {
        let its = |rule: &Rule| rule.subject.as_ref().is_none_or(|subject| subject == name).then(Cell::default);
        Buckets(self.0.iter().map(its).collect())
    }

    /// Takes one call out of every bucket that it is in, or out of none.
    pub(super) fn count(&self, whose: &Buckets, sink: Sink, now: Duration) -> Result<(), Stop> {
        let now = nanoseconds(now);
        let buckets = || {
            let rules = self.0.iter().zip(&whose.0).enumerate().filter(move |(_, (rule, _))| rule.is_about(sink));
            rules.filter_map(move |(index, (rule, full_at))| Some((index, rule.bucket, full_at.as_ref()?)))
        };
        let waits = buckets().map(|(index, bucket, full_at)| (bucket.wait(full_at.get(), now), index));
        if let Some((wait, index)) = waits.max().filter(|(wait, _)| *wait > 0) {
            let rule = format!("rate_limits[{index}]");
            let stop = Stop::new(Code::RateLimited, &rule, "more calls than the configuration allows");
            return Err(Stop { retry_after: Some(Duration::from_nanos(wait)), ..stop });
        }
        for (_, bucket, full_at) in buckets() {
            full_at.set(bucket.take(full_at.get(), now));
        }
        Ok(())
    }
}

impl Rule {
    fn is_about(&self, sink: Sink) -> bool {
        match (self.tool, sink) {
            (None, _) => true,
            (Some(limited), Sink::Tool(called)) => limited == called,
            (Some(_), Sink::Server(_) | Sink::Nothing) => false,
        }
    }
}

impl Buckets {
    /// Whether all of them are full.
    pub(super) fn are_full(&self, now: Duration) -> bool {
        self.0.iter().flatten().all(|full_at| full_at.get() <= nanoseconds(now))
    }
}

impl Bucket {
    fn new(calls: u64, seconds: u64) -> Self {
        let interval = (seconds.saturating_mul(1_000_000_000) / calls.max(1)).max(1);
        Self { interval, slack: interval.saturating_mul(calls.saturating_sub(1)) }
    }

    /// Nanoseconds until there is a call in the bucket.
    fn wait(self, full_at: u64, now: u64) -> u64 {
        full_at.saturating_sub(now).saturating_sub(self.slack)
    }

    /// When it is full again after one call more.
    fn take(self, full_at: u64, now: u64) -> u64 {
        full_at.max(now).saturating_add(self.interval)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn subject(names: &Names<'_>, field: &str, name: &str) -> Result<(), BootRefusal> {
    names.has(name, None).then_some(()).ok_or_else(|| {
        let expected = "a subject of auth.tokens; anonymous without authentication";
        refusal(RefusalCode::InvalidValue, &Document::Config, field, &format!("{name:?}"), expected)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Bucket;

    /// A bucket of nanoseconds that is filled as time passes, and from which each call takes an interval.
    struct Naive {
        level: u64,
        capacity: u64,
        last: u64,
    }

    proptest! {
        #[test]
        fn a_bucket_is_a_bucket(calls in 1_u64..20, seconds in 1_u64..20, steps in prop::collection::vec(0_u64..3_000_000_000, 1..80)) {
            let bucket = Bucket::new(calls, seconds);
            let capacity = bucket.interval * calls;
            let mut naive = Naive { level: capacity, capacity, last: 0 };
            let (mut now, mut full_at, mut taken) = (0, 0, Vec::new());
            for step in steps {
                now += step;
                naive.level = naive.capacity.min(naive.level + (now - naive.last));
                naive.last = now;
                let wait = bucket.wait(full_at, now);
                prop_assert_eq!(wait, bucket.interval.saturating_sub(naive.level), "at {}", now);
                if wait == 0 {
                    naive.level -= bucket.interval;
                    full_at = bucket.take(full_at, now);
                    taken.push(now);
                }
            }
            // Never more than the bucket and what came back meanwhile.
            for (first, start) in taken.iter().enumerate() {
                let within = taken[first..].iter().filter(|at| **at < start + seconds * 1_000_000_000).count() as u64;
                prop_assert!(within <= 2 * calls, "{} calls", within);
            }
        }
    }

    #[test]
    fn a_full_bucket_holds_its_calls_and_gets_them_back_evenly() {
        let bucket = Bucket::new(3, 6);
        let mut full_at = 0;
        for _ in 0..3 {
            assert_eq!(bucket.wait(full_at, 0), 0);
            full_at = bucket.take(full_at, 0);
        }
        assert_eq!(bucket.wait(full_at, 0), 2_000_000_000);
        assert_eq!(bucket.wait(full_at, 2_000_000_000), 0);
    }
}
