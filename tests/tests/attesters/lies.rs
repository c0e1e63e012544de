//! A TPM is one more peer: whatever it says gets a name, in time, and what it said before still stands.

use std::time::{Duration, Instant};

use claim::operator::OperatorKey;
use tests::swtpm::{Between, Said};
use wire::{ControlEvent, ControlRequest, RefusalCode};

use super::*;

const CREATE_PRIMARY: u32 = 0x131;
const QUOTE: u32 = 0x158;
const NV_READ_PUBLIC: u32 = 0x169;
const PCR_READ: u32 = 0x17e;
const PCR_EXTEND: u32 = 0x182;
/// Every command of a boot with a plain TPM, and whether it has a session.
const COMMANDS: [(u32, &str, bool); 5] = [
    (NV_READ_PUBLIC, "NvReadPublic", false),
    (PCR_READ, "PcrRead", false),
    (CREATE_PRIMARY, "CreatePrimary", true),
    (PCR_EXTEND, "PcrExtend", true),
    (QUOTE, "Quote", true),
];

fn framed(tag: u16, size: u32, code: u32, body: &[u8]) -> Said {
    Said::Bytes([&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat())
}

fn found(refused: &BootRefusal) -> &str {
    assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::Attestation, "attestation.provider"));
    refused.found.0.strip_prefix("hardware that gives no evidence: ").expect("the usual words")
}

#[test]
fn at_boot_each_lie_has_its_name() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let (between, setup) = (Between::new(&tpm), production(&upstream.url()));
    for (command, name, sessions) in COMMANDS {
        let tag = if sessions { 0x8002 } else { 0x8001 };
        let malformed = format!("its answer to {name} is not one");
        let refused_with = |code: u32| format!("it answers {name} with TPM_RC {code:#05x}");
        let closed = "it closed the connection".to_owned();
        for (lie, named) in [
            (Said::Closed, closed.clone()),
            (Said::Bytes(vec![0; 4096]), malformed.clone()),
            (framed(tag, 9, 0, &[]), malformed.clone()),
            (framed(tag, 4097, 0, &[0; 4087]), malformed.clone()),
            (framed(tag, u32::MAX, 0, &[]), malformed.clone()),
            (framed(tag, 10, 0, &[0]), malformed.clone()),
            (framed(tag ^ 3, 14, 0, &[0; 4]), malformed.clone()),
            (framed(0x8001, 10, 0x101, &[]), refused_with(0x101)),
            (framed(0x8001, 10, 0x922, &[]), refused_with(0x922)),
        ] {
            between.answer(command, lie.clone());
            let refused = refusal(&between.path(), &setup);
            assert_eq!(found(&refused), named, "{name} {lie:?}");
        }
        // PCR_Extend's answer has nothing to read.
        if command != PCR_EXTEND {
            between.answer(command, framed(tag, 30, 0, &[0xff; 20]));
            assert_eq!(found(&refusal(&between.path(), &setup)), malformed, "{name}");
        }
    }
    between.be_honest();
    drop(boot(&between.path(), &setup));
}

/// What is cut off looks like silence: the rest may still come.
#[test]
fn silence_ends_a_boot_by_name_and_in_time() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let (between, setup) = (Between::new(&tpm), production(&upstream.url()));
    for lie in [Said::Nothing, Said::Bytes(vec![0x80, 0x02, 0, 0, 0])] {
        between.answer(QUOTE, lie);
        let started = Instant::now();
        assert_eq!(found(&refusal(&between.path(), &setup)), "it did not answer in time");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_quote_of_something_else_is_noticed_before_anybody_sees_it() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let (between, setup) = (Between::new(&tpm), production(&upstream.url()));
    // The answer: header, size of the parameters, size of the message, message.
    let changed = |at: usize| {
        move |asked: &tests::swtpm::Asked<'_>, mut answer: Vec<u8>| {
            // The first answer may be TPM_RC_RETRY.
            if asked.command() == QUOTE && answer.len() > 100 {
                answer[16 + at] ^= 1;
            }
            Said::Bytes(answer)
        }
    };
    let signer = 2 + 34;
    // magic, type, qualifyingData, bank, PCRs.
    for at in [0, 5, 4 + signer + 4 + 2, 4 + signer + 2 + 34 + 25 + 5, 4 + signer + 2 + 34 + 25 + 8] {
        between.set(changed(at));
        assert_eq!(found(&refusal(&between.path(), &setup)), "it quotes something else than it was asked for", "{at}");
    }
    // The digest of the PCRs: as if they had changed meanwhile, each time.
    between.set(changed(4 + signer + 2 + 34 + 25 + 10 + 2));
    assert_eq!(found(&refusal(&between.path(), &setup)), "its PCRs do not match its quote");
}

/// PCRs that change once between reading and quoting are read again.
#[test]
fn pcrs_that_change_are_read_again() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let between = Between::new(&tpm);
    let host = boot(&between.path(), &production(&upstream.url()));
    let mut first = true;
    between.set(move |asked, mut answer| {
        if asked.command() == PCR_READ && std::mem::take(&mut first) {
            let last = answer.len() - 1;
            answer[last] ^= 1;
        }
        Said::Bytes(answer)
    });
    let Evidence::Tpm(evidence) = Shown::by(&host).challenge_evidence else { panic!("evidence of another type") };
    assert_eq!(evidence.quote.pcrs.0[8], [0; 32]);
}

#[test]
fn a_running_gateway_refuses_by_name_and_recovers() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let between = Between::new(&tpm);
    let mut host = boot(&between.path(), &production(&upstream.url()));
    for lie in [
        Said::Closed,
        Said::Bytes(vec![0; 4096]),
        framed(0x8002, u32::MAX, 0, &[]),
        framed(0x8002, 60, 0, &[0xff; 50]),
        framed(0x8001, 10, 0x910, &[]),
    ] {
        between.answer(QUOTE, lie.clone());
        let answer = challenge(&host);
        assert_eq!((answer.status(), answer.error_code().as_str()), (503, "ATTESTATION_FAILED"), "{lie:?}");
        assert_eq!(get(&host, "/readyz").status(), 200, "{lie:?}");
        between.be_honest();
        assert_eq!(challenge(&host).status(), 200, "after {lie:?}");
    }
    assert!(host.is_alive());
}

/// Another TPM in its place has another key: no evidence of it is passed off as this boot's.
#[test]
fn a_tpm_of_another_firmware_is_not_taken_for_the_one_before() {
    let (tpm, other, upstream) = (Swtpm::start(), Swtpm::start(), Upstream::plain());
    other.tool(&["tpm2_pcrextend", &format!("0:sha256={}", "11".repeat(32))]);
    let between = Between::new(&tpm);
    let host = boot(&between.path(), &production(&upstream.url()));
    between.answer(QUOTE, Said::Closed);
    assert_eq!(challenge(&host).error_code(), "ATTESTATION_FAILED");
    between.lead_to(&other);
    between.be_honest();
    assert_eq!(challenge(&host).error_code(), "ATTESTATION_FAILED");
    between.lead_to(&tpm);
    assert_eq!(challenge(&host).status(), 200);
}

/// After an extension that may or may not have happened nobody can say what PCR 15 holds.
#[test]
fn a_reload_without_its_extension_changes_nothing() {
    let (tpm, upstream) = (Swtpm::start(), Upstream::plain());
    let between = Between::new(&tpm);
    let operator = OperatorKey::from_seed([7; 32]);
    let setup = production(&upstream.url()).operated_by(&operator);
    let mut host = boot(&between.path(), &setup);
    let next = setup.version("99.0.0").sign_policy(&operator);
    let mut reload = |said: Said| {
        between.answer(PCR_EXTEND, said);
        wire::blocking::write(host.control(), &ControlRequest::Reload(bundle(&next).policy)).expect("it reads");
        host.event("a refusal", |event| match event {
            ControlEvent::Refused(refusal) => Some(refusal.clone()),
            ControlEvent::Reloaded(_) => panic!("reloaded"),
            _ => None,
        })
    };
    // The TPM says that it did not: the next attempt counts.
    let refused = reload(framed(0x8001, 10, 0x101, &[]));
    assert_eq!(refused.code, RefusalCode::Attestation);
    assert!(refused.found.0.contains("it answers PcrExtend with TPM_RC 0x101"), "{refused:?}");
    let refused = reload(Said::Closed);
    assert!(refused.found.0.contains("it closed the connection"), "{refused:?}");
    between.be_honest();
    let answer = challenge(&host);
    assert_eq!((answer.status(), answer.error_code().as_str()), (503, "ATTESTATION_FAILED"));
}
