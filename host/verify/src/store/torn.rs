//! Tells a torn tail from damage.

use claim::bootlog::BootId;

/// First bytes of a batch (`proto/claim/SPEC.md`, section 6), then boot id and number.
const BATCH_MAGIC: &[u8; 8] = b"cMCPbat1";

/// Whether bytes that do not start with a whole frame hold the head of a batch that must come later than the next one:
/// then the next one was there once, and its loss is no torn write at the end of the log.
pub(super) fn later_batch(tail: &[u8], last: Option<(BootId, u64)>) -> Option<(BootId, u64)> {
    heads(tail).find(|(boot_id, number)| match last {
        Some((boot, last)) if boot == *boot_id => *number > last.saturating_add(1),
        _ => *number > 0,
    })
}

/// Boot and number of everything in the bytes that looks like a batch's head.
fn heads(tail: &[u8]) -> impl Iterator<Item = (BootId, u64)> + '_ {
    tail.windows(BATCH_MAGIC.len()).enumerate().filter(|(_, window)| window == BATCH_MAGIC).filter_map(|(at, _)| {
        let rest = tail.get(at.checked_add(BATCH_MAGIC.len())?..)?;
        let (boot_id, rest) = rest.split_first_chunk::<16>()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        Some((BootId(*boot_id), u64::from_le_bytes(*number)))
    })
}
