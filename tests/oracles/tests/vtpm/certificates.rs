//! Certificates of attestation keys, as Microsoft issued them.

use verify::Timestamp;
use verify::evidence::tpm::{Vouching, vouched};
use verify::evidence::x509::{Anchors, Certificate, Chains};
use verify::evidence::{Answer, Material, Question, Report};

use crate::support::{certificate_key, fixture, hcl_key, read};

fn judge(der: &[u8], key: &verify::evidence::x509::PublicKey, pool: &[Certificate], at: &str) -> Report {
    let (anchors, chains) = (Anchors::with(Vec::new()).unwrap(), Chains::default());
    let at = Timestamp::parse(at).unwrap();
    let material = Material { certificates: pool, crls: &[], anchors: &anchors, chains: &chains, at };
    let mut report = Report::default();
    vouched(Some(der), true, key, Vouching::AzureConfidential, &material, &mut report);
    report
}

#[test]
fn recorded_certificates_have_the_expected_verdicts() {
    const TRUSTED_LAUNCH: Option<&str> = Some("TPM_AK_NOT_OF_CONFIDENTIAL_VM");
    const EXPIRED: Option<&str> = Some("TPM_AK_CERTIFICATE_NOT_VALID");
    let table = [
        // By Global Virtual TPM CA - 03, which is built in; the second as it is in NV, 4096 bytes.
        ("tpm/azure-akcerts-openpcc/akcert_01.der", "2026-01-01T00:00:00Z", &[][..], None),
        ("tpm/azure-akcerts-openpcc/akcert_03.der", "2026-01-01T00:00:00Z", &[], None),
        ("tpm/azure-akcerts-openpcc/akcert_01.der", "2026-11-01T00:00:00Z", &[], EXPIRED),
        ("tpm/azure-akcerts-openpcc/akcert_03.der", "2025-08-12T00:00:00Z", &[], EXPIRED),
        ("tpm/azure-trustedlaunch-cmcp/akcert_0x01C101D0.der", "2026-08-01T00:00:00Z", &[], TRUSTED_LAUNCH),
        (
            "tpm/azure-trustedlaunch-akchain-cmcp/akcert.der",
            "2026-08-01T00:00:00Z",
            &["roots/azure-vtpm/Azure_Cloud_Virtual_TPM_CA_-_11.der"],
            TRUSTED_LAUNCH,
        ),
        ("tpm/azure-trustedlaunch-akchain-cmcp/akcert.der", "2026-08-01T00:00:00Z", &[], Some("TPM_AK_CHAIN_INVALID")),
    ];
    for (path, at, pool, reason) in table {
        let Some(der) = fixture(path).map(read) else { continue };
        let pool: Vec<_> =
            pool.iter().map(|path| Certificate::from_der(&read(fixture(path).unwrap())).unwrap()).collect();
        let report = judge(&der, &certificate_key(&der), &pool, at);
        assert_eq!(report.reason(), reason, "{path} at {at}: {:#?}", report.lines());
    }
}

#[test]
fn the_one_complete_chain_is_right_and_for_its_own_key_alone() {
    let folder = "azure-tdx/flashbots-with-ak-intermediates-1780922561";
    let Some(folder) = fixture(folder) else { return };
    let file = |name: &str| read(folder.join(name));
    let (der, key, at) = (file("akcert.der"), hcl_key(&file("hcl.bin")), "2026-06-10T00:00:00Z");
    let pool = [Certificate::from_der(&file("ak_int0.der")).unwrap()];
    let report = judge(&der, &key, &pool, at);
    assert_eq!((report.answer(Question::Genuine), report.answer(Question::Current)), (Answer::Yes, Answer::Yes));
    assert_eq!(judge(&der, &key, &[], at).reason(), Some("TPM_AK_CHAIN_INVALID"), "without the intermediate");
    let other = hcl_key(&read(fixture("azure-tdx/trustee-v0/hcl.bin").unwrap()));
    assert_eq!(judge(&der, &other, &pool, at).reason(), Some("TPM_AK_CERTIFICATE_OF_OTHER_KEY"));
    // The certificate's last byte is of the signature.
    let mut altered = der.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(judge(&altered, &key, &pool, at).reason(), Some("TPM_AK_CHAIN_INVALID"));
    for length in (0..der.len()).step_by(7) {
        assert_eq!(judge(&der[..length], &key, &pool, at).reason(), Some("TPM_AK_CERTIFICATE_MALFORMED"));
    }
}
