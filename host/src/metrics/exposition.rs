//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

use wire::{LATENCY_BOUNDS_US, ToolTotals};

use super::State;
use crate::codes;

/// Label values of [`wire::Decision`], in its order, as in audit entries.
pub(super) const DECISIONS: [&str; 4] = ["allow", "deny", "advisory_deny", "fault"];

/// Everything that is known.
pub(super) fn text(tools: &[String], state: &State) -> String {
    let mut page = Page(String::new());
    let totals = state.totals();
    let counters = &totals.counters;
    page.family("cmcp_build_info", "gauge", "The running version.");
    page.sample("cmcp_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.single("cmcp_enclave_up", "gauge", "Whether an enclave serves.", u64::from(state.up));
    page.single("cmcp_enclave_restarts_total", "counter", "Enclaves started after one had ended.", state.restarts);
    page.single("cmcp_sessions_open", "gauge", "Sessions that have not ended.", counters.sessions_open);
    page.single("cmcp_sessions_total", "counter", "Sessions started.", counters.sessions_total);
    let help = "Sessions that were open when their enclave ended; they get no more claims.";
    page.single("cmcp_sessions_lost_total", "counter", help, state.sessions_lost);
    page.single("cmcp_connections_open", "gauge", "Agents connected.", state.connections_open);
    page.single("cmcp_connections_total", "counter", "Agents that have connected.", state.connections);
    let help = "Agents that were not served because too many are connected.";
    page.single("cmcp_connections_refused_total", "counter", help, state.turned_away);
    page.single(
        "cmcp_audit_batches_total",
        "counter",
        "Batches that the record store has acknowledged.",
        counters.batches,
    );
    page.single(
        "cmcp_audit_records_total",
        "counter",
        "Records that the record store has acknowledged.",
        counters.records,
    );
    let help = "Calls refused and answers withheld because the record store did not answer.";
    page.single("cmcp_audit_unavailable_total", "counter", help, counters.audit_unavailable);

    page.family("cmcp_refusals_total", "counter", "Answers that carry an error code (docs/errors.md).");
    for (code, answers) in &totals.codes {
        page.sample("cmcp_refusals_total", &[("code", &codes::name(*code))], answers);
    }
    let help = "Calls that have ended, by tool (empty: none of the catalog) and by decision as in audit entries.";
    page.family("cmcp_calls_total", "counter", help);
    // Those without calls too: a series that starts at one has no rate.
    let none = ToolTotals::default();
    for (tool, name) in (0..).zip(tools).map(|(tool, name)| (tool, name.as_str())).chain([(u32::MAX, "")]) {
        let calls = totals.tools.get(&tool).unwrap_or(&none).calls;
        for (decision, count) in DECISIONS.iter().zip(calls) {
            page.sample("cmcp_calls_total", &[("tool", name), ("decision", decision)], count);
        }
    }
    let help = "From the arrival of a request to the entry that ends its call.";
    page.family("cmcp_call_latency_seconds", "histogram", help);
    for (tool, totals) in &totals.tools {
        let name = usize::try_from(*tool).ok().and_then(|tool| tools.get(tool));
        if name.is_some() || *tool == u32::MAX {
            page.histogram("cmcp_call_latency_seconds", name.map_or("", String::as_str), totals);
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, tool: &str, totals: &ToolTotals) {
        let bounds = LATENCY_BOUNDS_US.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
        let mut count: u64 = 0;
        for (bound, calls) in bounds.zip(totals.latency) {
            count = count.saturating_add(calls);
            self.sample(&format!("{name}_bucket"), &[("tool", tool), ("le", &bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[("tool", tool)], seconds(totals.latency_sum_us));
        self.sample(&format!("{name}_count"), &[("tool", tool)], count);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

/// A label value: backslash, quote and line feed are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;
    use wire::{CodeTotal, Counters};

    #[test]
    fn a_page_is_exactly_this() {
        let metrics = Metrics::new(vec!["echo \"a\\b\"".to_owned(), "unused".to_owned()]);
        metrics.enclave_started();
        let calls = [2, 0, 1, 0];
        metrics.counters(Counters {
            sessions_open: 1,
            sessions_total: 4,
            calls,
            batches: 9,
            records: 10,
            audit_unavailable: 0,
        });
        let mut totals = ToolTotals { tool: 0, calls, latency_sum_us: 90_000_400, ..ToolTotals::default() };
        (totals.latency[1], totals.latency[2], totals.latency[18]) = (1, 1, 1);
        metrics.tools(vec![totals]);
        metrics.codes(&[CodeTotal { code: 8, answers: 3 }, CodeTotal { code: 999, answers: 1 }]);
        let text = metrics.text();
        let page: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let bucket = |le: &str, count: u64| {
            format!("cmcp_call_latency_seconds_bucket{{tool=\"echo \\\"a\\\\b\\\"\",le=\"{le}\"}} {count}")
        };
        let mut expected: Vec<String> = [
            &format!("cmcp_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
            "cmcp_enclave_up 1",
            "cmcp_enclave_restarts_total 0",
            "cmcp_sessions_open 1",
            "cmcp_sessions_total 4",
            "cmcp_sessions_lost_total 0",
            "cmcp_connections_open 0",
            "cmcp_connections_total 0",
            "cmcp_connections_refused_total 0",
            "cmcp_audit_batches_total 9",
            "cmcp_audit_records_total 10",
            "cmcp_audit_unavailable_total 0",
            "cmcp_refusals_total{code=\"TOOL_NOT_IN_CATALOG\"} 3",
            "cmcp_refusals_total{code=\"999\"} 1",
            "cmcp_calls_total{tool=\"echo \\\"a\\\\b\\\"\",decision=\"allow\"} 2",
            "cmcp_calls_total{tool=\"echo \\\"a\\\\b\\\"\",decision=\"deny\"} 0",
            "cmcp_calls_total{tool=\"echo \\\"a\\\\b\\\"\",decision=\"advisory_deny\"} 1",
            "cmcp_calls_total{tool=\"echo \\\"a\\\\b\\\"\",decision=\"fault\"} 0",
            "cmcp_calls_total{tool=\"unused\",decision=\"allow\"} 0",
            "cmcp_calls_total{tool=\"unused\",decision=\"deny\"} 0",
            "cmcp_calls_total{tool=\"unused\",decision=\"advisory_deny\"} 0",
            "cmcp_calls_total{tool=\"unused\",decision=\"fault\"} 0",
            "cmcp_calls_total{tool=\"\",decision=\"allow\"} 0",
            "cmcp_calls_total{tool=\"\",decision=\"deny\"} 0",
            "cmcp_calls_total{tool=\"\",decision=\"advisory_deny\"} 0",
            "cmcp_calls_total{tool=\"\",decision=\"fault\"} 0",
        ]
        .map(str::to_owned)
        .into();
        let bounds = [
            "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
            "1", "2.5", "5", "10", "30", "60", "+Inf",
        ];
        let counts = [0, 1].into_iter().chain([2; 16]).chain([3]);
        expected.extend(bounds.into_iter().zip(counts).map(|(le, count)| bucket(le, count)));
        expected.push("cmcp_call_latency_seconds_sum{tool=\"echo \\\"a\\\\b\\\"\"} 90.0004".to_owned());
        expected.push("cmcp_call_latency_seconds_count{tool=\"echo \\\"a\\\\b\\\"\"} 3".to_owned());
        assert_eq!(page, expected);
        assert!(text.starts_with("# HELP cmcp_build_info The running version.\n# TYPE cmcp_build_info gauge\n"));
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), r#"a\\b\"c\nd"#);
    }

    #[test]
    fn seconds_are_exact() {
        for (us, text) in [(0, "0"), (1, "0.000001"), (100, "0.0001"), (10_000_000, "10"), (2_500_000, "2.5")] {
            assert_eq!(seconds(us), text);
        }
    }
}
