//! What tool servers write to their standard error, as lines of the log.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

use crate::limits;
use crate::report::Reporter;

/// Logs the lines of one process until it closes its standard error.
pub(super) async fn log(mut stderr: ChildStderr, server: String, process: i32, reporter: Reporter) {
    let mut lines = Lines { line: Vec::new(), budget: Budget::new(), server, process, reporter };
    let mut buffer = vec![0; 4 << 10];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        buffer.get(..read).unwrap_or_default().iter().for_each(|byte| lines.push(*byte));
    }
    lines.finish();
}

struct Lines {
    /// As much of the line as will be shown.
    line: Vec<u8>,
    budget: Budget,
    server: String,
    process: i32,
    reporter: Reporter,
}

impl Lines {
    fn push(&mut self, byte: u8) {
        if byte == b'\n' {
            self.finish();
        } else if self.line.len() < limits::STDERR_LINE {
            self.line.push(byte);
        }
    }

    fn finish(&mut self) {
        let line = shown(&std::mem::take(&mut self.line));
        if line.is_empty() {
            return;
        }
        let Some(left_out) = self.budget.spend() else { return };
        let (server, process) = (&self.server, self.process);
        if left_out > 0 {
            let text = format!("tool server {server}: {left_out} more lines were left out");
            self.reporter.info("left_out", &text, json!({ "server": server, "process": process, "lines": left_out }));
        }
        let fields = json!({ "server": server, "process": process, "line": line });
        self.reporter.info("stderr", &format!("tool server {server}: {line}"), fields);
    }
}

/// Text that no terminal takes for anything else.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let escape = |c: char| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() };
    text.trim_end().chars().map(escape).collect()
}

/// So many lines a second.
pub(super) struct Budget {
    second: Instant,
    lines: u32,
    left_out: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { second: Instant::now(), lines: 0, left_out: 0 }
    }

    /// How many lines were left out before this one; nothing if this one is left out too.
    pub(super) fn spend(&mut self) -> Option<u64> {
        let mut before = 0;
        if self.second.elapsed() >= Duration::from_secs(1) {
            before = self.left_out;
            *self = Self::new();
        }
        if self.lines >= limits::LOG_LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_made_harmless() {
        assert_eq!(shown(b"plain \xff\x1b[31mred\r"), "plain \u{fffd}\\u{1b}[31mred");
    }

    #[test]
    fn lines_are_limited_and_the_rest_is_counted() {
        let mut budget = Budget::new();
        let shown = (0..limits::LOG_LINES + 5).filter_map(|_| budget.spend()).count();
        assert_eq!(shown, usize::try_from(limits::LOG_LINES).unwrap());
        budget.second -= Duration::from_secs(1);
        assert_eq!(budget.spend(), Some(5));
    }
}
