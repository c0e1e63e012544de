//! One pass over a session's entries, in memory that does not grow with them.

use std::collections::BTreeSet;

use claim::Digest;
use claim::entry::{Chain, Entry, EntryError, EntryType, LinkError, PolicyDecision};
use claim::json::Json;
use claim::time::Timestamp;

use crate::shape::{self, Misfit};

use super::{BundleReason, Finality};

/// What is wrong with the next entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryFault {
    pub(crate) reason: BundleReason,
    pub(crate) message: String,
}

impl EntryFault {
    pub(crate) fn new(reason: BundleReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl From<Misfit> for EntryFault {
    fn from(misfit: Misfit) -> Self {
        Self::new(misfit.fault.into(), misfit.to_string())
    }
}

/// What the calls amount to, as the claim's call summary counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u64,
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
    pub(crate) faulted: u64,
    /// Each tool once; as many as the catalog has, plus what callers asked for in vain.
    pub(crate) tools: BTreeSet<String>,
}

/// What entries of certain types say, as the claim's flags sum it up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) drift: bool,
    pub(crate) stale: bool,
    pub(crate) killed: bool,
}

/// Where a session's history stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    pub(crate) chain: Chain,
    pub(crate) totals: Totals,
    pub(crate) session_id: String,
    /// The `detail` of session_start.
    pub(crate) commitments: Option<Json>,
    /// Time of the last entry.
    pub(crate) last: Option<Timestamp>,
    /// Highest label of the session, whatever was cleared in between.
    pub(crate) highest: Option<String>,
    /// Highest label since the last reset.
    held: Option<String>,
    pub(crate) flags: Flags,
    pub(crate) ended: bool,
}

impl Walk {
    /// Reads one entry strictly: 24 members, integers only, its own hash.
    pub(crate) fn read(value: &Json) -> Result<Entry, EntryFault> {
        shape::integers(value, "entry")?;
        Entry::parse(value).map_err(|error| match error {
            EntryError::Hash { .. } => EntryFault::new(BundleReason::EntryHashMismatch, error.to_string()),
            EntryError::Shape(_) => EntryFault::new(BundleReason::EntryMalformed, error.to_string()),
        })
    }

    /// Takes the next entry, if it can be the next.
    pub(crate) fn next(&mut self, entry: &Entry) -> Result<(), EntryFault> {
        self.place(entry)?;
        self.chain.accept(entry).map_err(|error| {
            let reason = match error {
                LinkError::Sequence { .. } => BundleReason::SequenceGap,
                LinkError::Previous { .. } => BundleReason::LinkBroken,
            };
            EntryFault::new(reason, error.to_string())
        })?;
        self.session(entry)?;
        self.time(entry)?;
        self.labels(entry)?;
        self.count(entry);
        self.flag(entry);
        Ok(())
    }

    pub(crate) fn finality(&self) -> Finality {
        if self.ended { Finality::Final } else { Finality::Interim }
    }

    pub(crate) fn tip(&self) -> Option<Digest> {
        self.chain.tip()
    }

    fn place(&self, entry: &Entry) -> Result<(), EntryFault> {
        let first = self.chain.length() == 0;
        let fail = |message: &str| Err(EntryFault::new(BundleReason::OutOfPlace, message));
        match entry.entry_type {
            _ if self.ended => fail("an entry after session_end"),
            EntryType::SessionStart if !first => fail("a second session_start"),
            EntryType::SessionStart => Ok(()),
            _ if first => fail("the first entry is not session_start"),
            _ => Ok(()),
        }
    }

    /// The session changes only by a reset that names the session it ends and the one it begins.
    fn session(&mut self, entry: &Entry) -> Result<(), EntryFault> {
        if self.chain.length() == 1 {
            self.session_id.clone_from(&entry.session_id);
            self.commitments.clone_from(&entry.detail);
        }
        if entry.session_id != self.session_id {
            let found = shape::quoted(&entry.session_id);
            let message = format!("session {found} in the chain of {}", shape::quoted(&self.session_id));
            return Err(EntryFault::new(BundleReason::SessionChanged, message));
        }
        if entry.entry_type == EntryType::SessionReset {
            self.held = None;
            self.follow_reset(entry.detail.as_ref())?;
        }
        Ok(())
    }

    fn follow_reset(&mut self, detail: Option<&Json>) -> Result<(), EntryFault> {
        let member = |name| detail.and_then(|detail| detail.get(name)).and_then(Json::as_str);
        let Some(successor) = member("successor_session_id") else { return Ok(()) };
        if member("closed_session_id") != Some(&self.session_id) || successor.is_empty() {
            let message = "session_reset does not name the session that it ends";
            return Err(EntryFault::new(BundleReason::SessionChanged, message));
        }
        if successor != self.session_id {
            self.highest = None;
            successor.clone_into(&mut self.session_id);
        }
        Ok(())
    }

    fn time(&mut self, entry: &Entry) -> Result<(), EntryFault> {
        let now = entry.timestamp_utc.at();
        if let Some(last) = self.last.filter(|last| *last > now) {
            return Err(EntryFault::new(BundleReason::TimeReversed, format!("{now} after {last}")));
        }
        self.last = Some(now);
        Ok(())
    }

    /// A call can raise the session's label, never lower it. Calls overlap, so entries are held to what each says of
    /// itself; that the end has the highest label of all is asked of session_end.
    fn labels(&mut self, entry: &Entry) -> Result<(), EntryFault> {
        if entry.entry_type == EntryType::SessionReset {
            self.raise(entry.session_sensitivity_after.as_deref());
            return Ok(());
        }
        let before = entry.session_sensitivity_before.as_deref();
        let after = entry.session_sensitivity_after.as_deref();
        fell(before, after)?;
        if entry.entry_type == EntryType::SessionEnd {
            fell(self.held.as_deref(), after.or(before))?;
        }
        self.raise(before);
        self.raise(after);
        Ok(())
    }

    fn raise(&mut self, label: Option<&str>) {
        let Some(label) = label else { return };
        for highest in [&mut self.highest, &mut self.held] {
            let higher = match highest {
                None => true,
                Some(highest) => matches!((rank(highest), rank(label)), (Some(old), Some(new)) if new > old),
            };
            if higher {
                *highest = Some(label.to_owned());
            }
        }
    }

    fn count(&mut self, entry: &Entry) {
        if entry.entry_type != EntryType::ToolCall {
            return;
        }
        let totals = &mut self.totals;
        totals.calls = totals.calls.saturating_add(1);
        let counter = match entry.policy_decision {
            Some(PolicyDecision::Allow) => Some(&mut totals.allowed),
            Some(PolicyDecision::Deny | PolicyDecision::AdvisoryDeny) => Some(&mut totals.denied),
            Some(PolicyDecision::Fault) => Some(&mut totals.faulted),
            _ => None,
        };
        if let Some(counter) = counter {
            *counter = counter.saturating_add(1);
        }
        if let Some(tool) = &entry.tool_name
            && !totals.tools.contains(tool)
        {
            totals.tools.insert(tool.clone());
        }
    }

    fn flag(&mut self, entry: &Entry) {
        match entry.entry_type {
            EntryType::SuspiciousCallSequence if is_kill_switch(entry) => self.flags.killed = true,
            EntryType::CatalogDrift => self.flags.drift = true,
            EntryType::AttestationStale => self.flags.stale = true,
            EntryType::AttestationRefresh => self.flags.stale = false,
            EntryType::SessionEnd => self.ended = true,
            _ => {}
        }
    }
}

fn is_kill_switch(entry: &Entry) -> bool {
    entry.detail.as_ref().and_then(|detail| detail.get("control")).and_then(Json::as_str) == Some("kill_switch")
}

fn fell(before: Option<&str>, after: Option<&str>) -> Result<(), EntryFault> {
    match (before, after) {
        (Some(before), Some(after)) if matches!((rank(before), rank(after)), (Some(b), Some(a)) if a < b) => {
            let message = format!("from {} to {}", shape::quoted(before), shape::quoted(after));
            Err(EntryFault::new(BundleReason::LabelDropped, message))
        }
        _ => Ok(()),
    }
}

/// The order of the built-in labels; labels of a deployment's own vocabulary have none here.
pub(crate) fn rank(label: &str) -> Option<u8> {
    match label {
        "public" => Some(0),
        "pii" => Some(1),
        "confidential" => Some(2),
        "hipaa_phi" | "mnpi" | "trade_secret" => Some(3),
        _ => None,
    }
}
