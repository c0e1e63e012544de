//! Evidence in the layouts that deployed verifiers read, as far as they have one. What they leave out is in the attachment.

use base64ct::{Base64, Encoding};
use claim::attachment::Collateral;
use claim::evidence::{AzureEvidence, Evidence, SnpEvidence, TpmEvidence};
use claim::gateway::AttestationEvidence;
use claim::json::{self, Json};
use claim::profile::Platform;
use claim::{b64u, der};

use crate::evidence::hcl;
use crate::limits;

/// Bytes of a report by SEV-SNP.
const SNP_REPORT: usize = 1184;
/// Characters of a line of PEM.
const PEM_LINE: usize = 64;
/// AlgorithmIdentifier of rsaEncryption (RFC 8017, appendix C).
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// `gateway.attestation_evidence`; none where no deployed verifier has a layout.
pub(super) fn layout(
    platform: Platform,
    evidence: &Evidence,
    collateral: Option<&Collateral>,
) -> Option<AttestationEvidence> {
    match evidence {
        Evidence::Tpm(evidence) => Some(tpm(evidence, collateral)),
        Evidence::SevSnp(evidence) => Some(snp(evidence, collateral)),
        Evidence::Azure(evidence) if platform == Platform::AzureCvmSevSnp => azure(evidence, collateral),
        Evidence::Azure(_) | Evidence::Tdx(_) | Evidence::Software(_) => None,
    }
}

/// The quote whose qualifyingData is the key's thumbprint alone.
fn tpm(evidence: &TpmEvidence, collateral: Option<&Collateral>) -> AttestationEvidence {
    let own = evidence.ak_certificate.as_ref().map(|certificate| certificate.0.as_slice());
    AttestationEvidence {
        raw_evidence: Some(b64u::encode(&evidence.key_quote.message.0)),
        quote_signature: Some(b64u::encode(&evidence.key_quote.signature.0)),
        cert_chain: chain(own, collateral).map(|pem| b64u::encode(pem.as_bytes())),
        ek_cert_chain: None,
    }
}

fn snp(evidence: &SnpEvidence, collateral: Option<&Collateral>) -> AttestationEvidence {
    AttestationEvidence {
        raw_evidence: Some(b64u::encode(&evidence.report.0)),
        cert_chain: chain(None, collateral).map(|pem| b64u::encode(pem.as_bytes())),
        ..AttestationEvidence::default()
    }
}

/// An envelope of JSON, in which binary is base64 with padding.
fn azure(evidence: &AzureEvidence, collateral: Option<&Collateral>) -> Option<AttestationEvidence> {
    let report = &evidence.hcl_report.0;
    let claims = hcl::claims(report)?;
    let binary = |bytes: &[u8]| Json::String(Base64::encode_string(bytes));
    let envelope = Json::from([
        ("v", Json::Int(1)),
        ("snp_report", binary(hcl::hardware(report)?.get(..SNP_REPORT)?)),
        ("runtime_data", binary(claims)),
        ("quote_msg", binary(&evidence.quote.message.0)),
        ("quote_sig", binary(&evidence.quote.signature.0)),
        ("ak_pub_pem", Json::String(attestation_key(claims)?)),
        ("vcek_chain_pem", binary(chain(None, collateral).unwrap_or_default().as_bytes())),
    ]);
    Some(AttestationEvidence {
        raw_evidence: Some(b64u::encode(envelope.sorted_ascii().as_bytes())),
        ..AttestationEvidence::default()
    })
}

/// Certificates in PEM, in the order in which they came: as many as a claim should carry.
fn chain(own: Option<&[u8]>, collateral: Option<&Collateral>) -> Option<String> {
    let given = collateral.map(|collateral| collateral.certificates.as_slice()).unwrap_or_default();
    let given = given.iter().map(|certificate| certificate.0.as_slice()).filter(|given| own != Some(*given));
    let mut pem = String::new();
    for certificate in own.into_iter().chain(given) {
        let next = armoured("CERTIFICATE", certificate);
        if pem.len().saturating_add(next.len()) > limits::MAX_CLAIM_CERTIFICATES {
            break;
        }
        pem.push_str(&next);
    }
    (!pem.is_empty()).then_some(pem)
}

/// The public key of `HCLAkPub` in the runtime claims, as SubjectPublicKeyInfo in PEM.
fn attestation_key(claims: &[u8]) -> Option<String> {
    let claims = json::parse(claims).ok()?;
    let named = |key: &&Json| key.get("kid").and_then(Json::as_str) == Some("HCLAkPub");
    let key = claims.get("keys")?.as_array()?.iter().find(named)?;
    let number = |name: &str| b64u::decode(key.get(name)?.as_str()?).map(|bytes| integer(&bytes));
    let key = der::encode(SEQUENCE, &[number("n")?, number("e")?].concat());
    let key = der::encode(BIT_STRING, &[&[0], key.as_slice()].concat());
    Some(armoured("PUBLIC KEY", &der::encode(SEQUENCE, &[RSA_ENCRYPTION, &key].concat())))
}

/// DER of a number that is not negative.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if digits.first().is_none_or(|first| *first >= 0x80) {
        digits.insert(0, 0);
    }
    der::encode(INTEGER, &digits)
}

/// PEM (RFC 7468).
fn armoured(label: &str, bytes: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    let text = Base64::encode_string(bytes);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use claim::b64u::Octets;
    use claim::evidence::{Pcrs, TpmQuote};

    use super::*;
    use crate::evidence::hcl::{CLAIMS, CLAIMS_SIZE, HARDWARE};

    /// An HCL report as far as it is read here.
    fn hcl(report: &[u8], claims: &[u8]) -> Octets {
        let mut bytes = vec![0; HARDWARE];
        bytes.extend_from_slice(report);
        bytes.resize(CLAIMS_SIZE, 0);
        bytes.extend_from_slice(&u32::try_from(claims.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(claims);
        bytes.resize(bytes.len().max(2600), 0);
        Octets(bytes)
    }

    fn quote(message: &[u8], signature: &[u8]) -> TpmQuote {
        TpmQuote { message: Octets(message.into()), signature: Octets(signature.into()), pcrs: Pcrs([[0; 32]; 24]) }
    }

    fn der_of(pem: &str) -> Vec<Octets> {
        let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
        let inner = blocks.map(|block| block.split("-----END").next().unwrap().split_whitespace().collect::<String>());
        inner.map(|text| Octets(Base64::decode_vec(&text).unwrap())).collect()
    }

    /// Against an envelope that the deployed gateway made on Azure.
    #[test]
    fn the_envelope_of_azure_is_the_deployed_one() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/evidence/azure-snp/cmcp-envelope");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        if !folder.exists() {
            return;
        }
        let recorded: serde_json::Value = serde_json::from_slice(&read("cmcp_evidence.bin")).unwrap();
        let evidence = AzureEvidence {
            hcl_report: hcl(&read("report.bin"), &read("runtime_data.json")),
            quote: quote(&read("quote.msg"), &read("quote.tpmt_sig")),
            ak_certificate: None,
        };
        let chain = String::from_utf8(read("vcek_chain.pem")).unwrap();
        let collateral = Collateral { certificates: der_of(&chain), ..Collateral::default() };
        let laid = layout(Platform::AzureCvmSevSnp, &Evidence::Azure(evidence), Some(&collateral)).unwrap();
        let raw = b64u::decode(&laid.raw_evidence.unwrap()).unwrap();
        let envelope: serde_json::Value = serde_json::from_slice(&raw).unwrap();
        let members = |value: &serde_json::Value| {
            let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(members(&envelope), members(&recorded));
        for name in ["v", "snp_report", "runtime_data", "quote_msg", "quote_sig"] {
            assert_eq!(envelope[name], recorded[name], "{name}");
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap().trim().to_owned();
        assert_eq!(text(&envelope["ak_pub_pem"]), text(&recorded["ak_pub_pem"]));
        let certificates = |value: &serde_json::Value| {
            der_of(&String::from_utf8(Base64::decode_vec(value.as_str().unwrap()).unwrap()).unwrap())
        };
        assert_eq!(certificates(&envelope["vcek_chain_pem"]), certificates(&recorded["vcek_chain_pem"]));
    }

    #[test]
    fn a_report_that_is_cut_or_lies_about_lengths_gives_no_layout() {
        let whole = hcl(&[1; SNP_REPORT], br#"{"keys":[{"kid":"HCLAkPub","n":"AQAB","e":"AQAB"}]}"#).0;
        let laid = |hcl: Vec<u8>| {
            let evidence = AzureEvidence { hcl_report: Octets(hcl), quote: quote(b"m", b"s"), ak_certificate: None };
            layout(Platform::AzureCvmSevSnp, &Evidence::Azure(evidence), None).is_some()
        };
        assert!(laid(whole.clone()));
        for cut in (0..CLAIMS + 40).step_by(7) {
            assert!(!laid(whole[..cut].to_vec()), "{cut}");
        }
        for length in [0, 10, 2000, u32::MAX] {
            let mut lying = whole.clone();
            lying[CLAIMS_SIZE..CLAIMS].copy_from_slice(&length.to_le_bytes());
            assert!(!laid(lying), "{length}");
        }
    }

    #[test]
    fn a_claim_carries_so_many_certificates_and_none_twice() {
        let one = |fill: u8, length: usize| Octets(vec![fill; length]);
        let own = one(1, 300);
        let many = Collateral {
            certificates: vec![own.clone(), one(2, 300), one(3, 40_000), one(4, 300)],
            ..Collateral::default()
        };
        let pem = chain(Some(&own.0), Some(&many)).unwrap();
        assert_eq!(der_of(&pem), [own, one(2, 300)]);
        assert_eq!(chain(None, Some(&Collateral::default())), None);
    }
}
