//! The operator's word, in the mouth of a host: controls and policy bundles of another key, of another kind, older, late.

use std::time::{Duration, Instant};

use claim::operator::OperatorKey;
use serde_json::{Value, json};
use tests::hostile::{HostileHost, Unbooted, bundle};
use tests::setup::Setup;
use tests::store::{batch_records, kind};
use tests::upstream::Upstream;
use wire::{Blob, BootBundle, BootRefusal, ControlEvent, ControlRequest, Document, PolicyFile, RefusalCode};

use crate::{call, get, outcome, summary};

const PERMIT: &str = "permit (principal, action, resource);";
const FORBID: &str = "forbid (principal, action, resource);";

fn key() -> OperatorKey {
    OperatorKey::from_seed([0x0a; 32])
}

fn operated(upstream: &str) -> Setup {
    Setup::quickstart(upstream).mode("enforcing").policy("demo.cedar", PERMIT).version("1.2.0").operated_by(&key())
}

fn booted(bundle: BootBundle) -> Result<HostileHost, BootRefusal> {
    let mut enclave = Unbooted::start();
    match enclave.ask(&ControlRequest::Check(bundle.clone())) {
        ControlEvent::Checked(_) => Ok(enclave.boot(bundle)),
        ControlEvent::Refused(refusal) => {
            let again = enclave.ask(&ControlRequest::Boot(bundle));
            assert_eq!(again, ControlEvent::Refused(refusal.clone()), "a check and a boot say the same");
            Err(refusal)
        }
        other => panic!("{other:?}"),
    }
}

/// Code and field of a refused boot.
fn refused(bundle: BootBundle) -> (RefusalCode, Document, String) {
    let refusal = booted(bundle).err().expect("a refusal");
    (refusal.code, refusal.document, refusal.field.0)
}

fn reload(host: &mut HostileHost, setup: &Setup) -> Result<[u8; 32], BootRefusal> {
    reload_files(host, bundle(setup).policy)
}

fn reload_files(host: &mut HostileHost, files: Vec<PolicyFile>) -> Result<[u8; 32], BootRefusal> {
    wire::blocking::write(host.control(), &ControlRequest::Reload(files)).expect("the enclave reads");
    host.event("answer to a reload", |event| match event {
        ControlEvent::Reloaded(report) => Some(Ok(report.bundle_hash)),
        ControlEvent::Refused(refusal) => Some(Err(refusal.clone())),
        _ => None,
    })
}

fn start_detail(host: &HostileHost, session: &str) -> Value {
    get(host, &format!("/audit/export?session_id={session}")).json()["entries"][0]["detail"].clone()
}

/// Control records that the store was given.
fn recorded(host: &HostileHost) -> Vec<Value> {
    let batches = host.store.appends();
    let records = batches.iter().flat_map(|append| batch_records(&append.bytes.0));
    records.filter(|record| record.kind == kind::CONTROL).map(|record| record.json()).collect()
}

#[test]
fn controls_of_another_hand_or_kind_are_refused() {
    let tool = Upstream::plain();
    let base = operated(&tool.url());
    let plain = json!({"epoch": 3, "revoked_keys": []});
    let good = base.clone().controls(&key(), &plain);
    booted(bundle(&good)).expect("good controls");
    let with = |controls: &[u8]| {
        let mut changed = bundle(&good);
        changed.controls = Some(Blob(controls.to_vec()));
        refused(changed)
    };
    let signature = |setup: &Setup| setup.controls.clone().expect("controls")["signature"].clone();
    let signed = |signature: Value| {
        let mut controls = plain.clone();
        controls["signature"] = signature;
        with(controls.to_string().as_bytes())
    };
    let unverified = (RefusalCode::Signature, Document::Controls, "signature".to_owned());
    let other = OperatorKey::from_seed([0x0b; 32]);
    assert_eq!(signed(signature(&base.clone().controls(&other, &plain))), unverified, "another key");
    // A signature by the right key, over a policy bundle.
    let policy = key().sign_policy(claim::Digest::of(plain.to_string()));
    assert_eq!(signed(json!(policy)), unverified, "another kind");
    assert_eq!(signed(json!("")), unverified);
    assert_eq!(with(plain.to_string().as_bytes()), unverified, "unsigned");
    // And a controls' signature on a bundle.
    let mut manifest: Value =
        serde_json::from_str(&good.policies.iter().find(|(name, _)| name == "manifest.json").expect("it").1)
            .expect("JSON");
    manifest["signature"] = signature(&good);
    let crossed = bundle(&good.clone().policy("manifest.json", &manifest.to_string()));
    let policy_signature = (RefusalCode::Signature, Document::Policy("manifest.json".into()), "signature".to_owned());
    assert_eq!(refused(crossed), policy_signature);

    let resigned = |controls: Value| refused(bundle(&base.clone().controls(&key(), &controls)));
    assert_eq!(resigned(json!({"epoch": 0})), (RefusalCode::InvalidValue, Document::Controls, "epoch".to_owned()));
    assert_eq!(resigned(json!({"blocked": []})).0, RefusalCode::Missing);
    assert_eq!(resigned(json!({"epoch": 1, "unblocked": []})).0, RefusalCode::UnknownKey);
    let floor = json!({"epoch": 1, "min_policy_version": "v1"});
    assert_eq!(resigned(floor), (RefusalCode::InvalidValue, Document::Controls, "min_policy_version".to_owned()));
    assert_eq!(with(b"{").0, RefusalCode::Malformed);
    assert_eq!(with(br#"{"epoch":1,"epoch":2}"#).0, RefusalCode::Duplicate);
}

#[test]
fn controls_can_neither_be_left_out_nor_slipped_in() {
    let tool = Upstream::plain();
    let base = operated(&tool.url());
    let good = base.clone().controls(&key(), &json!({"epoch": 3}));
    let mut without = bundle(&good);
    without.controls = None;
    assert_eq!(refused(without), (RefusalCode::Missing, Document::Config, "controls_path".to_owned()));
    let mut extra = bundle(&base);
    extra.controls = bundle(&good).controls;
    assert_eq!(refused(extra), (RefusalCode::Missing, Document::Config, "controls_path".to_owned()));
    let keyless = Setup::quickstart(&tool.url()).controls(&key(), &json!({"epoch": 3}));
    assert_eq!(refused(bundle(&keyless)), (RefusalCode::Missing, Document::Config, "operator.public_key".to_owned()));
}

/// Leaving the controls out does not open what they block: with the kill switch enabled nothing passes at all.
#[test]
fn controls_that_are_left_out_halt_what_has_a_kill_switch() {
    let tool = Upstream::plain();
    let blocked = json!({"epoch": 3, "blocked": [{"subject": "anonymous"}]});
    let setup = operated(&tool.url()).controls(&key(), &blocked).with("/kill_switch", json!({"enabled": true}));
    let host = booted(bundle(&setup)).expect("good");
    assert!(!host.report.halted);
    assert_eq!(outcome(&call(&host, "s")), (403, "KILL_SWITCH".to_owned()));
    let mut without = bundle(&setup);
    without.controls = None;
    let mut host = booted(without).expect("halted");
    assert!(host.report.halted);
    assert_eq!(outcome(&call(&host, "s")), (503, "GATEWAY_HALTED".to_owned()));
    assert_eq!(outcome(&get(&host, "/readyz")), (503, "GATEWAY_HALTED".to_owned()));
    // Nor does a reload.
    reload(&mut host, &setup.clone().version("3.0").sign_policy(&key())).expect("signed and newer");
    assert_eq!(outcome(&call(&host, "t")), (503, "GATEWAY_HALTED".to_owned()));
    assert_eq!((summary(&host, "s")["tool_calls_denied"].clone(), tool.calls().len()), (json!(1), 0));
}

/// The enclave has no memory of its own: an older file boots. It is in the session's first entry, under the chain's root.
#[test]
fn an_older_epoch_boots_and_shows() {
    let tool = Upstream::plain();
    let base = operated(&tool.url());
    let mut seen = Vec::new();
    for epoch in [7, 6] {
        let setup = base.clone().controls(&key(), &json!({"epoch": epoch}));
        let sent = bundle(&setup);
        let hash = claim::Digest::of(&sent.controls.as_ref().expect("controls").0).prefixed();
        let host = booted(sent).expect("good controls");
        assert_eq!(host.report.controls_epoch, Some(epoch));
        call(&host, "s");
        let detail = start_detail(&host, "s");
        assert_eq!((&detail["controls_epoch"], &detail["controls_hash"]), (&json!(epoch), &json!(hash)));
        let boot = batch_records(&host.store.appends()[0].bytes.0).remove(0);
        assert_eq!(boot.json()["controls_hash"], hash);
        seen.push(detail["boot"].clone());
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn reloads_without_authority_change_nothing() {
    let tool = Upstream::plain();
    let base = operated(&tool.url());
    let revoked = OperatorKey::from_seed([0x0b; 32]);
    let controls =
        json!({"epoch": 1, "min_policy_version": "1.2", "revoked_keys": [revoked.public().key_id().prefixed()]});
    let setup = base.with("/operator/policy_keys", json!([revoked.public().x()])).controls(&key(), &controls);
    let mut host = booted(bundle(&setup)).expect("good");
    assert_eq!(call(&host, "before").status(), 200);
    let forbid = setup.clone().policy("demo.cedar", FORBID);
    let signed = |version: &str| forbid.clone().version(version).sign_policy(&key());
    let policy = Document::Policy("manifest.json".into());
    let schema = r"namespace cMCP { entity Principal; entity Resource = { colour: String };
        action call_tool appliesTo { principal: [Principal], resource: [Resource], context: {} }; }";
    for (name, setup, code, field) in [
        ("unsigned", setup.clone().version("2.0").policy("demo.cedar", FORBID), RefusalCode::Signature, "signature"),
        ("changed", signed("2.0").policy("demo.cedar", PERMIT), RefusalCode::Signature, "signature"),
        (
            "unknown key",
            signed("2.0").sign_policy(&OperatorKey::from_seed([1; 32])),
            RefusalCode::Signature,
            "signature",
        ),
        ("revoked key", signed("2.0").sign_policy(&revoked), RefusalCode::Signature, "signature"),
        ("the same version", signed("1.2.0"), RefusalCode::Version, "version"),
        ("the same version, shorter", signed("1.2"), RefusalCode::Version, "version"),
        ("an older version", signed("1.1.9"), RefusalCode::Version, "version"),
        ("no version", signed("next"), RefusalCode::Version, "version"),
    ] {
        let refusal = reload(&mut host, &setup).expect_err(name);
        assert_eq!((refusal.code, &refusal.document, refusal.field.0.as_str()), (code, &policy, field), "{name}");
    }
    let broken = signed("2.0").policy("demo.cedar", "permit (").sign_policy(&key());
    assert_eq!(reload(&mut host, &broken).expect_err("broken").code, RefusalCode::Cedar);
    let foreign = signed("2.0").policy("schema.cedarschema", schema).sign_policy(&key());
    assert_eq!(reload(&mut host, &foreign).expect_err("another vocabulary").code, RefusalCode::Unsupported);
    assert_eq!(reload_files(&mut host, Vec::new()).expect_err("nothing").code, RefusalCode::Missing);

    assert_eq!(call(&host, "after").status(), 200);
    let permitted = setup.bundle_hash().prefixed();
    assert_eq!(start_detail(&host, "after")["policy_bundle_hash"], permitted);
    assert_eq!(recorded(&host), Vec::<Value>::new());
    // The refused ones have not used up their versions.
    reload(&mut host, &signed("1.2.1")).expect("signed and newer");
    assert_eq!(outcome(&call(&host, "new")), (403, "POLICY_DENY".to_owned()));
    assert_eq!(recorded(&host).len(), 1);
}

#[test]
fn without_a_key_nothing_is_reloaded() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).policy("demo.cedar", PERMIT);
    let mut host = HostileHost::start(&setup);
    let refusal = reload(&mut host, &setup.version("9.0").sign_policy(&key())).expect_err("no key");
    assert_eq!((refusal.code, refusal.field.0.as_str()), (RefusalCode::Missing, "operator.public_key"));
    assert!(refusal.found.0.contains("reload needs operator.public_key"), "{refusal:?}");
}

#[test]
fn a_reload_before_the_boot_is_refused_and_the_boot_goes_on() {
    let tool = Upstream::plain();
    let setup = operated(&tool.url());
    let mut enclave = Unbooted::start();
    match enclave.ask(&ControlRequest::Reload(bundle(&setup.clone().version("3.0").sign_policy(&key())).policy)) {
        ControlEvent::Refused(refusal) => assert_eq!(refusal.code, RefusalCode::State),
        other => panic!("{other:?}"),
    }
    let host = enclave.boot(bundle(&setup));
    assert_eq!(call(&host, "s").status(), 200);
    assert_eq!(start_detail(&host, "s")["policy_bundle_hash"], setup.bundle_hash().prefixed());
}

/// Sessions of several bundles side by side: each is decided by its own, and its claim names it.
#[test]
fn every_session_keeps_the_bundle_that_it_began_with() {
    let tool = Upstream::plain();
    let first = operated(&tool.url());
    let mut host = booted(bundle(&first)).expect("good");
    let mut bundles = vec![("s0".to_owned(), first.clone(), 200)];
    assert_eq!(call(&host, "s0").status(), 200);
    for number in 1_u16..4 {
        let (text, status) = if number % 2 == 1 { (FORBID, 403) } else { (PERMIT, 200) };
        let next = first.clone().policy("demo.cedar", text).version(&format!("1.2.{number}")).sign_policy(&key());
        assert_eq!(reload(&mut host, &next).expect("newer"), *next.bundle_hash().bytes());
        bundles.push((format!("s{number}"), next, status));
        for (session, setup, status) in &bundles {
            assert_eq!(call(&host, session).status(), *status, "{session} after {number}");
            assert_eq!(start_detail(&host, session)["policy_bundle_hash"], setup.bundle_hash().prefixed());
            let claim = get(&host, &format!("/session/{session}/claim")).json();
            assert_eq!(claim["trace"]["policy"]["bundle_hash"], setup.bundle_hash().prefixed());
        }
    }
    assert_eq!(summary(&host, "s0")["tool_calls_allowed"], 4);
    assert_eq!(summary(&host, "s1")["tool_calls_denied"], 3);
    let versions: Vec<_> = recorded(&host).iter().map(|load| load["version"].clone()).collect();
    assert_eq!(versions, ["1.2.1", "1.2.2", "1.2.3"]);
}

/// Reloads that are refused cost no Cedar; calls go on between them.
#[test]
fn a_flood_of_reloads_does_not_stop_calls() {
    let tool = Upstream::plain();
    let setup = operated(&tool.url());
    let mut host = booted(bundle(&setup)).expect("good");
    let files = bundle(&setup.clone().version("5.0")).policy;
    let flood = ControlRequest::Reload(files);
    let started = Instant::now();
    for round in 0..40 {
        for _ in 0..50 {
            wire::blocking::write(host.control(), &flood).expect("the enclave reads");
        }
        assert_eq!(call(&host, "s").status(), 200, "{round}");
        for _ in 0..50 {
            let code = host.event("refusal", |event| match event {
                ControlEvent::Refused(refusal) => Some(refusal.code),
                _ => None,
            });
            assert_eq!(code, RefusalCode::Signature);
        }
    }
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    assert_eq!(summary(&host, "s")["tool_calls_allowed"], 40);
    assert_eq!(recorded(&host), Vec::<Value>::new());
}
