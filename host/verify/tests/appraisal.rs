//! A claim with everything that belongs to it: verified if all of it fits, and refused for its own reason where something
//! does not.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]
#![expect(clippy::panic, reason = "a broken fixture ends the test")]

mod fixture;
mod scene;
#[path = "vtpm/machine.rs"]
mod vtpm_machine;

use claim::Digest;
use claim::attachment::Attachment;
use claim::b64u::Octets;
use claim::binding::challenge_x;
use claim::binding::{binding, boot_x};
use claim::bootlog::BootId;
use claim::evidence::{Evidence, TpmEvidence};
use claim::json::to_json;
use claim::json::{Json, parse};
use claim::key::Key;
use fixture::SESSION;
use fixture::spoil::spoilt;
use scene::{Machine, Scene, boot, settings, settings_with};
use verify::evidence::{Answer, Check, Question};
use verify::references::References;
use verify::{ClaimReason, Options, ReferenceValues, Status, Timestamp, Verdict};
use vtpm_machine::Ak;

fn refused(verdict: &Verdict, reason: &str, name: &str) {
    let found = verdict.failure_reason.map(ClaimReason::as_str);
    assert_eq!(found, Some(reason), "{name}: {:#?}", verdict.details);
    assert_eq!(verdict.status, Status::Unverified, "{name}");
}

fn details<'a>(verdict: &'a Verdict, name: &str) -> &'a str {
    verdict.details.iter().find(|(field, _)| field == name).map(|(_, text)| text.as_str()).unwrap_or_default()
}

fn changed(change: impl FnOnce(&mut Scene)) -> Verdict {
    let mut scene = Scene::new();
    change(&mut scene);
    scene.judge()
}

fn tpm(evidence: &mut Evidence) -> &mut TpmEvidence {
    let Evidence::Tpm(tpm) = evidence else { panic!("a TPM") };
    tpm
}

#[test]
fn a_claim_whose_evidence_is_genuine_current_and_ours_is_verified() {
    let verdict = Scene::new().judge();
    assert_eq!(verdict.status, Status::Verified, "{:#?}", verdict.details);
    assert_eq!(
        verdict.verified_fields,
        [
            "schema",
            "signature",
            "public_key_binding",
            "policy_bundle.hash",
            "tool_catalog.hash",
            "attestation_freshness",
            "audit_chain",
            "audit_chain_binding",
            "hardware_attestation",
        ]
    );
    assert!(verdict.unverified_fields.is_empty());
    for question in Question::ALL {
        assert_eq!(details(&verdict, question.as_str()), "yes");
    }
    // The root is one for tests, and nobody is left to guess it.
    assert!(details(&verdict, "test_only_roots").contains("TPM CA of a test"), "{:?}", verdict.details);
}

#[test]
fn each_member_of_the_attachment_is_refused_for_its_own_reason() {
    type Change = fn(&mut Scene);
    let cases: &[(&str, &str, Change)] = &[
        ("CLAIM_OF_ANOTHER_KEY", "evidence of another gateway", |scene| {
            // Of an approved image, on a machine whose CA is approved as well.
            let other = Scene::on(Machine::new(&[settings()]), Key::from_seed([9; 32]), &boot(), SESSION);
            (scene.machine, scene.attachment) = (other.machine, other.attachment);
        }),
        ("BOOT_KEY_MALFORMED", "no key", |scene| scene.attachment.boot.public_key = "AAAA".into()),
        ("DEV_MODE", "dev mode", |scene| {
            let mut boot = boot();
            boot.dev = true;
            *scene = Scene::on(Machine::new(&[settings()]), fixture::key(), &boot, SESSION);
        }),
        ("TPM_NONCE_MISMATCH", "a boot's document that was changed", |scene| {
            scene.attachment.boot.boot.boot_id = BootId([1; 16]);
        }),
        ("SESSION_OF_ANOTHER_BOOT", "another boot of the same gateway", |scene| {
            let mut other = boot();
            other.boot_id = BootId([1; 16]);
            let thumbprint = scene.key.public().thumbprint();
            scene.attachment.boot.evidence = scene.machine.attest(&binding(&thumbprint, &boot_x(&other).unwrap()));
            scene.attachment.boot.boot = other;
        }),
        ("EVIDENCE_OF_ANOTHER_BOOT", "evidence from before a reset", |scene| {
            scene.machine.resets -= 1;
            let thumbprint = scene.key.public().thumbprint();
            let x = boot_x(&scene.attachment.boot.boot).unwrap();
            scene.attachment.boot.evidence = scene.machine.attest(&binding(&thumbprint, &x));
        }),
        ("SETTINGS_NOT_OF_BOOT", "no settings", |scene| scene.attachment.settings.clear()),
        ("SETTINGS_NOT_OF_BOOT", "other settings first", |scene| {
            scene.attachment.settings.insert(0, settings_with(Digest::of("another bundle")));
        }),
        ("BUNDLE_NOT_APPROVED", "a bundle that was never approved", |scene| {
            scene.attachment.settings.push(settings_with(Digest::of("another bundle")));
        }),
        ("SESSION_START_MALFORMED", "an entry that was changed", |scene| {
            let start = scene.attachment.session_start.take().unwrap();
            scene.attachment.session_start = Some(start.with("session_id", "other".into()));
        }),
        ("SESSION_START_MALFORMED", "another entry", |scene| {
            scene.attachment.session_start = Some(fixture::story().entries[1].clone());
        }),
        ("CLAIM_OF_ANOTHER_SESSION", "evidence of another session", |scene| {
            (scene.attachment, _) = scene.other_session();
        }),
        ("TPM_NONCE_MISMATCH", "another session's evidence beside this one's entry", |scene| {
            scene.attachment.session = scene.other_session().0.session;
        }),
        ("CLAIM_OF_ANOTHER_SESSION", "another session's entry and evidence", |scene| {
            let (other, _) = scene.other_session();
            scene.attachment.session_start = other.session_start;
            scene.attachment.session = other.session;
        }),
        ("TPM_NONCE_MISMATCH", "the boot's evidence as the session's", |scene| {
            scene.attachment.session = Some(scene.attachment.boot.evidence.clone());
        }),
        ("TPM_PCR_DIGEST", "other values of PCRs", |scene| {
            tpm(scene.attachment.session.as_mut().unwrap()).quote.pcrs.0[0] = [1; 32];
        }),
        ("TPM_AK_CERTIFICATE_OF_OTHER_KEY", "a key of somebody's own", |scene| {
            scene.machine.ak = Ak::ecc();
            scene.attachment = scene.other_session().0;
        }),
        ("TPM_AK_NOT_VOUCHED", "no certificate", |scene| {
            tpm(scene.attachment.session.as_mut().unwrap()).ak_certificate = None;
        }),
        ("TPM_SIGNATURE_INVALID", "another message's signature", |scene| {
            let other = tpm(&mut scene.attachment.boot.evidence).quote.signature.clone();
            tpm(scene.attachment.session.as_mut().unwrap()).quote.signature = other;
        }),
        ("PCR_IMAGE_NOT_APPROVED", "another image", |scene| {
            let mut machine = Machine::new(&[settings()]);
            machine.pcrs[11] = [7; 32];
            *scene = Scene::on(machine, fixture::key(), &boot(), SESSION);
        }),
    ];
    for (reason, name, change) in cases {
        let mut scene = Scene::new();
        let images = scene.references().get("images").unwrap().clone();
        let mut roots = roots(&scene);
        change(&mut scene);
        roots.extend(self::roots(&scene));
        let references = scene.references().with("images", images).with("roots", Json::Array(roots));
        let verdict = scene.judge_with(&with_references(&scene, &references));
        refused(&verdict, reason, name);
    }
}

fn roots(scene: &Scene) -> Vec<Json> {
    scene.references().get("roots").unwrap().as_array().unwrap().to_vec()
}

fn with_references(scene: &Scene, references: &Json) -> Options {
    let references = References::parse(references.sorted_ascii().as_bytes()).unwrap();
    Options { reference_values: ReferenceValues::Given(Box::new(references)), ..scene.options() }
}

/// The peer's hole: old evidence of a good session, and a chain made up later, under a claim by the same key.
#[test]
fn a_stale_quote_with_a_rebuilt_chain_is_refused() {
    let scene = Scene::new();
    let (mut other, claim) = scene.other_session();
    other.session = scene.attachment.session.clone();
    let rebuilt = Scene { attachment: other, claim, ..scene };
    refused(&rebuilt.judge(), "TPM_NONCE_MISMATCH", "an old quote");
}

#[test]
fn what_was_not_approved_is_refused_by_name() {
    let scene = Scene::new();
    let other = || Json::Array(vec![Digest::of("other").prefixed().into()]);
    for (member, reason) in [
        ("config_hashes", "CONFIG_NOT_APPROVED"),
        ("bundle_hashes", "POLICY_HASH_MISMATCH"),
        ("catalog_hashes", "CATALOG_HASH_MISMATCH"),
    ] {
        let references = scene.references().with(member, other());
        refused(&scene.judge_with(&with_references(&scene, &references)), reason, member);
    }
    let unknown = scene.references().without("roots");
    refused(&scene.judge_with(&with_references(&scene, &unknown)), "TPM_AK_CHAIN_INVALID", "no root");
}

#[test]
fn what_is_missing_is_named_and_never_verified() {
    let scene = Scene::new();
    let partially = |verdict: &Verdict, text: &str| {
        assert_eq!(verdict.status, Status::PartiallyVerified, "{text}: {:#?}", verdict.details);
        assert!(details(verdict, "hardware_attestation").contains(text), "{text}: {:#?}", verdict.details);
    };
    let alone = scene.judge_with(&Options { attachment: None, ..scene.options() });
    partially(&alone, "--attachment");
    assert_eq!(details(&alone, "genuine"), "yes", "{:#?}", alone.details);
    let mut without = scene.attachment.clone();
    without.session = None;
    let options = Options { attachment: Some(without.bytes().unwrap()), ..scene.options() };
    partially(&scene.judge_with(&options), "session.evidence");
    let options = Options { attachment: Some(b"{}".to_vec()), ..scene.options() };
    refused(&scene.judge_with(&options), "ATTACHMENT_MALFORMED", "no attachment");
    let unknown = ReferenceValues::NotGiven("none".into());
    let options = Options { reference_values: unknown, ..scene.options() };
    let verdict = scene.judge_with(&options);
    // Without reference values the test's CA is nobody's.
    refused(&verdict, "TPM_AK_CHAIN_INVALID", "no references");
}

#[test]
fn a_reload_of_the_policy_is_in_the_quote_and_must_be_listed_and_approved() {
    let later = settings_with(Digest::of("the next bundle"));
    let mut machine = Machine::new(&[settings()]);
    machine.extend(&later);
    let mut scene = Scene::on(machine, fixture::key(), &boot(), SESSION);
    refused(&scene.judge(), "SETTINGS_NOT_MEASURED", "a reload that the list leaves out");
    scene.attachment.settings.push(later);
    refused(&scene.judge(), "BUNDLE_NOT_APPROVED", "a reload that nobody approved");
    let hashes = [settings(), later].map(|settings| Json::from(settings.bundle_hash.prefixed()));
    let references = scene.references().with("bundle_hashes", Json::Array(hashes.to_vec()));
    let verdict = scene.judge_with(&with_references(&scene, &references));
    assert_eq!(verdict.status, Status::Verified, "{:#?}", verdict.details);
}

#[test]
fn dates_are_a_question_of_their_own() {
    let scene = Scene::new();
    let at = Timestamp::parse("2027-11-22T08:01:00Z").unwrap();
    let options = Options { now: at, max_age_seconds: i64::MAX, ..scene.options() };
    let verdict = scene.judge_with(&options);
    refused(&verdict, "TPM_AK_CERTIFICATE_NOT_VALID", "a year later");
    let report = verdict.appraisal.unwrap().report();
    let answers = Question::ALL.map(|question| report.answer(question));
    assert_eq!(answers, [Answer::Yes, Answer::No, Answer::Yes]);
}

#[test]
fn every_changed_leaf_of_the_attachment_keeps_the_claim_from_being_verified() {
    let scene = Scene::new();
    let document = parse(&scene.attachment.bytes().unwrap()).unwrap();
    let changes = spoilt(&document);
    assert!(changes.len() > 100);
    for (change, document) in changes {
        // The log explains PCR 4 where it is not the usual one, and collateral is the host's: neither is needed here.
        if change.contains("event_log") || change.contains("collateral") {
            continue;
        }
        let options = Options { attachment: Some(document.sorted_ascii().into_bytes()), ..scene.options() };
        assert_ne!(scene.judge_with(&options).status, Status::Verified, "{change}");
    }
}

#[test]
fn a_software_claim_with_its_attachment_stays_what_it_is() {
    let verdict = changed(|scene| {
        let story = fixture::story();
        scene.claim = story.claim;
    });
    // Of a TPM beside a claim that says software only: not about this session.
    refused(&verdict, "CLAIM_OF_ANOTHER_SESSION", "another session's");
}

#[test]
fn collateral_that_cannot_be_read_is_said_and_decides_nothing_else() {
    let verdict = changed(|scene| {
        scene.attachment.collateral.as_mut().unwrap().certificates.push(Octets(vec![1, 2, 3]));
    });
    assert_eq!(verdict.status, Status::PartiallyVerified, "{:#?}", verdict.details);
    assert!(details(&verdict, "hardware_attestation").contains(Check::CollateralFormat.id()));
    assert!(Attachment::parse(b"{}").is_err());
}

/// A folder with what a relying party has.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(scene: &Scene) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("claim.json", &scene.claim);
        desk.write("evidence.json", &scene.attachment.bytes().unwrap());
        desk.write("approved.json", scene.references().sorted_ascii().as_bytes());
        desk
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }

    /// The program itself, with the variable that names the reference values.
    fn run_with_variable(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cmcp-verify"));
        let output =
            command.args(words).current_dir(self.0.path()).env("CMCP_REFERENCE_VALUES", "approved.json").output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    /// Words that name a file of the folder become its path.
    fn run(&self, words: &[&str]) -> (u8, String) {
        let named = |word: &&str| match self.0.path().join(word) {
            path if path.exists() => path.into_os_string(),
            _ => word.into(),
        };
        let words = std::iter::once("cmcp-verify".into()).chain(words.iter().map(named));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = verify::cli::run(words, &mut out, &mut err);
        (exit.code(), String::from_utf8([out, err].concat()).unwrap())
    }
}

const AT: [&str; 2] = ["--at", "2026-11-22T08:01:00Z"];
const APPROVED: [&str; 2] = ["--reference", "approved.json"];

#[test]
fn the_answers_are_printed_for_people_and_scripts() {
    let scene = Scene::new();
    let desk = Desk::new(&scene);
    let words = [&["claim.json", "--attachment", "evidence.json"], &APPROVED[..], &AT].concat();
    let (exit, text) = desk.run(&words);
    assert_eq!(exit, 0, "{text}");
    for line in ["  genuine  yes ", "  current  yes ", "  ours     yes ", "TEST ONLY: rests on tpm", "RESULT: verified"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (exit, text) = desk.run(&[&words[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((exit, &json["status"], &json["evidence"]["answers"]["ours"]), (0, &"verified".into(), &"yes".into()));
    assert_eq!(json["evidence"]["test_only_roots"].as_array().unwrap().len(), 1);

    let (exit, text) = desk.run(&[&["claim.json"], &APPROVED[..], &AT].concat());
    assert_eq!(exit, 3, "{text}");
    assert!(text.contains("Missing:") && text.contains("--attachment"), "{text}");
}

#[test]
fn evidence_is_judged_in_each_form_in_which_gateways_show_it() {
    let scene = Scene::new();
    let desk = Desk::new(&scene);
    let judge = |words: &[&str]| desk.run(&[&["evidence"], words, &APPROVED[..], &AT].concat());
    let (exit, text) = judge(&["evidence.json", "--explain"]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains(Check::TpmSelection.explain()) && text.contains("TEST ONLY"), "{text}");

    desk.write("boot.json", &scene.attachment.boot.bytes().unwrap());
    assert_eq!(judge(&["boot.json"]).0, 0);
    let x = boot_x(&scene.attachment.boot.boot).unwrap();
    let challenge = challenge_x(&x, &[7; 32]);
    let evidence = scene.machine.attest(&binding(&scene.key.public().thumbprint(), &challenge));
    let boot = &scene.attachment.boot;
    let answer = Json::from([
        ("boot", to_json(&boot.boot).unwrap()),
        ("public_key", boot.public_key.as_str().into()),
        ("boot_evidence", to_json(&boot.evidence).unwrap()),
        ("challenge_evidence", to_json(&evidence).unwrap()),
        ("platform", "tpm2".into()),
    ]);
    desk.write("answer.json", answer.sorted_ascii().as_bytes());
    let nonce = |byte: u8| claim::b64u::encode(&[byte; 32]);
    let (exit, text) = judge(&["answer.json", "--nonce", &nonce(7)]);
    assert_eq!(exit, 0, "{text}");
    let (exit, text) = judge(&["answer.json", "--nonce", &nonce(8)]);
    assert_eq!((exit, text.contains("TPM_NONCE_MISMATCH")), (1, true), "{text}");
    let (exit, text) = judge(&["answer.json"]);
    assert_eq!((exit, text.contains("--nonce")), (2, true), "{text}");
    let (exit, text) = judge(&["boot.json", "--nonce", &nonce(7)]);
    assert_eq!((exit, text.contains("no answer to a challenge")), (2, true), "{text}");
}

/// A TPM whose key has no certificate inside: whoever has one can bring it.
#[test]
fn the_attestation_keys_certificate_may_come_with_the_collateral() {
    let verdict = changed(|scene| {
        let session = scene.attachment.session.as_mut().unwrap();
        let certificate = tpm(session).ak_certificate.take().unwrap();
        tpm(&mut scene.attachment.boot.evidence).ak_certificate = None;
        scene.attachment.collateral.as_mut().unwrap().certificates.push(certificate);
    });
    assert_eq!(verdict.status, Status::Verified, "{:#?}", verdict.details);
}

#[test]
fn exit_codes_of_evidence_tell_refused_from_not_judged() {
    let mut scene = Scene::new();
    scene.attachment.session = None;
    let desk = Desk::new(&scene);
    let words = [&["evidence", "evidence.json"], &APPROVED[..], &AT].concat();
    let (exit, text) = desk.run(&words);
    assert_eq!((exit, text.contains("session.evidence")), (2, true), "{text}");
    assert!(text.contains("RESULT: not judged"), "{text}");
    desk.write("approved.json", b"{}");
    assert_eq!(desk.run(&words).0, 2);
    assert_eq!(desk.run(&["evidence"]).0, 64);
    let other = scene.references().with("config_hashes", Json::Array(vec![Digest::of("x").prefixed().into()]));
    desk.write("approved.json", other.sorted_ascii().as_bytes());
    let (exit, text) = desk.run(&words);
    assert_eq!((exit, text.contains("RESULT: refused (CONFIG_NOT_APPROVED)")), (1, true), "{text}");
}

#[test]
fn the_variable_names_the_reference_values_and_disturbs_no_other_command() {
    let desk = Desk::new(&Scene::new());
    let words = ["claim.json", "--attachment", "evidence.json", "--at", "2026-11-22T08:01:00Z"];
    assert_eq!(desk.run_with_variable(&words).0, Some(0));
    let (exit, text) = desk.run_with_variable(&["evidence", "evidence.json", "--at", "2026-11-22T08:01:00Z"]);
    assert_eq!(exit, Some(0), "{text}");
    let (exit, text) = desk.run_with_variable(&["auditor", "new-key", "--out", "auditor.key"]);
    assert_eq!(exit, Some(0), "{text}");
}
