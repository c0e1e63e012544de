//! Compares what the entries say with what the claim says of them.

use claim::entry::{Entry, EntryType};
use claim::json::Json;

use crate::shape;
use crate::trace_claim::{View, bare};

use super::reader::Bundle;
use super::walk::Walk;
use super::{BundleReason, Report, rank};

/// How far the claim's whole seconds may be behind the microseconds of an entry, in microseconds.
const IAT_ROUNDING: i64 = 1_000_000;

/// A bundle and its claim.
pub(super) fn compare(bundle: &Bundle<'_>, claim: &Json, report: &mut Report) {
    let claim = View::new(claim);
    // Entries that do not form a chain have been reported; what they add up to means nothing.
    let Some(walk) = &bundle.walk else { return };
    if let Some(stated) = bundle.session_id.as_ref().filter(|stated| **stated != walk.session_id) {
        let message =
            format!("the bundle is of {}, its entries of {}", shape::quoted(stated), shape::quoted(&walk.session_id));
        report.fail("session_id", BundleReason::SessionMismatch, None, message);
    }
    with_walk(walk, &claim, report);
    listed_calls(bundle, report);
}

/// A history and a claim on its tip.
pub(super) fn with_walk(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let claimed = claim.text(&["gateway", "session_id"]);
    let (expected, found) = (shape::quoted(claimed), shape::quoted(&walk.session_id));
    let same = walk.session_id == claimed;
    verdict(report, "session_id", BundleReason::SessionMismatch, same, &expected, &found);
    chain(walk, claim, report);
    transcript(walk, claim, report);
    summary(walk, claim, report);
    sensitivity(walk, claim, report);
    flags(walk, claim, report);
    commitments(walk, claim, report);
    times(walk, claim, report);
}

fn chain(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let root = walk.chain.root().map(|root| root.hex()).unwrap_or_default();
    let tip = walk.chain.tip().map(|tip| tip.hex()).unwrap_or_default();
    let length = claim.int(&["gateway", "audit_chain", "length"]).unwrap_or_default();
    let entries = walk.chain.length();
    verdict(report, "audit_chain.root", BundleReason::RootMismatch, claim.root() == root, claim.root(), &root);
    verdict(report, "audit_chain.tip", BundleReason::TipMismatch, claim.tip() == tip, claim.tip(), &tip);
    let same = u64::try_from(length) == Ok(entries);
    verdict(
        report,
        "audit_chain.length",
        BundleReason::LengthMismatch,
        same,
        &length.to_string(),
        &entries.to_string(),
    );
}

fn transcript(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let hash = claim.at(&["trace", "tool_transcript", "hash"]).and_then(Json::as_str);
    let tip = walk.tip().map(|tip| tip.hex()).unwrap_or_default();
    let ok = hash.map_or(walk.totals.calls == 0, |hash| bare(hash) == tip);
    let found = hash.unwrap_or("no hash");
    verdict(report, "tool_transcript.hash", BundleReason::TranscriptHashMismatch, ok, &tip, found);
    let count = claim.int(&["trace", "tool_transcript", "call_count"]);
    let ok = count.map_or(hash.is_none(), |count| u64::try_from(count) == Ok(walk.totals.calls));
    let found = count.map_or_else(|| "none".to_owned(), |count| count.to_string());
    let calls = walk.totals.calls.to_string();
    verdict(report, "tool_transcript.call_count", BundleReason::CallCountMismatch, ok, &calls, &found);
}

fn listed_calls(bundle: &Bundle<'_>, report: &mut Report) {
    match bundle.calls.difference() {
        Some(difference) => {
            report.fail("tool_transcript.entries", BundleReason::TranscriptEntriesDiffer, None, difference);
        }
        None if bundle.calls.listed() => report.pass("tool_transcript.entries", "the calls of the bundle"),
        None => {}
    }
}

fn summary(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let totals = &walk.totals;
    for (name, expected) in [
        ("tool_calls_total", totals.calls),
        ("tool_calls_allowed", totals.allowed),
        ("tool_calls_denied", totals.denied),
        ("tool_calls_faulted", totals.faulted),
    ] {
        let found = claim.int(&["gateway", "call_summary", name]).unwrap_or_default();
        if u64::try_from(found) != Ok(expected) {
            let message = format!("{name} is {found}, the entries amount to {expected}");
            return report.fail("call_summary", BundleReason::SummaryMismatch, None, message);
        }
    }
    let listed = claim.list(&["gateway", "call_summary", "tools_invoked"]).unwrap_or_default();
    if !listed.iter().map(Json::as_str).eq(totals.tools.iter().map(|tool| Some(tool.as_str()))) {
        let expected: Vec<_> = totals.tools.iter().map(|tool| shape::quoted(tool)).collect();
        let message = format!("tools_invoked differs from those of the entries: {}", expected.join(", "));
        return report.fail("call_summary", BundleReason::SummaryMismatch, None, message);
    }
    report
        .pass("call_summary", format!("{} calls, {} denied, {} faulted", totals.calls, totals.denied, totals.faulted));
}

/// Labels of equal rank stand for each other: which of them a claim names is the gateway's choice.
fn sensitivity(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let Some(highest) = &walk.highest else { return };
    for path in [["gateway", "call_summary", "session_max_sensitivity"].as_slice(), &["trace", "data_class"]] {
        let claimed = claim.text(path);
        let same = match (rank(claimed), rank(highest)) {
            (Some(claimed), Some(highest)) => claimed == highest,
            // A deployment's own vocabulary has no order here.
            _ => true,
        };
        if !same {
            let message = format!(
                "{} is {}, the entries reach {}",
                path.join("."),
                shape::quoted(claimed),
                shape::quoted(highest)
            );
            return report.fail("sensitivity", BundleReason::SensitivityMismatch, None, message);
        }
    }
    report.pass("sensitivity", highest.clone());
}

fn flags(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    for (name, path, flag, reason) in [
        (
            "drift_detected",
            ["gateway", "catalog", "drift_detected"].as_slice(),
            walk.flags.drift,
            BundleReason::DriftContradicted,
        ),
        (
            "attestation_stale",
            &["gateway", "attestation_stale"],
            walk.flags.stale || outlived(claim),
            BundleReason::StaleContradicted,
        ),
        (
            "kill_switch_triggered",
            &["gateway", "kill_switch_triggered"],
            walk.flags.killed,
            BundleReason::KillSwitchContradicted,
        ),
    ] {
        let claimed = claim.flag(path);
        verdict(report, name, reason, claimed == flag, &flag.to_string(), &claimed.to_string());
    }
}

/// Whether the attestation had outlived its validity when the claim was issued, in whole seconds.
fn outlived(claim: &View<'_>) -> bool {
    let issued = claim.int(&["trace", "iat"]).unwrap_or_default();
    let validity = claim.int(&["gateway", "attestation_validity_seconds"]).unwrap_or_default();
    claim.generated_at().is_ok_and(|generated| issued.saturating_sub(generated.seconds()) > validity)
}

/// What session_start commits to is under the chain's root, and so under the hardware binding.
fn commitments(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let committed = |name| walk.commitments.as_ref().and_then(|detail| detail.get(name)).and_then(Json::as_str);
    let mut seen = 0_u8;
    for (name, path) in [
        ("policy_bundle_hash", ["trace", "policy", "bundle_hash"]),
        ("catalog_hash", ["gateway", "catalog", "hash"]),
        ("enforcement_mode", ["trace", "policy", "enforcement_mode"]),
    ] {
        let Some(committed) = committed(name) else { continue };
        seen = seen.saturating_add(1);
        let claimed = claim.text(&path);
        if bare(committed) != bare(claimed) {
            let message = format!(
                "{} is {}, session_start says {}",
                path.join("."),
                shape::quoted(claimed),
                shape::quoted(committed)
            );
            return report.fail("commitments", BundleReason::CommitmentMismatch, None, message);
        }
    }
    match seen {
        0 => report.open("commitments", "session_start names no policy and no catalog"),
        _ => report.pass("commitments", "policy, catalog and mode as in session_start"),
    }
}

fn times(walk: &Walk, claim: &View<'_>, report: &mut Report) {
    let iat = claim.int(&["trace", "iat"]).unwrap_or_default().saturating_mul(1_000_000);
    let Some(last) = walk.last else { return };
    let ok = last.micros() <= iat.saturating_add(IAT_ROUNDING);
    let issued = claim::time::Timestamp::from_micros(iat).to_string();
    let name = "issued_after_entries";
    verdict(
        report,
        name,
        BundleReason::ClaimOlderThanEntries,
        ok,
        &format!("no later than {issued}"),
        &last.to_string(),
    );
}

fn verdict(report: &mut Report, name: &'static str, reason: BundleReason, ok: bool, expected: &str, found: &str) {
    if ok {
        report.pass(name, found);
    } else {
        report.fail(name, reason, None, format!("expected {expected}, found {found}"));
    }
}

/// The calls that a claim's transcript lists, compared with the bundle's as they are read.
#[derive(Default)]
pub(super) struct Calls<'c> {
    listed: Option<&'c [Json]>,
    next: usize,
    difference: Option<String>,
}

impl<'c> Calls<'c> {
    pub(super) fn listed_by(claim: Option<&'c Json>) -> Self {
        let listed = claim.and_then(|claim| View::new(claim).list(&["trace", "tool_transcript", "entries"]));
        Self { listed, ..Self::default() }
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        // A call of a tool that the catalog does not have is counted and has no name to list.
        let is_listed = entry.entry_type == EntryType::ToolCall && entry.tool_name.is_some();
        let Some(listed) = self.listed.filter(|_| is_listed) else { return };
        let call = self.next;
        self.next = self.next.saturating_add(1);
        if self.difference.is_none() {
            self.difference = listed
                .get(call)
                .map_or_else(|| Some(format!("call {call} is not listed")), |item| differs(item, entry, call));
        }
    }

    fn listed(&self) -> bool {
        self.listed.is_some()
    }

    fn difference(&self) -> Option<String> {
        let listed = self.listed?;
        self.difference.clone().or_else(|| {
            let extra = listed.len() > self.next;
            extra.then(|| format!("{} calls are listed, the bundle names {}", listed.len(), self.next))
        })
    }
}

fn differs(item: &Json, entry: &Entry, call: usize) -> Option<String> {
    let listed = |name| item.get(name).and_then(Json::as_str).unwrap_or_default();
    let decision = entry.policy_decision.map_or("n/a", |decision| decision.in_transcript().as_str());
    for (name, actual) in [
        ("tool_name", entry.tool_name.as_deref()),
        ("decision", Some(decision)),
        ("data_class", entry.effective_data_class.as_deref()),
    ] {
        if let Some(actual) = actual
            && listed(name) != actual
        {
            let listed = shape::quoted(listed(name));
            return Some(format!("call {call}: {name} is {listed}, the entry says {}", shape::quoted(actual)));
        }
    }
    None
}
