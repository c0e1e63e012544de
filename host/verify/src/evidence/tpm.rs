//! TPM 2.0: a quote, the key that signed it, who vouches for the key, and what the quoted PCRs must be.
//!
//! The quote is over PCR 0 to 23 of the SHA-256 bank in exactly one selection: only then does a value's place in the list say
//! which PCR it is of. Nothing is read out of the values before the signature covers them.

mod attest;
mod certificate;
pub mod pcrs;
mod public;
mod signature;

use claim::evidence::{TpmEvidence, TpmQuote};
use claim::hex;
use sha2::{Digest as _, Sha256};

pub use self::attest::{Attest, AttestError, Clock, Selection};
pub use self::certificate::{Vouching, appraise as appraise_certificate};
pub(crate) use self::public::rsa_key;
pub use self::public::{TpmPublic, TpmPublicError};
pub use self::signature::{Signature, SignatureFormatError};
use super::x509::{Certificate, PublicKey};
use super::{Check, Material, Mismatch, Report};

/// A quote as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// TPMS_ATTEST.
    pub message: &'a [u8],
    /// TPMT_SIGNATURE over it.
    pub signature: &'a [u8],
    /// Values of PCR 0 to 23.
    pub pcrs: &'a pcrs::Values,
}

impl<'a> From<&'a TpmQuote> for Signed<'a> {
    fn from(quote: &'a TpmQuote) -> Self {
        Self { message: &quote.message.0, signature: &quote.signature.0, pcrs: &quote.pcrs.0 }
    }
}

/// qualifyingData of a quote over a binding. Azure's vTPM takes fewer than its 64 bytes.
pub fn qualifying_data(binding: &[u8; 64]) -> [u8; 32] {
    Sha256::digest(binding).into()
}

/// Judges a quote by the key that is said to have made it. `qualifying` is what it must be for, if that is known. What the
/// PCRs must be is a question of its own: [`pcrs::appraise`].
///
/// Returns what the TPM signed, if the signature is the key's.
pub fn appraise(quote: &Signed<'_>, ak: &PublicKey, qualifying: Option<&[u8]>, report: &mut Report) -> Option<Attest> {
    let attest = read(quote.message, report)?;
    let signed = signed(quote.message, quote.signature, ak, report);
    report.check(Check::TpmSelection, selection(&attest));
    report.check(Check::TpmPcrDigest, digest(&attest, quote.pcrs));
    match qualifying {
        Some(expected) => drop(report.check(Check::TpmNonce, qualified(&attest, expected))),
        None => report.open(Check::TpmNonce, "what the quote is for: give the nonce or binding"),
    }
    report.check(Check::TpmClock, Ok(format!("{}, firmware {:#018x}", attest.clock, attest.firmware_version)));
    signed.then_some(attest)
}

/// Judges evidence of a plain TPM over a binding. Its key must have a certificate to a pinned CA: without one the key may be
/// anybody's, and the evidence is not genuine.
pub fn appraise_evidence(
    evidence: &TpmEvidence,
    binding: &[u8; 64],
    material: &Material<'_>,
    report: &mut Report,
) -> Option<Attest> {
    let expected = "TPMT_PUBLIC of a signing key";
    let public = report.read(Check::TpmAkPublic, expected, TpmPublic::parse(&evidence.ak_public.0))?;
    report.check(Check::TpmAkPublic, Ok(format!("{}, name {}", public.key.shown(), hex::encode(&public.name))));
    restricted(&public, report);
    let certificate = evidence.ak_certificate.as_ref().map(|octets| octets.0.as_slice());
    vouched(certificate, true, &public.key, Vouching::Tpm, material, report);
    let attest = appraise(&(&evidence.quote).into(), &public.key, Some(&qualifying_data(binding)), report)?;
    key_quote(evidence, &public.key, &attest, binding, report);
    Some(attest)
}

/// Judges what the TPM lets the key do, as its public area says.
pub fn restricted(public: &TpmPublic, report: &mut Report) {
    let (found, faults) = (format!("{:#010x}", public.attributes), public.faults());
    let expected = "fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not decrypt";
    let mismatch = || Mismatch::new(expected, format!("{found}: {}", faults.join(", ")));
    report.check(Check::TpmAkAttributes, faults.is_empty().then(|| found.clone()).ok_or_else(mismatch));
}

/// Judges the certificate of an attestation key, where there is one or must be one: the TPM's own, or one of the material for
/// this key.
pub fn vouched(
    certificate: Option<&[u8]>,
    required: bool,
    ak: &PublicKey,
    vouching: Vouching,
    material: &Material<'_>,
    report: &mut Report,
) {
    let missing = "none, also not in the collateral: nobody vouches that the key is a TPM's";
    let given = || material.certificates.iter().find(|certificate| certificate.key().is_ok_and(|key| key == *ak));
    match (certificate.or_else(|| given().map(Certificate::der)), required) {
        (Some(der), _) => {
            report.check(Check::TpmAkVouched, Ok("by a certificate"));
            certificate::appraise(der, ak, vouching, material, report);
        }
        (None, true) => {
            let expected = "a certificate of the attestation key";
            report.check(Check::TpmAkVouched, Err::<String, _>(Mismatch::new(expected, missing)));
        }
        (None, false) => drop(report.check(Check::TpmAkVouched, Ok("by the hardware's report alone"))),
    }
}

pub(crate) fn read(message: &[u8], report: &mut Report) -> Option<Attest> {
    let attest = match Attest::parse(message) {
        Ok(attest) => attest,
        Err(error @ AttestError::NotGenerated(_)) => {
            return report.read(Check::TpmMagic, "TPM_GENERATED_VALUE, 0xff544347", Err(error));
        }
        Err(error @ AttestError::NotAQuote(_)) => {
            return report.read(Check::TpmType, "TPM_ST_ATTEST_QUOTE, 0x8018", Err(error));
        }
        Err(error) => return report.read(Check::TpmAttest, "a TPMS_ATTEST and nothing after it", Err(error)),
    };
    report.check(Check::TpmMagic, Ok("TPM_GENERATED_VALUE"));
    report.check(Check::TpmType, Ok("TPM_ST_ATTEST_QUOTE"));
    report.check(Check::TpmAttest, Ok(format!("{} bytes", message.len())));
    Some(attest)
}

pub(crate) fn signed(message: &[u8], signature: &[u8], ak: &PublicKey, report: &mut Report) -> bool {
    let expected = "a TPMT_SIGNATURE of RSASSA, RSAPSS or ECDSA with SHA-256, and nothing after it";
    let Some(signature) = report.read(Check::TpmSignatureFormat, expected, Signature::parse(signature)) else {
        return false;
    };
    report.check(Check::TpmSignatureFormat, Ok(signature.algorithm()));
    let by = format!("by the {} attestation key", ak.shown());
    let right = signature.verifies(ak, message);
    let result = if right { Ok(by) } else { Err(Mismatch::new(by, "by another, or over something else")) };
    report.check(Check::TpmSignature, result)
}

fn selection(attest: &Attest) -> Result<String, Mismatch> {
    let found = attest.selection();
    if attest.selects_all() { Ok(found) } else { Err(Mismatch::new("sha256:ffffff alone", found)) }
}

fn digest(attest: &Attest, pcrs: &pcrs::Values) -> Result<String, Mismatch> {
    let expected = Sha256::digest(pcrs.as_flattened());
    let found = hex::encode(&attest.pcr_digest);
    if expected.as_slice() == attest.pcr_digest { Ok(found) } else { Err(Mismatch::new(hex::encode(&expected), found)) }
}

pub(crate) fn qualified(attest: &Attest, expected: &[u8]) -> Result<String, Mismatch> {
    let found = hex::encode(&attest.extra_data);
    if attest.extra_data == expected { Ok(found) } else { Err(Mismatch::new(hex::encode(expected), found)) }
}

/// The quote for deployed verifiers is of the same boot and for the same key.
fn key_quote(evidence: &TpmEvidence, ak: &PublicKey, attest: &Attest, binding: &[u8; 64], report: &mut Report) {
    let quote = &evidence.key_quote;
    let thumbprint = binding.first_chunk::<32>().copied().unwrap_or_default();
    let problem = match (Attest::parse(&quote.message.0), Signature::parse(&quote.signature.0)) {
        (Err(error), _) => Some(error.to_string()),
        (_, Err(error)) => Some(error.to_string()),
        (Ok(of_key), Ok(signature)) => [
            (signature.verifies(ak, &quote.message.0), "signed by another key"),
            (of_key.selects_firmware(), "of other PCRs"),
            (of_key.extra_data == thumbprint, "for another key"),
            (of_key.clock.reset_count == attest.clock.reset_count, "of another boot"),
        ]
        .into_iter()
        .find_map(|(right, why)| (!right).then(|| why.to_owned())),
    };
    let expected = || format!("PCR 0 to 7, for {}, of this boot", hex::encode(&thumbprint));
    let result = match problem {
        None => Ok(hex::encode(&thumbprint)),
        Some(why) => Err(Mismatch::new(expected(), why)),
    };
    report.check(Check::TpmKeyQuote, result);
}
