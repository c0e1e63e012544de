//! Heads: what somebody outside remembers of the log. The tail of a store is the host's word; a head is not.

use std::collections::BTreeMap;

use claim::Digest;
use claim::bootlog::BootId;
use claim::json::Json;

use crate::shape;

use super::StoreReason;

/// An entry, and the batch that stored it: what every receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which boot.
    pub boot_id: BootId,
    /// Which batch of it.
    pub batch: u64,
    /// The entry's hash.
    pub entry_hash: Digest,
}

/// Why a text or document names no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not `BOOT_ID:BATCH:ENTRY_HASH`.
    #[error("a head is BOOT_ID:BATCH:ENTRY_HASH, 32 digits, a number and 64 digits, not {0}")]
    Text(String),
    /// Not JSON.
    #[error("not a receipt: {0}")]
    Json(String),
    /// JSON without a receipt in it.
    #[error("no receipt in it: an object with boot_id, batch and audit_entry_hash")]
    NoReceipt,
}

impl Head {
    /// Reads `BOOT_ID:BATCH:ENTRY_HASH`.
    pub fn parse(text: &str) -> Result<Self, HeadError> {
        let refuse = || HeadError::Text(shape::quoted(text));
        let (boot_id, rest) = text.trim().split_once(':').ok_or_else(refuse)?;
        let (batch, hash) = rest.split_once(':').ok_or_else(refuse)?;
        Self::of(boot_id, batch.parse().ok(), hash).ok_or_else(refuse)
    }

    /// Reads every receipt in a JSON document: a receipt alone, or the gateway's whole answer to a call.
    pub fn in_document(bytes: &[u8]) -> Result<Vec<Self>, HeadError> {
        let document = claim::json::parse(bytes).map_err(|error| HeadError::Json(error.to_string()))?;
        let mut heads = Vec::new();
        collect(&document, &mut heads);
        if heads.is_empty() { Err(HeadError::NoReceipt) } else { Ok(heads) }
    }

    fn of(boot_id: &str, batch: Option<u64>, hash: &str) -> Option<Self> {
        Some(Self { boot_id: BootId::parse(boot_id)?, batch: batch?, entry_hash: Digest::parse(hash).ok()? })
    }
}

fn collect(value: &Json, heads: &mut Vec<Head>) {
    match value {
        Json::Object(members) => {
            let text = |name| value.get(name).and_then(Json::as_str);
            let hash = text("audit_entry_hash").or_else(|| text("entry_hash"));
            if let (Some(boot_id), Some(hash)) = (text("boot_id"), hash) {
                heads.extend(Head::of(boot_id, value.get("batch").and_then(Json::as_u64), hash));
            }
            for member in members.values() {
                collect(member, heads);
            }
        }
        Json::Array(items) => {
            for item in items {
                collect(item, heads);
            }
        }
        _ => {}
    }
}

/// What became of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadVerdict {
    /// Which.
    pub head: Head,
    /// Why the store is refused, if it is.
    pub failure: Option<(StoreReason, String)>,
    /// Whether the entry was looked for. If its record is sealed for others, that its batch is there, signed, is all that is known.
    pub looked_for: bool,
}

/// Heads on the lookout for their entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    wanted: Vec<Head>,
    found: BTreeMap<[u8; 32], (BootId, u64)>,
    /// Of each boot that a head names: its last batch, and whether its records are read.
    reached: BTreeMap<BootId, (u64, bool)>,
}

impl Heads {
    pub(super) fn new(wanted: Vec<Head>) -> Self {
        Self { wanted, ..Self::default() }
    }

    pub(super) fn batch(&mut self, boot_id: BootId, batch: u64, is_read: bool) {
        if self.wanted.iter().any(|head| head.boot_id == boot_id) {
            self.reached.insert(boot_id, (batch, is_read));
        }
    }

    pub(super) fn entry(&mut self, boot_id: BootId, batch: u64, hash: Digest) {
        if self.wanted.iter().any(|head| head.entry_hash == hash) {
            self.found.insert(*hash.bytes(), (boot_id, batch));
        }
    }

    pub(super) fn verdicts(self) -> Vec<HeadVerdict> {
        let verdict = |head: &Head| HeadVerdict {
            head: head.clone(),
            failure: self.failure(head),
            looked_for: self.reached.get(&head.boot_id).is_none_or(|(_, is_read)| *is_read),
        };
        self.wanted.iter().map(verdict).collect()
    }

    fn failure(&self, head: &Head) -> Option<(StoreReason, String)> {
        let Some((last, is_read)) = self.reached.get(&head.boot_id) else {
            return Some((StoreReason::HeadBootMissing, format!("nothing of boot {} is stored", head.boot_id)));
        };
        if *last < head.batch {
            let message = format!(
                "batch {} of boot {} was stored once, the log ends with batch {last}",
                head.batch, head.boot_id
            );
            return Some((StoreReason::OlderThanHead, message));
        }
        match self.found.get(head.entry_hash.bytes()) {
            None if !is_read => None,
            Some(place) if *place == (head.boot_id, head.batch) => None,
            Some((boot_id, batch)) => {
                let message = format!("the entry is in batch {batch} of boot {boot_id}, not in batch {}", head.batch);
                Some((StoreReason::HeadEntryMissing, message))
            }
            None => {
                let message = format!("entry {} is not in the store", head.entry_hash.hex());
                Some((StoreReason::HeadEntryMissing, message))
            }
        }
    }
}
