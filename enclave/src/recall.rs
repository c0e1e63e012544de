//! Reading records back from the host's store. What comes back is the host's word until it is checked.

use std::time::Duration;

use claim::Digest;
use claim::bootlog::{Batch, RecordKind};
use claim::entry::Entry;
use claim::json::{self, Json};
use tokio::time::timeout;
use wire::{EnclaveOpen, OpenAnswer, RecallItem, WireError};

use crate::error::Code;
use crate::freshness::SessionEvidence;
use crate::gateway::Gateway;
use crate::session::Issued;
use crate::transport::BoxStream;

/// Batches of this boot that hold records of one session, in order.
pub struct Recall {
    stream: BoxStream,
    patience: Duration,
}

impl Recall {
    /// Asks the store for the batches from `first` to `last` that hold records of session `session`.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`].
    pub async fn open(gateway: &Gateway, session: u64, (first, last): (u64, u64)) -> Result<Self, Code> {
        let open = EnclaveOpen::Recall { boot_id: gateway.boot.id, first, last, session };
        let stream = async {
            let mut stream = gateway.boot.callback.open().await?;
            wire::write(&mut stream, &open).await?;
            match wire::read(&mut stream).await? {
                OpenAnswer::Ready => Ok(stream),
                OpenAnswer::Refused(_) => Err(WireError::Closed),
            }
        };
        let patience = Duration::from_millis(gateway.config.limits.store_timeout_ms);
        match timeout(patience, stream).await {
            Ok(Ok(stream)) => Ok(Self { stream, patience }),
            Ok(Err(_)) | Err(_) => Err(Code::AuditUnavailable),
        }
    }

    /// The bytes of the next batch.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`] when the stream breaks off or goes silent.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Code> {
        match timeout(self.patience, wire::read(&mut self.stream)).await {
            Ok(Ok(RecallItem::Batch(bytes))) => Ok(Some(bytes.0)),
            Ok(Ok(RecallItem::End)) => Ok(None),
            Ok(Ok(RecallItem::Failed(_)) | Err(_)) | Err(_) => Err(Code::AuditUnavailable),
        }
    }
}

/// The bytes of an issued claim, checked against the digest kept of it.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub async fn claim(gateway: &Gateway, session: u64, issued: &Issued) -> Result<Vec<u8>, Code> {
    let is_it = |body: &[u8]| Digest::of(body) == issued.digest;
    record(gateway, session, RecordKind::Claim, issued.ticket.batch(), is_it).await
}

/// The bytes of a session's evidence, checked against the digest kept of it.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub async fn evidence(gateway: &Gateway, session: u64, evidence: &SessionEvidence) -> Result<Vec<u8>, Code> {
    let is_it = |body: &[u8]| Digest::of(body) == evidence.digest;
    record(gateway, session, RecordKind::Evidence, evidence.ticket.batch(), is_it).await
}

/// The first entry of a session, checked against its chain's root.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub async fn first_entry(gateway: &Gateway, session: u64, batch: u64, root: Digest) -> Result<Json, Code> {
    let read = |body: &[u8]| json::parse(body).map_err(|_| Code::AuditMismatch);
    let is_it = |body: &[u8]| read(body).and_then(|entry| Entry::parse(&entry).map_err(|_| Code::AuditMismatch));
    let is_it = |body: &[u8]| is_it(body).is_ok_and(|entry| entry.entry_hash == root);
    read(&record(gateway, session, RecordKind::Entry, batch, is_it).await?)
}

/// The body of the record of a batch that is the one.
async fn record(
    gateway: &Gateway,
    session: u64,
    kind: RecordKind,
    batch: u64,
    is_it: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, Code> {
    let mut recall = Recall::open(gateway, session, (batch, batch)).await?;
    let bytes = recall.next().await?.ok_or(Code::AuditMismatch)?;
    let batch = Batch::parse(&bytes).map_err(|_| Code::AuditMismatch)?;
    for record in batch.records().filter(|record| record.kind == kind && record.session == session) {
        let body = gateway.audit.body(&record)?;
        if is_it(&body) {
            return Ok(body);
        }
    }
    Err(Code::AuditMismatch)
}
