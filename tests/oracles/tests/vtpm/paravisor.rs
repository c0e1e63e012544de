//! Reports of Azure's paravisor.

use verify::evidence::hcl::{self, HardwareReport, HclReport};
use verify::evidence::{Answer, Question, Report};
use verify::references::AzurePolicy;

use crate::support::{fixture, read, sample};

/// Where the type of the hardware's report is, and the end of the header.
const TYPE: usize = 0x4c8;
const HEADER: usize = 0x20;

fn judge(bytes: &[u8], allow_console: bool, user_data: Option<&[u8; 64]>) -> Report {
    let mut report = Report::default();
    let policy = AzurePolicy { allow_console, ..AzurePolicy::default() };
    hcl::appraise(bytes, user_data, &policy, &mut report);
    report
}

fn is_tdx(bytes: &[u8]) -> bool {
    matches!(HclReport::parse(bytes).unwrap().hardware, HardwareReport::Tdx(_))
}

#[test]
fn recorded_reports_have_the_expected_verdicts() {
    const TABLE: [(&str, bool, Option<&str>); 12] = [
        ("azure-snp/kinvolk-hcl-only", false, None),
        ("azure-snp/kinvolk-snpcrate-hcl", false, None),
        ("azure-snp/trustee-base", false, None),
        ("azure-snp/trustee-genoa", false, None),
        ("azure-snp/trustee-v0", false, None),
        ("azure-snp/trustee-v2", false, None),
        ("azure-tdx/kinvolk-hcl-only", true, None),
        ("azure-tdx/kinvolk-tdxcrate-hcl", true, None),
        ("azure-tdx/trustee-base", true, None),
        ("azure-tdx/trustee-v1", true, None),
        ("azure-tdx/flashbots-with-ak-intermediates-1780922561", true, None),
        // A TDREPORT in a file that is named after SEV-SNP; the claims are of a machine without vTPM.
        ("azure-snp/azuretools-hcl", true, Some("HCL_TPM_DISABLED")),
    ];
    for (folder, tdx, reason) in TABLE {
        let Some(bytes) = fixture(folder).map(|folder| read(folder.join("hcl.bin"))) else { continue };
        let report = judge(&bytes, true, None);
        assert_eq!((is_tdx(&bytes), report.reason()), (tdx, reason), "{folder}: {:#?}", report.lines());
        if reason.is_none() {
            assert_eq!(report.answer(Question::Genuine), Answer::Yes, "{folder}");
            assert_eq!(judge(&bytes, false, None).reason(), Some("HCL_CONSOLE_ENABLED"), "{folder}");
        }
    }
}

#[test]
fn a_report_whose_type_is_not_that_of_its_hardware_is_not_bound() {
    let Some(path) = fixture("malformed/hcl/azuretools-snp-type-mismatch.bin") else { return };
    let mut bytes = read(path);
    bytes[TYPE] = 2;
    assert_eq!(judge(&bytes, true, None).reason(), Some("HCL_CLAIMS_NOT_BOUND"));
}

#[test]
fn the_published_samples_are_right_until_anything_changes() {
    for (name, tdx) in [("hcl-report-snp.bin", false), ("hcl-report-tdx.bin", true)] {
        let bytes = sample(name);
        let good = judge(&bytes, true, None);
        assert_eq!((is_tdx(&bytes), good.reason()), (tdx, None), "{:#?}", good.lines());
        let hcl = HclReport::parse(&bytes).unwrap();
        let end = 0x4d4 + hcl.claims.len();
        for at in 0..HEADER {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            assert_eq!(judge(&changed, true, None), good, "byte {at} of the header");
        }
        for length in 0..end {
            assert_eq!(judge(&bytes[..length], true, None).reason(), Some("HCL_MALFORMED"), "cut at {length}");
        }
        for at in 0x4d4..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let reason = if at < end { "HCL_CLAIMS_NOT_BOUND" } else { "HCL_MALFORMED" };
            assert_eq!(judge(&changed, true, None).reason(), Some(reason), "byte {at}");
        }
        let report_data = HEADER + if tdx { 0x80 } else { 0x50 };
        for at in report_data..report_data + 64 {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let reason = if at < report_data + 32 { "HCL_CLAIMS_NOT_BOUND" } else { "HCL_REPORT_DATA_TAIL" };
            assert_eq!(judge(&changed, true, None).reason(), Some(reason), "byte {at}");
        }
    }
}

#[test]
fn user_data_are_all_64_bytes_in_either_spelling() {
    // The nonce of that capture was written into NV as well; here in capital digits.
    let Some(folder) = fixture("azure-snp/trustee-v2") else { return };
    let (bytes, nonce) = (read(folder.join("hcl.bin")), read(folder.join("nonce.bin")));
    let mut expected = [0; 64];
    expected[..nonce.len()].copy_from_slice(&nonce);
    assert_eq!(judge(&bytes, true, Some(&expected)).reason(), None);
    expected[63] = 1;
    assert_eq!(judge(&bytes, true, Some(&expected)).reason(), Some("HCL_USER_DATA_MISMATCH"));
    let old = sample("hcl-report-snp.bin");
    assert_eq!(judge(&old, true, Some(&expected)).reason(), Some("HCL_USER_DATA_MISMATCH"), "none at all");
}
