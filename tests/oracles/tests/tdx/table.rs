//! Every recorded quote: what is expected of it, and why.

use std::path::PathBuf;

use claim::time::Timestamp;
use verify::evidence::Answer::{self, No, Yes};
use verify::evidence::{Check, Question};
use verify::references::TdxPolicy;

use crate::judges::{Case, Judges, found};

/// A row: where the quote is, at which time, whether it is of Azure's paravisor, and the answers with the reason.
type Row = (&'static str, &'static str, bool, Answer, Answer, Option<&'static str>);

const UNMATCHED: Option<&str> = Some("TDX_TCB_UNMATCHED");
const STATUS: Option<&str> = Some("TDX_TCB_STATUS_REFUSED");

/// Quotes in the collection beside the repository. Times are ones at which their collateral is valid.
const COLLECTION: &[Row] = &[
    ("tdx/azure-v5-outdated", "2026-03-01T00:00:00Z", true, Yes, No, UNMATCHED),
    ("tdx/dcap-v4-flashbots", "2026-02-10T00:00:00Z", false, Yes, Yes, None),
    ("tdx/debug-td-v4", "2023-07-01T00:00:00Z", false, No, Yes, Some("TDX_DEBUG")),
    ("tdx/dstack-v4-eventlog", "2026-03-01T00:00:00Z", false, Yes, Yes, None),
    ("tdx/emr-v5-gotdx", "2026-03-01T00:00:00Z", false, Yes, Yes, None),
    ("tdx/gcp-cos113-v4-ccel", "2026-02-10T00:00:00Z", false, Yes, No, STATUS),
    ("tdx/gcp-v4-flashbots", "2026-07-10T00:00:00Z", false, Yes, Yes, None),
    ("tdx/gnr-v4-trustee", "2025-11-10T00:00:00Z", false, Yes, No, Some("TDX_CRL_EXPIRED")),
    ("tdx/oak-v4", "2026-07-10T00:00:00Z", false, Yes, Yes, None),
    ("tdx/phala-v4", "2025-07-01T00:00:00Z", false, Yes, Yes, None),
    ("tdx/sgx-v3-wrongtee", "2025-07-01T00:00:00Z", false, No, Answer::Open, Some("TDX_TEE_TYPE_WRONG")),
    ("tdx/tappd-v4", "2025-07-01T00:00:00Z", false, Yes, No, UNMATCHED),
    ("tdx/trustee-v5", "2026-03-01T00:00:00Z", false, No, No, Some("TDX_SERVICE_TD")),
    ("azure-tdx/azuretools-v4", "2026-03-01T00:00:00Z", true, Yes, No, UNMATCHED),
    ("azure-tdx/flashbots-with-ak-intermediates-1780922561", "2026-06-20T00:00:00Z", true, Yes, Yes, None),
    // DCedsv5: genuine as Azure's paravisor, and as no other TD.
    ("azure-tdx/trustee-base", "2026-07-10T00:00:00Z", true, Yes, No, STATUS),
    ("azure-tdx/trustee-v0", "2026-07-10T00:00:00Z", true, Yes, No, STATUS),
    ("azure-tdx/trustee-v1", "2026-07-10T00:00:00Z", true, Yes, No, STATUS),
    ("azure-tdx/trustee-v1", "2026-07-10T00:00:00Z", false, No, No, Some("TDX_SEPT_VE_ENABLED")),
];

/// Quotes in the source of `dcap-qvl`.
const SAMPLES: &[Row] = &[
    ("tdx_quote", "2025-07-01T00:00:00Z", false, Yes, Yes, None),
    ("tdx_quote_outdated", "2026-03-01T00:00:00Z", true, Yes, No, UNMATCHED),
    ("tdx_quote_td15ex", "2026-10-20T00:00:00Z", false, Yes, Yes, None),
    ("sgx_quote", "2025-07-01T00:00:00Z", false, No, Answer::Open, Some("TDX_TEE_TYPE_WRONG")),
];

/// Every row that is here, with its case.
fn rows() -> Vec<(&'static Row, Case)> {
    let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let case = |row: &Row, quote: PathBuf, collateral: PathBuf| Case {
        name: row.0.to_owned(),
        quote: read(quote),
        collateral: read(collateral),
        at: Timestamp::parse(row.1).unwrap(),
    };
    let samples = oracles::crate_source("dcap-qvl").join("sample");
    let of_crate = SAMPLES
        .iter()
        .map(|row| (row, case(row, samples.join(row.0), samples.join(format!("{}_collateral.json", row.0)))));
    let recorded =
        oracles::fixtures().into_iter().flat_map(|folder| COLLECTION.iter().map(move |row| (row, folder.join(row.0))));
    let recorded = recorded.map(|(row, folder)| {
        let name = if row.0.starts_with("azure") { "tdquote.bin" } else { "quote.bin" };
        (row, case(row, folder.join(name), folder.join("collateral.json")))
    });
    of_crate.chain(recorded).collect()
}

/// The cases alone, each once.
pub fn cases() -> Vec<(Case, bool)> {
    rows()
        .into_iter()
        .filter(|(row, _)| row.2 || !row.0.starts_with("azure"))
        .map(|(row, case)| (case, row.2))
        .collect()
}

/// One of them, if it is here.
pub fn case(name: &str) -> Option<(Case, bool)> {
    cases().into_iter().find(|(case, _)| case.name == name)
}

#[test]
fn every_recorded_quote_gets_the_expected_answers() {
    let judges = Judges::of_intel();
    for (row, case) in rows() {
        let report = judges.ours(&case, row.2, &TdxPolicy::default());
        let answers = (report.answer(Question::Genuine), report.answer(Question::Current), report.reason());
        assert_eq!(answers, (row.3, row.4, row.5), "{}: {report:#?}", case.name);
    }
}

#[test]
fn out_of_date_platforms_are_current_to_a_policy_that_says_so() {
    let judges = Judges::of_intel();
    for (row, case) in rows().into_iter().filter(|(row, _)| row.5 == STATUS) {
        let advisories = found(&judges.ours(&case, row.2, &TdxPolicy::default()), Check::TdxAdvisories);
        let policy = TdxPolicy {
            accept_tcb: vec!["OutOfDate".into()],
            accept_advisories: advisories.split(", ").map(str::to_owned).collect(),
        };
        let report = judges.ours(&case, row.2, &policy);
        let answers = [Question::Genuine, Question::Current].map(|question| report.answer(question));
        assert_eq!(answers, [Yes, Yes], "{}: {report:#?}", case.name);
    }
}

#[test]
fn the_collection_has_no_quote_without_a_row() {
    let Some(folder) = oracles::fixtures() else { return };
    for (kind, file) in [("tdx", "quote.bin"), ("azure-tdx", "tdquote.bin")] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{kind}/{}", entry.file_name().display());
            let listed = COLLECTION.iter().any(|row| row.0 == name);
            assert_eq!(listed, entry.path().join(file).is_file(), "{name}");
        }
    }
}

#[test]
fn dcap_qvl_says_the_same_of_every_recorded_quote() {
    let judges = Judges::of_intel();
    for (row, case) in rows() {
        judges.agree(&case, row.2);
    }
    let mut expected = vec!["tdx.tee_type"];
    if oracles::fixtures().is_some() {
        expected.push("SEPT_VE_DISABLE is not enabled");
    }
    judges.differed(&expected);
}
