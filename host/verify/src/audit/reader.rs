//! Reads a bundle's bytes: `{session_id, entries, bundle_signature}`, the entries one at a time.

use std::fmt;

use claim::Digest;
use claim::hashes::EntriesHasher;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::shape::{self, Misfit};

use super::compare::Calls;
use super::walk::{EntryFault, Walk};
use super::{BundleOptions, BundleReason, Report};

/// What a bundle holds.
pub(super) struct Bundle<'c> {
    pub(super) session_id: Option<String>,
    pub(super) signature: Option<String>,
    /// How many there are, readable or not.
    pub(super) entry_count: u64,
    /// The history, if every entry fits.
    pub(super) walk: Option<Walk>,
    /// SHA256(SA(entries)).
    pub(super) digest: Option<Digest>,
    /// Whether the claim's transcript lists the same calls.
    pub(super) calls: Calls<'c>,
}

/// Reads and walks. Every fault goes into the report.
pub(super) fn read<'c>(bytes: &[u8], calls: Calls<'c>, options: BundleOptions<'_>, report: &mut Report) -> Bundle<'c> {
    let mut outer = Outer { options, report, seen: Vec::new(), bundle: Bundle::empty(calls) };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = reader.deserialize_map(&mut outer).and_then(|()| reader.end());
    let Outer { report, seen, mut bundle, .. } = outer;
    if let Err(error) = result {
        bundle.walk = None;
        report.fail("audit_bundle", BundleReason::Malformed, None, error.to_string());
        return bundle;
    }
    if let Some(missing) = ["session_id", "entries"].iter().find(|name| seen.iter().all(|key| key != *name)) {
        bundle.walk = None;
        report.fail("audit_bundle", BundleReason::Malformed, None, format!("no {missing}"));
    } else if bundle.entry_count == 0 {
        bundle.walk = None;
        report.fail("audit_bundle", BundleReason::Empty, None, "the list of entries is empty");
    } else if let Some(walk) = &bundle.walk {
        let last = walk.last.map(|time| format!(", last at {time}")).unwrap_or_default();
        report.pass("audit_entries", format!("{} entries{last}, {}", bundle.entry_count, walk.finality().as_str()));
    }
    bundle
}

impl<'c> Bundle<'c> {
    fn empty(calls: Calls<'c>) -> Self {
        Self { session_id: None, signature: None, entry_count: 0, walk: None, digest: None, calls }
    }
}

struct Outer<'r, 'c> {
    options: BundleOptions<'r>,
    report: &'r mut Report,
    seen: Vec<String>,
    bundle: Bundle<'c>,
}

impl<'de> Visitor<'de> for &mut Outer<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an audit bundle: {session_id, entries, bundle_signature}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            if self.seen.contains(&key) {
                let message = format!("member {} twice", shape::quoted(&key));
                self.report.fail("audit_bundle", BundleReason::DuplicateKey, None, message);
            }
            match key.as_str() {
                "entries" => members.next_value_seed(Entries { outer: self })?,
                "session_id" => self.bundle.session_id = Some(members.next_value()?),
                "bundle_signature" => self.bundle.signature = Some(members.next_value()?),
                other => {
                    members.next_value::<&RawValue>()?;
                    let message = format!("member {}", shape::quoted(other));
                    self.report.fail("audit_bundle", BundleReason::UnknownKey, None, message);
                }
            }
            self.seen.push(key);
        }
        Ok(())
    }
}

struct Entries<'a, 'r, 'c> {
    outer: &'a mut Outer<'r, 'c>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of audit entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let outer = self.outer;
        let mut walk = Some(Walk::default());
        let mut hash = EntriesHasher::new();
        let mut index = 0_u64;
        while let Some(raw) = items.next_element::<&RawValue>()? {
            if let Some(current) = &mut walk
                && let Err(fault) = outer.entry(current, &mut hash, raw)
            {
                outer.report.fail("audit_entries", fault.reason, Some(index), fault.message);
                walk = None;
            }
            index = index.checked_add(1).ok_or_else(|| A::Error::custom("too many entries"))?;
        }
        outer.bundle.entry_count = index;
        outer.bundle.digest = walk.is_some().then(|| hash.finish());
        outer.bundle.walk = walk;
        Ok(())
    }
}

impl Outer<'_, '_> {
    fn entry(&mut self, walk: &mut Walk, hash: &mut EntriesHasher, raw: &RawValue) -> Result<(), EntryFault> {
        let value = shape::parse(raw.get().as_bytes(), "entry").map_err(|misfit: Misfit| EntryFault::from(misfit))?;
        let entry = Walk::read(&value)?;
        walk.next(&entry)?;
        if self.options.require_external_evidence && entry.external_execution_evidence.is_some() {
            let message = "this build cannot judge receipts of tool servers";
            return Err(EntryFault::new(BundleReason::ExternalEvidence, message));
        }
        self.bundle.calls.push(&entry);
        hash.push(value.sorted_ascii().as_bytes());
        Ok(())
    }
}
