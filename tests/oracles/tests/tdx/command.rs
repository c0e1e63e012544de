//! `cmcp-verify tdx-quote`, and which image a quote is of.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use verify::cli;
use verify::evidence::{Answer, Check, Question};
use verify::references::{AzurePolicy, Image, References};

use crate::judges::{Case, Judges, found};
use crate::pki::{World, anchor};
use crate::table::case;

const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn sha384(byte: &str) -> String {
    format!("sha384:{}", byte.repeat(48))
}

/// Reference values that approve the default [`World`], but for what is changed.
fn references(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut references = json!({
        "version": 1,
        "images": [{"type": "tdx", "mrtd": sha384("bb"), "rtmr0": sha384("01"), "rtmr1": sha384("02"), "rtmr2": sha384("03")}],
        "config_hashes": [NO_DIGEST], "bundle_hashes": [NO_DIGEST], "catalog_hashes": [NO_DIGEST],
        "roots": [{"type": "intel-sgx", "certificate": claim::b64u::encode(anchor().certificate.der()), "test_only": true}],
    });
    change(&mut references);
    references.to_string().into_bytes()
}

/// Runs the command over files; what it printed, and its exit code.
fn run(folder: &Path, case: &Case, references: &[u8], more: &[&str]) -> (String, u8) {
    let path = |name: &str| folder.join(name).display().to_string();
    for (name, bytes) in [("quote", &case.quote[..]), ("collateral", &case.collateral), ("references", references)] {
        fs::write(path(name), bytes).unwrap();
    }
    let (quote, references, at) = (path("quote"), path("references"), case.at.to_seconds_z());
    let args = ["cmcp-verify", "tdx-quote", &quote, "--reference", &references, "--at", &at];
    let collateral = path("collateral");
    let with = if more.contains(&"no collateral") { vec![] } else { vec!["--collateral", &collateral] };
    let more = more.iter().filter(|argument| **argument != "no collateral");
    let args = args.into_iter().chain(with).chain(more.copied()).map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = cli::run(args, &mut out, &mut err);
    out.extend(err);
    (String::from_utf8(out).unwrap(), exit.code())
}

#[test]
fn the_command_says_what_was_judged_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let case = World::default().case("as it is");
    let data = "cc".repeat(64);
    let run = |case: &Case, references: &[u8], more: &[&str]| run(folder.path(), case, references, more);
    let approved = references(|_| {});
    let bound = ["--report-data", &data];

    let (text, exit) = run(&case, &approved, &bound);
    assert_eq!(exit, 0, "{text}");
    for part in ["genuine  yes", "current  yes", "ours     yes", "TEST ONLY", "RESULT: verified"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (text, exit) = run(&case, &approved, &[&bound[..], &["--json", "--explain"]].concat());
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["answers"]["ours"].as_str(), exit), (Some("yes"), 0), "{text}");
    assert_eq!(json["test_only_roots"].as_array().map(Vec::len), Some(1), "{text}");

    let other = "cd".repeat(64);
    for (case, references, more, reason, wanted) in [
        (&case, &approved, &["--report-data", &other][..], "TDX_REPORT_DATA_MISMATCH", 1),
        (&case, &references(|it| it["images"][0]["rtmr2"] = sha384("04").into()), &bound, "TDX_IMAGE_NOT_APPROVED", 1),
        (&case, &references(|it| it["images"][0]["mrtd"] = sha384("04").into()), &bound, "TDX_IMAGE_NOT_APPROVED", 1),
        (&case, &references(|it| it["roots"] = json!([])), &bound, "TDX_PCK_CHAIN_INVALID", 1),
        (&case, &approved, &["--report-data", &data, "--azure"], "TDX_RTMRS_NOT_ZERO", 1),
        (&case, &approved, &[], "tdx.report_data", 2),
        (&case, &approved, &["--report-data", &data, "no collateral"], "tdx.collateral", 2),
        (
            &case,
            &references(|it| it["images"] = json!([{"type": "software", "artifact": NO_DIGEST}])),
            &bound,
            "tdx.image",
            2,
        ),
        (&case, &b"{}".to_vec(), &bound, "no reference values", 2),
        (&case, &approved, &["--report-data", "cc"], "128 hexadecimal digits", 64),
    ] {
        let (text, exit) = run(case, references, more);
        assert_eq!(exit, wanted, "{reason}: {text}");
        assert!(text.contains(reason), "{reason}: {text}");
    }
}

#[test]
fn a_policy_for_statuses_is_read_strictly() {
    let folder = tempfile::tempdir().unwrap();
    let case = World::default().case("as it is");
    let accepting = |tcb: Value| references(|it| it["platforms"] = json!({"tdx": {"accept_tcb": tcb}}));
    for (tcb, wanted) in [
        (json!(["UpToDate", "TDRelaunchAdvised"]), 0),
        (json!(["OutOfDate"]), 1),
        (json!(["Revoked"]), 2),
        (json!(["uptodate"]), 2),
    ] {
        let data = "cc".repeat(64);
        let (text, exit) = run(folder.path(), &case, &accepting(tcb.clone()), &["--report-data", &data]);
        assert_eq!(exit, wanted, "{tcb}: {text}");
    }
}

#[test]
fn the_paravisor_is_known_by_its_mrtd_or_by_microsofts_certificate() {
    let Some((case, azure)) = case("azure-tdx/flashbots-with-ak-intermediates-1780922561") else { return };
    let judges = Judges::of_intel();
    let quote = judges.quote(&case, azure).unwrap();
    let mrtd = claim::profile::TaggedDigest::Sha384(quote.mr_td);
    let other = claim::profile::TaggedDigest::Sha384([1; 48]);
    for (mrtds, require_ak_certificate, answer) in [
        (vec![], true, Answer::Yes),
        (vec![], false, Answer::No),
        (vec![other, mrtd], false, Answer::Yes),
        (vec![other], true, Answer::No),
    ] {
        let policy = AzurePolicy { mrtds, require_ak_certificate, ..AzurePolicy::default() };
        let mut report = verify::evidence::Report::default();
        verify::evidence::tdx::paravisor(&quote, &policy, &mut report);
        assert_eq!(report.answer(Question::Ours), answer, "{policy:?}");
        assert_eq!(found(&report, Check::TdxAzureRtmrs), "all zero");
    }
}

#[test]
fn all_four_measurements_are_those_of_one_image() {
    let judges = Judges::of(anchor());
    let quote = judges.quote(&World::default().case("as it is"), false).unwrap();
    let images = |change: &dyn Fn(&mut Value)| -> Vec<Image> { References::parse(&references(change)).unwrap().images };
    let judged = |images: &[Image]| {
        let mut report = verify::evidence::Report::default();
        verify::evidence::tdx::approved(&quote, images, &mut report);
        report.answer(Question::Ours)
    };
    assert_eq!(judged(&images(&|_| {})), Answer::Yes);
    for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2"] {
        assert_eq!(judged(&images(&|it| it["images"][0][register] = sha384("09").into())), Answer::No, "{register}");
    }
    let halves = images(&|it| {
        let mut second = it["images"][0].clone();
        second["rtmr0"] = sha384("09").into();
        it["images"][0]["rtmr1"] = sha384("09").into();
        it["images"].as_array_mut().unwrap().push(second);
    });
    assert_eq!(judged(&halves), Answer::No, "two images with a half each");
}
