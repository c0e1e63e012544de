//! Intel's provisioning certification service, version 4: what goes with a TDX quote, as `QuoteCollateralV3` has it.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::http::{Answer, Http};
use super::{Collateral, der};
use crate::report::hex;

/// Intel's own.
pub(super) const PCS: &str = "https://api.trustedservices.intel.com";
/// What the root revoked is not at Intel's service, but at that of caches.
const ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// FMSPC in the certificate of a quote's key: 1.2.840.113741.1.13.1.4, six octets.
const FMSPC: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01\x04\x04\x06";
const PLATFORM: &[u8] = b"Intel SGX PCK Platform CA";

/// Fetches what goes with a quote.
pub(super) fn quote(http: &Http, pcs: &str, quote: &[u8], found: &mut Collateral) {
    let tdx = collateral(http, pcs, quote);
    found.tdx = found.take("Intel's collateral", tdx);
}

fn collateral(http: &Http, pcs: &str, quote: &[u8]) -> Result<Value, String> {
    let chain = der::certificates(quote).map_err(|error| format!("no certificates in the quote: {error}"))?;
    let leaf = chain.first().ok_or("no certificates in the quote")?;
    let fmspc = der::after(leaf, FMSPC).and_then(|rest| rest.get(..6)).ok_or("no FMSPC in the quote's certificate")?;
    let ca = if der::after(leaf, PLATFORM).is_some() { "platform" } else { "processor" };
    let revoked = http.get(&format!("{pcs}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"), &[])?;
    let tcb = http.get(&format!("{pcs}/tdx/certification/v4/tcb?fmspc={}", hex(fmspc).to_uppercase()), &[])?;
    let identity = http.get(&format!("{pcs}/tdx/certification/v4/qe/identity"), &[])?;
    let TcbInfo { tcb_info, signature: tcb_info_signature } = tcb.json()?;
    let QeIdentity { enclave_identity, signature: qe_identity_signature } = identity.json()?;
    Ok(json!({
        "pck_crl_issuer_chain": chain_of(&revoked, "SGX-PCK-CRL-Issuer-Chain")?,
        "root_ca_crl": hex(&root_crl(http, pcs)?),
        "pck_crl": hex(&revoked.body),
        "tcb_info_issuer_chain": chain_of(&tcb, "TCB-Info-Issuer-Chain")?,
        "tcb_info": tcb_info.get(),
        "tcb_info_signature": tcb_info_signature,
        "qe_identity_issuer_chain": chain_of(&identity, "SGX-Enclave-Identity-Issuer-Chain")?,
        "qe_identity": enclave_identity.get(),
        "qe_identity_signature": qe_identity_signature,
    }))
}

/// The signature is over the object's bytes as they came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    tcb_info: Box<RawValue>,
    signature: String,
}

/// The same.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    enclave_identity: Box<RawValue>,
    signature: String,
}

/// Caches give it in hexadecimal.
fn root_crl(http: &Http, pcs: &str) -> Result<Vec<u8>, String> {
    let place = if pcs == PCS { ROOT_CRL.to_owned() } else { format!("{pcs}/sgx/certification/v4/rootcacrl") };
    let body = http.get(&place, &[])?.body;
    let crl = if der::is_sequence(&body) { Some(body) } else { from_hex(body.trim_ascii()) };
    crl.filter(|crl| der::is_sequence(crl)).ok_or_else(|| format!("{place}: not a CRL"))
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.chunks(2).map(byte).collect()
}

/// PEM in a header, percent-encoded.
fn chain_of(answer: &Answer, header: &str) -> Result<String, String> {
    let encoded = answer.header(header).ok_or_else(|| format!("no header {header}"))?;
    let mut pieces = encoded.split('%');
    let mut chain = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) =
            piece.split_at_checked(2).ok_or_else(|| format!("header {header} is not percent-encoded"))?;
        chain.extend(from_hex(code.as_bytes()).ok_or_else(|| format!("header {header} is not percent-encoded"))?);
        chain.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(chain).map_err(|_| format!("header {header} is not PEM"))
}
