//! The log's format: a header in the old format, then events with a digest for each bank.

use thiserror::Error;

use super::NO_ACTION;
use crate::evidence::bytes::{Reader, Truncated};

/// The header's event: TCG_EfiSpecIDEvent.
const HEADER: &[u8; 16] = b"Spec ID Event03\0";
/// The event that names the locality of TPM2_Startup.
const LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// Localities from which a TPM can be started (TCG_EfiStartupLocalityEvent).
const LOCALITIES: [u8; 3] = [0, 3, 4];
/// Most banks of a TPM.
const MAX_BANKS: u32 = 16;
/// PCRs of a TPM.
const REGISTERS: u32 = 24;
/// `pcrIndex` of a TPM's events that are extended nowhere.
const NOWHERE: u32 = u32::MAX;

/// An event without digests and data, in bytes: fewer zeros could be the beginning of one.
const SHORTEST: usize = 16;
/// So many ones begin no event: the type of what is extended nowhere is not all ones.
const ONES: usize = 8;

/// TPM_ALG_IDs and the sizes of their digests, where they are known.
const SIZES: [(u16, u16); 8] =
    [(0x04, 20), (SHA256, 32), (SHA384, 48), (0x0d, 64), (0x12, 32), (0x27, 32), (0x28, 48), (0x29, 64)];
const SHA256: u16 = 0x0b;
const SHA384: u16 = 0x0c;

/// A log, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// Banks that the header names: TPM_ALG_IDs.
    pub banks: Vec<u16>,
    /// Locality that the TPM was started from; 0 if the log does not say.
    pub locality: u8,
    /// In the order in which they were extended.
    pub events: Vec<Event<'a>>,
}

/// TCG_PCR_EVENT2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// PCR, or index of a measurement register.
    pub register: u32,
    /// What it is about ([`super::kind_name`]).
    pub kind: u32,
    /// What was extended into the SHA-256 bank.
    pub sha256: Option<[u8; 32]>,
    /// What was extended into the SHA-384 bank.
    pub sha384: Option<[u8; 48]>,
    /// What the firmware says it is; not covered by anything, unless the digest is its hash.
    pub data: &'a [u8],
}

/// Bytes that are no log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// A log of the old format, which has SHA-1 alone; or no log.
    #[error("it does not begin with a crypto-agile header (Spec ID Event03)")]
    NotAgile,
    /// It ends in the middle.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The header contradicts itself.
    #[error("header: {0}")]
    Header(String),
    /// An event that the format does not allow.
    #[error("event {number} at byte {at}: {why}")]
    Event {
        /// Counted from 1, without the header.
        number: usize,
        /// Where it begins.
        at: usize,
        /// What is wrong.
        why: String,
    },
}

impl<'a> EventLog<'a> {
    /// Reads a log that fills `bytes`, but for padding with 0x00 or 0xFF behind it, as CCEL areas have.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LogError> {
        let mut reader = Reader::new(bytes);
        let sizes = header(&mut reader)?;
        let banks = sizes.iter().map(|(algorithm, _)| *algorithm).collect();
        let mut log = Self { banks, locality: 0, events: Vec::new() };
        while !is_padding(reader.rest()) {
            let at = reader.position();
            let failed = |number, why| LogError::Event { number, at, why };
            let number = log.events.len().saturating_add(1);
            let event = event(&mut reader, &sizes).map_err(|why| failed(number, why))?;
            log.accept(event).map_err(|why| failed(number, why))?;
        }
        Ok(log)
    }

    fn accept(&mut self, event: Event<'a>) -> Result<(), String> {
        if event.kind != NO_ACTION {
            if event.register >= REGISTERS {
                return Err(format!("register {}", event.register));
            }
        } else if let Some(locality) = event.data.strip_prefix(LOCALITY) {
            self.locality = self.startup(event.register, locality)?;
        } else if event.register >= REGISTERS && event.register != NOWHERE {
            return Err(format!("register {}", event.register));
        }
        self.events.push(event);
        Ok(())
    }

    /// The locality is told once, before it matters.
    fn startup(&self, register: u32, locality: &[u8]) -> Result<u8, String> {
        let told = |event: &Event<'_>| event.kind == NO_ACTION && event.data.starts_with(LOCALITY);
        let late = |event: &Event<'_>| event.kind != NO_ACTION && event.register == 0;
        if register != 0 || self.events.iter().any(|event| told(event) || late(event)) {
            return Err("the startup locality is told twice, too late, or not for PCR 0".into());
        }
        match locality {
            [locality] if LOCALITIES.contains(locality) => Ok(*locality),
            other => Err(format!("startup locality {other:?}")),
        }
    }
}

/// TCG_PCR_EVENT with TCG_EfiSpecIDEvent: the banks and the sizes of their digests.
fn header(reader: &mut Reader<'_>) -> Result<Vec<(u16, u16)>, LogError> {
    let (_register, kind) = (reader.u32_le()?, reader.u32_le()?);
    let digest: [u8; 20] = reader.array()?;
    let size = reader.u32_le()?;
    if kind != NO_ACTION || digest != [0; 20] || !reader.rest().starts_with(HEADER) {
        return Err(LogError::NotAgile);
    }
    let data = reader.take(usize::try_from(size).unwrap_or(usize::MAX))?;
    let mut reader = Reader::new(data);
    reader.take(HEADER.len())?;
    // platformClass, specVersionMinor, specVersionMajor, specErrata, uintnSize
    reader.take(8)?;
    let count = reader.u32_le()?;
    if count == 0 || count > MAX_BANKS {
        return Err(LogError::Header(format!("{count} digest algorithms")));
    }
    let mut sizes: Vec<(u16, u16)> = Vec::new();
    for _ in 0..count {
        let (algorithm, size) = (reader.u16_le()?, reader.u16_le()?);
        let known = SIZES.iter().find(|(known, _)| *known == algorithm);
        let wrong = known.is_some_and(|(_, known)| *known != size);
        if wrong || sizes.iter().any(|(other, _)| *other == algorithm) {
            return Err(LogError::Header(format!("digest algorithm {algorithm:#06x} of {size} bytes")));
        }
        sizes.push((algorithm, size));
    }
    let vendor = reader.u8()?;
    reader.take(vendor.into())?;
    match reader.rest().len() {
        0 => Ok(sizes),
        trailing => Err(LogError::Header(format!("{trailing} bytes after the end"))),
    }
}

fn event<'a>(reader: &mut Reader<'a>, sizes: &[(u16, u16)]) -> Result<Event<'a>, String> {
    let text = |error: Truncated| error.to_string();
    let (register, kind) = (reader.u32_le().map_err(text)?, reader.u32_le().map_err(text)?);
    let count = reader.u32_le().map_err(text)?;
    if usize::try_from(count).map_or(true, |count| count > sizes.len()) {
        return Err(format!("{count} digests, and the header names {} algorithms", sizes.len()));
    }
    let mut event = Event { register, kind, sha256: None, sha384: None, data: &[] };
    let mut seen = Vec::new();
    for _ in 0..count {
        let algorithm = reader.u16_le().map_err(text)?;
        let size = sizes.iter().find(|(known, _)| *known == algorithm).map(|(_, size)| *size);
        let Some(size) = size.filter(|_| !seen.contains(&algorithm)) else {
            return Err(format!(
                "a digest of algorithm {algorithm:#06x}, which the header does not name, or the second"
            ));
        };
        seen.push(algorithm);
        let digest = reader.take(size.into()).map_err(text)?;
        match algorithm {
            SHA256 => event.sha256 = digest.try_into().ok(),
            SHA384 => event.sha384 = digest.try_into().ok(),
            _ => {}
        }
    }
    let size = reader.u32_le().map_err(text)?;
    event.data = reader.take(usize::try_from(size).unwrap_or(usize::MAX)).map_err(text)?;
    Ok(event)
}

/// The end; or nothing but zeros, or nothing but ones, behind it.
fn is_padding(bytes: &[u8]) -> bool {
    let all = |value: u8, least: usize| bytes.len() >= least && bytes.iter().all(|byte| *byte == value);
    bytes.is_empty() || all(0, SHORTEST) || all(0xff, ONES)
}
