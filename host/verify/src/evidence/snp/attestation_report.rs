//! The structure `ATTESTATION_REPORT` (AMD publication 56860, SEV-SNP Firmware ABI, `MSG_REPORT_RSP`), versions 2 to 5.
//!
//! Fields are read from the raw bytes and nothing is ever written back: what the hardware signed is `SIGNED` bytes as they
//! came. Numbers are little endian.

use std::fmt;
use std::ops::RangeInclusive;

use super::product::{Product, Tcb};
use crate::evidence::bytes::{Reader, Truncated};

/// Bytes of a report.
pub const SIZE: usize = 0x4A0;
/// Bytes of it that are signed: all before the signature.
pub(super) const SIGNED: usize = 0x2A0;
/// Versions whose layout is known. A newer one may have moved what is read here.
pub(super) const VERSIONS: RangeInclusive<u32> = 2..=5;
/// Bytes of each number of the signature; a number of P-384 fills [`SCALAR`] of them.
const SIGNATURE_NUMBER: usize = 72;
const SCALAR: usize = 48;

/// What the security processor says of a guest. Nothing in it is worth anything before its signature has been checked:
/// [`super::appraise`] does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationReport {
    /// Version of the layout, 2 to 5.
    pub version: u32,
    /// Version number of the guest, from its ID block.
    pub guest_svn: u32,
    /// What the host may do to the guest.
    pub policy: GuestPolicy,
    /// Family of the guest, from its ID block.
    pub family_id: [u8; 16],
    /// Image of the guest, from its ID block.
    pub image_id: [u8; 16],
    /// Privilege level that asked for the report: 0 is the highest.
    pub vmpl: u32,
    /// Algorithm of the signature: 1 is ECDSA P-384 with SHA-384.
    pub signature_algorithm: u32,
    /// TCB that runs.
    pub current_tcb: RawTcb,
    /// How the platform is configured.
    pub platform: PlatformInfo,
    /// Which key signed.
    pub key_info: KeyInfo,
    /// What the guest asked to be bound.
    pub report_data: [u8; 64],
    /// Launch digest, SHA-384.
    pub measurement: [u8; 48],
    /// What the host put there at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the guest's ID block; zero without one.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the ID key; zero without one.
    pub author_key_digest: [u8; 48],
    /// Identity of this guest, for as long as it runs.
    pub report_id: [u8; 32],
    /// Identity of its migration agent; all ones without one.
    pub report_id_ma: [u8; 32],
    /// TCB that the signing key is derived from.
    pub reported_tcb: RawTcb,
    /// The processor, from version 3 on.
    pub cpu: Option<Cpu>,
    /// Identity of the chip; zero where the host masks it.
    pub chip_id: [u8; 64],
    /// TCB below which the platform cannot go any more.
    pub committed_tcb: RawTcb,
    /// Firmware that runs.
    pub current_firmware: Firmware,
    /// Firmware below which the platform cannot go any more.
    pub committed_firmware: Firmware,
    /// TCB when the guest was launched.
    pub launch_tcb: RawTcb,
    /// Mitigations that were verified, from version 5 on.
    pub mitigations: Option<Mitigations>,
    /// The signature's `r` and `s`, big endian.
    pub(super) signature: [[u8; SCALAR]; 2],
}

/// Why bytes are no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Another length.
    #[error("{0} bytes")]
    Size(usize),
    /// A version whose layout is not known.
    #[error("version {0}")]
    Version(u32),
    /// A reserved field is in use: this is not the layout that its version says.
    #[error("a byte in use at 0x{0:X}")]
    Reserved(usize),
}

impl From<Truncated> for ReportError {
    fn from(truncated: Truncated) -> Self {
        Self::Size(truncated.length)
    }
}

impl AttestationReport {
    /// Reads a report of exactly [`SIZE`] bytes, all reserved ones zero.
    ///
    /// # Errors
    /// [`ReportError`] says what is not as it should be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() != SIZE {
            return Err(ReportError::Size(bytes.len()));
        }
        let mut fields = Fields(Reader::new(bytes));
        let version = fields.u32()?;
        if VERSIONS.contains(&version) { fields.report(version) } else { Err(ReportError::Version(version)) }
    }

    /// The product, as the processor's family and model say; `None` before version 3, and for one that is not known.
    pub fn product(&self) -> Option<Product> {
        self.cpu.and_then(|cpu| Product::of_cpu(cpu.family, cpu.model))
    }
}

/// Reads one field after the other.
struct Fields<'a>(Reader<'a>);

impl Fields<'_> {
    /// Everything behind the version, in the order of the layout.
    fn report(&mut self, version: u32) -> Result<AttestationReport, ReportError> {
        let guest_svn = self.u32()?;
        let policy = GuestPolicy(self.u64()?);
        let (family_id, image_id) = (self.array()?, self.array()?);
        let (vmpl, signature_algorithm) = (self.u32()?, self.u32()?);
        let current_tcb = RawTcb(self.array()?);
        let platform = PlatformInfo(self.u64()?);
        let key_info = KeyInfo(self.u32()?);
        self.reserved(4)?;
        let (report_data, measurement, host_data) = (self.array()?, self.array()?, self.array()?);
        let (id_key_digest, author_key_digest) = (self.array()?, self.array()?);
        let (report_id, report_id_ma) = (self.array()?, self.array()?);
        let reported_tcb = RawTcb(self.array()?);
        let cpu = self.cpu(version)?;
        let chip_id = self.array()?;
        let committed_tcb = RawTcb(self.array()?);
        let (current_firmware, committed_firmware) = (self.firmware()?, self.firmware()?);
        let launch_tcb = RawTcb(self.array()?);
        let mitigations = self.mitigations(version)?;
        let signature = [self.scalar()?, self.scalar()?];
        self.reserved(self.0.rest().len())?;
        Ok(AttestationReport {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            signature_algorithm,
            current_tcb,
            platform,
            key_info,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id,
            report_id_ma,
            reported_tcb,
            cpu,
            chip_id,
            committed_tcb,
            current_firmware,
            committed_firmware,
            launch_tcb,
            mitigations,
            signature,
        })
    }

    /// Bytes 0x188 to 0x19F.
    fn cpu(&mut self, version: u32) -> Result<Option<Cpu>, ReportError> {
        if version < 3 {
            return self.reserved(24).map(|()| None);
        }
        let [family, model, stepping] = self.array()?;
        self.reserved(21)?;
        Ok(Some(Cpu { family, model, stepping }))
    }

    /// Three numbers and a reserved byte.
    fn firmware(&mut self) -> Result<Firmware, ReportError> {
        let [build, minor, major] = self.array()?;
        self.reserved(1)?;
        Ok(Firmware { major, minor, build })
    }

    /// Bytes 0x1F8 to 0x29F.
    fn mitigations(&mut self, version: u32) -> Result<Option<Mitigations>, ReportError> {
        if version < 5 {
            return self.reserved(168).map(|()| None);
        }
        let (launch, current) = (self.u64()?, self.u64()?);
        self.reserved(152)?;
        Ok(Some(Mitigations { launch, current }))
    }

    /// A number of the signature, turned around. Nobody signs the bytes behind it, so they have to be zero: one report has
    /// one spelling.
    fn scalar(&mut self) -> Result<[u8; SCALAR], ReportError> {
        let mut number: [u8; SCALAR] = self.array()?;
        self.reserved(SIGNATURE_NUMBER - SCALAR)?;
        number.reverse();
        Ok(number)
    }

    fn reserved(&mut self, count: usize) -> Result<(), ReportError> {
        let at = self.0.position();
        let used = self.0.take(count)?.iter().position(|byte| *byte != 0);
        used.map_or(Ok(()), |offset| Err(ReportError::Reserved(at.saturating_add(offset))))
    }

    fn u32(&mut self) -> Result<u32, ReportError> {
        Ok(self.0.u32_le()?)
    }

    fn u64(&mut self) -> Result<u64, ReportError> {
        Ok(self.0.u64_le()?)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReportError> {
        Ok(self.0.array()?)
    }
}

/// The eight bytes of a `TCB_VERSION`; what they mean is the product's: [`Product::tcb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTcb(pub [u8; 8]);

impl RawTcb {
    /// Its parts.
    pub const fn of(self, product: Product) -> Tcb {
        product.tcb(self.0)
    }
}

/// A processor, by what CPUID says: extended family and model included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// 0x19 or 0x1A.
    pub family: u8,
    /// Model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// A version of the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware {
    /// Major version of its ABI.
    pub major: u8,
    /// Minor version of its ABI.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl fmt::Display for Firmware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Bit vectors of mitigations that the firmware verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mitigations {
    /// When the guest was launched.
    pub launch: u64,
    /// Now.
    pub current: u64,
}

/// `GUEST_POLICY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Bits 0 to 25 are defined; what another one allows is not known.
    const DEFINED: u64 = (1 << 26) - 1;
    /// Bit 17 is reserved and one.
    const ONE: u64 = 1 << 17;

    /// Whether all bits are defined, and the reserved one is one.
    pub const fn is_known(self) -> bool {
        self.0 & !Self::DEFINED == 0 && self.0 & Self::ONE != 0
    }

    /// Oldest ABI of firmware that may run the guest: major, minor.
    pub const fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Whether other threads of its core may run something else.
    pub const fn smt(self) -> bool {
        self.bit(16)
    }

    /// Whether a migration agent may be given the guest's memory.
    pub const fn migration(self) -> bool {
        self.bit(18)
    }

    /// Whether the host may read the guest's memory.
    pub const fn debug(self) -> bool {
        self.bit(19)
    }

    const fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// `PLATFORM_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Bits that have a name.
    const NAMES: [(u32, &str); 7] = [
        (0, "SMT"),
        (1, "TSME"),
        (2, "ECC"),
        (3, "RAPL disabled"),
        (4, "ciphertext hiding"),
        (5, "alias check complete"),
        (7, "TIO"),
    ];

    /// Names of the bits that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name)
    }
}

/// The key information at 0x48.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo(pub u32);

/// A key that signs reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// Versioned Chip Endorsement Key: of one chip, certified by AMD's ASK.
    Vcek,
    /// Versioned Loaded Endorsement Key: of one cloud provider, certified by AMD's ASVK.
    Vlek,
}

impl SigningKey {
    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Vcek => Self::Vlek,
            Self::Vlek => Self::Vcek,
        }
    }
}

impl KeyInfo {
    /// Bits 0 to 4 are defined.
    const DEFINED: u32 = (1 << 5) - 1;

    /// The key that signed; `None` if none did, or with one that is not known.
    pub const fn signing_key(self) -> Option<SigningKey> {
        match (self.0 & !Self::DEFINED, self.0 >> 2 & 7) {
            (0, 0) => Some(SigningKey::Vcek),
            (0, 1) => Some(SigningKey::Vlek),
            _ => None,
        }
    }

    /// Whether an author key certified the ID key.
    pub const fn author_key(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether the firmware writes zeros instead of a signature.
    pub const fn masked(self) -> bool {
        self.0 >> 1 & 1 == 1
    }
}
