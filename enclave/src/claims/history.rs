//! A session's entries as the store gives them back, each checked against the chain before it is used.

use std::collections::VecDeque;
use std::rc::Rc;

use claim::Digest;
use claim::bootlog::{Batch, RecordKind};
use claim::entry::{Chain, Entry};
use claim::json;

use crate::audit::Audit;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::recall::Recall;

/// Entries 0 to `length - 1`, in order. Holds one batch at a time.
pub(super) struct History {
    recall: Recall,
    audit: Rc<Audit>,
    session: u64,
    tip: Digest,
    length: u64,
    chain: Chain,
    waiting: VecDeque<Vec<u8>>,
}

impl History {
    pub(super) async fn open(
        gateway: &Gateway,
        session: u64,
        batches: (u64, u64),
        tip: Digest,
        length: u64,
    ) -> Result<Self, Code> {
        let recall = Recall::open(gateway, session, batches).await?;
        let audit = gateway.audit.clone();
        Ok(Self { recall, audit, session, tip, length, chain: Chain::new(), waiting: VecDeque::new() })
    }

    /// The next entry: its bytes, which are its sorted-ASCII form, and what they say.
    ///
    /// # Errors
    /// [`Code::AuditMismatch`] for anything but the entries that were stored, all of them and nothing else.
    pub(super) async fn next(&mut self) -> Result<Option<(Vec<u8>, Entry)>, Code> {
        if self.chain.length() == self.length {
            return if self.chain.tip() == Some(self.tip) { Ok(None) } else { Err(Code::AuditMismatch) };
        }
        while self.waiting.is_empty() {
            let bytes = self.recall.next().await?.ok_or(Code::AuditMismatch)?;
            self.take(&bytes)?;
        }
        let bytes = self.waiting.pop_front().ok_or(Code::AuditMismatch)?;
        let value = json::parse(&bytes).map_err(|_| Code::AuditMismatch)?;
        if value.sorted_ascii().as_bytes() != bytes {
            return Err(Code::AuditMismatch);
        }
        let entry = Entry::parse(&value).map_err(|_| Code::AuditMismatch)?;
        self.chain.accept(&entry).map_err(|_| Code::AuditMismatch)?;
        Ok(Some((bytes, entry)))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Code> {
        let batch = Batch::parse(bytes).map_err(|_| Code::AuditMismatch)?;
        for record in
            batch.records().filter(|record| record.session == self.session && record.kind == RecordKind::Entry)
        {
            self.waiting.push_back(self.audit.body(&record)?);
        }
        Ok(())
    }
}
