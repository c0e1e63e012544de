//! The closed vocabularies of an audit entry.

use serde::{Deserialize, Serialize};

use crate::terms::terms;

terms! {
    /// What an entry records.
    EntryType {
        /// First entry of a chain; its `detail` names what the session runs under.
        SessionStart = "session_start",
        /// Last entry of a chain.
        SessionEnd = "session_end",
        /// An operator cleared the session's labels.
        SessionReset = "session_reset",
        /// A call, whatever became of it.
        ToolCall = "tool_call",
        /// A response that policy kept back.
        EgressDenied = "egress_denied",
        /// New evidence.
        AttestationRefresh = "attestation_refresh",
        /// A policy bundle came into force.
        PolicyLoad = "policy_load",
        /// A catalog came into force.
        CatalogLoad = "catalog_load",
        /// Something failed outside a call.
        Fault = "fault",
        /// A pattern of calls that an operator should see.
        SuspiciousCallSequence = "suspicious_call_sequence",
        /// Evidence outlived its validity.
        AttestationStale = "attestation_stale",
        /// A tool's live definition differs from the approved one.
        CatalogDrift = "catalog_drift",
        /// An operator's exception was used.
        BreakGlassUsed = "break_glass_used",
    }
}

terms! {
    /// What was decided.
    PolicyDecision {
        /// Permitted.
        Allow = "allow",
        /// Forbidden and not forwarded.
        Deny = "deny",
        /// Permitted with fields taken out.
        Redact = "redact",
        /// Forbidden by policy, forwarded by mode.
        AdvisoryDeny = "advisory_deny",
        /// Needs a human's approval.
        StepUp = "step_up",
        /// Put off.
        Defer = "defer",
        /// Permitted, and then failed.
        Fault = "fault",
        /// No decision was needed.
        NotApplicable = "n/a",
    }
}

impl PolicyDecision {
    /// As a claim's transcript has it, which knows neither `step_up` nor `defer`: such a call was not forwarded.
    #[must_use]
    pub const fn in_transcript(self) -> Self {
        match self {
            Self::StepUp | Self::Defer => Self::Deny,
            other => other,
        }
    }
}
