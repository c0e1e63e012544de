//! Verdicts for people: one line a check, then one line that says what it comes to.

use std::io::{self, Write};

use crate::verdict::{Check, Outcome, Status};

/// Columns that check names fill.
const NAME: usize = 26;
/// Columns that outcomes fill.
const OUTCOME: usize = 11;

/// Writes the checks under a heading.
pub(super) fn checks(out: &mut dyn Write, heading: &str, checks: &[Check]) -> io::Result<()> {
    writeln!(out, "{}", printable(heading))?;
    checks.iter().try_for_each(|check| line(out, check.name, check.outcome, &check.actual, &check.expected))
}

/// Writes one check; what should be there only if something else is.
pub(super) fn line(out: &mut dyn Write, name: &str, outcome: Outcome, found: &str, expected: &str) -> io::Result<()> {
    writeln!(out, "{}", format!("  {name:NAME$} {:OUTCOME$} {}", outcome.as_str(), printable(found)).trim_end())?;
    if outcome == Outcome::Fail && !expected.is_empty() {
        writeln!(out, "  {:NAME$} {:OUTCOME$} expected: {}", "", "", printable(expected))?;
    }
    Ok(())
}

/// Writes the verdict and what it means.
pub(super) fn result(out: &mut dyn Write, status: Status, reason: Option<&str>, open: &[&str]) -> io::Result<()> {
    match reason {
        Some(reason) => writeln!(out, "RESULT: {status} ({reason})")?,
        None => writeln!(out, "RESULT: {status}")?,
    }
    match status {
        Status::Verified => writeln!(out, "Everything was judged, and nothing is wrong."),
        Status::PartiallyVerified => writeln!(out, "Nothing is wrong. Not judged: {}.", open.join(", ")),
        Status::Unverified => writeln!(out, "Do not rely on it: the lines marked FAIL say what is wrong."),
    }
}

/// Text of a peer without what would move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
