//! Provider `azure`, by swtpm with what a paravisor puts there: an attestation key, its certificate, and a report that a
//! program between the enclave and the TPM makes anew whenever it is read from its begin.
//!
//! That is what documentation says of Azure's paravisor. Nothing here shows that it does so, or that its hardware's report is
//! genuine: the report's signature is zeros.

use std::sync::{Arc, Mutex};

use tests::swtpm::{Asked, Between, Said};
use wire::{Provider, RefusalCode};

use super::*;

const NV_WRITE: u32 = 0x137;
const NV_READ: u32 = 0x14e;
const REPORT: u32 = 0x0140_0001;
const USER_DATA: u32 = 0x0140_0002;
/// swtpm has no larger indices; Azure's has 2600 bytes.
const REPORT_BYTES: usize = 2048;
/// Of a command with two handles and one password: after header, handles and authorization.
const PARAMETERS: usize = 10 + 8 + 4 + 9;

/// Python's hashlib.sha384 of 48 times 0x31, and of 48 times 0x32.
const SNP_MEASURED: &str =
    "ee59ac48c288cc3b0f09318afe0f7d250df2cd8a94c62310fa19aaa3e17b845beedca3ea4d2b947d7328a507a72b968c";
const TDX_MEASURED: &str =
    "30521364ca3f7e1b3cd92380cc5ad6dea135ed14ddb25a986e7599b6d9c4d36cc08f35f27895995e3416943c77a525d9";

/// A report of SNP (2) or TDX (4) with runtime claims about this key, and perhaps user data.
fn hcl_report(kind: u32, modulus: &[u8], user_data: Option<&[u8]>) -> Vec<u8> {
    let mut claims = json!({
        "keys": [{"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": b64u::encode(modulus)}],
        "vm-configuration": {
            "console-enabled": false, "secure-boot": false, "tpm-enabled": true, "tpm-persisted": false,
            "vmUniqueId": "9A6A39D6-1F3B-4C1C-8B8C-2A4B34C0A6C1",
        },
    });
    if let Some(user_data) = user_data {
        claims["user-data"] = json!(claim::hex::encode(user_data));
    }
    let claims = claims.to_string();
    let mut report = vec![0; 0x4d4];
    report[..4].copy_from_slice(b"HCLA");
    let bound = Digest::of(&claims);
    // REPORT_DATA and MEASUREMENT of an SNP report, or REPORTDATA and MRTD of a TDREPORT.
    let (report_data, measurement, byte) = if kind == 2 { (0x50, 0x90, 0x31) } else { (0x80, 0x210, 0x32) };
    report[0x20 + report_data..][..32].copy_from_slice(bound.bytes());
    report[0x20 + measurement..][..48].copy_from_slice(&[byte; 48]);
    let size = u32::try_from(claims.len()).expect("short");
    for (at, value) in [(0x04, 2), (0x0c, 2), (0x4c0, size + 20), (0x4c4, 1), (0x4c8, kind), (0x4cc, 1), (0x4d0, size)]
    {
        report[at..][..4].copy_from_slice(&u32::to_le_bytes(value));
    }
    report.extend(claims.bytes());
    report.resize(REPORT_BYTES, 0);
    report
}

/// A TPM with what Azure puts there.
struct Azure {
    tpm: Swtpm,
    modulus: Vec<u8>,
    certificate: Vec<u8>,
}

impl Azure {
    fn new(kind: u32) -> Self {
        let tpm = Swtpm::start();
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
        let key = ["-C", "e", "-g", "sha256", "-G", "rsa2048:rsassa-sha256:null", "-a", attributes, "-c", "ak.ctx"];
        tpm.tool(&[&["tpm2_createprimary"][..], &key].concat());
        tpm.tool(&["tpm2_evictcontrol", "-C", "o", "-c", "ak.ctx", "0x81000003"]);
        tpm.tool(&["tpm2_readpublic", "-c", "0x81000003", "-f", "pem", "-o", "ak.pem"]);
        let der = tpm.tool(&["tpm2_readpublic", "-c", "0x81000003", "-f", "der", "-o", "ak.der"]);
        drop(der);
        // SubjectPublicKeyInfo of a 2048-bit key ends with its modulus and the exponent 65537.
        let der = std::fs::read(tpm.file("ak.der")).expect("a file");
        let modulus = der[der.len() - 256 - 5..der.len() - 5].to_vec();
        let certificate = [&[0x30, 0x82, 0x01, 0x00][..], &[0x5c; 256]].concat();
        let azure = Self { tpm, modulus, certificate };
        azure.provision("0x01400001", &hcl_report(kind, &azure.modulus, None));
        azure.provision("0x01c101d0", &[&azure.certificate[..], &[0; 200]].concat());
        azure
    }

    fn provision(&self, index: &str, bytes: &[u8]) {
        std::fs::write(self.tpm.file("nv"), bytes).expect("a file");
        let (size, attributes) = (bytes.len().to_string(), "ownerread|ownerwrite|authread|authwrite");
        self.tpm.tool(&["tpm2_nvdefine", "-C", "o", "-s", &size, "-a", attributes, index]);
        self.tpm.tool(&["tpm2_nvwrite", "-C", "o", "-i", "nv", index]);
    }

    /// What stands before the TPM and makes reports; so many reads of a report bring the one before.
    fn paravisor(&self, kind: u32, mut late: u32) -> Between {
        let between = Between::new(&self.tpm);
        let modulus = self.modulus.clone();
        let (mut user_data, mut report) = (None, hcl_report(kind, &modulus, None));
        between.set(move |asked, mut answer| {
            let parameters = asked.0.get(PARAMETERS..).unwrap_or_default();
            match (asked.command(), asked.number(14)) {
                (NV_WRITE, USER_DATA) => user_data = Some(parameters[2..66].to_vec()),
                (NV_READ, REPORT) => {
                    let [size, offset] =
                        [0, 2].map(|at| usize::from(u16::from_be_bytes([parameters[at], parameters[at + 1]])));
                    if offset == 0 && user_data.is_some() {
                        if late == 0 {
                            report = hcl_report(kind, &modulus, user_data.as_deref());
                        }
                        late = late.saturating_sub(1);
                    }
                    // header, size of the parameters, size of the bytes.
                    answer[16..16 + size].copy_from_slice(&report[offset..offset + size]);
                }
                _ => {}
            }
            Said::Bytes(answer)
        });
        between
    }
}

#[test]
fn the_key_of_the_report_vouches_for_the_boot_and_for_each_challenge() {
    for (kind, provider, platform, measured) in
        [(2, Provider::AzureSnp, "azure-cvm-sev-snp", SNP_MEASURED), (4, Provider::AzureTdx, "intel-tdx", TDX_MEASURED)]
    {
        let azure = Azure::new(kind);
        let between = azure.paravisor(kind, 0);
        let upstream = Upstream::plain();
        let host = boot(&between.path(), &production(&upstream.url()));
        assert_eq!(host.report.provider, provider);
        let shown = Shown::by(&host);
        shown.leave(&format!("{provider:?}"));
        assert_eq!(shown.answer["platform"], platform);
        assert_eq!(shown.answer["measurement"], format!("sha384:{measured}"));
        drop(host);
        drop(between);

        let (Evidence::Azure(of_boot), Evidence::Azure(of_challenge)) =
            (&shown.boot_evidence, &shown.challenge_evidence)
        else {
            panic!("evidence of another type")
        };
        for (evidence, bound) in [(of_boot, &shown.of_boot), (of_challenge, &shown.of_challenge)] {
            holds(&azure.tpm, "ak.pem", &evidence.quote, bound);
            assert_eq!(evidence.hcl_report.0, hcl_report(kind, &azure.modulus, Some(&shown.of_boot)));
            assert_eq!(evidence.ak_certificate.as_ref().map(|der| &der.0), Some(&azure.certificate));
            assert_eq!(evidence.quote.pcrs.0[15], extended(&[settings(&shown.boot).digest()]));
        }
        azure.tpm.tool(&["tpm2_nvread", "-C", "o", "-o", "written", "0x01400002"]);
        assert_eq!(std::fs::read(azure.tpm.file("written")).expect("a file"), shown.of_boot);
    }
}

#[test]
fn an_index_of_another_size_is_made_anew() {
    let azure = Azure::new(2);
    azure.provision("0x01400002", &[1; 32]);
    let between = azure.paravisor(2, 0);
    let host = boot(&between.path(), &production(&Upstream::plain().url()));
    assert_eq!(host.report.provider, Provider::AzureSnp);
}

/// Azure makes a report at most every two seconds, and what is read before is the one before.
#[test]
fn a_late_report_is_waited_for_and_one_that_never_comes_ends_the_boot() {
    let azure = Azure::new(2);
    let between = azure.paravisor(2, 1);
    drop(boot(&between.path(), &production(&Upstream::plain().url())));
    drop(between);
    let between = azure.paravisor(2, u32::MAX);
    let refused = refusal(&between.path(), &production(&Upstream::plain().url()));
    assert_eq!(refused.code, RefusalCode::Attestation);
    assert!(refused.found.0.contains("does not hold what was written for it"), "{refused:?}");
}

#[test]
fn a_report_of_no_known_kind_ends_the_boot() {
    let azure = Azure::new(3);
    let refused = refusal(&azure.tpm.path(), &production(&Upstream::plain().url()));
    assert_eq!(refused.code, RefusalCode::Attestation);
    assert!(refused.found.0.contains("no known kind"), "{refused:?}");
}

/// Hardware that is there is not passed over for what says less.
#[test]
fn a_paravisor_that_fails_is_not_taken_for_a_plain_tpm() {
    let azure = Azure::new(2);
    let between = Between::new(&azure.tpm);
    let reads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&reads);
    between.set(move |asked: &Asked<'_>, answer| {
        if asked.command() == NV_READ {
            *counted.lock().unwrap() += 1;
            return Said::Bytes([&[0x80, 0x01, 0, 0, 0, 10][..], &0x149_u32.to_be_bytes()].concat());
        }
        Said::Bytes(answer)
    });
    let refused = refusal(&between.path(), &production(&Upstream::plain().url()));
    assert_eq!((refused.code, *reads.lock().unwrap()), (RefusalCode::Attestation, 1));
    assert!(refused.found.0.contains("NvRead with TPM_RC 0x149"), "{refused:?}");
}
