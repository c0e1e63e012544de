//! The report of an Azure VM's paravisor (NV index 0x01400001): a report by hardware, and the runtime claims that it names.
//!
//! ```text
//! 0x000  32 bytes  header, covered by nothing: not read
//! 0x020  1184      SNP report, or TDREPORT (1024) and padding
//! 0x4c0  20        size of data, version 1, type of the report, type of the hash, size of the claims; u32 each, little endian
//! 0x4d4            runtime claims in JSON, hashed as they are
//! ```
//! The hardware's report data is SHA-256 of the claims and 32 zeros. The claims name the key that signs the vTPM's quotes.

mod claims;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use self::claims::{Claims, ClaimsError, VmConfiguration};
use super::bytes::{Reader, Truncated};
use super::{Check, Mismatch, Report};
use crate::references::AzurePolicy;

const HEADER: usize = 0x20;
const REPORT: usize = 1184;
const TDREPORT: usize = 1024;
/// Where report data is in an SNP report, and in a TDREPORT.
const SNP_REPORT_DATA: usize = 0x50;
const TDX_REPORT_DATA: usize = 0x80;
/// Size of what precedes the claims in the data.
const FRAME: u32 = 20;
const VERSION: u32 = 1;
const TYPE_SNP: u32 = 2;
const TYPE_TDX: u32 = 4;
/// SHA-256, the only one that was ever seen.
const HASH_SHA256: u32 = 1;

/// The report by hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareReport<'a> {
    /// ATTESTATION_REPORT of SEV-SNP.
    Snp(&'a [u8]),
    /// TDREPORT: not signed; the TD quote that was made of it is.
    Tdx(&'a [u8]),
}

/// A paravisor's report, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HclReport<'a> {
    /// By hardware.
    pub hardware: HardwareReport<'a>,
    /// Runtime claims, as they are hashed.
    pub claims: &'a [u8],
}

/// Bytes that are no such report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HclError {
    /// Too short.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The two inner sizes contradict each other.
    #[error("{data} bytes of data with {claims} bytes of claims")]
    Sizes {
        /// Size of the data.
        data: u32,
        /// Size of the claims.
        claims: u32,
    },
    /// Another version of the data.
    #[error("version {0}")]
    Version(u32),
    /// Neither SEV-SNP nor TDX.
    #[error("report type {0}")]
    Type(u32),
    /// Another hash than SHA-256.
    #[error("hash type {0}")]
    Hash(u32),
    /// The rest of the NV index is not zero.
    #[error("bytes after the claims that are not zero")]
    Trailing,
}

/// What the hardware's report data must be for these claims.
pub(crate) fn bound_to(claims: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    for (to, from) in data.iter_mut().zip(Sha256::digest(claims)) {
        *to = from;
    }
    data
}

impl<'a> HclReport<'a> {
    /// Reads a report, with the zeros to the end of its NV index.
    ///
    /// # Errors
    /// See [`HclError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HclError> {
        let mut reader = Reader::new(bytes);
        reader.take(HEADER)?;
        let report = reader.take(REPORT)?;
        let (data, version) = (reader.u32_le()?, reader.u32_le()?);
        let (kind, hash, claims) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
        if version != VERSION {
            return Err(HclError::Version(version));
        }
        if claims.checked_add(FRAME) != Some(data) {
            return Err(HclError::Sizes { data, claims });
        }
        if hash != HASH_SHA256 {
            return Err(HclError::Hash(hash));
        }
        let hardware = match kind {
            TYPE_SNP => HardwareReport::Snp(report),
            TYPE_TDX => HardwareReport::Tdx(Reader::new(report).take(TDREPORT)?),
            other => return Err(HclError::Type(other)),
        };
        let claims = reader.take(usize::try_from(claims).unwrap_or(usize::MAX))?;
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(HclError::Trailing);
        }
        Ok(Self { hardware, claims })
    }

    /// What the hardware's report data must be.
    pub fn bound(&self) -> [u8; 64] {
        bound_to(self.claims)
    }

    /// The hardware's report data.
    pub fn report_data(&self) -> [u8; 64] {
        let (report, at) = match self.hardware {
            HardwareReport::Snp(report) => (report, SNP_REPORT_DATA),
            HardwareReport::Tdx(report) => (report, TDX_REPORT_DATA),
        };
        report.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; 64])
    }
}

/// Judges a paravisor's report, but not the hardware's in it. `user_data` is the boot's binding, if it is known.
pub fn appraise<'a>(
    bytes: &'a [u8],
    user_data: Option<&[u8; 64]>,
    policy: &AzurePolicy,
    report: &mut Report,
) -> Option<(HclReport<'a>, Claims)> {
    let hcl = read(bytes, report)?;
    let (bound, found) = (hcl.bound(), hcl.report_data());
    let (digest, zeros) = bound.split_at(32);
    let (found_digest, tail) = found.split_at(32);
    report.check(Check::HclBinding, equal(digest, found_digest));
    report.check(Check::HclTail, equal(zeros, tail));
    let expected = "runtime claims with the RSA key HCLAkPub";
    let claims = report.read(Check::HclClaims, expected, Claims::parse(hcl.claims))?;
    report.check(Check::HclClaims, Ok(format!("VM {}", claims.vm.id)));
    configuration(&claims.vm, policy, report);
    match user_data {
        Some(expected) => drop(report.check(Check::HclUserData, named(&claims, expected))),
        None => report.open(Check::HclUserData, "the boot's binding"),
    }
    Some((hcl, claims))
}

fn read<'a>(bytes: &'a [u8], report: &mut Report) -> Option<HclReport<'a>> {
    match HclReport::parse(bytes) {
        Ok(hcl) => {
            report.check(Check::HclFormat, Ok(format!("{} bytes of claims", hcl.claims.len())));
            report.check(Check::HclHash, Ok("SHA-256"));
            Some(hcl)
        }
        Err(error @ HclError::Hash(_)) => report.read(Check::HclHash, "hash type 1, SHA-256", Err(error)),
        Err(error) => report.read(Check::HclFormat, "a paravisor's report", Err(error)),
    }
}

fn configuration(vm: &VmConfiguration, policy: &AzurePolicy, report: &mut Report) {
    let enabled = |is: bool| if is { "enabled" } else { "disabled" };
    let checked = |right: bool, expected: bool, found: bool| {
        if right { Ok(enabled(found)) } else { Err(Mismatch::new(enabled(expected), enabled(found))) }
    };
    report.check(Check::HclTpm, checked(vm.tpm, true, vm.tpm));
    report.check(Check::HclConsole, checked(policy.allow_console || !vm.console, false, vm.console));
    report.check(Check::HclSecureBoot, checked(!policy.require_secure_boot || vm.secure_boot, true, vm.secure_boot));
}

fn named(claims: &Claims, expected: &[u8; 64]) -> Result<String, Mismatch> {
    match &claims.user_data {
        Some(found) => equal(expected, found),
        None => Err(Mismatch::new(claim::hex::encode(expected), "none")),
    }
}

fn equal(expected: &[u8], found: &[u8]) -> Result<String, Mismatch> {
    let text = claim::hex::encode(found);
    if expected == found { Ok(text) } else { Err(Mismatch::new(claim::hex::encode(expected), text)) }
}
