//! `host status`

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Outcome;
use crate::metrics::scrape;
use crate::metrics::status::{Latency, Status, Tool};

/// Where `host --metrics` listens in the examples, and where `host status` looks.
pub(super) const METRICS: &str = "127.0.0.1:9464";

const EXAMPLES: &str = "\
Examples:
  Start a gateway that shows its metrics, and look at it from another terminal:
    host --dev-enclave --metrics 127.0.0.1:9464
    host status

  Again every two seconds:
    watch host status

  Which tools were denied something, for a script:
    host status --json | jq -r '.tools[] | select(.calls.deny > 0) | .tool'

  The same numbers over time: point Prometheus at http://127.0.0.1:9464/metrics

p50 and p99 are estimated from the buckets of the histogram, which end at 60 s. In JSON the tool is null for calls \
to anything that is not in the catalog.

Exit code: 0 if a gateway answered, 1 if not.";

/// Show what a running gateway does: sessions, calls by tool and decision, latencies, refusals, and its record store
///
/// Reads the metrics of a gateway that was started with --metrics. The numbers are the enclave's, about a second old, and
/// are lost when the host stops; proof of what was called is in the claims.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowStatus {
    /// Where the gateway shows its metrics
    #[arg(long, value_name = "ADDR", default_value = METRICS)]
    metrics: String,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl ShowStatus {
    pub(super) async fn execute(self) -> Outcome {
        let page = scrape::page(&self.metrics).await?;
        let status = Status::of(&page)
            .map_err(|reason| format!("{} does not serve the metrics of a gateway: {reason}", self.metrics))?;
        let text = if self.json { format!("{}\n", as_json(&status)) } else { as_text(&status) };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn as_text(status: &Status) -> String {
    let total = |name: &str| status.total(name);
    let enclave = if total("enclave_up") == 1 { "up" } else { "down" };
    let mut text = format!(
        "gateway   {}, enclave {enclave}, {} restarts\n\
         sessions  {} open, {} in all, {} lost with their enclave\n\
         agents    {} connected, {} in all, {} turned away\n\
         audit     {} batches and {} records stored, {} calls refused or answers withheld for want of the store\n",
        printable(&status.version),
        total("enclave_restarts_total"),
        total("sessions_open"),
        total("sessions_total"),
        total("sessions_lost_total"),
        total("connections_open"),
        total("connections_total"),
        total("connections_refused_total"),
        total("audit_batches_total"),
        total("audit_records_total"),
        total("audit_unavailable_total"),
    );
    let called: Vec<&Tool> = status.tools.iter().filter(|tool| tool.total() > 0).collect();
    if called.is_empty() {
        text.push_str("\nno calls yet\n");
    } else {
        let heading = ["tool", "allow", "deny", "advisory_deny", "fault", "p50", "p99"].map(str::to_owned);
        text.push('\n');
        text.push_str(&table(&[vec![heading.into()], called.into_iter().map(row).collect()].concat()));
    }
    if !status.refusals.is_empty() {
        let heading = vec!["answers with an error code".to_owned(), "number".to_owned()];
        let rows = status.refusals.iter().map(|(code, answers)| vec![printable(code), answers.to_string()]);
        text.push('\n');
        text.push_str(&table(&[vec![heading], rows.collect()].concat()));
    }
    text
}

fn row(tool: &Tool) -> Vec<String> {
    let name = if tool.name.is_empty() { "(none of the catalog)".to_owned() } else { printable(&tool.name) };
    let latencies = [500, 990].map(|quantile| tool.latency.quantile(quantile).map_or_else(|| "-".to_owned(), latency));
    [vec![name], tool.calls.map(|calls| calls.to_string()).into(), latencies.into()].concat()
}

fn latency(latency: Latency) -> String {
    let text = match latency.us() {
        us @ ..1000 => format!("{us} us"),
        us @ ..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        us => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    };
    match latency {
        Latency::About(_) => text,
        Latency::Above(_) => format!("> {text}"),
    }
}

/// The first column to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") }
        });
        cells.collect::<String>() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What a terminal shows and does not obey.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

fn as_json(status: &Status) -> Value {
    let total = |name: &str| status.total(name);
    json!({
        "version": status.version,
        "enclave": { "up": total("enclave_up") == 1, "restarts": total("enclave_restarts_total") },
        "sessions": {
            "open": total("sessions_open"),
            "total": total("sessions_total"),
            "lost": total("sessions_lost_total"),
        },
        "connections": {
            "open": total("connections_open"),
            "total": total("connections_total"),
            "refused": total("connections_refused_total"),
        },
        "audit": {
            "batches": total("audit_batches_total"),
            "records": total("audit_records_total"),
            "unavailable": total("audit_unavailable_total"),
        },
        "tools": status.tools.iter().map(tool_as_json).collect::<Vec<_>>(),
        "refusals": status.refusals.iter().map(|(code, answers)| (code.clone(), json!(answers))).collect::<Map<_, _>>(),
    })
}

fn tool_as_json(tool: &Tool) -> Value {
    let [allow, deny, advisory_deny, fault] = tool.calls;
    let seconds = |thousandths: u32| {
        tool.latency.quantile(thousandths).map(|latency| Duration::from_micros(latency.us()).as_secs_f64())
    };
    json!({
        "tool": (!tool.name.is_empty()).then_some(&tool.name),
        "calls": { "allow": allow, "deny": deny, "advisory_deny": advisory_deny, "fault": fault },
        "p50_seconds": seconds(500),
        "p99_seconds": seconds(990),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let page = "cmcp_build_info{version=\"0.1.0\"} 1\n\
                    cmcp_enclave_up 1\n\
                    cmcp_sessions_open 2\n\
                    cmcp_audit_records_total 12\n\
                    cmcp_refusals_total{code=\"POLICY_DENY\"} 3\n\
                    cmcp_calls_total{tool=\"salesforce.contacts\",decision=\"allow\"} 10\n\
                    cmcp_calls_total{tool=\"unused\",decision=\"allow\"} 0\n\
                    cmcp_calls_total{tool=\"\",decision=\"deny\"} 3\n\
                    cmcp_call_latency_seconds_bucket{tool=\"salesforce.contacts\",le=\"0.001\"} 5\n\
                    cmcp_call_latency_seconds_bucket{tool=\"salesforce.contacts\",le=\"60\"} 9\n\
                    cmcp_call_latency_seconds_bucket{tool=\"salesforce.contacts\",le=\"+Inf\"} 10\n";
        Status::of(page).unwrap()
    }

    #[test]
    fn people_get_a_table() {
        let text = as_text(&status());
        let expected = "\
tool                   allow  deny  advisory_deny  fault     p50       p99
salesforce.contacts       10     0              0      0  1.0 ms  > 60.0 s
(none of the catalog)      0     3              0      0       -         -

answers with an error code  number
POLICY_DENY                      3
";
        assert!(text.starts_with("gateway   0.1.0, enclave up, 0 restarts\nsessions  2 open, "), "{text}");
        assert!(text.contains(", 0 restarts\n") && text.contains("12 records"), "{text}");
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn machines_get_an_object() {
        let json = as_json(&status());
        assert_eq!(json["sessions"], json!({ "open": 2, "total": 0, "lost": 0 }));
        let allowed = json!({ "allow": 10, "deny": 0, "advisory_deny": 0, "fault": 0 });
        assert_eq!(json["tools"][0]["calls"], allowed);
        assert_eq!((&json["tools"][0]["p50_seconds"], &json["tools"][0]["p99_seconds"]), (&json!(0.001), &json!(60.0)));
        assert_eq!((&json["tools"][2]["tool"], &json["tools"][2]["p50_seconds"]), (&Value::Null, &Value::Null));
        assert_eq!(json["refusals"], json!({ "POLICY_DENY": 3 }));
    }

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a?[2Jb?");
    }

    #[test]
    fn latencies_have_a_unit() {
        let shown = [999, 1000, 999_999, 2_540_000].map(|us| latency(Latency::About(us)));
        assert_eq!(shown, ["999 us", "1.0 ms", "999.9 ms", "2.5 s"]);
    }
}
