//! What the enclave asks for without dev mode, and what it does not start with.

use wire::{Provider, RefusalCode};

use super::*;

#[test]
fn without_dev_mode_more_is_asked_of_the_documents() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let good = production(&upstream.url());
    let open = Setup::quickstart(&upstream.url()).sealed_to(AUDITOR);
    let unsealed = Setup::quickstart(&upstream.url()).agents(&["alice"]);
    for (setup, code, field) in [
        (open, RefusalCode::Missing, "auth.mode"),
        (unsealed, RefusalCode::Missing, "audit.auditor_key"),
        (good.clone().mode("enforcing"), RefusalCode::Missing, "server.tls_fingerprint"),
        (provider(good.clone(), "software-only"), RefusalCode::NoTee, "attestation.provider"),
        (provider(good.clone(), "azure"), RefusalCode::NoTee, "attestation.provider"),
        (provider(good.clone(), "tdx"), RefusalCode::Unsupported, "attestation.provider"),
        (provider(good.clone(), "sev-snp"), RefusalCode::Unsupported, "attestation.provider"),
    ] {
        let refused = refusal(&tpm.path(), &setup);
        assert_eq!((refused.code, refused.field.0.as_str()), (code, field), "{refused:?}");
    }
    for setup in [good.clone(), provider(good, "tpm")] {
        assert_eq!(boot(&tpm.path(), &setup).report.provider, Provider::Tpm);
    }
}

/// Also a host that asks for no TLS gets it: without dev mode nothing is served in the clear.
#[test]
fn without_dev_mode_there_is_tls_whatever_the_host_asks_for() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let clear = BootBundle { tls: false, ..outside_dev_mode(&production(&upstream.url())) };
    let host = unbooted(&tpm.path()).boot(clear);
    assert_eq!(host.report.tls_spki.len(), 1);
    assert!(host.connect().request("GET", "/health", &[], b"").is_err());
    assert_eq!(get(&host, "/health").status(), 200);
}

#[test]
fn another_measurement_than_the_expected_one_ends_the_boot() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let measured = Digest::of([0; 256]).prefixed();
    let expecting =
        |measurement: &str| production(&upstream.url()).with("/attestation/expected_measurement", json!(measurement));
    drop(boot(&tpm.path(), &expecting(&measured)));
    let other = Digest::of("another firmware").prefixed();
    let refused = refusal(&tpm.path(), &expecting(&other));
    assert_eq!(
        (refused.code, refused.field.0.as_str()),
        (RefusalCode::HashMismatch, "attestation.expected_measurement")
    );
    assert!(refused.found.0.contains(&measured) && refused.expected.0.contains(&other), "{refused:?}");
}

#[test]
fn software_has_the_zero_measurement() {
    let setup = Setup::quickstart("http://localhost:9001/mcp");
    let expecting = |measurement: &str| setup.clone().with("/attestation/expected_measurement", json!(measurement));
    let ask = |setup: &Setup| Unbooted::start().ask(&ControlRequest::Boot(bundle(setup)));
    assert!(matches!(ask(&expecting(&format!("sha256:{}", "00".repeat(32)))), ControlEvent::Booted(_)));
    match ask(&expecting(&format!("sha256:{}", "01".repeat(32)))) {
        ControlEvent::Refused(refused) => assert_eq!(refused.code, RefusalCode::HashMismatch),
        other => panic!("{other:?}"),
    }
}

/// Dev mode with hardware is for trying it out; the binding says so.
#[test]
fn dev_mode_takes_the_hardware_that_is_named_and_no_other() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let setup = Setup::quickstart(&upstream.url());
    let host = unbooted(&tpm.path()).boot(bundle(&setup));
    assert_eq!(host.report.provider, Provider::SoftwareOnly);
    drop(host);
    let host = unbooted(&tpm.path()).boot(bundle(&provider(setup, "tpm")));
    assert_eq!(host.report.provider, Provider::Tpm);
    let answer = host.connect().request("GET", &challenge_path(), &[], b"");
    assert_eq!(answer.expect("an answer").json()["boot"]["dev"], true);
}

#[test]
fn a_tpm_that_is_not_there_is_no_reason_to_go_on_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = production("http://localhost:9001/mcp");
    let ask = |tpm: String, setup: &Setup| match Unbooted::start_with(&["--tpm", &tpm])
        .ask(&ControlRequest::Boot(outside_dev_mode(setup)))
    {
        ControlEvent::Refused(refused) => (refused.code, refused.found.0),
        other => panic!("not refused: {other:?}"),
    };
    let missing = folder.path().join("missing").display().to_string();
    for setup in [setup.clone(), provider(setup.clone(), "tpm"), provider(setup.clone(), "azure")] {
        let (code, found) = ask(missing.clone(), &setup);
        assert_eq!(code, RefusalCode::NoTee);
        assert!(found.contains(&missing), "{found}");
        // A socket that was named has to be there.
        assert_eq!(ask(format!("unix:{missing}"), &setup).0, RefusalCode::Attestation);
    }
    // A file that is no TPM.
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let (code, found) = ask(file.display().to_string(), &setup);
    assert_eq!(code, RefusalCode::Attestation);
    assert!(found.contains("it closed the connection"), "{found}");
    let folder = folder.path().display().to_string();
    assert_eq!(
        ask(folder, &setup),
        (
            RefusalCode::Attestation,
            "hardware that gives no evidence: it cannot be opened: error 21 of the system".to_owned()
        )
    );
}
