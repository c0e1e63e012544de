//! One boot's part of the log: its key, the links between its batches, and the sessions in it.

use std::collections::BTreeMap;

use claim::Digest;
use claim::binding::{BootBinding, boot_x};
use claim::bootlog::{Batch, BootId, BootRecord, ControlRecord, Frame, GapRecord, IntentRecord, Record, RecordKind};
use claim::json::JsonError;
use claim::key::PublicKey;
use claim::operator::Version;

use super::sealing::{AuditorSecret, Bodies};
use super::session::Session;
use super::walk::{Fault, Seen};
use super::{BootReport, SealedTo, StoreReason};

/// A boot whose log is being read.
pub(super) struct Boot {
    pub(super) report: BootReport,
    terms: Terms,
    bodies: Bodies,
    sessions: BTreeMap<u64, Session>,
    begun: Numbers,
}

/// What the boot record says and sessions must agree with.
pub(super) struct Terms {
    key: PublicKey,
    /// X of the boot's binding, 64 digits.
    pub(super) boot_x: String,
    /// Of the bundle in force: the boot's, until a policy_load.
    pub(super) bundle_hash: Digest,
    /// Of the last policy_load.
    version: Option<Version>,
    /// Of the operator's controls, if there are any.
    pub(super) controls_hash: Option<Digest>,
    pub(super) catalog_hash: Digest,
    pub(super) config_hash: Digest,
    /// SHA-256 of the boot's newest evidence.
    pub(super) evidence: Option<Digest>,
}

impl Boot {
    /// From the boot's first batch. `before` is the boot before it in the store: id, batches, hash of the last.
    pub(super) fn begin(
        batch: &Batch<'_>,
        hash: Digest,
        before: Option<(BootId, u64, Digest)>,
        auditors: &[AuditorSecret],
    ) -> Result<Self, Fault> {
        let invalid = |message: String| Fault::new(StoreReason::BootRecordInvalid, message);
        let first = batch.records().next().filter(|record| record.kind == RecordKind::Boot && record.session == 0);
        let first = first.ok_or_else(|| invalid("the first record is not a boot record".into()))?;
        let record = BootRecord::parse(first.bytes).map_err(|error| invalid(error.to_string()))?;
        canonical(first.bytes, &record.bytes().map_err(|error| invalid(error.to_string()))?)?;
        if record.boot_id.0 != batch.boot_id() {
            return Err(invalid(format!("the boot record is of boot {}", record.boot_id)));
        }
        let stated = record.previous.as_ref().map(|previous| (previous.boot_id, previous.batch, previous.hash));
        if stated != before.map(|(boot_id, batches, hash)| (boot_id, batches.saturating_sub(1), hash)) {
            return Err(invalid("it names another store head than the store has".into()));
        }
        let key = PublicKey::from_x(&record.public_key).map_err(|error| invalid(error.to_string()))?;
        let terms = Terms::of(&record, key).map_err(|error| invalid(error.to_string()))?;
        let bodies = Bodies::of(&record, auditors)?;
        let sealing = record.sealing.map(|sealing| sealing.auditor_key);
        let report = BootReport {
            boot_id: record.boot_id,
            public_key: key.hex(),
            sealing: sealing.map(|auditor_key| SealedTo { auditor_key, opened: bodies.are_read() }),
            dev: record.dev,
            started_at: record.started_at,
            batches: 0,
            head: hash,
            records: 0,
            entries: 0,
            claims: 0,
            sessions: 0,
            open_sessions: 0,
            gaps: 0,
            refused_calls: 0,
            controls: Vec::new(),
            unknown_outcomes: Vec::new(),
        };
        Ok(Self { report, terms, bodies, sessions: BTreeMap::new(), begun: Numbers::default() })
    }

    pub(super) fn key(&self) -> &PublicKey {
        &self.terms.key
    }

    /// Number of the last batch.
    pub(super) fn last(&self) -> u64 {
        self.report.batches.saturating_sub(1)
    }

    /// The next batch: number, link, signature, and the host's index of it.
    pub(super) fn batch(&mut self, frame: &Frame<'_>, batch: &Batch<'_>, hash: Digest) -> Result<(), Fault> {
        let report = &mut self.report;
        if batch.number() != report.batches {
            let message = format!("batch {} where {} is next", batch.number(), report.batches);
            return Err(Fault::new(StoreReason::BatchGap, message));
        }
        if batch.number() > 0 && batch.prev() != report.head {
            let message = format!("names {}, the batch before hashes to {}", batch.prev().hex(), report.head.hex());
            return Err(Fault::new(StoreReason::BatchLinkBroken, message));
        }
        self.terms
            .key
            .verify_batch(hash, frame.signature)
            .map_err(|error| Fault::new(StoreReason::BatchSignatureInvalid, error.to_string()))?;
        let mut sessions: Vec<_> = batch.records().map(|record| record.session).filter(|number| *number != 0).collect();
        sessions.sort_unstable();
        sessions.dedup();
        if !frame.sessions().eq(sessions.iter().copied()) {
            let message = format!("filed under {:?}", frame.sessions().take(16).collect::<Vec<_>>());
            return Err(Fault::new(StoreReason::FrameIndexWrong, message));
        }
        report.batches = report.batches.saturating_add(1);
        report.head = hash;
        Ok(())
    }

    /// The next record; an entry's hash is returned, if it can be read.
    pub(super) fn record(
        &mut self,
        index: usize,
        record: &Record<'_>,
        batch: u64,
        seen: &mut dyn Seen,
    ) -> Result<Option<Digest>, Fault> {
        self.report.records = self.report.records.saturating_add(1);
        match self.bodies.read(record)? {
            Some(body) => self.read(index, &Record { bytes: &body, ..*record }, batch, seen),
            None => self.count(record).map(|()| None),
        }
    }

    /// A record that is sealed for others: its kind and session are all there is.
    fn count(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let of_session = matches!(record.kind, RecordKind::Intent | RecordKind::Entry | RecordKind::Claim);
        if of_session != (record.session != 0) && record.kind != RecordKind::Evidence {
            return Err(misplaced("a record of no session, or of one that it cannot be of"));
        }
        let report = &mut self.report;
        let counter = match record.kind {
            RecordKind::Entry => &mut report.entries,
            RecordKind::Claim => &mut report.claims,
            RecordKind::Gap => &mut report.gaps,
            RecordKind::Boot | RecordKind::Intent | RecordKind::Control | RecordKind::Evidence => return Ok(()),
        };
        *counter = counter.saturating_add(1);
        if record.kind == RecordKind::Entry && self.begun.insert(record.session) {
            report.sessions = report.sessions.saturating_add(1);
        }
        Ok(())
    }

    fn read(
        &mut self,
        index: usize,
        record: &Record<'_>,
        batch: u64,
        seen: &mut dyn Seen,
    ) -> Result<Option<Digest>, Fault> {
        match record.kind {
            RecordKind::Boot if batch == 0 && index == 0 => {}
            RecordKind::Boot => return Err(misplaced("a second boot record")),
            RecordKind::Gap => self.gap(record)?,
            RecordKind::Control => self.control(record)?,
            RecordKind::Entry => return self.entry(record, seen).map(Some),
            RecordKind::Intent => {
                let intent = IntentRecord::parse(record.bytes).map_err(|error| malformed(&error))?;
                canonical(record.bytes, &intent.bytes())?;
                self.session(record.session)?.intent(intent, record.session)?;
            }
            RecordKind::Claim => self.claim(record, seen)?,
            RecordKind::Evidence => self.evidence(record)?,
        }
        Ok(None)
    }

    fn entry(&mut self, record: &Record<'_>, seen: &mut dyn Seen) -> Result<Digest, Fault> {
        if record.session == 0 {
            return Err(misplaced("an entry of no session"));
        }
        self.report.entries = self.report.entries.saturating_add(1);
        if self.begun.insert(record.session) {
            self.report.sessions = self.report.sessions.saturating_add(1);
            self.sessions.insert(record.session, Session::default());
        }
        let terms = &self.terms;
        let session =
            self.sessions.get_mut(&record.session).ok_or_else(|| misplaced("an entry of a closed session"))?;
        let (value, hash) = session.entry(record, terms)?;
        seen.entry(self.report.boot_id, record.session, session.id(), &value);
        Ok(hash)
    }

    fn claim(&mut self, record: &Record<'_>, seen: &mut dyn Seen) -> Result<(), Fault> {
        self.report.claims = self.report.claims.saturating_add(1);
        let (key, boot_id) = (self.terms.key, self.report.boot_id);
        let session = self.session(record.session)?;
        session.claim(record.bytes, &key)?;
        seen.claim(boot_id, record.session, session.id(), record.bytes);
        if session.is_over() {
            // Nothing can follow the claim on a session's end: its state can go.
            let unknown = self.sessions.remove(&record.session).into_iter().flat_map(Session::into_unknown);
            self.report.unknown_outcomes.extend(unknown);
        }
        Ok(())
    }

    /// What it says of hardware is not judged here; that it is what the entries name is.
    fn evidence(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let value = claim::json::parse(record.bytes).map_err(|error| malformed(&error))?;
        canonical(record.bytes, value.sorted_ascii().as_bytes())?;
        let digest = Digest::of(record.bytes);
        match record.session {
            0 => self.terms.evidence = Some(digest),
            number => self.session(number)?.evidence = Some(digest),
        }
        Ok(())
    }

    fn gap(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let gap = GapRecord::parse(record.bytes).map_err(|error| malformed(&error))?;
        canonical(record.bytes, &gap.bytes().map_err(|error| malformed(&error))?)?;
        self.report.gaps = self.report.gaps.saturating_add(1);
        self.report.refused_calls = self.report.refused_calls.saturating_add(gap.refused_calls);
        Ok(())
    }

    fn control(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let control = ControlRecord::parse(record.bytes).map_err(|error| malformed(&error))?;
        canonical(record.bytes, &control.bytes().map_err(|error| malformed(&error))?)?;
        if record.session != 0 {
            return Err(misplaced("a control record of a session"));
        }
        if let ControlRecord::PolicyLoad { bundle_hash, version, .. } = &control {
            self.terms.load(*bundle_hash, version)?;
        }
        self.report.controls.push(control);
        Ok(())
    }

    fn session(&mut self, number: u64) -> Result<&mut Session, Fault> {
        self.sessions.get_mut(&number).ok_or_else(|| misplaced(&format!("session {number} is not open")))
    }

    /// The log of this boot ends here.
    pub(super) fn finish(mut self) -> BootReport {
        self.report.open_sessions = self
            .sessions
            .values()
            .fold(0, |count: u64, session| if session.has_ended() { count } else { count.saturating_add(1) });
        self.report.unknown_outcomes.extend(self.sessions.into_values().flat_map(Session::into_unknown));
        self.report.unknown_outcomes.sort_by_key(|unknown| unknown.at);
        self.report
    }
}

impl Terms {
    fn of(record: &BootRecord, key: PublicKey) -> Result<Self, JsonError> {
        let binding = BootBinding {
            boot_id: record.boot_id,
            tls_spki: record.tls_spki.clone(),
            bundle_hash: record.bundle_hash,
            catalog_hash: record.catalog_hash,
            config_hash: record.config_hash,
            controls_hash: record.controls_hash,
            isolation: record.isolation,
            dev: record.dev,
            time_source: record.time_source.clone(),
        };
        Ok(Self {
            key,
            boot_x: boot_x(&binding)?.hex(),
            bundle_hash: record.bundle_hash,
            version: None,
            controls_hash: Some(record.controls_hash).filter(|hash| *hash != Digest::of("")),
            catalog_hash: record.catalog_hash,
            config_hash: record.config_hash,
            evidence: None,
        })
    }

    /// Sessions that begin from here on name another bundle.
    fn load(&mut self, bundle_hash: Digest, version: &str) -> Result<(), Fault> {
        let read = Version::parse(version).filter(|version| self.version.as_ref().is_none_or(|last| last < version));
        let Some(version) = read else {
            let last = self.version.as_ref().map_or_else(|| "the boot".to_owned(), ToString::to_string);
            let message = format!("policy version {} was loaded after {last}", crate::shape::quoted(version));
            return Err(Fault::new(StoreReason::PolicyVersionNotHigher, message));
        };
        self.version = Some(version);
        self.bundle_hash = bundle_hash;
        Ok(())
    }
}

/// Signed bytes have one spelling.
pub(super) fn canonical(found: &[u8], expected: &[u8]) -> Result<(), Fault> {
    if found == expected { Ok(()) } else { Err(Fault::new(StoreReason::RecordMalformed, "not in canonical form")) }
}

pub(super) fn malformed(error: &JsonError) -> Fault {
    Fault::new(StoreReason::RecordMalformed, error.to_string())
}

pub(super) fn misplaced(message: &str) -> Fault {
    Fault::new(StoreReason::RecordOutOfPlace, message)
}

/// A set of numbers that are given out in about ascending order, as ranges.
#[derive(Default)]
struct Numbers {
    /// First and last of each range.
    ranges: BTreeMap<u64, u64>,
}

impl Numbers {
    /// Adds a number; false if it was there.
    fn insert(&mut self, number: u64) -> bool {
        let below = self.ranges.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        let first = below.filter(|(_, last)| last.checked_add(1) == Some(number)).map_or(number, |(first, _)| first);
        let above = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        self.ranges.insert(first, above.unwrap_or(number));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn numbers_are_remembered_as_ranges() {
        let mut numbers = Numbers::default();
        for number in [1, 3, 2, 7, 5, 6, 4] {
            assert!(numbers.insert(number), "{number}");
            assert!(!numbers.insert(number), "{number} again");
        }
        assert_eq!(numbers.ranges.into_iter().collect::<Vec<_>>(), [(1, 7)]);
    }
}
