//! Signed batches as the proof of one session's entries, where there is no bundle signature.
//!
//! A proof is a segment file with gaps: the batch of the boot record, then each batch that holds something of the
//! session. Each batch proves itself by its signature; that no entry is missing between them is proven by the entries'
//! own chain, and that none is missing at the end only by a claim or a receipt.

use std::collections::BTreeMap;
use std::io::{self, Read};

use claim::Digest;
use claim::bootlog::{Batch, BootId, BootRecord, FRAME_HEAD, Frame, RecordKind, SEGMENT_MAGIC, Segment, batch_hash};
use claim::hashes::EntriesHasher;
use claim::json::Json;
use claim::key::PublicKey;

use super::sealing::{AuditorSecret, Bodies};
use super::walk::Fault;

/// Longest frame that is read: batches have at most 24 MiB.
const MAX_FRAME: usize = 32 << 20;

/// What signed batches prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenEntries {
    /// Whose log.
    pub boot_id: BootId,
    /// The key that signed the batches: the boot's own word.
    pub key: PublicKey,
    /// For each session with the id: SHA256(SA(its entries)), as a bundle signature would cover it.
    pub digests: Vec<Digest>,
}

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The file could not be read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// Not a file of framed batches.
    #[error("not a file of signed batches: {0}")]
    Malformed(String),
    /// The first batch is not a boot's first batch.
    #[error("it does not start with a boot record")]
    NoBoot,
    /// A batch of another boot, or out of order.
    #[error("batch {0} is of another boot, or out of order")]
    Order(u64),
    /// A batch is not signed by the boot's key.
    #[error("batch {0} is not signed by the boot's key")]
    Signature(u64),
    /// The records are sealed to an auditor whose private key was not given.
    #[error("its records are sealed to the auditor's key {0}: give the file of that key with --key")]
    Sealed(String),
    /// A record does not open as what and where it is.
    #[error("{0}")]
    NotOpened(String),
}

/// Fills `out` with one frame as it stands in a segment.
pub(super) fn write_frame(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let sessions: Vec<_> = frame.sessions().collect();
    let mut payload = u32::try_from(sessions.len()).unwrap_or_default().to_le_bytes().to_vec();
    payload.extend(sessions.iter().flat_map(|session| session.to_le_bytes()));
    payload.extend_from_slice(frame.signature);
    payload.extend_from_slice(frame.batch);
    out.clear();
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or_default().to_le_bytes());
    out.extend(Digest::of(&payload).bytes().iter().take(8));
    out.extend_from_slice(&payload);
}

/// Reads a proof of the sessions with this id, one batch at a time. Records that are sealed need their auditor's key.
pub fn read_proof(
    mut file: impl Read,
    session_id: &str,
    auditors: &[AuditorSecret],
) -> Result<ProvenEntries, ProofError> {
    let mut magic = [0; SEGMENT_MAGIC.len()];
    file.read_exact(&mut magic)?;
    let mut buffer = magic.to_vec();
    let mut proof: Option<Proof> = None;
    while next_frame(&mut file, &mut buffer)? {
        let mut segment = Segment::parse(&buffer).map_err(|error| ProofError::Malformed(error.to_string()))?;
        let frame = match segment.next() {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(ProofError::Malformed(error.to_string())),
            None => break,
        };
        let batch = Batch::parse(frame.batch).map_err(|error| ProofError::Malformed(error.to_string()))?;
        let proof = match &mut proof {
            Some(proof) => proof,
            none => none.insert(Proof::begin(&batch, auditors)?),
        };
        proof.batch(&frame, &batch, session_id)?;
    }
    proof.map(Proof::finish).ok_or(ProofError::NoBoot)
}

/// Reads the next frame behind the magic in the buffer. False at the end of the file.
fn next_frame(file: &mut impl Read, buffer: &mut Vec<u8>) -> Result<bool, ProofError> {
    buffer.truncate(SEGMENT_MAGIC.len());
    let mut head = [0; FRAME_HEAD];
    if file.by_ref().take(1).read(&mut head)? == 0 {
        return Ok(false);
    }
    file.read_exact(head.get_mut(1..).unwrap_or_default())?;
    let [a, b, c, d, ..] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(ProofError::Malformed(format!("a frame of {length} bytes")));
    }
    buffer.extend_from_slice(&head);
    let start = buffer.len();
    buffer.resize(start.saturating_add(length), 0);
    file.read_exact(buffer.get_mut(start..).unwrap_or_default())?;
    Ok(true)
}

struct Proof {
    boot_id: BootId,
    key: PublicKey,
    bodies: Bodies,
    next: u64,
    sessions: BTreeMap<u64, EntriesHasher>,
}

impl Proof {
    fn begin(batch: &Batch<'_>, auditors: &[AuditorSecret]) -> Result<Self, ProofError> {
        let record = batch.records().next().filter(|record| record.kind == RecordKind::Boot && batch.number() == 0);
        let record = BootRecord::parse(record.ok_or(ProofError::NoBoot)?.bytes).map_err(|_| ProofError::NoBoot)?;
        let key = PublicKey::from_x(&record.public_key).map_err(|_| ProofError::NoBoot)?;
        let bodies = Bodies::of(&record, auditors).map_err(not_opened)?;
        if let Some(sealing) = record.sealing.filter(|_| !bodies.are_read()) {
            return Err(ProofError::Sealed(sealing.auditor_key.text()));
        }
        Ok(Self { boot_id: BootId(batch.boot_id()), key, bodies, next: 0, sessions: BTreeMap::new() })
    }

    fn batch(&mut self, frame: &Frame<'_>, batch: &Batch<'_>, session_id: &str) -> Result<(), ProofError> {
        let number = batch.number();
        if batch.boot_id() != self.boot_id.0 || number < self.next {
            return Err(ProofError::Order(number));
        }
        self.next = number.saturating_add(1);
        let signed = self.key.verify_batch(batch_hash(frame.batch), frame.signature);
        signed.map_err(|_| ProofError::Signature(number))?;
        for record in batch.records().filter(|record| record.kind == RecordKind::Entry) {
            let body = self.bodies.read(&record).map_err(not_opened)?.unwrap_or_default();
            let entry = claim::json::parse(&body).map_err(|error| ProofError::Malformed(error.to_string()))?;
            if entry.get("session_id").and_then(Json::as_str) == Some(session_id) {
                self.sessions.entry(record.session).or_default().push(&body);
            }
        }
        Ok(())
    }

    fn finish(self) -> ProvenEntries {
        let digests = self.sessions.into_values().map(EntriesHasher::finish).collect();
        ProvenEntries { boot_id: self.boot_id, key: self.key, digests }
    }
}

fn not_opened(fault: Fault) -> ProofError {
    ProofError::NotOpened(fault.message)
}
