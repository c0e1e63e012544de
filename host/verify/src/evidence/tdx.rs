//! Intel TDX: a quote, and the collateral by which it is judged.
//!
//! The chain: Intel's root - PCK certificate of the platform - report of Intel's quoting enclave - attestation key - quote.
//! Collateral says which quoting enclave is Intel's, what of this chain is revoked, and how far from current the platform
//! is; without it those questions stay open. Own parsers over the bytes; policy is [`TdxPolicy`], by default only what
//! Intel calls up to date.

mod attributes;
mod collateral;
mod current;
mod document;
mod image;
mod pck;
mod qe_identity;
mod quote;
mod status;
mod tcb_info;

use claim::json::{Json, parse};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use self::collateral::{Collateral, is_signed};
use self::document::Object;
use self::pck::{Platform, PlatformTcb};
use self::qe_identity::QeIdentity;
use self::quote::{QuoteError, QuotingEnclave, Signed};
use self::tcb_info::TcbInfo;
use super::x509::{Certificate, Path, RootKind, build_path};
use super::{Check, Material, Mismatch, Report};
use crate::references::TdxPolicy;

pub use self::image::{approved, paravisor};
pub use self::quote::{Measurement, Quote, Tdx15};
pub use self::status::TcbStatus;

/// Intel, as it signs quoting enclaves.
const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Certification data type of a PCK certificate chain in PEM.
const PCK_CHAIN: u16 = 5;
/// Subjects of a PCK chain, from the leaf; the CA is one of two.
const PCK_CERTIFICATE: &str = "Intel SGX PCK Certificate";
const PCK_CAS: [&str; 2] = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];

/// Judges a quote.
///
/// `report_data`: the 64 bytes that it has to be about; without them that stays open. `azure`: the TD is that of Azure's paravisor,
/// which may take #VE for pending pages. Which image the TD runs is asked by [`approved`] or [`paravisor`].
///
/// Returns what the quote says, whatever the verdict on it, if it is a quote.
pub fn appraise(
    quote: &[u8],
    report_data: Option<&[u8; 64]>,
    collateral: Option<&Json>,
    azure: bool,
    material: &Material<'_>,
    policy: &TdxPolicy,
    report: &mut Report,
) -> Option<Quote> {
    let signed = read(quote, report)?;
    attributes::judge(&signed.quote, azure, report);
    bound(&signed.quote, report_data, report);
    report.check(Check::TdxQeVendor, vendor(&signed));
    report.check(Check::TdxSignature, signature(&signed));
    report.check(Check::TdxAttestationKey, key_is_bound(&signed));
    let collateral = read_collateral(collateral, report);
    let pck = pck_path(&signed.qe, collateral.as_ref(), material, report);
    if let Some(path) = &pck {
        report.check(Check::TdxQeSignature, qe_signature(&signed.qe, path));
    }
    let identity = collateral.as_ref().and_then(|collateral| qe(&signed.qe, collateral, material, report));
    if identity.is_none() {
        report.open(Check::TdxQe, "which enclave signed is not known without Intel's QE identity");
    }
    let chains = current::Chains { pck: pck.as_ref(), qe: identity.as_ref() };
    if current::judge(&signed, collateral.as_ref(), &chains, material, policy, report).is_none() {
        report.open(Check::TdxTcbStatus, "not judged: what it needs is missing or failed");
    }
    Some(signed.quote)
}

/// Reads bytes as each document that comes with a quote, though no signature covers them: for fuzzing.
#[doc(hidden)]
pub fn read_unverified(bytes: &[u8]) {
    let _ = Platform::read(Some(bytes));
    let Ok(json) = parse(bytes) else { return };
    let document = |name: &str| json.get(name).and_then(Json::as_str).and_then(|text| parse(text.as_bytes()).ok());
    let (info, identity) = (document("tcb_info"), document("qe_identity"));
    let _ = Collateral::read(&json);
    let _ = QeIdentity::read(Object(identity.as_ref().unwrap_or(&json)));
    if let Ok(info) = TcbInfo::read(Object(info.as_ref().unwrap_or(&json))) {
        let platform = PlatformTcb { sgx: [9; 16], pce: 9 };
        let _ = (info.appraise(&platform, &[3; 16]), info.appraise(&platform, &[0; 16]));
    }
}

/// A QE identity that Intel signed, and by whom.
struct Identity {
    signer: Path,
    document: QeIdentity,
}

fn read<'a>(quote: &'a [u8], report: &mut Report) -> Option<Signed<'a>> {
    let signed = match Signed::parse(quote) {
        Ok(signed) => signed,
        Err(error @ QuoteError::Tee(_)) => {
            report.check(Check::TdxTeeType, Err::<String, _>(Mismatch::new("the quote of a TD", error.to_string())));
            return None;
        }
        Err(error) => {
            let expected = "a quote of a TD in version 4 or 5, nothing left over";
            report.check(Check::TdxQuote, Err::<String, _>(Mismatch::new(expected, error.to_string())));
            return None;
        }
    };
    report.check(Check::TdxTeeType, Ok("TDX"));
    report.check(Check::TdxQuote, Ok(shown(&signed.quote)));
    Some(signed)
}

/// What is shown of a quote, though nothing is asked of it.
fn shown(quote: &Quote) -> String {
    let body = match &quote.tdx_1_5 {
        None => "1.0",
        Some(later) if later.service_td_hashes.is_none() => "1.5",
        Some(_) => "1.5 extended",
    };
    let hosts = [
        ("MRCONFIGID", &quote.mr_config_id),
        ("MROWNER", &quote.mr_owner),
        ("MROWNERCONFIG", &quote.mr_owner_config),
        ("RTMR3", &quote.rtmr[3]),
    ];
    let set = hosts.iter().filter(|(_, value)| **value != [0; 48]);
    let set = set.map(|(name, value)| format!("{name} {}", claim::hex::encode(*value)));
    let first = format!("version {}, report of TDX {body}, XFAM {:#x}", quote.version, quote.xfam);
    [first].into_iter().chain(set).collect::<Vec<_>>().join(", ")
}

/// All 64 bytes.
fn bound(quote: &Quote, report_data: Option<&[u8; 64]>, report: &mut Report) {
    let found = claim::hex::encode(&quote.report_data);
    let Some(expected) = report_data else {
        return report.open(Check::TdxReportData, format!("{found}; what it should be was not given"));
    };
    let right = quote.report_data == *expected;
    let result = if right { Ok(found) } else { Err(Mismatch::new(claim::hex::encode(expected), found)) };
    report.check(Check::TdxReportData, result);
}

fn vendor(signed: &Signed<'_>) -> Result<String, Mismatch> {
    if signed.qe_vendor == INTEL {
        return Ok("Intel".to_owned());
    }
    Err(Mismatch::new(format!("Intel, {}", claim::hex::encode(&INTEL)), claim::hex::encode(&signed.qe_vendor)))
}

/// ECDSA P-256 with SHA-256 over header and body.
fn signature(signed: &Signed<'_>) -> Result<String, Mismatch> {
    let mismatch = |found: &str| Mismatch::new("a signature over header and body by the attestation key", found);
    let mut point = [4; 65];
    for (place, byte) in point.iter_mut().skip(1).zip(signed.key) {
        *place = *byte;
    }
    let key = VerifyingKey::from_sec1_bytes(&point).map_err(|_| mismatch("an attestation key off the curve"))?;
    let signature = Signature::from_slice(signed.signature).map_err(|_| mismatch("no signature"))?;
    key.verify(signed.bytes, &signature).map_err(|_| mismatch("a signature of something else"))?;
    Ok("by the attestation key".to_owned())
}

/// The quoting enclave's report is about SHA-256 of attestation key and authentication data, and 32 zeros.
fn key_is_bound(signed: &Signed<'_>) -> Result<String, Mismatch> {
    let digest = Sha256::new().chain_update(signed.key).chain_update(signed.qe.authentication).finalize();
    let mut expected = [0; 64];
    for (place, byte) in expected.iter_mut().zip(digest) {
        *place = byte;
    }
    let found = signed.qe.report.report_data;
    if found == expected {
        return Ok("named by the quoting enclave".to_owned());
    }
    Err(Mismatch::new(claim::hex::encode(&expected), claim::hex::encode(&found)))
}

fn read_collateral<'a>(json: Option<&'a Json>, report: &mut Report) -> Option<Collateral<'a>> {
    let Some(json) = json else {
        report.open(
            Check::TdxCollateral,
            "none: get TCB info, QE identity and both CRLs for this platform from Intel's service (PCS) or a cache of it",
        );
        return None;
    };
    let collateral = report.read(Check::TdxCollateral, "a QuoteCollateralV3 in JSON", Collateral::read(json))?;
    report.check(Check::TdxCollateral, Ok("TCB info, QE identity, two CRLs"));
    Some(collateral)
}

/// The platform's certificate: out of the quote, else of the collateral; and that Intel's root is above it.
fn pck_path(
    qe: &QuotingEnclave<'_>,
    collateral: Option<&Collateral<'_>>,
    material: &Material<'_>,
    report: &mut Report,
) -> Option<Path> {
    let supplied = collateral.map(|collateral| collateral.pck.clone()).unwrap_or_default();
    let expected = "a PCK certificate with a path to Intel's SGX root";
    let pool = match qe.certification {
        PCK_CHAIN => report.read(Check::TdxPckChain, expected, Certificate::from_file(qe.certification_data))?,
        _ => supplied,
    };
    let Some((leaf, issuers)) = pool.split_first() else {
        let kind = qe.certification;
        let missing =
            format!("the quote names its PCK certificate by data of type {kind}: attach pck_certificate_chain");
        report.open(Check::TdxPckChain, missing);
        return None;
    };
    let issuers: Vec<_> = issuers.iter().chain(material.certificates).cloned().collect();
    let path = build_path(leaf, &issuers, material.anchors, RootKind::IntelSgx, material.chains);
    let path = report.read(Check::TdxPckChain, expected, path)?;
    report.rely_on(&path.root);
    report.check(Check::TdxPckChain, is_pck(&path)).then_some(path)
}

fn is_pck(path: &Path) -> Result<String, Mismatch> {
    let names: Vec<_> = path.certificates.iter().map(Certificate::common_name).collect();
    match names.as_slice() {
        [Some(leaf), Some(ca), _] if leaf == PCK_CERTIFICATE && PCK_CAS.contains(&ca.as_str()) => Ok(path.shown()),
        _ => Err(Mismatch::new(format!("{PCK_CERTIFICATE} <- {} <- Intel's root", PCK_CAS.join(" or ")), path.shown())),
    }
}

fn qe_signature(qe: &QuotingEnclave<'_>, path: &Path) -> Result<String, Mismatch> {
    let right = path.certificates.first().is_some_and(|leaf| is_signed(leaf, qe.bytes, qe.signature));
    let expected = "a report of the quoting enclave that the platform's PCK signed";
    if right { Ok("by the PCK".to_owned()) } else { Err(Mismatch::new(expected, "signed by another key, or altered")) }
}

/// Whether the quoting enclave is Intel's.
fn qe(
    qe: &QuotingEnclave<'_>,
    collateral: &Collateral<'_>,
    material: &Material<'_>,
    report: &mut Report,
) -> Option<Identity> {
    let identity = &collateral.qe_identity;
    let expected = "QE identity signed by Intel";
    let signer = report.read(Check::TdxQeIdentitySignature, expected, identity.verify(material))?;
    report.rely_on(&signer.root);
    report.check(Check::TdxQeIdentitySignature, Ok(signer.shown()));
    let document = identity.json().and_then(|json| QeIdentity::read(Object(&json)).map_err(|error| error.to_string()));
    let document = report.read(Check::TdxQeIdentity, "identity of the quoting enclave for TDs", document)?;
    report.check(Check::TdxQeIdentity, Ok(format!("of {}", document.issued)));
    let differs = document.differs(&qe.report).map_or(Ok("Intel's, for TDs"), |field| {
        Err(Mismatch::new("Intel's quoting enclave for TDs", format!("another {field}")))
    });
    report.check(Check::TdxQe, differs);
    Some(Identity { signer, document })
}
