//! The launch digest of an SNP guest that QEMU starts with `-kernel`, `-initrd`, `-append` and `kernel-hashes=on`: firmware, hashes of
//! the three, and the first state of each virtual processor (AMD, "SEV-SNP Firmware ABI", 8.17 SNP_LAUNCH_UPDATE). `sev` calculates it.

use std::io;

use claim::profile::TaggedDigest;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};

use crate::uki::Parts;

/// More virtual processors than QEMU's machines have are a mistake.
const MOST_VCPUS: u32 = 4096;
const PAGE: usize = 4096;
/// More firmware than this is none: it ends at 4 GiB, below devices.
const LARGEST_FIRMWARE: usize = 64 << 20;

/// The machine, as QEMU is told.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// `-smp`.
    pub vcpus: u32,
    /// `-cpu`, for example `EPYC-v4`.
    pub cpu: &'a str,
    /// SEV_FEATURES of the guest; bit 0 is SNP itself.
    pub features: u64,
}

/// Why there is no launch digest.
#[derive(Debug, thiserror::Error)]
pub enum SnpError {
    /// The firmware measures no kernel, so that the digest would say nothing of the image.
    #[error(
        "the firmware has {0}: its launch digest would cover the firmware alone, and any image could run under it. Expected a build \
         of OVMF's AmdSev platform (OvmfPkg/AmdSev/AmdSevX64.dsc), which has room for the hashes of kernel, initramfs and command \
         line; distributions' OVMF.fd and OVMF_CODE.fd have none"
    )]
    NoKernelHashes(&'static str),
    /// No firmware for SNP.
    #[error("no OVMF firmware for SEV-SNP: {what}: found {found}, expected {expected}")]
    Firmware {
        /// What of it.
        what: &'static str,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// No machine that QEMU starts.
    #[error("{what}: found {found}, expected {expected}")]
    Machine {
        /// Which option.
        what: &'static str,
        /// Its value.
        found: String,
        /// Values that it has.
        expected: &'static str,
    },
    /// The calculator refuses.
    #[error("launch digest: {0}")]
    Calculator(String),
    /// It reads files; no folder could be made for them.
    #[error("launch digest: cannot write the parts to a folder for temporary files: {0}")]
    Scratch(#[from] io::Error),
}

/// The digest of `parts` under `firmware`.
///
/// # Errors
/// Firmware that measures no kernel or that is none, a processor or a number of them that QEMU does not have.
pub fn launch_digest(firmware: &[u8], parts: &Parts<'_>, machine: Machine<'_>) -> Result<TaggedDigest, SnpError> {
    check_machine(machine)?;
    check_firmware(firmware)?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map(|()| path)
    };
    let arguments = SnpMeasurementArgs {
        vcpus: machine.vcpus,
        vcpu_type: cpu(machine.cpu)?,
        ovmf_file: file("firmware", firmware)?,
        guest_features: GuestFeatures(machine.features),
        kernel_file: Some(file("kernel", parts.linux)?),
        initrd_file: Some(file("initrd", parts.initrd)?),
        append: Some(parts.cmdline),
        ovmf_hash_str: None,
        vmm_type: Some(VMMType::QEMU),
    };
    let digest = snp_calc_launch_digest(arguments).map_err(|error| SnpError::Calculator(error.to_string()))?;
    let bytes: Vec<u8> = digest.try_into().map_err(|_| SnpError::Calculator("no digest".to_owned()))?;
    bytes
        .try_into()
        .map(TaggedDigest::Sha384)
        .map_err(|_| SnpError::Calculator("a digest of another length".to_owned()))
}

fn check_machine(machine: Machine<'_>) -> Result<(), SnpError> {
    if machine.features & 1 == 0 {
        let found = format!("{:#x}", machine.features);
        return Err(SnpError::Machine {
            what: "guest features",
            found,
            expected: "bit 0, which is SNP itself, and others",
        });
    }
    if !(1..=MOST_VCPUS).contains(&machine.vcpus) {
        return Err(SnpError::Machine {
            what: "virtual processors",
            found: machine.vcpus.to_string(),
            expected: "1 to 4096",
        });
    }
    cpu(machine.cpu).map(drop)
}

fn cpu(name: &str) -> Result<CpuType, SnpError> {
    let expected = "a processor of QEMU's with SEV-SNP, as EPYC-v4, EPYC-Milan, EPYC-Genoa, EPYC-Turin";
    CpuType::try_from(name).map_err(|_| SnpError::Machine { what: "processor", found: name.to_owned(), expected })
}

/// GUIDs of OVMF's table, as the file holds them.
mod guid {
    /// 96b582de-1fb2-45f7-baea-a366c55a082d
    pub(super) const TABLE: [u8; 16] =
        [0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d];
    /// 7255371f-3a3b-4b04-927b-1da6efa8d454
    pub(super) const KERNEL_HASHES: [u8; 16] =
        [0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54];
    /// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
    pub(super) const RESET_BLOCK: [u8; 16] =
        [0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f, 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e];
    /// dc886566-984a-4798-a75e-5585a7bf67cc
    pub(super) const METADATA: [u8; 16] =
        [0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc];
}

/// The table ends this far before the firmware's end, at the reset vector.
const RESET_VECTOR: usize = 32;
/// Length and GUID behind each of the table's entries.
const ENTRY: usize = 2 + 16;
/// "ASEV", length, version, number of sections.
const METADATA: usize = 16;
/// Address, length, kind.
const SECTION: usize = 12;
/// Kind of the section that holds hashes of kernel, initramfs and command line.
const KERNEL_HASHES: u32 = 0x10;

/// Everything that the calculator takes for granted, and that the firmware measures a kernel at all.
fn check_firmware(firmware: &[u8]) -> Result<(), SnpError> {
    let length = firmware.len();
    if !length.is_multiple_of(PAGE) || length == 0 || length > LARGEST_FIRMWARE {
        return Err(wrong("length", format!("{length} bytes"), "a multiple of 4096, at most 64 MiB"));
    }
    let table = Table::of(firmware)?;
    table.number(guid::RESET_BLOCK, "reset block")?;
    let sections = sections(firmware, table.number(guid::METADATA, "SEV metadata")? as usize)?;
    if table.entry(guid::KERNEL_HASHES).is_none() || table.number(guid::KERNEL_HASHES, "hash table")? == 0 {
        return Err(SnpError::NoKernelHashes("no SEV hash table"));
    }
    match sections.iter().find(|(_, kind)| *kind == KERNEL_HASHES) {
        None => Err(SnpError::NoKernelHashes("no section SNP_KERNEL_HASHES")),
        Some((size, _)) if *size as usize != PAGE => {
            Err(wrong("length of section SNP_KERNEL_HASHES", size.to_string(), "4096"))
        }
        Some(_) => Ok(()),
    }
}

/// OVMF's table of GUIDs, read from its end.
struct Table<'a>(Vec<([u8; 16], &'a [u8])>);

impl<'a> Table<'a> {
    fn of(firmware: &'a [u8]) -> Result<Self, SnpError> {
        let (rest, end) = split_entry(firmware.split_at(firmware.len() - RESET_VECTOR).0)?;
        if end.0 != guid::TABLE {
            return Err(wrong("table of GUIDs", "none before the reset vector".to_owned(), "OVMF's"));
        }
        let start =
            rest.len().checked_sub(end.1).ok_or_else(|| wrong("table of GUIDs", end.1.to_string(), "its length"))?;
        let mut bytes = rest.get(start..).unwrap_or_default();
        let mut entries = Vec::new();
        while bytes.len() >= ENTRY {
            let (before, (guid, length)) = split_entry(bytes)?;
            let Some(at) = before.len().checked_sub(length) else {
                return Err(wrong("entry of the table of GUIDs", length.to_string(), "its length"));
            };
            let (before, data) = before.split_at(at);
            entries.push((guid, data));
            bytes = before;
        }
        Ok(Self(entries))
    }

    fn entry(&self, guid: [u8; 16]) -> Option<&'a [u8]> {
        self.0.iter().find(|(own, _)| *own == guid).map(|(_, data)| *data)
    }

    fn number(&self, guid: [u8; 16], what: &'static str) -> Result<u32, SnpError> {
        let data = self.entry(guid).ok_or_else(|| wrong(what, "none".to_owned(), "one, in the table of GUIDs"))?;
        number(data, 0).ok_or_else(|| wrong(what, format!("{} bytes", data.len()), "4 or more"))
    }
}

/// What is behind an entry's data: its GUID, and the data's length.
type Tail = ([u8; 16], usize);

fn split_entry(bytes: &[u8]) -> Result<(&[u8], Tail), SnpError> {
    let short = |found: usize| wrong("entry of the table of GUIDs", format!("{found} bytes"), "18 or more");
    let (rest, entry) = bytes.split_last_chunk::<ENTRY>().ok_or_else(|| short(bytes.len()))?;
    let ([low, high], guid) = entry.split_first_chunk::<2>().ok_or_else(|| short(0))?;
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let data = length.checked_sub(ENTRY).ok_or_else(|| short(length))?;
    Ok((rest, (guid.try_into().map_err(|_| short(0))?, data)))
}

/// Length and kind of each section of the metadata, which begins that far before the firmware's end.
fn sections(firmware: &[u8], from_end: usize) -> Result<Vec<(u32, u32)>, SnpError> {
    let bad = |found: String| wrong("SEV metadata", found, "\"ASEV\", its length, and as many sections as it says");
    let start = firmware.len().checked_sub(from_end).ok_or_else(|| bad(format!("{from_end} bytes before the end")))?;
    let metadata = firmware.get(start..).unwrap_or_default();
    let header = |at| number(metadata, at).ok_or_else(|| bad("its end".to_owned()));
    let (length, count) = (header(4)? as usize, header(12)? as usize);
    let items = metadata.get(METADATA..length).filter(|items| items.len() / SECTION >= count);
    let items = items.ok_or_else(|| bad(format!("{length} bytes for {count} sections")))?;
    if !metadata.starts_with(b"ASEV") {
        return Err(bad("another signature".to_owned()));
    }
    Ok(items.chunks_exact(SECTION).take(count).filter_map(|item| Some((number(item, 4)?, number(item, 8)?))).collect())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn wrong(what: &'static str, found: String, expected: &str) -> SnpError {
    SnpError::Firmware { what, found, expected: expected.to_owned() }
}
