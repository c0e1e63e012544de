//! The writing side: drafts become sealed entries. This is on the path of every call.

use crate::digest::{Digest, Hasher};
use crate::json::Json;
use crate::members::Members;
use crate::time::Timestamp;

use super::{EntryType, GENESIS, PolicyDecision};

/// Everything about an entry but its place in the chain. Strings may be any Unicode; those that also reach claims must
/// be printable ASCII ([`crate::names`]).
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Unique, usually a UUID.
    pub entry_id: &'a str,
    /// When.
    pub timestamp_utc: Timestamp,
    /// Which session's chain.
    pub session_id: &'a str,
    /// What the caller was told as `call_id`.
    pub call_id: Option<&'a str>,
    /// What the entry records.
    pub entry_type: EntryType,
    /// The tool as asked for.
    pub tool_name: Option<&'a str>,
    /// The tool server, by its URL in the catalog.
    pub server_identity: Option<&'a str>,
    /// What was decided.
    pub policy_decision: Option<PolicyDecision>,
    /// The deciding policies, or the reason of a refusal.
    pub policy_rule_matched: Option<&'a str>,
    /// From the call's admission to the answer, in microseconds.
    pub latency_us: Option<u64>,
    /// [`crate::hashes::request_payload_hash`].
    pub request_payload_hash: Option<Digest>,
    /// SHA-256 of the answer's `result` bytes.
    pub response_payload_hash: Option<Digest>,
    /// What inspection said.
    pub response_inspection_result: Option<&'a str>,
    /// Highest label before the entry.
    pub session_sensitivity_before: Option<&'a str>,
    /// Highest label after the entry.
    pub session_sensitivity_after: Option<&'a str>,
    /// Anything else, by entry type.
    pub detail: Option<&'a Json>,
    /// The workflow the caller named.
    pub workflow_id: Option<&'a str>,
    /// How far the entry's statements are backed.
    pub evidence_class: Option<&'a str>,
    /// A tool server's own receipt.
    pub external_execution_evidence: Option<&'a Json>,
    /// The label this call touched.
    pub effective_data_class: Option<&'a str>,
    /// The caller's id of an execution.
    pub execution_id: Option<&'a str>,
}

impl Default for Draft<'_> {
    /// A tool call about which nothing is known but [`super::EVIDENCE_HASH_ONLY`].
    fn default() -> Self {
        Self {
            entry_id: "",
            timestamp_utc: Timestamp::default(),
            session_id: "",
            call_id: None,
            entry_type: EntryType::ToolCall,
            tool_name: None,
            server_identity: None,
            policy_decision: None,
            policy_rule_matched: None,
            latency_us: None,
            request_payload_hash: None,
            response_payload_hash: None,
            response_inspection_result: None,
            session_sensitivity_before: None,
            session_sensitivity_after: None,
            detail: None,
            workflow_id: None,
            evidence_class: Some(super::EVIDENCE_HASH_ONLY),
            external_execution_evidence: None,
            effective_data_class: None,
            execution_id: None,
        }
    }
}

/// An entry as it is stored and exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEntry {
    /// Sorted ASCII of all 24 members.
    pub bytes: Vec<u8>,
    /// Its `entry_hash`.
    pub hash: Digest,
    /// Its place in the chain, from 0.
    pub sequence_number: u64,
}

/// Where a chain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    root: Option<Digest>,
    tip: Option<Digest>,
    length: u64,
}

impl Chain {
    /// An empty chain.
    pub const fn new() -> Self {
        Self { root: None, tip: None, length: 0 }
    }

    /// Hash of the first entry.
    pub const fn root(&self) -> Option<Digest> {
        self.root
    }

    /// Hash of the last entry.
    pub const fn tip(&self) -> Option<Digest> {
        self.tip
    }

    /// Number of entries.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Makes the next entry and moves the chain on.
    pub fn seal(&mut self, draft: &Draft<'_>) -> SealedEntry {
        let mut bytes = Vec::with_capacity(TYPICAL_ENTRY);
        let hash = self.write(draft, &mut bytes);
        let sequence_number = self.length;
        self.advance(hash);
        SealedEntry { bytes, hash, sequence_number }
    }

    /// Counts an entry with this hash.
    pub(super) fn advance(&mut self, hash: Digest) {
        self.root = self.root.or(Some(hash));
        self.tip = Some(hash);
        self.length = self.length.saturating_add(1);
    }

    /// Writes the whole entry. `entry_hash` sorts as the fourth key, so the hash is taken over what is around it, and
    /// its digits are filled in afterwards.
    fn write(&self, draft: &Draft<'_>, out: &mut Vec<u8>) -> Digest {
        let mut members = Members::open(out);
        members.text_or_null("call_id", draft.call_id);
        members.json_or_null("detail", draft.detail);
        members.text_or_null("effective_data_class", draft.effective_data_class);
        let before = members.position();
        members.hex("entry_hash", &Digest::from_bytes([0; 32]));
        let after = members.position();
        members.text("entry_id", draft.entry_id);
        members.text("entry_type", draft.entry_type.as_str());
        members.text_or_null("evidence_class", draft.evidence_class);
        members.text_or_null("execution_id", draft.execution_id);
        members.json_or_null("external_execution_evidence", draft.external_execution_evidence);
        members.number_or_null("latency_us", draft.latency_us);
        members.text_or_null("policy_decision", draft.policy_decision.map(PolicyDecision::as_str));
        members.text_or_null("policy_rule_matched", draft.policy_rule_matched);
        match &self.tip {
            Some(tip) => members.hex("prev_entry_hash", tip),
            None => members.text("prev_entry_hash", GENESIS),
        }
        members.digest_or_null("request_payload_hash", draft.request_payload_hash.as_ref());
        members.text_or_null("response_inspection_result", draft.response_inspection_result);
        members.digest_or_null("response_payload_hash", draft.response_payload_hash.as_ref());
        members.number("sequence_number", self.length);
        members.text_or_null("server_identity", draft.server_identity);
        members.text("session_id", draft.session_id);
        members.text_or_null("session_sensitivity_after", draft.session_sensitivity_after);
        members.text_or_null("session_sensitivity_before", draft.session_sensitivity_before);
        members.time("timestamp_utc", draft.timestamp_utc);
        members.text_or_null("tool_name", draft.tool_name);
        members.text_or_null("workflow_id", draft.workflow_id);
        members.close();
        let hash = hash_around(out, before, after);
        fill_hash(out, after, &hash);
        hash
    }
}

/// An entry of a call with its hashes has about 900 bytes; the C library serves up to 1032 from its fast lists.
const TYPICAL_ENTRY: usize = 1008;

fn hash_around(bytes: &[u8], before: usize, after: usize) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(bytes.get(..before).unwrap_or_default());
    hasher.update(bytes.get(after..).unwrap_or_default());
    hasher.finish()
}

/// Writes the digits of `hash` over the 64 before the quote at `end - 1`.
fn fill_hash(bytes: &mut [u8], end: usize, hash: &Digest) {
    let place = bytes.get_mut(..end.saturating_sub(1)).and_then(<[u8]>::last_chunk_mut);
    if let Some(place) = place {
        *place = crate::hex::digits(hash.bytes());
    }
}
