//! Provider `tpm`, by swtpm.

use claim::operator::OperatorKey;
use wire::{ControlEvent, ControlRequest, Provider};

use super::*;

/// The key of the evidence as tpm2-tools reads it.
fn key_file(tpm: &Swtpm, public: &[u8]) -> String {
    let length = u16::try_from(public.len()).expect("short");
    std::fs::write(tpm.file("key"), [&length.to_be_bytes(), public].concat()).expect("a file");
    "key".to_owned()
}

#[test]
fn a_tpm_vouches_for_the_boot_and_for_each_challenge() {
    let tpm = Swtpm::start();
    // A firmware that has measured something.
    for number in [0, 4, 9] {
        tpm.tool(&["tpm2_pcrextend", &format!("{number}:sha256={}", Digest::of(number.to_string()).hex())]);
    }
    let firmware: Vec<u8> = (0..8).flat_map(|number| pcr(&tpm, number)).collect();
    let upstream = Upstream::plain();
    let host = boot(&tpm.path(), &production(&upstream.url()));
    assert_eq!(host.report.provider, Provider::Tpm);
    let shown = Shown::by(&host);
    shown.leave("tpm");
    assert!(!shown.boot.dev && shown.boot.tls_spki.len() == 1);
    assert_eq!(shown.answer["platform"], "tpm2");
    assert_eq!(shown.answer["measurement"], Digest::of(&firmware).prefixed());
    drop(host);

    let (Evidence::Tpm(of_boot), Evidence::Tpm(of_challenge)) = (&shown.boot_evidence, &shown.challenge_evidence)
    else {
        panic!("evidence of another type")
    };
    assert_eq!(of_boot.ak_public, of_challenge.ak_public);
    let key = key_file(&tpm, &of_boot.ak_public.0);
    for (evidence, bound) in [(of_boot, &shown.of_boot), (of_challenge, &shown.of_challenge)] {
        holds(&tpm, &key, &evidence.quote, bound);
        assert!(judged(&tpm, &key, &evidence.key_quote, &evidence.quote.pcrs.0[..8], &shown.thumbprint));
        assert_eq!(evidence.quote.pcrs.0[..8].concat(), firmware);
        assert_eq!(evidence.quote.pcrs.0[15], extended(&[settings(&shown.boot).digest()]));
        assert_eq!(evidence.quote.pcrs.0[15], pcr(&tpm, 15));
    }
    let described = tpm.tool(&["tpm2_print", "-t", "TPM2B_PUBLIC", "key"]);
    for part in ["ecdsa", "NIST p256", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"] {
        assert!(described.contains(part), "{part}: {described}");
    }
}

#[test]
fn a_reloaded_policy_extends_pcr_15() {
    let tpm = Swtpm::start();
    let upstream = Upstream::plain();
    let operator = OperatorKey::from_seed([7; 32]);
    let setup = production(&upstream.url()).operated_by(&operator);
    let mut host = boot(&tpm.path(), &setup);
    let first = settings(&Shown::by(&host).boot);
    let next = setup.version("99.0.0").sign_policy(&operator);
    wire::blocking::write(host.control(), &ControlRequest::Reload(bundle(&next).policy)).expect("the enclave reads");
    host.event("a reload", |event| match event {
        ControlEvent::Reloaded(_) => Some(()),
        ControlEvent::Refused(refusal) => panic!("{refusal:?}"),
        _ => None,
    });
    let second = claim::evidence::Settings { bundle_hash: next.bundle_hash(), ..first };
    let Evidence::Tpm(evidence) = Shown::by(&host).challenge_evidence else { panic!("evidence of another type") };
    assert_eq!(evidence.quote.pcrs.0[15], extended(&[first.digest(), second.digest()]));
}

/// What was extended before cannot be replayed from this boot's settings, and the host can do it at any time: it is said, and
/// nothing more, because verifiers find out.
#[test]
fn a_second_boot_of_one_machine_says_that_pcr_15_was_used() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let warned = |host: &HostileHost| host.report.warnings.iter().filter(|text| text.0.contains("PCR 15")).count();
    let first = boot(&tpm.path(), &production(&upstream.url()));
    assert_eq!(warned(&first), 0);
    drop(first);
    assert_eq!(warned(&boot(&tpm.path(), &production(&upstream.url()))), 1);
}

/// Nothing that strangers ask keeps the others from answers: they get evidence or the name of why not.
#[test]
fn many_challenges_at_once_get_evidence_or_a_named_refusal() {
    let tpm = Swtpm::start();
    let upstream = Upstream::plain();
    let host = boot(&tpm.path(), &production(&upstream.url()));
    let streams: Vec<_> = (0..32).map(|_| connect(&host).0).collect();
    let asking = streams.into_iter().map(|mut stream| {
        std::thread::spawn(move || stream.request("GET", &challenge_path(), &[], b"").expect("an answer"))
    });
    let asking: Vec<_> = asking.collect();
    let answers: Vec<Message> = asking.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let evidence = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!(evidence > 0);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        assert_eq!((answer.status(), answer.error_code().as_str()), (503, "ATTESTATION_FAILED"));
    }
    assert_eq!(challenge(&host).status(), 200);
}
