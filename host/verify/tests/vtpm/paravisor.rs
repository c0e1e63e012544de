//! Reports of Azure's paravisor.

use verify::Outcome;
use verify::evidence::hcl::{self, HclReport};
use verify::evidence::{Check, Report};
use verify::references::AzurePolicy;

use crate::machine::{self, Ak, USER_DATA, claims};
use crate::{accepted, refused};

fn paravisor(bytes: &[u8], policy: &AzurePolicy) -> Report {
    let mut report = Report::default();
    hcl::appraise(bytes, Some(&USER_DATA), policy, &mut report);
    report
}

#[test]
fn a_paravisors_claims_are_those_that_the_hardware_names() {
    let claims = claims(&Ak::rsa());
    let good = machine::hcl(&claims);
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
        refused(&paravisor(&machine::hcl(&changed), &policy), reason, to);
    }
    let lenient = AzurePolicy { allow_console: true, ..AzurePolicy::default() };
    let open = claims.replacen("\"console-enabled\":false", "\"console-enabled\":true", 1);
    accepted(
        &paravisor(&machine::hcl(&open.replacen("\"secure-boot\":true", "\"secure-boot\":false", 1)), &lenient),
        "as allowed",
    );
    let bytes = machine::hcl(&claims);
    assert_eq!(HclReport::parse(&bytes).unwrap().claims, claims.as_bytes());
    let mut report = Report::default();
    hcl::appraise(&bytes, None, &lenient, &mut report);
    assert!(report.lines().iter().any(|line| line.check == Check::HclUserData && line.outcome == Outcome::Open));
}
