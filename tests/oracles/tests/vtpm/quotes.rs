//! Quotes: the table of recorded ones, and what must not pass of them.

use claim::Digest;
use verify::evidence::tpm::{Attest, TpmPublic};

use crate::support::{Quote, base64, certificate_key, fixture, hcl_key, hex, pcrs, pem_key, read, rsassa, sample};

const NO_PCRS: [[u8; 32]; 24] = [[0; 32]; 24];

/// A recorded quote, and what it was made for.
fn recorded(folder: &str) -> Option<(Quote, Vec<u8>)> {
    let folder = fixture(folder)?;
    let file = |name: &str| read(folder.join(name));
    let there = |name: &str| folder.join(name).is_file();
    let quote = |signature: &str, pcrs, key| Quote {
        message: file("quote.msg"),
        signature: rsassa(&file(signature)),
        pcrs,
        key,
    };
    let nonce = if there("nonce.bin") { file("nonce.bin") } else { vec![0; 32] };
    Some(if there("cmcp_nonce.hex") {
        let nonce = hex(std::str::from_utf8(&file("cmcp_nonce.hex")).unwrap());
        (quote("quote.tpmt_sig", NO_PCRS, pem_key(&file("ak_pub.pem"))), Digest::of(nonce).bytes().to_vec())
    } else if there("ak.pub") {
        let nonce = hex(std::str::from_utf8(&file("nonce.hex")).unwrap());
        (quote("quote.sig", NO_PCRS, pem_key(&file("ak.pub"))), nonce)
    } else if there("hcl.bin") {
        (quote("quote.sig", pcrs(&file("pcrs_sha256.json")), hcl_key(&file("hcl.bin"))), nonce)
    } else {
        (quote("quote.tpmt_sig", NO_PCRS, certificate_key(&file("akcert.der"))), nonce)
    })
}

#[test]
fn recorded_quotes_have_the_expected_verdicts() {
    const TABLE: [(&str, Option<&str>); 11] = [
        ("azure-snp/trustee-base", None),
        ("azure-snp/trustee-genoa", None),
        ("azure-snp/trustee-v0", None),
        ("azure-snp/trustee-v2", None),
        ("azure-tdx/trustee-base", None),
        ("azure-tdx/trustee-v0", None),
        ("azure-tdx/trustee-v1", None),
        ("azure-tdx/flashbots-with-ak-intermediates-1780922561", None),
        // PCR 16 alone, which anybody resets: says nothing of what runs.
        ("azure-snp/cmcp-envelope", Some("TPM_PCR_SELECTION")),
        // PCR 0 to 7.
        ("tpm/azure-trustedlaunch-cmcp", Some("TPM_PCR_SELECTION")),
        ("tpm/azure-trustedlaunch-akchain-cmcp", Some("TPM_PCR_SELECTION")),
    ];
    for (folder, reason) in TABLE {
        let Some((quote, nonce)) = recorded(folder) else { continue };
        let report = quote.judge(Some(&nonce));
        assert_eq!(report.reason(), reason, "{folder}: {:#?}", report.lines());
        // Nothing else is wrong with a quote that deployed verifiers take: the signature is right, and it is fresh.
        let wrong =
            report.lines().iter().filter(|line| line.outcome == verify::Outcome::Fail).map(|line| line.check.id());
        let allowed = ["tpm.selection", "tpm.pcr_digest"];
        assert!(
            wrong.clone().all(|id| reason.is_some() && allowed.contains(&id)),
            "{folder}: {:?}",
            wrong.collect::<Vec<_>>()
        );
    }
}

#[test]
fn quotes_of_a_software_tpm_are_right_for_nonces_of_each_length() {
    for folder in ["tpm/own-qemu-ovmf-swtpm-uki", "tpm/own-qemu-ovmf-swtpm-uki-noisyboot"] {
        let Some(folder) = fixture(folder) else { continue };
        let public = TpmPublic::parse(&read(folder.join("ak_public.tpmt"))).unwrap();
        assert_eq!(public.faults(), [] as [&str; 0]);
        let mut boots = Vec::new();
        for size in [32, 48, 64] {
            let file = |kind: &str| read(folder.join(format!("quote{size}.{kind}")));
            let pcrs = pcrs(&read(folder.join("pcrs_sha256.json")));
            let quote = Quote { message: file("msg"), signature: rsassa(&file("sig")), pcrs, key: public.key.clone() };
            assert_eq!(quote.judge(Some(&vec![0x5a; size])).reason(), None);
            assert_eq!(quote.judge(Some(&vec![0x5a; size - 1])).reason(), Some("TPM_NONCE_MISMATCH"));
            boots.push(Attest::parse(&quote.message).unwrap());
        }
        let counts = |attest: &Attest| (attest.clock.reset_count, attest.clock.restart_count, attest.firmware_version);
        assert!(boots.windows(2).all(|pair| counts(&pair[0]) == counts(&pair[1])), "one boot");
        assert!(boots.is_sorted_by_key(|attest| attest.clock.milliseconds));
    }
}

#[test]
fn quotes_of_other_collections_are_read() {
    if let Some(path) = fixture("tpm/trustee-tpm-evidence/tpm_evidence.json") {
        let json = claim::json::parse(&read(path)).unwrap();
        let text = |name: &str| json.get("tpm_quote").unwrap().get(name).unwrap().as_str().unwrap();
        let list = json.get("tpm_quote").unwrap().get("pcrs").unwrap().sorted_ascii();
        let spki = base64(json.get("ak_public").unwrap().as_str().unwrap());
        let key = verify::evidence::x509::PublicKey::from_spki(&spki).unwrap();
        let (message, signature) = (base64(text("message")), base64(text("signature")));
        let quote = Quote { message, signature, pcrs: pcrs(list.as_bytes()), key };
        let report = quote.judge(None);
        assert_eq!(report.reason(), None, "{:#?}", report.lines());
    }
    if let Some(path) = fixture("tpm/dstack-tpms-attest/tpm_quote_sample.bin") {
        let attest = Attest::parse(&read(path)).unwrap();
        assert_eq!((attest.extra_data.as_slice(), attest.clock.reset_count), (&[0x12, 0x34, 0x56, 0x78][..], 16));
        assert_eq!((attest.selection().as_str(), attest.selects_all()), ("sha256:070000", false));
    }
}

/// What the crate az-cvm-vtpm tests with: lengths of eight bytes before signature and message, then the values.
fn published() -> Quote {
    let bytes = sample("quote.bin");
    let length = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let signature = bytes[8..8 + length(0)].to_vec();
    let at = 8 + signature.len();
    let message = bytes[at + 8..at + 8 + length(at)].to_vec();
    let at = at + 8 + message.len();
    assert_eq!(length(at), 24);
    let pcrs = std::array::from_fn(|index| bytes[at + 8 + 32 * index..][..32].try_into().unwrap());
    Quote { message, signature: rsassa(&signature), pcrs, key: pem_key(&sample("akpub.pem")) }
}

#[test]
fn a_published_quote_is_right_until_anything_changes() {
    let quote = published();
    assert_eq!(quote.judge(Some(b"challenge")).reason(), None);
    assert_eq!(
        quote.judge(Some(b"another")).reason(),
        Some("TPM_NONCE_MISMATCH"),
        "a stale quote with a rebuilt chain"
    );
    for length in 0..quote.message.len() {
        let cut = Quote { message: quote.message[..length].to_vec(), ..published() };
        assert_eq!(cut.judge(Some(b"challenge")).reason(), Some("TPM_ATTEST_MALFORMED"), "cut at {length}");
    }
    let mut longer = published();
    longer.message.push(0);
    assert_eq!(longer.judge(Some(b"challenge")).reason(), Some("TPM_ATTEST_MALFORMED"));
    let mut swapped = published();
    swapped.pcrs.swap(4, 12);
    assert_eq!(swapped.judge(Some(b"challenge")).reason(), Some("TPM_PCR_DIGEST"), "relabelled values");
    let mut other = published();
    other.key = hcl_key(&sample("hcl-report-tdx.bin"));
    assert_eq!(other.judge(Some(b"challenge")).reason(), Some("TPM_SIGNATURE_INVALID"), "swapped key");
}

#[test]
fn a_quote_of_one_machine_is_not_anothers() {
    let folders = ["azure-snp/trustee-base", "azure-snp/trustee-v0", "azure-snp/trustee-v2", "azure-tdx/trustee-base"];
    let quotes: Vec<_> = folders.iter().filter_map(|folder| recorded(folder)).collect();
    for (index, (quote, nonce)) in quotes.iter().enumerate() {
        for (other, (machine, _)) in quotes.iter().enumerate() {
            let crossed = Quote {
                message: quote.message.clone(),
                signature: quote.signature.clone(),
                pcrs: quote.pcrs,
                key: machine.key.clone(),
            };
            let expected = (index != other).then_some("TPM_SIGNATURE_INVALID");
            assert_eq!(crossed.judge(Some(nonce)).reason(), expected);
        }
    }
}
