//! Every leaf of what a running gateway signed: change it, remove it, add to it, and a verifier says which rule broke.

use claim::time::Timestamp;
use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup};
use tests::upstream::Upstream;
use verify::{
    Approval, Approved, BundleOptions, Options, RecordOptions, Status, verify_audit_bundle, verify_trace_claim,
    verify_trust_record,
};

/// What one session left behind.
struct Artifacts {
    claim: Value,
    bundle: Value,
    record: Value,
    approved: Approved,
    now: Timestamp,
}

impl Artifacts {
    fn of_a_session() -> Self {
        let tool = Upstream::plain();
        let gateway = Gateway::start(&Setup::quickstart(&tool.url()).with("/claim/entries", json!(true)));
        for name in [CONTACTS, CONTACTS, "not.in.catalog"] {
            gateway.call("tampered", name);
        }
        gateway.post("/sessions/tampered/close", b"");
        let claim = gateway.claim("tampered");
        let text = |value: &Value| Approval::Hash(value.as_str().expect("a hash").to_owned());
        let iat = claim["trace"]["iat"].as_i64().expect("a time");
        Self {
            bundle: gateway.get("/audit/export?session_id=tampered").json(),
            record: gateway.get("/session/tampered/trust-record?nonce=AAECAwQFBgcICQoLDA0ODw").json(),
            approved: Approved {
                policy_bundle_hash: text(&claim["trace"]["policy"]["bundle_hash"]),
                tool_catalog_hash: text(&claim["gateway"]["catalog"]["hash"]),
            },
            now: Timestamp::from_micros((iat + 5) * 1_000_000),
            claim,
        }
    }

    fn claim_status(&self, claim: &[u8]) -> (Status, bool) {
        let verdict = verify_trace_claim(claim, &self.approved, &Options::at(self.now));
        (verdict.status, verdict.failure_reason.is_some())
    }

    /// What was made is itself in order, with whatever verifiers find wrong in it otherwise.
    fn assert_good(&self) {
        let verdict = verify_trace_claim(self.claim.to_string().as_bytes(), &self.approved, &Options::at(self.now));
        assert_eq!(verdict.status, Status::PartiallyVerified, "{verdict:?}\n{}", self.claim);
        assert_eq!(self.bundle_failures(self.bundle.to_string().as_bytes()), 0);
        let record = verify_trust_record(self.record.to_string().as_bytes(), &RecordOptions::at(self.now));
        assert_ne!(record.status, Status::Unverified, "{record:?}\n{}", self.record);
    }

    fn bundle_failures(&self, bundle: &[u8]) -> usize {
        let claim = self.claim.to_string();
        verify_audit_bundle(bundle, Some(claim.as_bytes()), BundleOptions::default()).failures.len()
    }

    fn record_status(&self, record: &[u8]) -> (Status, bool) {
        let verdict = verify_trust_record(record, &RecordOptions::at(self.now));
        (verdict.status, verdict.failure_reason.is_some())
    }
}

/// JSON pointers to every value inside.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let child = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| pointers(value, &child(key), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| pointers(item, &child(&n.to_string()), found));
        }
        _ => {}
    }
    found.push(at.to_owned());
}

/// Documents that differ from this one in one place.
fn changes(document: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    pointers(document, "", &mut places);
    let mut changed = Vec::new();
    for place in places {
        let mut copy = document.clone();
        let value = copy.pointer_mut(&place).expect("a place");
        match value {
            Value::String(text) => {
                let last = text.pop();
                text.push(if last == Some('0') { '1' } else { '0' });
            }
            Value::Number(number) => *value = json!(number.as_i64().expect("an integer") + 1),
            Value::Bool(flag) => *flag = !*flag,
            Value::Null => *value = json!("0"),
            Value::Array(items) => items.push(json!("0")),
            Value::Object(members) => drop(members.insert("added".to_owned(), json!("0"))),
        }
        changed.push((format!("changed {place}"), copy));
        if let Some((parent, key)) = place.rsplit_once('/') {
            let mut copy = document.clone();
            match copy.pointer_mut(parent).expect("a parent") {
                Value::Object(members) => drop(members.remove(&key.replace("~1", "/").replace("~0", "~"))),
                Value::Array(items) => drop(items.remove(key.parse().expect("an index"))),
                _ => unreachable!("only containers have members"),
            }
            changed.push((format!("removed {place}"), copy));
        }
    }
    changed
}

#[test]
fn every_changed_leaf_is_a_named_failure() {
    let artifacts = Artifacts::of_a_session();
    artifacts.assert_good();
    let claims = changes(&artifacts.claim);
    assert!(claims.len() > 80, "the claim has many leaves: {}", claims.len());
    for (what, claim) in claims {
        assert_eq!(artifacts.claim_status(claim.to_string().as_bytes()), (Status::Unverified, true), "claim: {what}");
    }
    for (what, bundle) in changes(&artifacts.bundle) {
        assert!(artifacts.bundle_failures(bundle.to_string().as_bytes()) > 0, "bundle: {what}");
    }
    for (what, record) in changes(&artifacts.record) {
        assert_eq!(
            artifacts.record_status(record.to_string().as_bytes()),
            (Status::Unverified, true),
            "record: {what}"
        );
    }
}

#[test]
fn formatting_changes_nothing() {
    let artifacts = Artifacts::of_a_session();
    let pretty = |value: &Value| serde_json::to_vec_pretty(value).expect("JSON");
    assert_eq!(artifacts.claim_status(&pretty(&artifacts.claim)), (Status::PartiallyVerified, false));
    assert_eq!(artifacts.bundle_failures(&pretty(&artifacts.bundle)), 0);
    let record = artifacts.record.to_string();
    assert_eq!(artifacts.record_status(&pretty(&artifacts.record)), artifacts.record_status(record.as_bytes()));
}

#[test]
fn two_sessions_cannot_be_mixed() {
    let (one, two) = (Artifacts::of_a_session(), Artifacts::of_a_session());
    assert!(one.bundle_failures(two.bundle.to_string().as_bytes()) > 0);
}
