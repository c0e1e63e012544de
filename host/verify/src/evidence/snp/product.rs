//! Products and their TCB versions (AMD publications 56860 and 57230).

use std::fmt;

/// A line of processors: what it decides is the layout of TCB versions, and who certifies its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, Bergamo and Siena among them.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// As AMD's certificates spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// From the product name in a certificate, which may carry a stepping: `Milan-B0`.
    pub fn of_name(name: &str) -> Option<Self> {
        let line = name.split_once('-').map_or(name, |(line, _)| line);
        [Self::Milan, Self::Genoa, Self::Turin].into_iter().find(|product| product.name() == line)
    }

    /// From CPUID's family and model, the extended ones included.
    pub const fn of_cpu(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// Meaning of the eight bytes of a TCB version.
    pub const fn tcb(self, raw: [u8; 8]) -> Tcb {
        match (self, raw) {
            (Self::Milan | Self::Genoa, [bootloader, tee, .., snp, microcode]) => {
                Tcb { fmc: None, bootloader, tee, snp, microcode }
            }
            (Self::Turin, [fmc, bootloader, tee, snp, .., microcode]) => {
                Tcb { fmc: Some(fmc), bootloader, tee, snp, microcode }
            }
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Security version numbers of what makes up a platform. Every one counts up by itself: one TCB is at least another only if
/// none of its numbers is lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcb {
    /// Firmware of the FMC; Turin alone has it.
    pub fmc: Option<u8>,
    /// Boot loader of the security processor.
    pub bootloader: u8,
    /// Operating system of the security processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Lowest patch level of microcode of all cores.
    pub microcode: u8,
}

impl Tcb {
    /// Whether none of its numbers is below the other's.
    pub const fn is_at_least(self, other: Self) -> bool {
        self.fmc() >= other.fmc()
            && self.bootloader >= other.bootloader
            && self.tee >= other.tee
            && self.snp >= other.snp
            && self.microcode >= other.microcode
    }

    const fn fmc(self) -> u8 {
        if let Some(fmc) = self.fmc { fmc } else { 0 }
    }

    /// The lower of each number.
    pub(super) fn lowest(self, other: Self) -> Self {
        Self {
            fmc: self.fmc.min(other.fmc),
            bootloader: self.bootloader.min(other.bootloader),
            tee: self.tee.min(other.tee),
            snp: self.snp.min(other.snp),
            microcode: self.microcode.min(other.microcode),
        }
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(formatter, "fmc {fmc} ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(formatter, "bootloader {bootloader} tee {tee} snp {snp} microcode {microcode}")
    }
}
