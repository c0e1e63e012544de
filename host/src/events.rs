//! What the enclave says, in the operator's words.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::{BootRefusal, BootReport, Counters, Enforcement, LogEvent, Provider, ReloadReport, StoreFailure};

use crate::documents::{Catalog, Documents, Finding, Origin};
use crate::report::{Reporter, hex, sha256};
use crate::{codes, limits};

/// The three lines about what was loaded.
pub fn loaded(reporter: Reporter, report: &BootReport) {
    let (provider, mode) = (provider(report.provider), enforcement(report.enforcement));
    let (bundle, catalog) = (sha256(report.bundle_hash), sha256(report.catalog_hash));
    reporter.info(
        "enclave",
        &format!("provider={provider} enforcement_mode={mode}"),
        json!({
            "provider": provider,
            "enforcement_mode": mode,
            "boot_id": hex(&report.boot_id),
            "public_key": hex(&report.public_key),
            "config_hash": sha256(report.config_hash),
        }),
    );
    let signed_by = report.policy_signed_by.map(sha256);
    let signed = signed_by.as_ref().map_or_else(String::new, |key| format!(", signed by {key}"));
    reporter.info(
        "policy",
        &format!("policy bundle loaded: {bundle}{signed}"),
        json!({ "bundle_hash": bundle, "policies": report.policies, "signed_by": signed_by }),
    );
    if report.halted {
        let text = "halted, every call is refused: kill_switch.enabled needs operator controls; sign a file with cmcp-verify \
                    operator sign-controls, name it in controls_path, and start again";
        reporter.warn("halted", text, json!({}));
    }
    if let Some(epoch) = report.controls_epoch {
        reporter.info("controls", &format!("operator controls loaded: epoch {epoch}"), json!({ "epoch": epoch }));
    }
    reporter.info(
        "catalog",
        &format!("catalog loaded: {} tools, {catalog}", report.tools),
        json!({ "catalog_hash": catalog, "tools": report.tools }),
    );
}

/// Where to read what the authors of the documents should reconsider.
pub fn warnings(reporter: Reporter, report: &BootReport, documents: &Documents) {
    let warnings = all_warnings(report, documents);
    let (Origin::Files { config, .. }, count @ 1..) = (&documents.origin, warnings.len()) else { return };
    let text = format!("warnings about the documents: {count}; see host check --config {}", config.display());
    reporter.warn("warnings", &text, json!({ "warnings": warnings }));
}

/// The enclave's warnings about the documents, and the host's about the programs that they name.
pub fn all_warnings(report: &BootReport, documents: &Documents) -> Vec<String> {
    let unready = documents.unready().into_iter().map(|finding| finding.to_string());
    report.warnings.iter().map(|warning| warning.0.clone()).chain(unready).collect()
}

/// What became of a policy bundle that was read again.
pub fn reloaded(reporter: Reporter, outcome: Result<&ReloadReport, &Finding>) {
    match outcome {
        Ok(report) => {
            let (bundle, signed_by) = (sha256(report.bundle_hash), sha256(report.signed_by));
            let text =
                format!("policy bundle reloaded: {bundle}, signed by {signed_by}; new sessions are decided by it");
            let warnings: Vec<_> = report.warnings.iter().map(|warning| warning.0.as_str()).collect();
            let fields = json!({ "bundle_hash": bundle, "policies": report.policies, "signed_by": signed_by, "warnings": warnings });
            reporter.info("policy_reloaded", &text, fields);
        }
        Err(finding) => {
            let text = format!("policy bundle not reloaded, the one before stays: {finding}");
            reporter.warn("policy_not_reloaded", &text, json!({ "file": finding.file, "field": finding.field }));
        }
    }
}

/// The enclave does not attach this to claims.
pub fn collateral_refused(reporter: Reporter, refusal: &BootRefusal) {
    let BootRefusal { field, found, expected, .. } = refusal;
    let text = format!("collateral is not attached to claims: {}: found {}, expected {}", field.0, found.0, expected.0);
    reporter.warn("collateral_refused", &text, json!({}));
}

/// As in the configuration; of Azure also which hardware.
pub fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::SoftwareOnly => "software-only",
        Provider::AzureSnp => "azure (SEV-SNP)",
        Provider::AzureTdx => "azure (TDX)",
        Provider::SevSnp => "sev-snp",
        Provider::Tdx => "tdx",
        Provider::Tpm => "tpm",
    }
}

/// As in the configuration.
pub fn enforcement(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::Enforcing => "enforcing",
        Enforcement::Advisory => "advisory",
        Enforcement::Silent => "silent",
    }
}

/// Log events with the names that their numbers stand for, so many a second.
#[derive(Debug)]
pub struct Log {
    reporter: Reporter,
    second: Instant,
    lines: u32,
    left_out: u64,
}

impl Log {
    /// Reports here.
    pub fn new(reporter: Reporter) -> Self {
        Self { reporter, second: Instant::now(), lines: 0, left_out: 0 }
    }

    /// An event of the enclave's.
    pub fn event(&mut self, catalog: &Catalog, event: LogEvent) {
        if !self.has_room() {
            return;
        }
        let (name, text, fields) = described(catalog, event);
        match event {
            LogEvent::Denied { .. } | LogEvent::StoreRecovered { .. } | LogEvent::AttestationRenewed => {
                self.reporter.info(name, &text, fields);
            }
            _ => self.reporter.warn(name, &text, fields),
        }
    }

    /// An agent was not served, because too many are.
    pub fn turned_away(&mut self) {
        if self.has_room() {
            let text = format!("an agent was turned away: {} are connected", limits::CONNECTIONS);
            self.reporter.warn("turned_away", &text, json!({ "connections": limits::CONNECTIONS }));
        }
    }

    /// A batch could not be stored.
    pub fn store_failed(&mut self, failure: StoreFailure) {
        if self.has_room() {
            let reason = match failure {
                StoreFailure::Full => "no space is left",
                StoreFailure::Io => "the disk failed; restart the host when it is repaired",
                StoreFailure::OutOfOrder => "it is not the next one",
            };
            self.reporter.warn("not_stored", &format!("a batch of records was not stored: {reason}"), json!({}));
        }
    }

    /// Says what was left out, once its second is over.
    pub fn catch_up(&mut self) {
        if self.second.elapsed() < Duration::from_secs(1) {
            return;
        }
        if self.left_out > 0 {
            let text = format!("{} more such events were left out", self.left_out);
            self.reporter.info("left_out", &text, json!({ "events": self.left_out }));
        }
        *self = Self::new(self.reporter);
    }

    fn has_room(&mut self) -> bool {
        self.catch_up();
        let room = self.lines < limits::LOG_LINES;
        self.lines += u32::from(room);
        self.left_out += u64::from(!room);
        room
    }
}

fn described(catalog: &Catalog, event: LogEvent) -> (&'static str, String, Value) {
    match event {
        LogEvent::Denied { session, tool, advisory } => {
            let tool = catalog.tool_name(tool);
            let outcome = if advisory { "forwarded all the same (advisory)" } else { "not forwarded" };
            let text = format!("denied: {tool} in session {session}, {outcome}");
            ("denied", text, json!({ "session": session, "tool": tool, "forwarded": advisory }))
        }
        LogEvent::Faulted { session, tool, code } => {
            let tool = catalog.tool_name(tool);
            let name = codes::name(code);
            let text = format!("fault {name}: {tool} in session {session} (docs/errors.md)");
            ("faulted", text, json!({ "session": session, "tool": tool, "code": code, "error_code": name }))
        }
        LogEvent::Unapproved { session, tool, code } => {
            let tool = catalog.tool_name(tool);
            let name = codes::name(code);
            let text = format!("{name}: {tool} in session {session} (docs/errors.md)");
            ("unapproved", text, json!({ "session": session, "tool": tool, "code": code, "error_code": name }))
        }
        LogEvent::StoreUnavailable => {
            ("store_unavailable", "the record store does not answer; calls are refused".to_owned(), json!({}))
        }
        LogEvent::StoreRecovered { refused } => (
            "store_recovered",
            format!("the record store answers again; {refused} calls were refused meanwhile"),
            json!({ "refused": refused }),
        ),
        LogEvent::StoreLost { batch } => (
            "store_lost",
            format!("the record store lost batch {batch} and what follows; calls are refused until the next start"),
            json!({ "batch": batch }),
        ),
        LogEvent::AttestationStale => (
            "attestation_stale",
            "the evidence has outlived its validity and cannot be renewed: the TEE or TPM does not answer".to_owned(),
            json!({}),
        ),
        LogEvent::AttestationRenewed => ("attestation_renewed", "the evidence is renewed again".to_owned(), json!({})),
        LogEvent::Dropped { events } => {
            ("dropped", format!("{events} log events were dropped"), json!({ "events": events }))
        }
    }
}

/// Running totals as JSON fields.
pub fn totals(counters: &Counters) -> Value {
    let [allowed, denied, advisory_denied, faulted] = counters.calls;
    json!({
        "sessions_open": counters.sessions_open,
        "sessions_total": counters.sessions_total,
        "calls_allowed": allowed,
        "calls_denied": denied,
        "calls_advisory_denied": advisory_denied,
        "calls_faulted": faulted,
        "batches": counters.batches,
        "records": counters.records,
        "audit_unavailable": counters.audit_unavailable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_the_rest_is_counted() {
        let mut log = Log::new(Reporter::new(crate::report::LogFormat::Text));
        (0..limits::LOG_LINES + 5).for_each(|_| log.turned_away());
        assert_eq!((log.lines, log.left_out), (limits::LOG_LINES, 5));
        log.second -= Duration::from_secs(1);
        log.catch_up();
        assert_eq!((log.lines, log.left_out), (0, 0));
    }

    #[test]
    fn events_name_the_tool() {
        let catalog = Catalog::lenient(crate::quickstart::CATALOG.as_bytes());
        let (name, text, fields) = described(&catalog, LogEvent::Denied { session: 3, tool: 0, advisory: true });
        assert_eq!(name, "denied");
        assert_eq!(text, "denied: salesforce.contacts in session 3, forwarded all the same (advisory)");
        assert_eq!(fields, json!({ "session": 3, "tool": "salesforce.contacts", "forwarded": true }));
    }
}
