//! A confidential VM of Azure: the vTPM of its paravisor, whose attestation key the hardware's report names.
//!
//! The report is made anew when NV index [`REPORT`] is read from its begin, at most every two seconds, with what is in NV
//! index [`USER_DATA`] as `user-data`. Nothing but such a VM can show that; tests provision the indices themselves.

use std::thread::sleep;

use aws_lc_rs::digest::{SHA384, digest};
use claim::Digest;
use claim::b64u::Octets;
use claim::evidence::{AzureEvidence, Evidence};
use claim::profile::{Platform, TaggedDigest};
use wire::Provider;

use super::tpm2::{NvIndex, Tpm};
use super::{AttestFailure, Attester, Identity, hcl};
use crate::limits;

/// The attestation key, RSA-2048 with RSASSA and SHA-256.
const KEY: u32 = 0x8100_0003;
/// The HCL report.
const REPORT: u32 = 0x0140_0001;
/// What the next report is to hold: 64 bytes, ours to define.
const USER_DATA: u32 = 0x0140_0002;
/// The attestation key's certificate.
const CERTIFICATE: u32 = 0x01c1_01d0;

/// Kinds of hardware.
const SNP: u32 = 2;
const TDX: u32 = 4;
/// Of an SNP report: MEASUREMENT. Of a TDREPORT: MRTD.
const MEASUREMENT: usize = 0x90;
const MRTD: usize = 0x210;

/// The vTPM, and what the boot's report was.
pub(super) struct AzureAttester {
    tpm: Tpm,
    identity: Identity,
    report: Vec<u8>,
    certificate: Option<Vec<u8>>,
}

impl AzureAttester {
    /// Takes the TPM if it is that of such a VM, and reads what does not change.
    pub(super) fn find(place: &mut Option<Tpm>) -> Result<Option<Self>, AttestFailure> {
        let Some(tpm) = place else { return Ok(None) };
        if tpm.nv_index(REPORT)?.is_none() {
            return Ok(None);
        }
        place.take().map(Self::new).transpose()
    }

    fn new(mut tpm: Tpm) -> Result<Self, AttestFailure> {
        let report = read(&mut tpm)?;
        let identity = identity(&report).ok_or(AttestFailure::Report)?;
        let certificate = certificate(&mut tpm)?;
        Ok(Self { tpm, identity, report, certificate })
    }

    /// A report with these 64 bytes in it.
    fn report_on(&mut self, user_data: &[u8; 64]) -> Result<Vec<u8>, AttestFailure> {
        let nv = self.user_data()?;
        self.tpm.nv_write(nv, user_data)?;
        for attempt in 0..limits::MAX_AZURE_REPORTS {
            if attempt > 0 {
                sleep(limits::AZURE_REPORT_PAUSE);
            }
            let report = read(&mut self.tpm)?;
            if holds(&report, user_data) {
                return Ok(report);
            }
        }
        Err(AttestFailure::Stale)
    }

    /// The index for user data, made if there is none of its size.
    fn user_data(&mut self) -> Result<NvIndex, AttestFailure> {
        match self.tpm.nv_index(USER_DATA)? {
            Some(nv) if nv.size == 64 => return Ok(nv),
            Some(nv) => self.tpm.nv_undefine(nv)?,
            None => {}
        }
        self.tpm.nv_define(USER_DATA, 64)
    }
}

impl Attester for AzureAttester {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn boot(&mut self, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let report = self.report_on(binding)?;
        if identity(&report) != Some(self.identity) {
            return Err(AttestFailure::Changed);
        }
        self.report = report;
        self.over(binding)
    }

    fn over(&mut self, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let quote = self.tpm.quote_all(KEY, &Digest::of(binding))?;
        let ak_certificate = self.certificate.clone().map(Octets);
        Ok(Evidence::Azure(AzureEvidence { hcl_report: Octets(self.report.clone()), quote, ak_certificate }))
    }

    fn extend(&mut self, settings: &Digest) -> Result<(), AttestFailure> {
        self.tpm.extend_settings(settings)
    }
}

fn read(tpm: &mut Tpm) -> Result<Vec<u8>, AttestFailure> {
    let nv = tpm.nv_index(REPORT)?.ok_or(AttestFailure::Report)?;
    tpm.nv_read(nv)
}

/// The attestation key's certificate, if there is one that can be read.
fn certificate(tpm: &mut Tpm) -> Result<Option<Vec<u8>>, AttestFailure> {
    let Some(nv) = tpm.nv_index(CERTIFICATE)? else { return Ok(None) };
    match tpm.nv_read(nv) {
        Ok(bytes) => Ok(der(bytes)),
        Err(AttestFailure::Refused { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Which hardware made the report, and what it measured.
fn identity(report: &[u8]) -> Option<Identity> {
    let hardware = hcl::hardware(report)?;
    let (provider, platform, measured) = match hcl::kind(report)? {
        SNP => (Provider::AzureSnp, Platform::AzureCvmSevSnp, MEASUREMENT),
        TDX => (Provider::AzureTdx, Platform::IntelTdx, MRTD),
        _ => return None,
    };
    let measured = hardware.get(measured..)?.first_chunk::<48>()?;
    let digest = digest(&SHA384, measured).as_ref().try_into().ok()?;
    Some((provider, platform, TaggedDigest::Sha384(digest)))
}

/// Whether the runtime claims have these bytes in hexadecimal digits, of either case. Where they stand is for verifiers.
fn holds(report: &[u8], user_data: &[u8; 64]) -> bool {
    let claims = hcl::claims(report).unwrap_or_default();
    let digits = claim::hex::encode(user_data);
    claims.windows(digits.len()).any(|window| window.eq_ignore_ascii_case(digits.as_bytes()))
}

/// The DER at the begin of an index that is longer: a SEQUENCE with a length of two bytes.
fn der(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let [0x30, 0x82, high, low, ..] = *bytes.as_slice() else { return None };
    let length = usize::from(u16::from_be_bytes([high, low])).saturating_add(4);
    if length > bytes.len() {
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{der, holds, identity};
    use crate::evidence::hcl::{CLAIMS, CLAIMS_SIZE};

    #[test]
    fn a_report_holds_what_its_claims_have() {
        let user_data = [0xab; 64];
        let report = |claims: &str, size: usize| {
            let mut report = vec![0; CLAIMS];
            report[CLAIMS_SIZE..][..4].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
            report.extend(claims.bytes());
            report
        };
        let (lower, upper) = (r#"{"user-data":"X"}"#.replace('X', &"ab".repeat(64)), "AB".repeat(64));
        assert!(holds(&report(&lower, lower.len()), &user_data));
        assert!(holds(&report(&upper, upper.len()), &user_data));
        assert!(!holds(&report(&lower, 100), &user_data), "only what belongs to the claims counts");
        assert!(!holds(&report(&lower, usize::try_from(u32::MAX).unwrap()), &user_data));
        assert!(!holds(&report(&lower, lower.len()), &[0xac; 64]));
        for length in 0..CLAIMS {
            assert!(!holds(&vec![0xff; length], &user_data));
            assert_eq!(identity(&vec![0xff; length]), None);
        }
    }

    #[test]
    fn a_certificate_is_as_long_as_it_says() {
        assert_eq!(der(vec![0x30, 0x82, 0, 1, 9, 0, 0]), Some(vec![0x30, 0x82, 0, 1, 9]));
        for none in [&[0x30, 0x82, 0, 4, 9][..], &[0; 64], &[0x30, 0x82], &[]] {
            assert_eq!(der(none.to_vec()), None);
        }
    }
}
