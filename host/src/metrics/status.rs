//! What a page of metrics says, for people and for machines.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exposition::DECISIONS;
use super::scrape::{Sample, samples};

/// A gateway at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The host's version.
    pub version: String,
    /// Metrics without labels, without the prefix `cmcp_`.
    pub totals: BTreeMap<String, u64>,
    /// Tools in the order of the page. The last, without a name, is everything else.
    pub tools: Vec<Tool>,
    /// Answers by error code.
    pub refusals: BTreeMap<String, u64>,
}

/// A tool's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tool {
    /// Its name; empty for everything that is not in the catalog.
    pub name: String,
    /// Calls by [`wire::Decision`], in its order.
    pub calls: [u64; 4],
    /// Their latencies.
    pub latency: Histogram,
}

/// Latencies in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bound in microseconds (none for the last bucket), and how many are at or below it.
    buckets: Vec<(Option<u64>, u64)>,
}

/// A latency as far as the buckets tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// About so many microseconds.
    About(u64),
    /// More than so many microseconds: it is in the last bucket.
    Above(u64),
}

impl Status {
    /// Reads a page.
    ///
    /// # Errors
    /// A line that is not understood, or no sign of a gateway.
    pub fn of(page: &str) -> Result<Self, String> {
        let mut status = Self::default();
        let mut tools = BTreeMap::new();
        for sample in samples(page)? {
            status.take(&sample, &mut tools).ok_or_else(|| format!("not understood: {sample:?}"))?;
        }
        if status.version.is_empty() {
            return Err("there is no cmcp_build_info".to_owned());
        }
        Ok(status)
    }

    /// Of a total, of any kind of metric; zero if the page does not have it.
    pub fn total(&self, name: &str) -> u64 {
        self.totals.get(name).copied().unwrap_or_default()
    }

    fn take(&mut self, sample: &Sample<'_>, places: &mut BTreeMap<String, usize>) -> Option<()> {
        // Metrics that are not a gateway's own may stand beside them.
        let Some(name) = sample.name.strip_prefix("cmcp_") else { return Some(()) };
        match name {
            "build_info" => sample.label("version").clone_into(&mut self.version),
            "refusals_total" => {
                self.refusals.insert(sample.label("code").to_owned(), sample.value.parse().ok()?);
            }
            "calls_total" => {
                let place = DECISIONS.iter().position(|decision| *decision == sample.label("decision"))?;
                *self.tool(sample.label("tool"), places)?.calls.get_mut(place)? = sample.value.parse().ok()?;
            }
            "call_latency_seconds_bucket" => {
                let bound = match sample.label("le") {
                    "+Inf" => None,
                    seconds => Some(micros(seconds)?),
                };
                let latency = &mut self.tool(sample.label("tool"), places)?.latency;
                latency.buckets.push((bound, sample.value.parse().ok()?));
            }
            "call_latency_seconds_sum" | "call_latency_seconds_count" => {}
            _ if sample.labels.is_empty() => {
                self.totals.insert(name.to_owned(), sample.value.parse().ok()?);
            }
            // Of a later version.
            _ => {}
        }
        Some(())
    }

    fn tool(&mut self, name: &str, places: &mut BTreeMap<String, usize>) -> Option<&mut Tool> {
        let place = *places.entry(name.to_owned()).or_insert_with(|| {
            self.tools.push(Tool { name: name.to_owned(), ..Tool::default() });
            self.tools.len() - 1
        });
        self.tools.get_mut(place)
    }
}

impl Tool {
    /// All calls.
    pub fn total(&self) -> u64 {
        self.calls.iter().fold(0, |total, calls| total.saturating_add(*calls))
    }
}

impl Histogram {
    /// The latency that so many thousandths of the calls do not exceed, if calls are spread evenly over their bucket (as
    /// PromQL's `histogram_quantile` has it); nothing if there were none.
    pub fn quantile(&self, thousandths: u32) -> Option<Latency> {
        let all = self.buckets.last().map(|(_, count)| u128::from(*count)).filter(|count| *count > 0)?;
        let rank = all * u128::from(thousandths);
        let (mut below, mut counted) = (0, 0);
        for (bound, count) in &self.buckets {
            let (Some(bound), count) = (*bound, u128::from(*count) * 1000) else { break };
            if count >= rank && count > counted {
                let part = u128::from(bound.saturating_sub(below)) * rank.saturating_sub(counted) / (count - counted);
                return Some(Latency::About(below.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))));
            }
            (below, counted) = (bound, count.max(counted));
        }
        Some(Latency::Above(below))
    }
}

impl Latency {
    /// In microseconds; the last bound if it is above that.
    pub fn us(self) -> u64 {
        match self {
            Self::About(us) | Self::Above(us) => us,
        }
    }
}

fn micros(seconds: &str) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    u64::try_from(duration.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use wire::{CodeTotal, Counters, LATENCY_BOUNDS_US, LATENCY_BUCKETS, ToolTotals};

    use super::super::Metrics;
    use super::*;

    fn histogram(latency: [u64; LATENCY_BUCKETS]) -> Histogram {
        let mut count = 0;
        let bounds = LATENCY_BOUNDS_US.into_iter().map(Some).chain([None]);
        let buckets = bounds.zip(latency).map(|(bound, calls)| {
            count += calls;
            (bound, count)
        });
        Histogram { buckets: buckets.collect() }
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let mut latency = [0; LATENCY_BUCKETS];
        assert_eq!(histogram(latency).quantile(500), None);
        (latency[3], latency[4]) = (90, 10);
        let spread = histogram(latency);
        assert_eq!(spread.quantile(450), Some(Latency::About(750)), "half of the bucket from 500 to 1000");
        assert_eq!(spread.quantile(900), Some(Latency::About(1000)));
        assert_eq!(spread.quantile(990), Some(Latency::About(2350)), "nine tenths of the bucket from 1000 to 2500");
        assert_eq!(spread.quantile(1000), Some(Latency::About(2500)));
        latency[18] = 900;
        assert_eq!(histogram(latency).quantile(500), Some(Latency::Above(60_000_000)));
        assert_eq!(histogram([u64::MAX / 32; LATENCY_BUCKETS]).quantile(1), Some(Latency::About(1)));
        assert_eq!(Histogram::default().quantile(500), None);
    }

    #[test]
    fn a_page_is_understood() {
        let metrics = Metrics::new(vec!["a \"b\"".to_owned(), "c".to_owned()]);
        metrics.enclave_started();
        metrics.counters(Counters { sessions_open: 2, records: 7, ..Counters::default() });
        let mut totals = ToolTotals { tool: 0, calls: [1, 0, 2, 0], ..ToolTotals::default() };
        totals.latency[5] = 3;
        metrics.tools(vec![totals.clone(), ToolTotals { tool: u32::MAX, calls: [0, 4, 0, 0], ..totals.clone() }]);
        metrics.codes(&[CodeTotal { code: 7, answers: 4 }]);
        let status = Status::of(&metrics.text()).unwrap();
        assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
        assert_eq!((status.total("sessions_open"), status.total("audit_records_total")), (2, 7));
        assert_eq!(status.total("enclave_up"), 1);
        let tools: Vec<_> = status.tools.iter().map(|tool| (tool.name.as_str(), tool.calls)).collect();
        assert_eq!(tools, [("a \"b\"", [1, 0, 2, 0]), ("c", [0; 4]), ("", [0, 4, 0, 0])]);
        assert_eq!(status.tools[0].latency, histogram(totals.latency));
        assert_eq!(status.refusals, BTreeMap::from([("POLICY_DENY".to_owned(), 4)]));
    }

    #[test]
    fn another_servers_page_is_refused() {
        assert!(Status::of("up 1\n").is_err());
        assert!(Status::of("<html>").is_err());
        assert!(Status::of("cmcp_build_info{version=\"1\"} 1\ncmcp_calls_total{decision=\"maybe\"} 1\n").is_err());
        assert_eq!(Status::of("other 1\ncmcp_build_info{version=\"1\"} 1\n").unwrap().version, "1");
    }
}
