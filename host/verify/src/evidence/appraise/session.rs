//! The first entry of a session: what ties its chain to a boot.

use claim::Digest;
use claim::attachment::Attachment;
use claim::entry::{Entry, EntryType, GENESIS, SessionStart};

use crate::evidence::{Check, Mismatch, Report};

/// The root of the session's chain, if the attachment has its first entry and that is one.
pub(super) fn root(attachment: &Attachment, boot_x: &Digest, report: &mut Report) -> Option<Digest> {
    let json = attachment.session_start.as_ref()?;
    let expected = "the first entry of a session";
    let entry = report.read(Check::SessionStart, expected, Entry::parse(json))?;
    let detail = report.read(Check::SessionStart, expected, first(&entry))?;
    report.check(Check::SessionStart, Ok(format!("session {}, root {}", entry.session_id, entry.entry_hash.hex())));
    let boot = if detail.boot == boot_x.hex() {
        Ok(detail.boot.clone())
    } else {
        Err(Mismatch::new(boot_x.hex(), detail.boot.clone()))
    };
    report.check(Check::SessionBoot, boot);
    report.check(Check::SessionSettings, known(&detail, attachment));
    Some(entry.entry_hash)
}

/// What the entry says, if it is one that begins a chain.
fn first(entry: &Entry) -> Result<SessionStart, String> {
    if entry.entry_type != EntryType::SessionStart || entry.sequence_number != 0 || entry.prev_entry_hash != GENESIS {
        return Err(format!("entry {} of type {}", entry.sequence_number, entry.entry_type));
    }
    let detail = entry.detail.as_ref().ok_or("an entry without detail")?;
    SessionStart::parse(detail).map_err(|error| format!("detail: {error}"))
}

fn known(detail: &SessionStart, attachment: &Attachment) -> Result<String, Mismatch> {
    let said = (detail.policy_bundle_hash, detail.catalog_hash, detail.config_hash);
    let known = attachment.settings.iter().any(|it| (it.bundle_hash, it.catalog_hash, it.config_hash) == said);
    let shown = format!("bundle {}, catalog {}, configuration {}", said.0, said.1, said.2);
    if known { Ok(shown) } else { Err(Mismatch::new("one of the attachment's settings", shown)) }
}
