//! The reading side: entries out of bundles and stores.

use serde::Deserialize;
use thiserror::Error;

use crate::digest::Digest;
use crate::json::{Json, JsonError, from_json};
use crate::time::WrittenTime;

use super::{Chain, EntryType, GENESIS, PolicyDecision};

/// An entry whose `entry_hash` is the hash of its other members.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the members are those of Draft")]
pub struct Entry {
    pub entry_id: String,
    pub sequence_number: u64,
    pub timestamp_utc: WrittenTime,
    pub session_id: String,
    pub call_id: Option<String>,
    pub entry_type: EntryType,
    pub tool_name: Option<String>,
    pub server_identity: Option<String>,
    pub policy_decision: Option<PolicyDecision>,
    pub policy_rule_matched: Option<String>,
    pub latency_us: Option<u64>,
    pub request_payload_hash: Option<Digest>,
    pub response_payload_hash: Option<Digest>,
    pub response_inspection_result: Option<String>,
    pub session_sensitivity_before: Option<String>,
    pub session_sensitivity_after: Option<String>,
    pub detail: Option<Json>,
    pub workflow_id: Option<String>,
    pub prev_entry_hash: String,
    pub evidence_class: Option<String>,
    pub external_execution_evidence: Option<Json>,
    pub effective_data_class: Option<String>,
    pub execution_id: Option<String>,
    #[serde(deserialize_with = "bare_hex")]
    pub entry_hash: Digest,
}

/// The number of members of an entry.
const MEMBERS: usize = 24;

/// Why a JSON value is no entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Not an object of exactly the 24 members with their types.
    #[error("not an audit entry: {0}")]
    Shape(JsonError),
    /// `entry_hash` is not the hash of the other members.
    #[error("entry_hash is {stated}, the entry hashes to {computed}")]
    Hash {
        /// What the entry says.
        stated: Digest,
        /// What its members hash to.
        computed: Digest,
    },
}

/// Why an entry is not the next of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// `sequence_number` is not the count of entries before.
    #[error("sequence_number is {found}, expected {expected}")]
    Sequence {
        /// What the entry says.
        found: u64,
        /// The count of entries before.
        expected: u64,
    },
    /// `prev_entry_hash` is not the hash of the entry before.
    #[error("prev_entry_hash is {found:?}, expected {expected:?}")]
    Previous {
        /// What the entry says.
        found: String,
        /// The hash of the entry before, or [`GENESIS`].
        expected: String,
    },
}

impl Entry {
    /// Reads an entry and checks its hash.
    pub fn parse(value: &Json) -> Result<Self, EntryError> {
        let entry: Self = from_json(value).map_err(EntryError::Shape)?;
        // Optional members must be there all the same, as null.
        let members = value.as_object().map_or(0, std::collections::BTreeMap::len);
        if members != MEMBERS {
            let problem = format!("{members} members instead of {MEMBERS}");
            return Err(EntryError::Shape(JsonError::Shape(problem)));
        }
        let computed = entry_hash(value);
        if computed != entry.entry_hash {
            return Err(EntryError::Hash { stated: entry.entry_hash, computed });
        }
        Ok(entry)
    }
}

/// The `entry_hash` that an entry must state, whatever other members it has.
pub fn entry_hash(value: &Json) -> Digest {
    let mut bytes = Vec::new();
    value.without("entry_hash").write_sorted_ascii(&mut bytes);
    Digest::of(bytes)
}

/// Whether `entry` is the next after `chain`.
pub fn verify_link(chain: &Chain, entry: &Entry) -> Result<(), LinkError> {
    if entry.sequence_number != chain.length() {
        return Err(LinkError::Sequence { found: entry.sequence_number, expected: chain.length() });
    }
    let expected = chain.tip().map_or_else(|| GENESIS.to_owned(), |tip| tip.hex());
    if entry.prev_entry_hash != expected {
        return Err(LinkError::Previous { found: entry.prev_entry_hash.clone(), expected });
    }
    Ok(())
}

impl Chain {
    /// Moves on by an entry that was sealed before, if it is the next.
    pub fn accept(&mut self, entry: &Entry) -> Result<(), LinkError> {
        verify_link(self, entry)?;
        self.advance(entry.entry_hash);
        Ok(())
    }
}

fn bare_hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    Digest::parse_hex(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
