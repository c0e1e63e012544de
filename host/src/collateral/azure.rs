//! Azure: the VM's metadata service knows the certificates of its processor and turns TDREPORTs into quotes; the issuers of
//! its TPM's key are on Microsoft's public servers.

use serde::Deserialize;
use serde_json::{Value, json};

use super::http::Http;
use super::{Collateral, Sources, amd, der, intel, octets, text};
use crate::limits;

/// The metadata service of every VM.
pub(super) const IMDS: &str = "http://169.254.169.254";
/// Servers of Microsoft's certification authorities.
pub(super) const ISSUERS: [&str; 2] = [".core.windows.net", ".microsoft.com"];

/// The metadata service answers to nobody who does not say this.
const METADATA: &[(&str, &str)] = &[("Metadata", "true")];
/// Where the hardware's report is in an HCL report.
const REPORT: usize = 0x20;
const SNP_REPORT: usize = 1184;
const TD_REPORT: usize = 1024;

/// On SEV-SNP.
pub(super) fn snp(sources: &Sources, http: &Http, evidence: &Value, found: &mut Collateral) {
    issuers(sources, http, evidence, found);
    match certification(http, &sources.imds) {
        Ok(certificates) => found.certificates.extend(certificates),
        // AMD knows the chip too.
        Err(error) => {
            let before = found.missing.len();
            amd::report(http, &sources.kds, &report(evidence, SNP_REPORT).unwrap_or_default(), found);
            if found.missing.len() > before {
                found.missing.push(format!("certificates of the processor: {error}"));
            }
        }
    }
}

/// On TDX.
pub(super) fn tdx(sources: &Sources, http: &Http, evidence: &Value, found: &mut Collateral) {
    issuers(sources, http, evidence, found);
    let quote = report(evidence, TD_REPORT).ok_or_else(|| "the evidence has no TDREPORT".to_owned());
    let quote = quote.and_then(|report| td_quote(http, &sources.imds, &report));
    if let Some(quote) = found.take("TD quote", quote) {
        intel::quote(http, &sources.pcs, &quote, found);
        found.td_quote = Some(quote);
    }
}

/// VCEK, ASK and ARK.
fn certification(http: &Http, imds: &str) -> Result<Vec<Vec<u8>>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Certification {
        vcek_cert: String,
        certificate_chain: String,
    }
    let answer = http.get(&format!("{imds}/metadata/THIM/amd/certification"), METADATA)?;
    let Certification { vcek_cert, certificate_chain } = answer.json()?;
    Ok([der::certificates(vcek_cert.as_bytes())?, der::certificates(certificate_chain.as_bytes())?].concat())
}

fn td_quote(http: &Http, imds: &str, report: &[u8]) -> Result<Vec<u8>, String> {
    #[derive(Deserialize)]
    struct Quote {
        quote: String,
    }
    let answer = http.post(&format!("{imds}/acc/tdquote"), &json!({ "report": text(report) }))?;
    let Quote { quote } = answer.json()?;
    octets(&json!({ "quote": quote.trim_end_matches('=') }), "quote").ok_or_else(|| "not base64url".to_owned())
}

/// The hardware's report in the HCL report.
fn report(evidence: &Value, length: usize) -> Option<Vec<u8>> {
    Some(octets(evidence, "hcl_report")?.get(REPORT..REPORT + length)?.to_vec())
}

/// The issuers above the certificate of the TPM's key, each as the one below names its place. The root names none.
fn issuers(sources: &Sources, http: &Http, evidence: &Value, found: &mut Collateral) {
    let Some(mut certificate) = octets(evidence, "ak_certificate") else { return };
    for _ in 0..limits::ISSUERS {
        let places = der::issuer_places(&certificate);
        if places.is_empty() {
            return;
        }
        let issuer = issuer(sources, http, &places);
        let Some(issuer) = found.take("issuer of the TPM's key", issuer) else { return };
        found.certificates.push(issuer.clone());
        certificate = issuer;
    }
}

/// The first that answers of several places. What a certificate names is fetched from Microsoft's servers and no others.
fn issuer(sources: &Sources, http: &Http, places: &[String]) -> Result<Vec<u8>, String> {
    let ours = |place: &&String| {
        host(place).is_some_and(|host| sources.issuers.iter().any(|end| host.ends_with(end.as_str())))
    };
    let mut failed = "no place at Microsoft's".to_owned();
    for place in places.iter().filter(ours) {
        match http.get(place, &[]) {
            Ok(answer) if der::is_certificate(&answer.body) => return Ok(answer.body),
            Ok(_) => failed = format!("{place}: not a certificate"),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Host of a URL without user and port.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    (!authority.contains('@')).then(|| authority.split(':').next()).flatten()
}
