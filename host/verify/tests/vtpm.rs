//! Quotes, keys, logs and paravisors' reports of a machine of our own: every check refuses what it is there for, and it
//! alone. What real machines made is judged in tests/oracles; here what is changed is signed again, so that nothing but the
//! check in question can object.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod vtpm_machine;

use claim::Digest;
use verify::evidence::event_log::{EventLog, LogError, boot_applications, replay};
use verify::evidence::hcl::{self, HclReport};
use verify::evidence::tpm::pcrs::{PcrPolicy, Values};
use verify::evidence::tpm::{self, Signed, TpmPublic, Vouching};
use verify::evidence::x509::{Chains, RootKind};
use verify::evidence::{Answer, Check, Material, Question, Report};
use verify::references::{AzurePolicy, Image};
use verify::{Outcome, Timestamp};

use vtpm_machine::{
    ACTION, ATTESTATION_KEY, ATTESTS, Ak, Attest, CALLING, CONFIDENTIAL, Ca, Event, NO_ACTION, RETURNING, SEPARATOR,
    SHA1, SHA256, SHA384, USER_DATA, boot, claims, event, event_bytes, header, locality, log, started,
};

const NONCE: [u8; 32] = [0x4e; 32];

/// Refused, by this check and no other.
fn refused(report: &Report, reason: &str, name: &str) {
    let failed: Vec<_> = report.lines().iter().filter(|line| line.outcome == Outcome::Fail).collect();
    assert_eq!(failed.len(), 1, "{name}: {failed:#?}");
    assert_eq!(report.reason(), Some(reason), "{name}: {failed:#?}");
    assert_eq!(report.answer(failed[0].check.question()), Answer::No, "{name}");
}

fn accepted(report: &Report, name: &str) {
    let wrong: Vec<_> = report.lines().iter().filter(|line| line.outcome != Outcome::Pass).collect();
    assert!(wrong.is_empty() && !report.lines().is_empty(), "{name}: {wrong:#?}");
}

fn judge(message: &[u8], signature: &[u8], pcrs: &Values, ak: &Ak) -> Report {
    let mut report = Report::default();
    let quote = Signed { message, signature, pcrs };
    tpm::appraise(&quote, &ak.key(), Some(&NONCE), &mut report);
    report
}

fn values() -> Values {
    vtpm_machine::pcrs(&boot())
}

#[test]
fn quotes_by_keys_of_both_kinds_are_accepted() {
    for ak in [Ak::ecc(), Ak::rsa()] {
        // Often enough for numbers with zeros in front.
        for clock in 0..64 {
            let mut attest = Attest::over(&values(), &NONCE);
            attest.clock = clock;
            let message = attest.bytes();
            accepted(&judge(&message, &ak.sign(&message), &values(), &ak), "quote");
        }
    }
}

#[test]
fn each_fault_of_a_signed_quote_has_its_own_reason() {
    type Change = fn(&mut Attest);
    let cases: &[(&str, &str, Change)] = &[
        ("TPM_NOT_GENERATED", "magic", |quote| quote.magic = 0xff54_4346),
        ("TPM_NOT_A_QUOTE", "certification of a key", |quote| quote.kind = 0x8017),
        ("TPM_ATTEST_MALFORMED", "a byte behind", |quote| quote.behind = vec![0]),
        ("TPM_ATTEST_MALFORMED", "another quote behind", |quote| quote.behind = quote.bytes()),
        ("TPM_ATTEST_MALFORMED", "safe is 2", |quote| quote.safe = 2),
        ("TPM_ATTEST_MALFORMED", "long name", |quote| quote.signer = vec![0; 69]),
        ("TPM_ATTEST_MALFORMED", "long nonce", |quote| quote.extra = vec![0; 67]),
        ("TPM_ATTEST_MALFORMED", "long digest", |quote| quote.digest = vec![0; 65]),
        ("TPM_ATTEST_MALFORMED", "many selections", |quote| quote.selections = vec![(SHA256, vec![]); 17]),
        ("TPM_ATTEST_MALFORMED", "long selection", |quote| quote.selections = vec![(SHA256, vec![0xff; 5])]),
        ("TPM_PCR_SELECTION", "no selection", |quote| quote.selections.clear()),
        ("TPM_PCR_SELECTION", "empty selection", |quote| quote.selections = vec![(SHA256, vec![0; 3])]),
        ("TPM_PCR_SELECTION", "PCR 16 alone", |quote| quote.selections = vec![(SHA256, vec![0, 0, 1])]),
        ("TPM_PCR_SELECTION", "others relabelled", |quote| quote.selections = vec![(SHA256, vec![0, 0xff, 0xff])]),
        ("TPM_PCR_SELECTION", "all but one", |quote| quote.selections = vec![(SHA256, vec![0xff, 0xff, 0x7f])]),
        ("TPM_PCR_SELECTION", "a longer bitmap", |quote| quote.selections = vec![(SHA256, vec![0xff, 0xff, 0xff, 0])]),
        ("TPM_PCR_SELECTION", "the bank twice", |quote| quote.selections.push((SHA256, vec![0xff; 3]))),
        ("TPM_PCR_SELECTION", "the bank in two halves", |quote| {
            quote.selections = vec![(SHA256, vec![0, 0xff, 0xff]), (SHA256, vec![0xff, 0, 0])];
        }),
        ("TPM_PCR_SELECTION", "SHA-1 bank", |quote| quote.selections = vec![(SHA1, vec![0xff; 3])]),
        ("TPM_PCR_SELECTION", "SHA-384 bank", |quote| quote.selections = vec![(SHA384, vec![0xff; 3])]),
        ("TPM_PCR_DIGEST", "another digest", |quote| quote.digest[0] ^= 1),
        ("TPM_PCR_DIGEST", "a shorter digest", |quote| quote.digest.truncate(31)),
        ("TPM_NONCE_MISMATCH", "another nonce", |quote| quote.extra[31] ^= 1),
        ("TPM_NONCE_MISMATCH", "half a nonce", |quote| quote.extra.truncate(16)),
        ("TPM_NONCE_MISMATCH", "no nonce", |quote| quote.extra.clear()),
        ("TPM_NONCE_MISMATCH", "more than the nonce", |quote| quote.extra.push(0)),
    ];
    let ak = Ak::ecc();
    for (reason, name, change) in cases {
        let mut attest = Attest::over(&values(), &NONCE);
        change(&mut attest);
        let message = attest.bytes();
        refused(&judge(&message, &ak.sign(&message), &values(), &ak), reason, name);
    }
}

#[test]
fn values_are_those_of_the_quote_in_their_order() {
    let ak = Ak::ecc();
    let message = Attest::over(&values(), &NONCE).bytes();
    let mut swapped = values();
    swapped.swap(4, 16);
    refused(&judge(&message, &ak.sign(&message), &swapped, &ak), "TPM_PCR_DIGEST", "PCR 16 shown as PCR 4");
}

#[test]
fn signatures_are_by_the_key_over_these_bytes_and_nothing_follows() {
    let (ak, other, rsa) = (Ak::ecc(), Ak::ecc(), Ak::rsa());
    let message = Attest::over(&values(), &NONCE).bytes();
    for by in [&other, &rsa] {
        refused(&judge(&message, &by.sign(&message), &values(), &ak), "TPM_SIGNATURE_INVALID", "swapped key");
    }
    for ak in [&ak, &rsa] {
        let good = ak.sign(&message);
        let longer = [good.as_slice(), &[0]].concat();
        refused(&judge(&message, &longer, &values(), ak), "TPM_SIGNATURE_MALFORMED", "a byte behind");
        for hash in [SHA1, SHA384] {
            let mut signature = good.clone();
            signature[2..4].copy_from_slice(&hash.to_be_bytes());
            refused(&judge(&message, &signature, &values(), ak), "TPM_SIGNATURE_MALFORMED", "another hash");
        }
        for length in 0..good.len() {
            refused(&judge(&message, &good[..length], &values(), ak), "TPM_SIGNATURE_MALFORMED", "cut signature");
        }
        let mut huge = good.clone();
        huge[4..6].copy_from_slice(&[0xff, 0xff]);
        refused(&judge(&message, &huge, &values(), ak), "TPM_SIGNATURE_MALFORMED", "size overflow");
    }
}

#[test]
fn no_cut_and_no_bit_of_a_quote_is_accepted() {
    let ak = Ak::ecc();
    let message = Attest::over(&values(), &NONCE).bytes();
    let signature = ak.sign(&message);
    for length in 0..message.len() {
        let cut = &message[..length];
        refused(&judge(cut, &ak.sign(cut), &values(), &ak), "TPM_ATTEST_MALFORMED", "cut, and signed again");
    }
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(&flipped, &signature, &values(), &ak).reason().is_some(), "bit {bit}");
    }
    for bit in 0..signature.len() * 8 {
        let mut flipped = signature.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(&message, &flipped, &values(), &ak).reason().is_some(), "bit {bit} of the signature");
    }
}

#[test]
fn public_areas_are_read_exactly() {
    for ak in [Ak::ecc(), Ak::rsa()] {
        let bytes = ak.public(ATTESTATION_KEY);
        let public = TpmPublic::parse(&bytes).unwrap();
        assert_eq!((public.key, public.attributes), (ak.key(), ATTESTATION_KEY));
        for length in 0..bytes.len() {
            assert!(TpmPublic::parse(&bytes[..length]).is_err(), "cut at {length}");
        }
        assert!(TpmPublic::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn an_attestation_key_is_restricted_and_only_signs() {
    assert!(TpmPublic::parse(&Ak::ecc().public(ATTESTATION_KEY)).unwrap().faults().is_empty());
    for (bit, fault) in [
        (1, "not fixedTPM"),
        (4, "not fixedParent"),
        (5, "not sensitiveDataOrigin"),
        (16, "not restricted"),
        (17, "decrypt"),
        (18, "not sign"),
    ] {
        let public = TpmPublic::parse(&Ak::ecc().public(ATTESTATION_KEY ^ (1 << bit))).unwrap();
        assert_eq!(public.faults(), [fault]);
    }
}

/// What a certificate is judged with.
struct Vouched {
    ca: Ca,
    ak: Ak,
    anchored_as: RootKind,
    at: &'static str,
}

impl Vouched {
    fn new() -> Self {
        Self { ca: Ca::new(), ak: Ak::ecc(), anchored_as: RootKind::AzureVtpm, at: "2026-06-01T00:00:00Z" }
    }

    fn judge(&self, certificate: Option<&[u8]>, vouching: Vouching) -> Report {
        let (anchors, chains) = (self.ca.anchors(self.anchored_as), Chains::default());
        let at = Timestamp::parse(self.at).unwrap();
        let material = Material { certificates: &[], crls: &[], anchors: &anchors, chains: &chains, at };
        let mut report = Report::default();
        tpm::vouched(certificate, true, &self.ak.key(), vouching, &material, &mut report);
        report
    }
}

#[test]
fn a_ca_vouches_for_this_key_as_an_attestation_key_of_a_confidential_vm() {
    let case = Vouched::new();
    let azure = |der: &[u8]| case.judge(Some(der), Vouching::AzureConfidential);
    let good = case.ca.certify(&case.ak, CONFIDENTIAL, ATTESTS);
    let padded = |byte| [good.as_slice(), &[byte; 100]].concat();
    for (der, name) in [(good.clone(), "as issued"), (padded(0), "padded as in NV")] {
        accepted(&azure(&der), name);
    }
    accepted(&azure(&case.ca.certify(&case.ak, "ab.ConfidentialVM.Azure.Microsoft", ATTESTS)), "the other name");

    let other_key = case.ca.certify(&Ak::ecc(), CONFIDENTIAL, ATTESTS);
    let other_use = case.ca.certify(&case.ak, CONFIDENTIAL, &[2, 23, 133, 8, 1]);
    let other_ca = Ca::new().certify(&case.ak, CONFIDENTIAL, ATTESTS);
    for (der, reason) in [
        (padded(1), "TPM_AK_CERTIFICATE_MALFORMED"),
        (good[..good.len() - 1].to_vec(), "TPM_AK_CERTIFICATE_MALFORMED"),
        (other_key, "TPM_AK_CERTIFICATE_OF_OTHER_KEY"),
        (other_use, "TPM_AK_USAGE"),
        (other_ca, "TPM_AK_CHAIN_INVALID"),
    ] {
        refused(&azure(&der), reason, reason);
    }
    for name in [
        "0123456789ab.TrustedVM.Azure.windows.net",
        ".ConfidentialVM.Azure.windows.net",
        "x.TrustedVM.ConfidentialVM.Azure.windows.net",
        "0123456789ab.ConfidentialVM.Azure.windows.net.example",
    ] {
        refused(&azure(&case.ca.certify(&case.ak, name, ATTESTS)), "TPM_AK_NOT_OF_CONFIDENTIAL_VM", name);
    }
}

#[test]
fn a_plain_tpms_key_needs_a_ca_pinned_for_tpms() {
    let mut case = Vouched::new();
    let good = case.ca.certify(&case.ak, "a TPM", ATTESTS);
    refused(&case.judge(None, Vouching::Tpm), "TPM_AK_NOT_VOUCHED", "no certificate");
    for (kind, vouching, right) in [
        (RootKind::Tpm, Vouching::Tpm, true),
        (RootKind::AzureVtpm, Vouching::Tpm, true),
        (RootKind::AmdArk, Vouching::Tpm, false),
        (RootKind::IntelSgx, Vouching::Tpm, false),
    ] {
        case.anchored_as = kind;
        let report = case.judge(Some(&good), vouching);
        if right { accepted(&report, "pinned") } else { refused(&report, "TPM_AK_CHAIN_INVALID", kind.as_str()) }
    }
    case.anchored_as = RootKind::Tpm;
    case.at = "2027-06-01T00:00:00Z";
    let late = case.judge(Some(&good), Vouching::Tpm);
    refused(&late, "TPM_AK_CERTIFICATE_NOT_VALID", "a year later");
    assert_eq!((late.answer(Question::Genuine), late.answer(Question::Current)), (Answer::Yes, Answer::No));
}

#[test]
fn quotes_of_one_boot_agree_in_key_and_counters() {
    type Change = fn(&mut Attest);
    let cases: &[(bool, Change)] = &[
        (true, |_| ()),
        (true, |quote| quote.clock += 1),
        (true, |quote| quote.extra[0] ^= 1),
        (false, |quote| quote.resets += 1),
        (false, |quote| quote.restarts += 1),
        (false, |quote| quote.firmware += 1),
        (false, |quote| quote.signer[5] ^= 1),
    ];
    for (same, change) in cases {
        let first = Attest::over(&values(), &NONCE);
        let mut second = first.clone();
        change(&mut second);
        let [first, second] = [first, second].map(|attest| tpm::Attest::parse(&attest.bytes()).unwrap());
        assert_eq!(first.boot() == second.boot(), *same);
    }
}

/// The image of [`boot`].
fn image(applications: &[&[u8]]) -> Image {
    let value = |index: usize| (index.to_string(), Digest::from_bytes(values()[index]));
    Image::Pcrs { pcrs: [4, 9, 11].map(value).into(), boot_applications: applications.iter().map(Digest::of).collect() }
}

fn booted(events: &[Event], images: Option<&[Image]>, log: Option<&[u8]>) -> Report {
    let mut report = Report::default();
    tpm::pcrs::appraise(&vtpm_machine::pcrs(events), &PcrPolicy { images, event_log: log }, &mut report);
    report
}

#[test]
fn an_approved_image_is_known_by_its_pcrs_and_nothing_may_be_added() {
    let images = [Image::Software { artifact: Digest::of(b"x") }, image(&[])];
    accepted(&booted(&boot(), Some(&images), None), "as approved");
    for register in [4, 9, 11] {
        let mut events = boot();
        events.push(event(register, 0xd, b"more"));
        refused(&booted(&events, Some(&images), None), "PCR_IMAGE_NOT_APPROVED", "another image");
    }
    for register in [12, 13, 14] {
        let mut events = boot();
        events.push(event(register, 0xd, b"override"));
        refused(&booted(&events, Some(&images), None), "PCR_NOT_ZERO", "an override");
    }
    for register in [0, 1, 5, 7, 8, 10, 15, 16, 23] {
        let mut events = boot();
        events.push(event(register, 0xd, b"anything"));
        accepted(&booted(&events, Some(&images), None), "PCRs that are not the image's");
    }
    refused(&booted(&boot(), Some(&images[..1]), None), "PCR_IMAGE_NOT_APPROVED", "no image of PCRs");
    assert_eq!(booted(&boot(), None, None).answer(Question::Ours), Answer::Open);
}

#[test]
fn pcr_4_may_differ_if_the_log_shows_the_same_programs() {
    let images = [image(&[b"uki", b"linux"])];
    let retried = || {
        let mut events = boot();
        events.splice(3..3, [event(4, ACTION, RETURNING), event(4, ACTION, CALLING)]);
        events
    };
    let by_log = |events: &[Event]| booted(events, Some(&images), Some(&log(events)));
    accepted(&booted(&boot(), Some(&images), None), "the usual value needs no log");
    accepted(&by_log(&retried()), "another boot option was tried first");
    assert_eq!(booted(&retried(), Some(&images), None).answer(Question::Ours), Answer::Open, "the log is missing");
    let raw = booted(&retried(), Some(&[image(&[])]), Some(&log(&retried())));
    refused(&raw, "PCR_IMAGE_NOT_APPROVED", "an image that is known by PCR 4 alone");

    let changed = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = retried();
        change(&mut events);
        by_log(&events)
    };
    let hidden = Event { hashed: b"evil".to_vec(), ..event(4, ACTION, CALLING) };
    let unusual = event(4, 0xd, b"another type");
    let cases: [(&str, &dyn Fn(&mut Vec<Event>)); 9] = [
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| events.insert(3, started(b"evil"))),
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| events.push(started(b"linux"))),
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| drop(events.remove(6))),
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| events.swap(5, 6)),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(hidden.clone())),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(event(4, ACTION, b"Calling something else"))),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(unusual.clone())),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(event(4, SEPARATOR, &[0; 4]))),
        ("PCR_IMAGE_NOT_APPROVED", &|events| events.push(event(9, 0xd, b"another command line"))),
    ];
    for (index, (reason, change)) in cases.iter().enumerate() {
        refused(&changed(change), reason, &format!("case {index}"));
    }
}

#[test]
fn a_log_counts_only_as_its_replay() {
    let images = [image(&[b"uki", b"linux"])];
    let mut retried = boot();
    retried.splice(3..3, [event(4, ACTION, RETURNING), event(4, ACTION, CALLING)]);
    let with = |log: &[u8]| booted(&retried, Some(&images), Some(log));
    refused(&with(&log(&boot())), "LOG_REPLAY_MISMATCH", "of another boot");
    refused(&with(&log(&[])), "LOG_REPLAY_MISMATCH", "empty");
    let mut other = retried.clone();
    other[0] = event(0, 8, b"other firmware");
    refused(&with(&log(&other)), "LOG_REPLAY_MISMATCH", "of other firmware");
    refused(&with(b"no log"), "LOG_MALFORMED", "no log");
    // Unlike IMA's and the gateway's own, which go on after the boot.
    let mut later = retried.clone();
    later.extend([event(10, 0xd, b"boot_aggregate"), event(15, 0xd, b"settings")]);
    accepted(&booted(&later, Some(&images), Some(&log(&retried))), "later extensions");
}

#[test]
fn logs_are_read_to_their_end_or_not_at_all() {
    let bytes = log(&boot());
    let mut ends = vec![header(&[(SHA256, 32), (SHA384, 48)]).len()];
    for event in boot() {
        ends.push(ends.last().unwrap() + event_bytes(&event).len());
    }
    for length in 0..bytes.len() {
        assert_eq!(EventLog::parse(&bytes[..length]).is_ok(), ends.contains(&length), "cut at {length}");
    }
    for padding in [0, 0xff] {
        let padded = [bytes.as_slice(), &[padding; 64]].concat();
        assert_eq!(replay(&padded), replay(&bytes));
    }
    assert!(EventLog::parse(&[bytes.as_slice(), &[0, 0xff]].concat()).is_err(), "neither padding nor event");
    // Sizes that do not fit: of the header's event, of its vendor's data, of an event's digests and data.
    let first = ends[0];
    for at in [28, first - 1, first + 8, first + 12 + 34 + 50] {
        for size in [0xff_u8, 0x7f] {
            let mut wrong = bytes.clone();
            wrong[at] = size;
            assert!(EventLog::parse(&wrong).is_err(), "size {size:#x} at {at}");
        }
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let with = |algorithms: &[(u16, u16)]| EventLog::parse(&header(algorithms)).map(|log| log.banks);
    assert_eq!(with(&[(SHA1, 20), (SHA256, 32)]), Ok(vec![SHA1, SHA256]));
    assert_eq!(with(&[(0x99, 7)]), Ok(vec![0x99]), "a bank that is not known is skipped by its size");
    for wrong in [&[][..], &[(SHA256, 20)], &[(SHA256, 32), (SHA256, 32)], &[(0x99, 7); 2], &[(SHA256, 32); 17]] {
        assert!(matches!(with(wrong), Err(LogError::Header(_))), "{wrong:?}");
    }
    let mut old = header(&[(SHA1, 20)]);
    old[4] = 8;
    assert_eq!(EventLog::parse(&old), Err(LogError::NotAgile));
}

#[test]
fn the_startup_locality_is_told_once_and_first() {
    let good = [&[locality(3)][..], &boot()].concat();
    let [plain, started] = [log(&boot()), log(&good)].map(|bytes| replay(&bytes).unwrap());
    assert_ne!(plain.sha256[&0], started.sha256[&0]);
    assert_eq!(plain.sha256[&4], started.sha256[&4], "it is of PCR 0 alone");
    let late = [&boot()[..], &[locality(3)]].concat();
    let elsewhere = Event { register: 1, ..locality(3) };
    let long = Event { data: [&locality(3).data[..], &[0]].concat(), ..locality(3) };
    for (events, name) in [
        (vec![locality(3), locality(3)], "twice"),
        (late, "late"),
        (vec![elsewhere], "for PCR 1"),
        (vec![locality(1)], "a locality that starts no TPM"),
        (vec![long], "a longer event"),
    ] {
        assert!(matches!(replay(&log(&events)), Err(LogError::Event { .. })), "{name}");
    }
}

#[test]
fn events_are_extended_only_if_they_say_so_and_where_they_may() {
    let ignored = Event { register: 4, kind: NO_ACTION, hashed: Vec::new(), data: b"not extended".to_vec() };
    let with = [&boot()[..], std::slice::from_ref(&ignored)].concat();
    assert_eq!(replay(&log(&with)), replay(&log(&boot())));
    assert_eq!(boot_applications(&EventLog::parse(&log(&with)).unwrap()).unwrap().len(), 2);
    let nowhere = Event { register: u32::MAX, ..ignored };
    assert!(EventLog::parse(&log(&[nowhere])).is_ok());
    assert!(EventLog::parse(&log(&[event(24, 8, b"x")])).is_err());
    assert!(EventLog::parse(&log(&[event(u32::MAX, 8, b"x")])).is_err());
}

fn paravisor(bytes: &[u8], policy: &AzurePolicy) -> Report {
    let mut report = Report::default();
    hcl::appraise(bytes, Some(&USER_DATA), policy, &mut report);
    report
}

#[test]
fn a_paravisors_claims_are_those_that_the_hardware_names() {
    let claims = claims(&Ak::rsa());
    let good = vtpm_machine::hcl(&claims);
    let strict = AzurePolicy { require_secure_boot: true, ..AzurePolicy::default() };
    accepted(&paravisor(&good, &strict), "good");
    accepted(&paravisor(&good[..0x4d4 + claims.len()], &strict), "without padding");

    let set = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    for at in 0..0x20 {
        let changed = set(at, &[good[at] ^ 0xff]);
        assert_eq!(paravisor(&changed, &strict), paravisor(&good, &strict), "byte {at} of the header");
    }
    let size = u32::try_from(claims.len()).unwrap();
    for (bytes, reason, name) in [
        (set(0x4c0, &(size + 21).to_le_bytes()), "HCL_MALFORMED", "size of the data"),
        (set(0x4d0, &(size - 1).to_le_bytes()), "HCL_MALFORMED", "size of the claims"),
        (set(0x4c0, &[0xff; 4]), "HCL_MALFORMED", "largest size of the data"),
        (set(0x4d0, &[0xff; 4]), "HCL_MALFORMED", "largest size of the claims"),
        (
            set(0x4c0, &[0x13, 0, 0, 0x80, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]),
            "HCL_MALFORMED",
            "overflow",
        ),
        (set(0x4c4, &[2]), "HCL_MALFORMED", "version"),
        (set(0x4c8, &[3]), "HCL_MALFORMED", "report type"),
        (set(0x4cc, &[2]), "HCL_HASH_TYPE", "SHA-384"),
        (set(0x4cc, &[3]), "HCL_HASH_TYPE", "SHA-512"),
        (set(2599, &[1]), "HCL_MALFORMED", "a byte behind the claims"),
        (set(0x20 + 0x50, &[good[0x70] ^ 1]), "HCL_CLAIMS_NOT_BOUND", "report data"),
        (set(0x20 + 0x50 + 32, &[1]), "HCL_REPORT_DATA_TAIL", "tail of report data"),
        (set(0x20 + 0x50 + 63, &[1]), "HCL_REPORT_DATA_TAIL", "last byte of report data"),
        (set(0x4c8, &[4]), "HCL_CLAIMS_NOT_BOUND", "an SNP report called a TDREPORT"),
    ] {
        refused(&paravisor(&bytes, &strict), reason, name);
    }
    for length in 0..0x4d4 + claims.len() {
        refused(&paravisor(&good[..length], &strict), "HCL_MALFORMED", "cut");
    }
}

#[test]
fn claims_say_one_thing_each() {
    let ak = Ak::rsa();
    let claims = claims(&ak);
    let zero = claim::b64u::encode(&[0; 256]);
    let modulus = claims.split("\"n\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let jwk = ak.jwk();
    for (from, to, reason) in [
        (modulus.as_str(), zero.as_str(), "HCL_CLAIMS_MALFORMED"),
        (modulus.as_str(), &modulus[..86], "HCL_CLAIMS_MALFORMED"),
        ("\"HCLAkPub\"", "\"HCLXkPub\"", "HCL_CLAIMS_MALFORMED"),
        (&jwk, &format!("{jwk},{jwk}"), "HCL_CLAIMS_MALFORMED"),
        ("\"kty\":\"RSA\"", "\"kty\":\"EC\"", "HCL_CLAIMS_MALFORMED"),
        ("\"user-data\":\"A5", "\"user-data\":\"\",\"user-data\":\"A5", "HCL_CLAIMS_MALFORMED"),
        ("{\"keys\"", "{\"keys\":[],\"keys\"", "HCL_CLAIMS_MALFORMED"),
        ("\"e\":\"AQAB\"", "\"e\":\"AQAB\",\"e\":\"Aw\"", "HCL_CLAIMS_MALFORMED"),
        ("\"user-data\":\"A5", "\"user-data\":\"", "HCL_CLAIMS_MALFORMED"),
        ("\"console-enabled\":false", "\"console-enabled\":0", "HCL_CLAIMS_MALFORMED"),
        ("\"console-enabled\":false,", "", "HCL_CLAIMS_MALFORMED"),
        ("\"user-data\":\"A5", "\"user-data\":\"A4", "HCL_USER_DATA_MISMATCH"),
        ("\"user-data\"", "\"user-date\"", "HCL_USER_DATA_MISMATCH"),
        ("\"console-enabled\":false", "\"console-enabled\":true", "HCL_CONSOLE_ENABLED"),
        (
            "\"console-enabled\":false",
            "\"console-enabled\":false,\"interactive-console-enabled\":true",
            "HCL_CONSOLE_ENABLED",
        ),
        ("\"secure-boot\":true", "\"secure-boot\":false", "HCL_SECURE_BOOT_DISABLED"),
        ("\"tpm-enabled\":true", "\"tpm-enabled\":false", "HCL_TPM_DISABLED"),
    ] {
        let changed = claims.replacen(from, to, 1);
        assert_ne!(changed, claims, "{from}");
        let policy = AzurePolicy { require_secure_boot: true, ..AzurePolicy::default() };
        refused(&paravisor(&vtpm_machine::hcl(&changed), &policy), reason, to);
    }
    let lenient = AzurePolicy { allow_console: true, ..AzurePolicy::default() };
    let open = claims.replacen("\"console-enabled\":false", "\"console-enabled\":true", 1);
    accepted(
        &paravisor(&vtpm_machine::hcl(&open.replacen("\"secure-boot\":true", "\"secure-boot\":false", 1)), &lenient),
        "as allowed",
    );
    let bytes = vtpm_machine::hcl(&claims);
    assert_eq!(HclReport::parse(&bytes).unwrap().claims, claims.as_bytes());
    let mut report = Report::default();
    hcl::appraise(&bytes, None, &lenient, &mut report);
    assert!(report.lines().iter().any(|line| line.check == Check::HclUserData && line.outcome == Outcome::Open));
}
