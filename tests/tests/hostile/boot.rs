//! Boot bundles: one per boot, measured, and a change between two boots shows.

use serde_json::json;
use tests::hostile::{HostileHost, Unbooted, bundle};
use tests::setup::{CONTACTS, Setup};
use tests::upstream::Upstream;
use wire::{Blob, ControlEvent, ControlRequest, PolicyFile, RefusalCode, StoreHead, Text};

use crate::{call, get, outcome};

#[test]
fn a_second_boot_bundle_is_refused_and_changes_nothing() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).mode("enforcing");
    let mut host = HostileHost::start(&setup);
    call(&host, "first");
    let weaker = bundle(&setup.clone().mode("silent"));
    wire::blocking::write(host.control(), &ControlRequest::Boot(weaker)).expect("the enclave reads");
    let refusal = host.event("refusal", |event| match event {
        ControlEvent::Refused(refusal) => Some(refusal.clone()),
        _ => None,
    });
    assert_eq!(refusal.code, RefusalCode::State);
    assert_eq!(outcome(&call(&host, "first")), (403, "POLICY_DENY".to_owned()), "still enforcing");
}

#[test]
fn a_changed_document_changes_its_hash() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url());
    let report = |setup: &Setup| HostileHost::start(setup).report.clone();
    let before = report(&setup);

    let policy = report(&setup.clone().policy("extra.cedar", "permit (principal, action, resource);"));
    assert_ne!(policy.bundle_hash, before.bundle_hash);
    assert_eq!((policy.catalog_hash, policy.config_hash), (before.catalog_hash, before.config_hash));

    let catalog = report(&setup.clone().tool("echo", &tool.url(), "public", "public"));
    assert_ne!(catalog.catalog_hash, before.catalog_hash);
    assert_eq!((catalog.bundle_hash, catalog.config_hash), (before.bundle_hash, before.config_hash));

    let config = report(&setup.clone().mode("silent"));
    assert_ne!(config.config_hash, before.config_hash);
    assert_eq!((config.bundle_hash, config.catalog_hash), (before.bundle_hash, before.catalog_hash));

    let again = report(&setup);
    assert_eq!(
        (again.bundle_hash, again.catalog_hash, again.config_hash),
        (before.bundle_hash, before.catalog_hash, before.config_hash)
    );
    assert_ne!(again.public_key, before.public_key, "every boot has a key of its own");
    assert_ne!(again.boot_id, before.boot_id);
}

#[test]
fn claims_name_what_was_booted() {
    let tool = Upstream::plain();
    let host = HostileHost::start(&Setup::quickstart(&tool.url()));
    call(&host, "named");
    let claim = get(&host, "/session/named/claim").json();
    let hex = |bytes: [u8; 32]| claim::Digest::from_bytes(bytes).prefixed();
    assert_eq!(claim["trace"]["policy"]["bundle_hash"], json!(hex(host.report.bundle_hash)));
    assert_eq!(claim["gateway"]["catalog"]["hash"], json!(hex(host.report.catalog_hash)));
    assert_eq!(claim["trace"]["runtime"]["platform"], "software-only");
}

#[test]
fn documents_that_do_not_hold_are_refused_by_name() {
    let base = Setup::quickstart("http://localhost:9001/mcp");
    let good = bundle(&base);
    let refuse = |change: &dyn Fn(&mut wire::BootBundle)| {
        let mut changed = good.clone();
        change(&mut changed);
        match Unbooted::start().ask(&ControlRequest::Boot(changed)) {
            ControlEvent::Refused(refusal) => refusal.code,
            other => panic!("not refused: {other:?}"),
        }
    };
    let policy = |path: &str, bytes: &[u8]| PolicyFile { path: Text::from(path), bytes: Blob(bytes.to_vec()) };
    assert_eq!(refuse(&|bundle| bundle.config = Blob(b"{".to_vec())), RefusalCode::Malformed);
    assert_eq!(refuse(&|bundle| bundle.config = Blob(b"{\"a\":1,\"a\":1}".to_vec())), RefusalCode::Duplicate);
    assert_eq!(refuse(&|bundle| bundle.config = Blob(vec![b'['; 1 << 20])), RefusalCode::Malformed);
    assert_eq!(refuse(&|bundle| bundle.catalog = Blob(b"\xff\xfe".to_vec())), RefusalCode::Malformed);
    assert_eq!(refuse(&|bundle| bundle.policy.clear()), RefusalCode::Missing);
    assert_eq!(refuse(&|bundle| bundle.policy.push(bundle.policy[0].clone())), RefusalCode::Duplicate);
    assert_eq!(refuse(&|bundle| bundle.policy.push(policy("x.cedar", b"\xff"))), RefusalCode::Malformed);
    assert_eq!(refuse(&|bundle| bundle.policy.push(policy("x.cedar", b"permit ("))), RefusalCode::Cedar);
    assert_eq!(refuse(&|bundle| bundle.dev = false), RefusalCode::NoTee);
    let tampered = base.catalog.to_string().replace("Query Salesforce", "Query all of Salesforce");
    assert_eq!(refuse(&|bundle| bundle.catalog = Blob(tampered.clone().into_bytes())), RefusalCode::HashMismatch);
}

/// Whatever the boot inputs were written for has not happened yet at a time before they were written.
#[test]
fn a_wall_clock_in_the_past_is_not_believed() {
    const FUTURE: &str = "2031-01-01T00:00:00Z";
    const FUTURE_SECONDS: i64 = 1_924_992_000;
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url());
    let issued_at = |bundle: wire::BootBundle| {
        let host = Unbooted::start().boot(wire::BootBundle { wall_unix_ms: 0, ..bundle });
        call(&host, "past");
        get(&host, "/session/past/claim").json()["trace"]["iat"].as_i64().expect("a time")
    };
    let later = |bytes: &Blob| {
        let text = String::from_utf8(bytes.0.clone()).expect("text");
        assert!(text.contains("2026-06-05T00:00:00Z"), "{text}");
        Blob(text.replace("2026-06-05T00:00:00Z", FUTURE).into_bytes())
    };

    let version = issued_at(bundle(&setup));
    assert!((1_795_305_600..FUTURE_SECONDS).contains(&version), "not before this version: {version}");

    let mut catalog = bundle(&setup);
    catalog.catalog = later(&catalog.catalog);
    assert!(issued_at(catalog) >= FUTURE_SECONDS, "not before the newest approval");

    let mut policy = bundle(&setup);
    let manifest = policy.policy.iter_mut().find(|file| file.path.0 == "manifest.json").expect("a manifest");
    manifest.bytes = later(&manifest.bytes);
    assert!(issued_at(policy) >= FUTURE_SECONDS, "not before the policy bundle");
}

#[test]
fn the_first_entry_says_whose_time_it_is() {
    let tool = Upstream::plain();
    let host = HostileHost::start(&Setup::quickstart(&tool.url()));
    call(&host, "time");
    let entries = get(&host, "/audit/export?session_id=time").json()["entries"].clone();
    assert_eq!(entries[0]["detail"]["time_source"], "host");
    assert_eq!(entries[1]["tool_name"], CONTACTS);
}

#[test]
fn checks_and_hashes_leave_the_running_boot_alone() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).mode("enforcing");
    let mut host = HostileHost::start(&setup);
    assert_eq!(call(&host, "running").status(), 200);
    wire::blocking::write(host.control(), &ControlRequest::Check(bundle(&setup.clone().mode("silent"))))
        .expect("the enclave reads");
    let checked = host.event("answer to the check", |event| match event {
        ControlEvent::Checked(report) => Some(report.config_hash),
        _ => None,
    });
    assert_ne!(checked, host.report.config_hash);
    let definition = setup.catalog[0]["approved_definition"].to_string();
    wire::blocking::write(host.control(), &ControlRequest::HashDefinition(Blob(definition.into_bytes())))
        .expect("the enclave reads");
    let hash = host.event("hash", |event| match event {
        ControlEvent::DefinitionHash(hash) => Some(*hash),
        _ => None,
    });
    assert_eq!(setup.catalog[0]["definition_hash"], json!(claim::Digest::from_bytes(hash).prefixed()));
    assert_eq!(outcome(&call(&host, "running")), (403, "POLICY_DENY".to_owned()), "still enforcing, same session");
}

/// Collateral is believed for nothing, so a lie in it harms nobody; what has another shape is not handed on.
#[test]
fn collateral_is_handed_on_as_it_came_or_not_at_all() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url());
    let mut unbooted = Unbooted::start();
    let early = unbooted.ask(&ControlRequest::Collateral(Blob(b"{}".into())));
    assert!(matches!(early, ControlEvent::Refused(refusal) if refusal.code == RefusalCode::State));
    let mut host = unbooted.boot(bundle(&setup));
    assert_eq!(call(&host, "s").status(), 200);
    let shown = |host: &HostileHost| get(host, "/session/s/evidence").json();
    assert!(shown(&host).get("collateral").is_none());
    let lie = json!({"certificates": ["MAMCAQE"], "crls": [], "tdx": {"tcb_info": "\n"}});
    let long = format!(r#"{{"crls":["{}"]}}"#, "AAAA".repeat(65_536));
    for (document, kept) in [
        (lie.to_string(), true),
        (r#"{"certificates":["MAMCAQF"]}"#.to_owned(), false),
        (r#"{"certificates":[],"certificates":[]}"#.to_owned(), false),
        (r#"{"tdx":{"tcb_info":1}}"#.to_owned(), false),
        ("not JSON".to_owned(), false),
        (long, false),
    ] {
        let request = ControlRequest::Collateral(Blob(document.clone().into_bytes()));
        wire::blocking::write(host.control(), &request).expect("the enclave reads");
        let answer = host.event("answer", |event| match event {
            ControlEvent::CollateralKept => Some(true),
            ControlEvent::Refused(refusal) => Some(refusal.field.0 != "collateral"),
            _ => None,
        });
        assert_eq!(answer, kept, "{}", document.get(..60).unwrap_or(&document));
        assert_eq!(shown(&host)["collateral"], json!({"certificates": ["MAMCAQE"], "tdx": {"tcb_info": "\n"}}));
    }
    assert_eq!(call(&host, "s").status(), 200);
}

#[test]
fn the_head_of_an_earlier_store_is_recorded_and_chained() {
    let tool = Upstream::plain();
    let mut bundle = bundle(&Setup::quickstart(&tool.url()));
    let head = StoreHead { boot_id: [7; 16], batch: 41, hash: [9; 32] };
    bundle.store_head = Some(head);
    let host = Unbooted::start().boot(bundle);
    assert_eq!(call(&host, "after").status(), 200);
    let appends = host.store.appends();
    let first = claim::bootlog::Batch::parse(&appends[0].bytes.0).expect("a batch");
    assert_eq!(first.prev(), claim::Digest::from_bytes(head.hash));
    let boot = tests::store::batch_records(&appends[0].bytes.0).remove(0);
    assert_eq!(boot.kind, tests::store::kind::BOOT);
    assert_eq!(boot.json()["previous"]["batch"], 41);
    assert_eq!(boot.json()["previous"]["boot_id"], "07".repeat(16));
}
