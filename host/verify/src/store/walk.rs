//! One pass over the segments' bytes: framing, order, links and signatures of batches. What is in the records is
//! checked in `boot` and `session`.

use claim::Digest;
use claim::bootlog::{Batch, BootId, Frame, Segment, batch_hash};
use claim::json::Json;
use claim::key::PublicKey;

use super::boot::Boot;
use super::heads::{Head, Heads};
use super::sealing::AuditorSecret;
use super::torn::later_batch;
use super::{BootReport, Place, StoreFailure, StoreReason, StoreVerdict, TornTail};

/// What a reader of a store wants to see of what has been verified. A batch is shown before its records.
pub(crate) trait Seen {
    /// A signed batch in its place.
    fn batch(&mut self, _boot: &BootReport, _frame: &Frame<'_>, _batch: &Batch<'_>) {}
    /// An entry of the session with this number.
    fn entry(&mut self, _boot: BootId, _session: u64, _session_id: &str, _entry: &Json) {}
    /// A claim of the session with this number.
    fn claim(&mut self, _boot: BootId, _session: u64, _session_id: &str, _bytes: &[u8]) {}
}

/// Nobody looks.
impl Seen for () {}

/// What is wrong with one record: a reason's name and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(reason: StoreReason, message: impl Into<String>) -> Self {
        Self { reason: reason.as_str(), message: message.into() }
    }
}

/// Where a walk stands.
pub(crate) struct StoreWalk {
    verdict: StoreVerdict,
    heads: Heads,
    trusted_keys: Vec<PublicKey>,
    auditors: Vec<AuditorSecret>,
    boot: Option<Boot>,
    place: Place,
}

impl StoreWalk {
    pub(crate) fn new(heads: Vec<Head>, trusted_keys: Vec<PublicKey>, auditors: Vec<AuditorSecret>) -> Self {
        let (verdict, place) = (StoreVerdict::default(), Place::default());
        Self { verdict, heads: Heads::new(heads), trusted_keys, auditors, boot: None, place }
    }

    /// Batches read so far.
    pub(crate) fn batches(&self) -> u64 {
        let current = self.boot.as_ref().map_or(0, |boot| boot.report.batches);
        self.verdict.boots.iter().fold(current, |sum, boot| sum.saturating_add(boot.batches))
    }

    /// Something outside the segments is wrong.
    pub(crate) fn fail(&mut self, reason: StoreReason, message: impl Into<String>) {
        self.fault(Fault::new(reason, message));
    }

    fn fault(&mut self, fault: Fault) {
        let Fault { reason, message } = fault;
        self.verdict.failure.get_or_insert(StoreFailure { reason, message, place: self.place.clone() });
    }

    /// Reads the next segment file. `last` says whether there is none after it: only then can its tail be torn.
    /// False if nothing after it is worth reading.
    pub(crate) fn segment(&mut self, number: u64, bytes: &[u8], last: bool, seen: &mut dyn Seen) -> bool {
        self.place = Place { segment: number, ..Place::default() };
        self.verdict.segments = self.verdict.segments.saturating_add(1);
        self.verdict.bytes = self.verdict.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut segment = match Segment::parse(bytes) {
            Ok(segment) => segment,
            // A crash can leave a new file before its first bytes are durable.
            Err(_) if last && bytes.iter().all(|byte| *byte == 0) => {
                self.verdict.torn =
                    Some(TornTail { segment: number, offset: 0, found: "a file without content".into() });
                return false;
            }
            Err(error) => {
                self.fail(StoreReason::SegmentMalformed, error.to_string());
                return false;
            }
        };
        while let Some(frame) = segment.next() {
            self.place.offset = segment.offset();
            let result = match frame {
                Ok(frame) => self.frame(&frame, seen),
                Err(error) => {
                    self.torn(number, bytes, error.offset, &error.reason.to_string(), last);
                    return false;
                }
            };
            if let Err(fault) = result {
                self.fault(fault);
                return false;
            }
        }
        true
    }

    fn torn(&mut self, number: u64, bytes: &[u8], offset: usize, found: &str, last: bool) {
        self.place.offset = offset;
        let head = self.boot.as_ref().map(|boot| (boot.report.boot_id, boot.last()));
        let tail = bytes.get(offset..).unwrap_or_default();
        if let Some((boot_id, batch)) = later_batch(tail, head) {
            let message = format!("{found}, and batch {batch} of boot {boot_id} follows it");
            self.fail(StoreReason::Damaged, message);
        } else if last {
            self.verdict.torn = Some(TornTail { segment: number, offset, found: found.to_owned() });
        } else {
            self.fail(StoreReason::Damaged, format!("{found}, and later segments follow it"));
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, seen: &mut dyn Seen) -> Result<(), Fault> {
        self.place.offset = frame.offset;
        self.place.batch = None;
        self.place.record = None;
        let batch =
            Batch::parse(frame.batch).map_err(|error| Fault::new(StoreReason::BatchMalformed, error.to_string()))?;
        let boot_id = BootId(batch.boot_id());
        self.place.batch = Some((boot_id, batch.number()));
        let hash = batch_hash(frame.batch);
        if self.boot.as_ref().is_none_or(|boot| boot.report.boot_id != boot_id) {
            self.begin(&batch, hash)?;
        }
        let Some(boot) = &mut self.boot else { return Ok(()) };
        boot.batch(frame, &batch, hash)?;
        seen.batch(&boot.report, frame, &batch);
        self.heads.batch(boot_id, batch.number(), boot.report.is_read());
        for (index, record) in batch.records().enumerate() {
            self.place.record = Some(index);
            if let Some(entry) = boot.record(index, &record, batch.number(), seen)? {
                self.heads.entry(boot_id, batch.number(), entry);
            }
        }
        Ok(())
    }

    /// A new boot: its first batch names the head of the store before it.
    fn begin(&mut self, batch: &Batch<'_>, hash: Digest) -> Result<(), Fault> {
        if batch.number() != 0 {
            let message = format!("the first batch of this boot in the store has number {}", batch.number());
            return Err(Fault::new(StoreReason::BatchGap, message));
        }
        let before = self.boot.take().map(Boot::finish);
        let head = before.as_ref().map(|boot| (boot.boot_id, boot.batches, boot.head));
        self.verdict.boots.extend(before);
        let expected = head.map_or_else(|| Digest::from_bytes([0; 32]), |(_, _, hash)| hash);
        if batch.prev() != expected {
            let message = format!("names {}, the store's head before is {}", batch.prev().hex(), expected.hex());
            return Err(Fault::new(StoreReason::BatchLinkBroken, message));
        }
        let boot = Boot::begin(batch, hash, head, &self.auditors)?;
        if !self.trusted_keys.is_empty() && !self.trusted_keys.contains(boot.key()) {
            let message = format!("{} is none of the keys that were given", boot.key().hex());
            return Err(Fault::new(StoreReason::KeyNotTrusted, message));
        }
        self.boot = Some(boot);
        Ok(())
    }

    /// No segment is left.
    pub(crate) fn finish(mut self) -> StoreVerdict {
        if self.verdict.segments == 0 {
            self.fail(StoreReason::Empty, "no segment file");
        }
        self.verdict.boots.extend(self.boot.take().map(Boot::finish));
        self.check_auditors();
        self.verdict.heads = self.heads.verdicts();
        self.verdict
    }
    /// A key that opens nothing of what is sealed is not the one that its owner believes it to be.
    fn check_auditors(&mut self) {
        let mut sealed = self.verdict.boots.iter().filter_map(|boot| boot.sealing).peekable();
        let Some(first) = sealed.peek().copied().filter(|_| !self.auditors.is_empty()) else { return };
        if sealed.all(|sealing| !sealing.opened) {
            let given: Vec<_> = self.auditors.iter().map(|auditor| auditor.public().text()).collect();
            let message =
                format!("sealed to {}, the keys given are those of {}", first.auditor_key.text(), given.join(", "));
            self.place = Place::default();
            self.fail(StoreReason::AuditorKeyWrong, message);
        }
    }
}
