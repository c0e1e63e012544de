//! One session's records: entries, intents and claims, against each other and against the boot.

use std::collections::{BTreeMap, VecDeque};

use claim::Digest;
use claim::bootlog::{IntentRecord, Record};
use claim::entry::{Durability, Entry, EntryType};
use claim::json::Json;
use claim::key::PublicKey;
use claim::profile::Profile;

use crate::audit::{Walk, claim_contradiction};
use crate::shape;
use crate::trace_claim::{self, View};

use super::boot::{Terms, canonical, malformed, misplaced};
use super::walk::Fault;
use super::{StoreReason, UnknownOutcome};

/// How many entry hashes are kept to compare claims with. Calls of a session go on while a claim on it is signed, so its
/// record comes a few entries after its tip; one that comes later than this has its tip not compared.
const RECENT: usize = 256;

#[derive(Default)]
pub(super) struct Session {
    walk: Walk,
    strict: bool,
    /// Hashes of the last entries; the newest is the tip.
    recent: VecDeque<Digest>,
    /// Calls that were about to be forwarded, by call id.
    pending: BTreeMap<String, IntentRecord>,
    claims: u64,
    last_claim: Option<Digest>,
    over: bool,
    /// SHA-256 of its newest evidence.
    pub(super) evidence: Option<Digest>,
}

impl Session {
    pub(super) fn id(&self) -> &str {
        &self.walk.session_id
    }

    /// Whether session_end was read.
    pub(super) fn has_ended(&self) -> bool {
        self.walk.ended
    }

    /// Whether the claim on the session's end was read.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn entry(&mut self, record: &Record<'_>, terms: &Terms) -> Result<(Json, Digest), Fault> {
        let value = claim::json::parse(record.bytes).map_err(|error| malformed(&error))?;
        canonical(record.bytes, value.sorted_ascii().as_bytes())?;
        let named = |fault: crate::audit::EntryFault| Fault { reason: fault.reason.as_str(), message: fault.message };
        let entry = Walk::read(&value).map_err(named)?;
        self.walk.next(&entry).map_err(named)?;
        if entry.entry_type == EntryType::SessionStart {
            self.begin(&entry, record.session, terms)?;
        }
        if entry.entry_type == EntryType::AttestationRefresh {
            self.refresh(&entry, terms)?;
        }
        self.outcome(&entry)?;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(entry.entry_hash);
        Ok((value, entry.entry_hash))
    }

    /// The entry names the evidence that was recorded before it.
    fn refresh(&self, entry: &Entry, terms: &Terms) -> Result<(), Fault> {
        let member = |name| entry.detail.as_ref().and_then(|detail| detail.get(name)).and_then(Json::as_str);
        for (name, recorded) in [("boot_evidence", terms.evidence), ("session_evidence", self.evidence)] {
            let Some(named) = member(name) else { continue };
            if recorded.map(|digest| digest.prefixed()).as_deref() != Some(named) {
                return Err(misplaced(&format!("attestation_refresh: {name} is not the evidence recorded before it")));
            }
        }
        Ok(())
    }

    /// session_start commits to the boot, and to what is in force.
    fn begin(&mut self, entry: &Entry, number: u64, terms: &Terms) -> Result<(), Fault> {
        let member = |name| entry.detail.as_ref().and_then(|detail| detail.get(name));
        let text = |name| member(name).and_then(Json::as_str);
        for (name, expected) in [
            ("boot", terms.boot_x.clone()),
            ("policy_bundle_hash", terms.bundle_hash.prefixed()),
            ("catalog_hash", terms.catalog_hash.prefixed()),
            ("config_hash", terms.config_hash.prefixed()),
        ] {
            if text(name) != Some(expected.as_str()) {
                let found = text(name).map_or_else(|| "nothing".to_owned(), shape::quoted);
                let message = format!("session_start's {name} is {found}, the boot's is {expected}");
                return Err(Fault::new(StoreReason::BootCommitmentMismatch, message));
            }
        }
        let (stated, expected) = (text("controls_hash"), terms.controls_hash.map(|hash| hash.prefixed()));
        if stated != expected.as_deref() {
            let message = "session_start's controls_hash is not the boot's";
            return Err(Fault::new(StoreReason::BootCommitmentMismatch, message));
        }
        if member("session_number").and_then(Json::as_u64) != Some(number) {
            let message = format!("session_start is not of session {number} of the boot");
            return Err(Fault::new(StoreReason::BootCommitmentMismatch, message));
        }
        self.strict = text("durability") == Some(Durability::Strict.as_str());
        Ok(())
    }

    pub(super) fn intent(&mut self, intent: IntentRecord, number: u64) -> Result<(), Fault> {
        let wrong = match () {
            () if intent.session_number != number => "session_number",
            () if intent.session_id != self.walk.session_id => "session_id",
            () if intent.entry_count_before > self.walk.chain.length() => "entry_count_before",
            () if self.walk.ended => "session_end is past; place",
            () if self.pending.contains_key(&intent.call_id) => "call_id",
            () => {
                self.pending.insert(intent.call_id.clone(), intent);
                return Ok(());
            }
        };
        Err(Fault::new(StoreReason::IntentContradicted, format!("an intent's {wrong} does not fit its session")))
    }

    /// An entry that ends a call must agree with the call's intent.
    fn outcome(&mut self, entry: &Entry) -> Result<(), Fault> {
        if !matches!(entry.entry_type, EntryType::ToolCall | EntryType::EgressDenied | EntryType::Fault) {
            return Ok(());
        }
        let Some(call_id) = &entry.call_id else { return Ok(()) };
        let Some(intent) = self.pending.remove(call_id) else {
            if self.strict && entry.response_payload_hash.is_some() {
                let message = format!("call {} has an answer of its tool, and no intent", shape::quoted(call_id));
                return Err(Fault::new(StoreReason::IntentMissing, message));
            }
            return Ok(());
        };
        let other_tool = entry.tool_name.as_ref().is_some_and(|tool| *tool != intent.tool_name);
        let other_request = entry.request_payload_hash.is_some_and(|hash| hash != intent.request_payload_hash);
        if other_tool || other_request {
            let message = format!("call {}: the intent names another tool or request", shape::quoted(call_id));
            return Err(Fault::new(StoreReason::IntentContradicted, message));
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, bytes: &[u8], key: &PublicKey) -> Result<(), Fault> {
        let invalid = |message: String| Fault::new(StoreReason::ClaimInvalid, message);
        let claim = [Profile::TraceV02, Profile::TraceV01].map(|profile| trace_claim::parse(bytes, profile));
        let [current, superseded] = claim;
        let claim = current.or_else(|misfit| superseded.map_err(|_| invalid(misfit.to_string())))?;
        canonical(bytes, claim.sorted_ascii().as_bytes())?;
        let signer = trace_claim::check_signature(&claim).map_err(|error| invalid(error.to_string()))?;
        if signer != *key {
            return Err(invalid(format!("signed by another key, {}", signer.hex())));
        }
        let view = View::new(&claim);
        self.chain(&view)?;
        self.sequence(&view)?;
        self.claims = self.claims.saturating_add(1);
        self.last_claim = Some(Digest::of(bytes));
        self.over = self.walk.ended && self.names_tip(&view);
        Ok(())
    }

    fn names_tip(&self, claim: &View<'_>) -> bool {
        self.walk.tip().is_some_and(|tip| tip.hex() == claim.tip())
    }

    /// The claim's root, tip and length are those of the chain, now or a few entries ago; if now, so are its counts.
    fn chain(&self, claim: &View<'_>) -> Result<(), Fault> {
        let fail = |message: String| Err(Fault::new(StoreReason::ClaimContradicted, message));
        let length = claim.int(&["gateway", "audit_chain", "length"]).and_then(|length| u64::try_from(length).ok());
        let behind = length.and_then(|length| self.walk.chain.length().checked_sub(length));
        let Some(behind) = behind.and_then(|behind| usize::try_from(behind).ok()) else {
            return fail("it counts entries that are not stored before it".into());
        };
        let root = self.walk.chain.root().map(|root| root.hex());
        let at = self.recent.len().checked_sub(behind.saturating_add(1)).and_then(|index| self.recent.get(index));
        let forgotten = self.recent.len() == RECENT && behind >= RECENT;
        let same_tip = forgotten || at.map(Digest::hex).as_deref() == Some(claim.tip());
        if !same_tip || root.as_deref() != Some(claim.root()) {
            return fail("its root, tip and length are not those of the session's chain".into());
        }
        if behind > 0 {
            return Ok(());
        }
        match claim_contradiction(&self.walk, claim) {
            Some(failure) => fail(failure.to_string()),
            None => Ok(()),
        }
    }

    fn sequence(&self, claim: &View<'_>) -> Result<(), Fault> {
        // Profile v0.1 numbers no claims.
        let Some(number) = claim.int(&["gateway", "sequence_number"]) else { return Ok(()) };
        let previous = claim.at(&["gateway", "prev_claim_hash"]).and_then(Json::as_str);
        let expected = self.last_claim.map(|hash| hash.prefixed());
        if u64::try_from(number) != Ok(self.claims.saturating_add(1)) || previous != expected.as_deref() {
            let message = format!("claim {number} does not follow the session's {} claims", self.claims);
            return Err(Fault::new(StoreReason::ClaimContradicted, message));
        }
        Ok(())
    }

    pub(super) fn into_unknown(self) -> impl Iterator<Item = UnknownOutcome> {
        self.pending.into_values().map(|intent| UnknownOutcome {
            session_id: intent.session_id,
            call_id: intent.call_id,
            tool_name: intent.tool_name,
            at: intent.at,
        })
    }
}
