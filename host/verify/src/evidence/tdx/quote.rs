//! Intel's quote of a TD, versions 4 and 5, from its bytes (Intel TDX DCAP Quoting Library API, appendix A.3 and A.4).
//!
//! Every length is that of the layout or has to fit exactly; what follows the quote may only be the zeros to 5006 bytes
//! that Azure's metadata service answers with.

use thiserror::Error;

use crate::evidence::bytes::{Reader, Truncated};

/// `tee_type` of a TD's quote; 0 is SGX.
const TEE_TDX: u32 = 0x81;
/// Attestation key type of ECDSA over P-256 with SHA-256.
const KEY_P256: u16 = 2;
/// Certification data that hold a quoting enclave's report.
const CERTIFICATION_QE_REPORT: u16 = 6;
/// Body types of version 5, and the body's size.
const BODIES: [(u16, usize); 3] = [(2, REPORT_1_0), (3, REPORT_1_5), (4, REPORT_1_5_EX)];
const REPORT_1_0: usize = 584;
const REPORT_1_5: usize = 648;
const REPORT_1_5_EX: usize = 885;
/// Length to which Azure's metadata service fills quotes with zeros.
const AZURE_LENGTH: usize = 5006;
const QE_REPORT: usize = 384;

/// A measurement register of a TD: SHA-384.
pub type Measurement = [u8; 48];

/// What a quote says of a TD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Version of the quote's layout: 4 or 5.
    pub version: u16,
    /// TCB of the TDX module and SEAM loader that the TD was launched with: `TEE_TCB_SVN`.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mr_seam: Measurement,
    /// Signer of the TDX module: zeros for Intel.
    pub mr_signer_seam: Measurement,
    /// Attributes of the TDX module: zeros for one that is not debugged.
    pub seam_attributes: [u8; 8],
    /// Attributes of the TD, bit 0 the lowest.
    pub td_attributes: u64,
    /// Extended processor features that the TD may use.
    pub xfam: u64,
    /// What the TD was built of: firmware, or Azure's paravisor.
    pub mr_td: Measurement,
    /// Identity of the configuration, of the owner and of the owner's configuration: whatever the host said at launch.
    pub mr_config_id: Measurement,
    /// See `mr_config_id`.
    pub mr_owner: Measurement,
    /// See `mr_config_id`.
    pub mr_owner_config: Measurement,
    /// Registers that what runs in the TD extends.
    pub rtmr: [Measurement; 4],
    /// What the TD asked to have quoted.
    pub report_data: [u8; 64],
    /// What TDX 1.5 adds.
    pub tdx_1_5: Option<Tdx15>,
}

/// What reports of TDX 1.5 say besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tdx15 {
    /// `TEE_TCB_SVN` of what runs now, after updates of the TDX module that left the TD running.
    pub tee_tcb_svn_now: [u8; 16],
    /// Service TDs, which can migrate this TD; zeros for none.
    pub mr_service_td: Measurement,
    /// Service TDs of the extended report: those at creation and those bound now.
    pub service_td_hashes: Option<[Measurement; 2]>,
}

/// Why bytes are not a quote of a TD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum QuoteError {
    /// Shorter than its layout.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A quote of something else than a TD.
    #[error("a quote of TEE type {0:#x}; 0x0 is SGX")]
    Tee(u32),
    /// Another version than 4 or 5.
    #[error("version {0}")]
    Version(u16),
    /// Signed with another algorithm.
    #[error("attestation key type {0}")]
    KeyType(u16),
    /// A body that this version does not have.
    #[error("body type {0} with {1} bytes")]
    Body(u16, u32),
    /// Certified by something else than a quoting enclave's report.
    #[error("certification data of type {0} around the quoting enclave's report")]
    Certification(u16),
    /// Lengths that leave bytes over.
    #[error("{0} bytes too many in its {1}")]
    Excess(usize, &'static str),
    /// Bytes after the quote.
    #[error("{0} bytes after the quote")]
    Trailing(usize),
}

/// A quote with what its signature is over and made with.
#[derive(Clone, Debug)]
pub(super) struct Signed<'a> {
    pub(super) quote: Quote,
    /// Who made the quoting enclave.
    pub(super) qe_vendor: [u8; 16],
    /// Header and body.
    pub(super) bytes: &'a [u8],
    pub(super) signature: &'a [u8],
    /// The attestation key: x and y of a point on P-256.
    pub(super) key: &'a [u8],
    pub(super) qe: QuotingEnclave<'a>,
}

/// The quoting enclave, and who says that it is one.
#[derive(Clone, Debug)]
pub(super) struct QuotingEnclave<'a> {
    /// Its report, 384 bytes, which the PCK signs.
    pub(super) bytes: &'a [u8],
    pub(super) signature: &'a [u8],
    /// What its report is bound to besides the attestation key.
    pub(super) authentication: &'a [u8],
    /// Type of the certification data: 5 is a certificate chain in PEM.
    pub(super) certification: u16,
    pub(super) certification_data: &'a [u8],
    pub(super) report: EnclaveReport,
}

/// An SGX enclave's report, down to what is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EnclaveReport {
    pub(super) misc_select: [u8; 4],
    pub(super) attributes: [u8; 16],
    pub(super) mr_signer: [u8; 32],
    pub(super) isv_prod_id: u16,
    pub(super) isv_svn: u16,
    pub(super) report_data: [u8; 64],
}

impl<'a> Signed<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let size = body_size(header.version, &mut reader)?;
        let quote = report(header.version, reader.take(size)?)?;
        let signed = bytes.get(..reader.position()).unwrap_or_default();
        let length = reader.u32_le()?;
        let mut signature = Reader::new(reader.take(size_of_u32(length))?);
        trailing(bytes.len(), reader.rest())?;
        let parts = (signature.take(64)?, signature.take(64)?);
        let qe = quoting_enclave(&mut signature)?;
        nothing_left(&signature, "signature data")?;
        Ok(Self { quote, qe_vendor: header.qe_vendor, bytes: signed, signature: parts.0, key: parts.1, qe })
    }
}

/// The 48 bytes in front, down to what is judged.
struct Header {
    version: u16,
    qe_vendor: [u8; 16],
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self, QuoteError> {
        let (version, key_type, tee) = (reader.u16_le()?, reader.u16_le()?, reader.u32_le()?);
        if tee != TEE_TDX {
            return Err(QuoteError::Tee(tee));
        }
        if !matches!(version, 4 | 5) {
            return Err(QuoteError::Version(version));
        }
        if key_type != KEY_P256 {
            return Err(QuoteError::KeyType(key_type));
        }
        reader.take(4)?; // reserved; SVNs of QE and PCE in version 3
        let qe_vendor = reader.array()?;
        reader.take(20)?; // user data, the quoting enclave's own
        Ok(Self { version, qe_vendor })
    }
}

/// Version 4 has the report of TDX 1.0; version 5 says which.
fn body_size(version: u16, reader: &mut Reader<'_>) -> Result<usize, QuoteError> {
    if version == 4 {
        return Ok(REPORT_1_0);
    }
    let (kind, length) = (reader.u16_le()?, reader.u32_le()?);
    let size = BODIES.iter().find(|(known, _)| *known == kind).map(|(_, size)| *size);
    size.filter(|size| *size == size_of_u32(length)).ok_or(QuoteError::Body(kind, length))
}

fn report(version: u16, bytes: &[u8]) -> Result<Quote, QuoteError> {
    let reader = &mut Reader::new(bytes);
    Ok(Quote {
        version,
        tee_tcb_svn: reader.array()?,
        mr_seam: reader.array()?,
        mr_signer_seam: reader.array()?,
        seam_attributes: reader.array()?,
        td_attributes: reader.u64_le()?,
        xfam: reader.u64_le()?,
        mr_td: reader.array()?,
        mr_config_id: reader.array()?,
        mr_owner: reader.array()?,
        mr_owner_config: reader.array()?,
        rtmr: [reader.array()?, reader.array()?, reader.array()?, reader.array()?],
        report_data: reader.array()?,
        tdx_1_5: if reader.rest().is_empty() { None } else { Some(tdx_1_5(reader)?) },
    })
}

fn tdx_1_5(reader: &mut Reader<'_>) -> Result<Tdx15, QuoteError> {
    let (tee_tcb_svn_now, mr_service_td) = (reader.array()?, reader.array()?);
    let service_td_hashes = if reader.rest().is_empty() { None } else { Some(service_tds(reader)?) };
    Ok(Tdx15 { tee_tcb_svn_now, mr_service_td, service_td_hashes })
}

/// The end of the extended report: the hashes of service TDs, between identifiers and SVNs of the TD's creation.
fn service_tds(reader: &mut Reader<'_>) -> Result<[Measurement; 2], QuoteError> {
    reader.take(1 + 32 + 48)?; // VMID, TD_ID, DEVICE_INFO
    let initial = reader.array()?;
    reader.take(8 + 16 + 16 + 12)?; // its attributes; CPUSVN, TEE_TCB_SVN, FMSPC at creation
    Ok([initial, reader.array()?])
}

fn quoting_enclave<'a>(signature: &mut Reader<'a>) -> Result<QuotingEnclave<'a>, QuoteError> {
    let kind = signature.u16_le()?;
    if kind != CERTIFICATION_QE_REPORT {
        return Err(QuoteError::Certification(kind));
    }
    let length = signature.u32_le()?;
    let mut reader = Reader::new(signature.take(size_of_u32(length))?);
    let (bytes, signature) = (reader.take(QE_REPORT)?, reader.take(64)?);
    let length = reader.u16_le()?;
    let authentication = reader.take(usize::from(length))?;
    let certification = reader.u16_le()?;
    let length = reader.u32_le()?;
    let certification_data = reader.take(size_of_u32(length))?;
    nothing_left(&reader, "certification data")?;
    let report = enclave_report(bytes)?;
    Ok(QuotingEnclave { bytes, signature, authentication, certification, certification_data, report })
}

/// `sgx_report_body_t` (Intel SDM, volume 3D, section 38.15).
fn enclave_report(bytes: &[u8]) -> Result<EnclaveReport, Truncated> {
    let mut reader = Reader::new(bytes);
    reader.take(16)?; // CPUSVN; the PCK certificate's is judged
    let misc_select = reader.array()?;
    reader.take(28)?;
    let attributes = reader.array()?;
    reader.take(32 + 32)?; // MRENCLAVE, which changes with each release; reserved
    let mr_signer = reader.array()?;
    reader.take(96)?;
    let (isv_prod_id, isv_svn) = (reader.u16_le()?, reader.u16_le()?);
    reader.take(60)?;
    Ok(EnclaveReport { misc_select, attributes, mr_signer, isv_prod_id, isv_svn, report_data: reader.array()? })
}

fn nothing_left(reader: &Reader<'_>, part: &'static str) -> Result<(), QuoteError> {
    match reader.rest().len() {
        0 => Ok(()),
        excess => Err(QuoteError::Excess(excess, part)),
    }
}

fn trailing(length: usize, rest: &[u8]) -> Result<(), QuoteError> {
    let padding = length == AZURE_LENGTH && rest.iter().all(|byte| *byte == 0);
    if rest.is_empty() || padding { Ok(()) } else { Err(QuoteError::Trailing(rest.len())) }
}

/// A length that does not fit is longer than anything that is there.
fn size_of_u32(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
