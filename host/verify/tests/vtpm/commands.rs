//! `cmcp-verify tpm-quote` and `cmcp-verify event-log`: options, exit codes, output.

use std::path::Path;

use serde_json::{Value, json};
use verify::cli::{Exit, run};
use verify::evidence::x509::RootKind;

use crate::machine::{ACTION, ATTESTATION_KEY, ATTESTS, Ak, Attest, CALLING, Ca, RETURNING, boot, event, log};
use crate::{NONCE, machine, values};

const AT: &str = "2026-06-01T00:00:00Z";

/// A folder with all that the commands read.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let (files, ak, ca) = (Self { folder: tempfile::tempdir().unwrap() }, Ak::ecc(), Ca::new());
        let message = Attest::over(&values(), &NONCE).bytes();
        files.write("quote.msg", &message);
        files.write("quote.sig", &ak.sign(&message));
        files.write("ak.tpmt", &ak.public(ATTESTATION_KEY));
        files.write("unrestricted.tpmt", &ak.public(ATTESTATION_KEY & !(1 << 16)));
        files.write("other.tpmt", &Ak::ecc().public(ATTESTATION_KEY));
        files.write("ak.der", &[ca.certify(&ak, "a TPM", ATTESTS), vec![0; 64]].concat());
        files.write("nonce.bin", &NONCE);
        files.write("log.bin", &log(&boot()));
        let texts: Vec<_> = values().iter().map(|value| claim::hex::encode(value)).collect();
        files.write("pcrs.json", json!(texts).to_string().as_bytes());
        files.write("approved.json", references(&ca).to_string().as_bytes());
        files
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn run(&self, line: &str) -> (Exit, String) {
        let path = |word: &str| self.folder.path().join(word).to_str().unwrap().to_owned();
        let is_file = |word: &str| Path::new(word).extension().is_some() && !word.contains(':');
        let args = line.split(' ').map(|word| if is_file(word) { path(word) } else { word.to_owned() });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run(["cmcp-verify".to_owned()].into_iter().chain(args).map(Into::into), &mut out, &mut err);
        (exit, String::from_utf8([out, err].concat()).unwrap())
    }
}

/// The image of [`boot`], by its log, and the CA as one for TPMs.
fn references(ca: &Ca) -> Value {
    let digest = |text: &[u8]| claim::Digest::of(text).prefixed();
    let pcr = |index: usize| claim::Digest::from_bytes(values()[index]).prefixed();
    json!({
        "version": 1,
        "images": [{
            "type": "pcrs",
            "pcrs": {"4": pcr(4), "9": pcr(9), "11": pcr(11)},
            "boot_applications": [digest(b"uki"), digest(b"linux")],
        }],
        "config_hashes": [digest(b"c")],
        "bundle_hashes": [digest(b"b")],
        "catalog_hashes": [digest(b"t")],
        "roots": [{
            "type": RootKind::Tpm.as_str(),
            "certificate": claim::b64u::encode(ca.certificate.der()),
            "test_only": true,
        }],
    })
}

#[test]
fn a_quote_is_verified_only_with_everything_that_is_asked() {
    let files = Files::new();
    let quote = "tpm-quote quote.msg --signature quote.sig --pcrs pcrs.json --at 2026-06-01T00:00:00Z";
    assert!(quote.ends_with(AT));
    let nonce = claim::hex::encode(&NONCE);
    let all = format!("{quote} --ak-certificate ak.der --reference approved.json");
    for (line, exit, text) in [
        (format!("{all} --nonce {nonce}"), Exit::Verified, "RESULT: verified"),
        (format!("{all} --nonce nonce.bin --ak ak.tpmt"), Exit::Verified, "TEST ONLY"),
        (all.clone(), Exit::NotJudged, "tpm.nonce"),
        (format!("{quote} --ak ak.tpmt"), Exit::NotJudged, "--ak-certificate"),
        (format!("{quote} --ak ak.tpmt --nonce {nonce}"), Exit::NotJudged, "reference values"),
        (format!("{all} --nonce {nonce}00"), Exit::Unverified, "TPM_NONCE_MISMATCH"),
        (format!("{quote} --ak-certificate ak.der --nonce {nonce}"), Exit::Unverified, "TPM_AK_CHAIN_INVALID"),
        (format!("{all} --nonce {nonce} --ak other.tpmt"), Exit::Unverified, "TPM_AK_CERTIFICATE_OF_OTHER_KEY"),
        (format!("{quote} --ak other.tpmt"), Exit::Unverified, "TPM_SIGNATURE_INVALID"),
        (format!("{quote} --ak unrestricted.tpmt"), Exit::Unverified, "TPM_AK_NOT_RESTRICTED"),
        (format!("{quote} --ak missing.tpmt"), Exit::NotJudged, "cannot read"),
        (format!("{quote} --ak quote.sig"), Exit::NotJudged, "neither PEM of a public key nor TPMT_PUBLIC"),
        (format!("{quote} --ak ak.tpmt --nonce nothex"), Exit::NotJudged, "nothex"),
        (quote.to_owned(), Exit::Usage, "--ak"),
    ] {
        let (found, out) = files.run(&line);
        assert_eq!(found, exit, "{line}\n{out}");
        assert!(out.contains(text), "{line}\n{out}");
    }
}

#[test]
fn another_way_to_the_same_image_needs_its_log() {
    let files = Files::new();
    let mut retried = boot();
    retried.splice(3..3, [event(4, ACTION, RETURNING), event(4, ACTION, CALLING)]);
    let (pcrs, ak) = (machine::pcrs(&retried), Ak::rsa());
    let message = Attest::over(&pcrs, &NONCE).bytes();
    let texts: Value =
        pcrs.iter().enumerate().map(|(index, value)| (index.to_string(), claim::hex::encode(value))).collect();
    files.write("quote.msg", &message);
    files.write("quote.sig", &ak.sign(&message));
    files.write("ak.tpmt", &ak.public(ATTESTATION_KEY));
    files.write("pcrs.json", texts.to_string().as_bytes());
    files.write("retried.bin", &log(&retried));
    let quote = "tpm-quote quote.msg --signature quote.sig --pcrs pcrs.json --ak ak.tpmt --nonce nonce.bin \
                 --reference approved.json --json --explain";
    for (log, ours) in [("", "not_judged"), (" --event-log retried.bin", "yes"), (" --event-log log.bin", "no")] {
        let (_, out) = files.run(&format!("{quote}{log}"));
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["answers"]["ours"], ours, "{out}");
        assert!(json["checks"].as_array().unwrap().iter().all(|check| check["explanation"].is_string()));
    }
}

#[test]
fn pcrs_are_24_values() {
    let files = Files::new();
    let quote = "tpm-quote quote.msg --signature quote.sig --ak ak.tpmt --pcrs wrong.json";
    let texts: Vec<_> = values().iter().map(|value| claim::hex::encode(value)).collect();
    let more = [texts.clone(), vec!["00".repeat(32)]].concat();
    for (wrong, text) in [
        (json!(texts[..23]), "PCR 23"),
        (json!(more), "more than 24"),
        (json!({"0": texts[0]}), "PCR 1"),
        (json!({"zero": texts[0]}), "zero"),
        (json!(["xyz"]), "hexadecimal"),
        (json!("PCRs"), "neither a list nor an object"),
    ] {
        files.write("wrong.json", wrong.to_string().as_bytes());
        let (exit, out) = files.run(quote);
        assert!(exit == Exit::NotJudged && out.contains(text), "{out}");
    }
}

#[test]
fn a_log_is_shown_and_counts_only_against_registers() {
    let files = Files::new();
    let (exit, out) = files.run("event-log log.bin");
    assert_eq!(exit, Exit::NotJudged);
    let pcr = format!("sha256  4 = {}", claim::hex::encode(&values()[4]));
    for text in ["EV_EFI_ACTION", "Calling EFI Application from Boot Option", &pcr, "sha384  4 = ", "--pcrs"] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    assert_eq!(files.run("event-log log.bin --pcrs pcrs.json").0, Exit::Verified);
    let (exit, out) = files.run("event-log log.bin --pcrs pcrs.json --json");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, json["answers"]["ours"].as_str()), (Exit::Verified, Some("yes")));
    assert_eq!(json["sha256"]["4"], claim::hex::encode(&values()[4]));
    assert_eq!(json["events"].as_array().unwrap().len(), boot().len());

    let (exit, out) = files.run("event-log quote.msg");
    assert!(exit == Exit::Unverified && out.contains("Spec ID Event03"), "{out}");
    files.write("other.bin", &log(&boot()[1..]));
    assert_eq!(files.run("event-log other.bin --pcrs pcrs.json").0, Exit::Verified, "of PCR 0 it says nothing");
    let mut changed = boot();
    changed[0] = event(0, 8, b"other firmware");
    files.write("other.bin", &log(&changed));
    let (exit, out) = files.run("event-log other.bin --pcrs pcrs.json --explain");
    assert!(
        exit == Exit::Unverified && out.contains("expected") && out.contains("Extending the log's digests"),
        "{out}"
    );
    let registers = json!({"1": "00".repeat(48)});
    files.write("mrs.json", registers.to_string().as_bytes());
    assert_eq!(files.run("event-log log.bin --pcrs mrs.json").0, Exit::Unverified, "of another bank");
}
