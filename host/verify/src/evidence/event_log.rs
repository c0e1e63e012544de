//! Event logs of firmware: what was extended into which register, in order.
//!
//! Crypto-agile logs of the TCG PC Client Platform Firmware Profile (section 10.2) and CCEL areas, which have the same
//! format with SHA-384 digests and indices of measurement registers (1 is RTMR0). The log is a stranger's list: what it says
//! counts only as far as its replay equals registers that hardware signed.
//!
//! SHA-1, and logs that have nothing else, are not read: anybody can make two events with one digest of it.

mod boot;
mod parse;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256, Sha384};

pub use self::boot::{BootPathError, boot_applications};
pub use self::parse::{Event, EventLog, LogError};

/// EV_NO_ACTION: in the log, extended nowhere.
pub(crate) const NO_ACTION: u32 = 0x3;

/// Registers after a log's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// SHA-256 bank of a TPM, by PCR: those that the log extends. Empty if an event lacks a digest of this bank.
    pub sha256: BTreeMap<u32, [u8; 32]>,
    /// SHA-384 bank of a TPM by PCR, or measurement registers by index (1 is RTMR0).
    pub sha384: BTreeMap<u32, [u8; 48]>,
}

/// Replays a log's bytes.
///
/// # Errors
/// See [`LogError`].
pub fn replay(bytes: &[u8]) -> Result<Replay, LogError> {
    EventLog::parse(bytes).map(|log| log.replay())
}

impl EventLog<'_> {
    /// The registers after all events.
    pub fn replay(&self) -> Replay {
        Replay {
            sha256: self.bank(
                |event| event.sha256,
                |value, digest| Sha256::new().chain_update(value).chain_update(digest).finalize().into(),
            ),
            sha384: self.bank(
                |event| event.sha384,
                |value, digest| Sha384::new().chain_update(value).chain_update(digest).finalize().into(),
            ),
        }
    }

    fn bank<const N: usize>(
        &self,
        digest: impl Fn(&Event<'_>) -> Option<[u8; N]>,
        extend: impl Fn(&[u8], &[u8]) -> [u8; N],
    ) -> BTreeMap<u32, [u8; N]> {
        let mut registers = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.kind != NO_ACTION) {
            let Some(digest) = digest(event) else { return BTreeMap::new() };
            let value = registers.entry(event.register).or_insert_with(|| self.start(event.register));
            *value = extend(&*value, &digest);
        }
        registers
    }

    /// Zeros; in PCR 0 the locality that the TPM was started from (section 10.4.5.3).
    fn start<const N: usize>(&self, register: u32) -> [u8; N] {
        let mut value = [0; N];
        if let (0, Some(last)) = (register, value.last_mut()) {
            *last = self.locality;
        }
        value
    }
}

/// Event types by their names in the profile; anything else by its number.
pub fn kind_name(kind: u32) -> String {
    let name = match kind {
        0x0 => "EV_PREBOOT_CERT",
        0x1 => "EV_POST_CODE",
        NO_ACTION => "EV_NO_ACTION",
        0x4 => "EV_SEPARATOR",
        0x5 => "EV_ACTION",
        0x6 => "EV_EVENT_TAG",
        0x7 => "EV_S_CRTM_CONTENTS",
        0x8 => "EV_S_CRTM_VERSION",
        0x9 => "EV_CPU_MICROCODE",
        0xa => "EV_PLATFORM_CONFIG_FLAGS",
        0xb => "EV_TABLE_OF_DEVICES",
        0xc => "EV_COMPACT_HASH",
        0xd => "EV_IPL",
        0xe => "EV_IPL_PARTITION_DATA",
        0xf => "EV_NONHOST_CODE",
        0x10 => "EV_NONHOST_CONFIG",
        0x11 => "EV_NONHOST_INFO",
        0x12 => "EV_OMIT_BOOT_DEVICE_EVENTS",
        0x13 => "EV_POST_CODE2",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        0x8000_000c => "EV_EFI_VARIABLE_BOOT2",
        0x8000_000e => "EV_EFI_GPT_EVENT2",
        0x8000_0010 => "EV_EFI_HCRTM_EVENT",
        0x8000_00e0 => "EV_EFI_VARIABLE_AUTHORITY",
        0x8000_00e1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
        0x8000_00e2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
        other => return format!("{other:#010x}"),
    };
    name.to_owned()
}
