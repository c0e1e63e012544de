//! `cmcp-verify store verify`: a whole store.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use claim::bootlog::ControlRecord;
use claim::key::PublicKey;
use serde_json::{Value, json};

use crate::store::{BootReport, Head, HeadVerdict, Progress, StoreFailure, StoreOptions, StoreVerdict, verify_store};
use crate::verdict::Status;

use super::{CliError, Exit, auditor, input, table};

const HEAD_HELP: &str = "\
A head is BOOT_ID:BATCH:ENTRY_HASH, or a file with a gateway's answer or receipt. Each receipt that a call got back \
is one. Without a head, the end of the log is the word of who stores it: batches cut off there leave no trace.

Records may be sealed (audit.auditor_key in the gateway's configuration). That nothing is missing, altered or out of \
order shows without a key: what is signed is what is stored. What the records say, and whether a head's entry is in \
its batch, shows with --key FILE, the auditor's.

Exit code: 0 the store is whole up to its end, and no older than any head; 1 it is not; 2 it could not be read; 3 \
the same as 0, but records are sealed to an auditor whose key was not given, so nobody looked into them; 64 wrong \
usage. A torn tail and calls with unknown outcome are reported and do not change the exit code: a crash leaves them. \
Whether a boot's key is that of a genuine gateway is another question: --trusted-key takes those that you know, from \
a claim that you verified.";

/// What to check.
#[derive(Debug, clap::Args)]
#[command(after_help = HEAD_HELP)]
pub(super) struct Args {
    /// The store's folder
    store: PathBuf,
    /// What must be in it; can be given several times
    #[arg(long, value_name = "HEAD")]
    head: Vec<String>,
    /// Key that a boot may have, 64 hexadecimal digits; can be given several times
    #[arg(long, value_name = "HEX", value_parser = input::key)]
    trusted_key: Vec<String>,
    /// Auditor's private key, which opens sealed records; can be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    let mut progress = progress(err);
    let trusted_keys = args.trusted_key.iter().filter_map(|key| PublicKey::from_hex(key).ok()).collect();
    let (heads, auditors) = (heads(&args.head)?, auditor::secrets(&args.key)?);
    let options = StoreOptions { heads, trusted_keys, auditors, progress: Some(&mut progress) };
    let verdict = verify_store(&args.store, options)?;
    if args.json {
        writeln!(out, "{:#}", verdict_json(&verdict))?;
    } else {
        print(&verdict, &args.store, out)?;
    }
    Ok(verdict.status().into())
}

/// A head as text, or every receipt in a file.
pub(super) fn heads(texts: &[String]) -> Result<Vec<Head>, CliError> {
    let mut heads = Vec::new();
    for text in texts {
        if Path::new(text).is_file() {
            let found = Head::in_document(&input::read(Path::new(text))?);
            heads.extend(found.map_err(|error| CliError::Input(format!("{text}: {error}")))?);
        } else {
            heads.push(Head::parse(text).map_err(|error| CliError::Input(format!("{error}, and no such file")))?);
        }
    }
    Ok(heads)
}

/// A line that replaces itself, where somebody watches.
pub(super) fn progress(err: &mut dyn Write) -> impl FnMut(Progress) + '_ {
    let watched = std::io::stderr().is_terminal();
    move |progress: Progress| {
        if watched && progress.bytes < progress.total {
            let Progress { bytes, total, batches } = progress;
            // Nobody to tell is no reason to stop.
            let _ = write!(err, "\r{} of {} MiB, {batches} batches ", bytes >> 20, total >> 20);
        }
    }
}

/// The verdict for people.
pub(super) fn print(verdict: &StoreVerdict, store: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "store {}: {} segments, {} bytes", store.display(), verdict.segments, verdict.bytes)?;
    for boot in &verdict.boots {
        print_boot(boot, out)?;
    }
    for HeadVerdict { head, failure, looked_for } in &verdict.heads {
        match failure {
            None if !looked_for => {
                writeln!(out, "  head of batch {}: reached; its entry was not looked for, it is sealed", head.batch)?;
            }
            None => writeln!(out, "  head of batch {}: reached", head.batch)?,
            Some((reason, message)) => writeln!(out, "  FAIL head of batch {}: {reason}: {message}", head.batch)?,
        }
    }
    if let Some(torn) = &verdict.torn {
        let crate::store::TornTail { segment, offset, found } = torn;
        writeln!(out, "  torn tail: {segment:08}.log ends with its last whole batch at byte {offset} ({found})")?;
    }
    for name in &verdict.kept_torn {
        writeln!(out, "  {name}: a torn tail that the host cut off at a restart; not part of the log")?;
    }
    if let Some(failure) = &verdict.failure {
        writeln!(out, "  FAIL {}", table::printable(&failure.to_string()))?;
    }
    let status = verdict.status();
    writeln!(out, "RESULT: {status}")?;
    if status == Status::PartiallyVerified {
        writeln!(
            out,
            "Nothing is wrong. Not judged: what sealed records say; --key FILE opens them, the auditor has it."
        )?;
    }
    if status != Status::Unverified && verdict.heads.is_empty() {
        writeln!(out, "No head was given: that the log ends where it ended is the word of who stores it.")?;
    }
    Ok(())
}

fn print_boot(boot: &BootReport, out: &mut dyn Write) -> Result<(), CliError> {
    let mode = if boot.dev { " (development mode)" } else { "" };
    writeln!(out, "boot {}{mode}, started {}", boot.boot_id, boot.started_at)?;
    writeln!(out, "  key {}", boot.public_key)?;
    writeln!(out, "  {} batches signed and in order, last {}", boot.batches, boot.head.hex())?;
    let BootReport { records, entries, claims, sessions, open_sessions, .. } = boot;
    write!(out, "  {records} records: {entries} entries, {claims} claims; {sessions} sessions")?;
    if let Some(sealing) = boot.sealing.filter(|sealing| !sealing.opened) {
        writeln!(out, "\n  sealed to the auditor's key {}: counted, not looked into", sealing.auditor_key.text())?;
        return Ok(());
    }
    writeln!(out, ", {open_sessions} of them not ended")?;
    if let Some(sealing) = boot.sealing {
        writeln!(out, "  sealed to the auditor's key {}: opened", sealing.auditor_key.text())?;
    }
    if boot.gaps > 0 {
        writeln!(out, "  {} times nothing could be stored, {} calls were refused", boot.gaps, boot.refused_calls)?;
    }
    for control in &boot.controls {
        writeln!(out, "  {}", table::printable(&control_text(control)))?;
    }
    for call in &boot.unknown_outcomes {
        let (call_id, tool) = (table::printable(&call.call_id), table::printable(&call.tool_name));
        let session = table::printable(&call.session_id);
        writeln!(out, "  outcome unknown: call {call_id} to {tool} in session {session}, decided {}", call.at)?;
    }
    Ok(())
}

fn control_text(control: &ControlRecord) -> String {
    let by = |issuer: &Option<String>| issuer.as_ref().map_or_else(String::new, |issuer| format!(" of {issuer}"));
    let why = |reason: &Option<String>| reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    match control {
        ControlRecord::PolicyLoad { at, bundle_hash, version, .. } => {
            format!("policy {version} loaded at {at}: {bundle_hash}")
        }
        ControlRecord::KillSwitchTrip { at, subject, issuer, trigger, reason } => {
            format!("kill switch tripped for {subject}{} at {at} by {trigger}{}", by(issuer), why(reason))
        }
        ControlRecord::KillSwitchUnblock { at, subject, issuer, reason } => {
            format!("{subject}{} unblocked at {at}{}", by(issuer), why(reason))
        }
        ControlRecord::SecretProvisioned { at, name, server } => {
            format!("secret {name} provisioned for {server} at {at}")
        }
    }
}

/// The verdict for machines.
pub(super) fn verdict_json(verdict: &StoreVerdict) -> Value {
    let heads: Vec<_> = verdict.heads.iter().map(head_json).collect();
    let torn = verdict.torn.as_ref();
    json!({
        "status": verdict.status().as_str(),
        "failure_reason": verdict.failure.as_ref().map(|failure| failure.reason)
            .or_else(|| verdict.heads.iter().find_map(|head| head.failure.as_ref().map(|(reason, _)| reason.as_str()))),
        "failure": verdict.failure.as_ref().map(failure_json),
        "segments": verdict.segments,
        "bytes": verdict.bytes,
        "boots": verdict.boots.iter().map(boot_json).collect::<Vec<_>>(),
        "torn_tail": torn.map(|torn| json!({"segment": torn.segment, "offset": torn.offset, "found": torn.found})),
        "kept_torn": verdict.kept_torn,
        "heads": heads,
    })
}

fn failure_json(failure: &StoreFailure) -> Value {
    json!({
        "reason": failure.reason,
        "message": failure.message,
        "segment": failure.place.segment,
        "offset": failure.place.offset,
        "boot_id": failure.place.batch.map(|(boot_id, _)| boot_id.to_string()),
        "batch": failure.place.batch.map(|(_, batch)| batch),
        "record": failure.place.record,
    })
}

fn head_json(verdict: &HeadVerdict) -> Value {
    let failure =
        verdict.failure.as_ref().map(|(reason, message)| json!({"reason": reason.as_str(), "message": message}));
    json!({
        "boot_id": verdict.head.boot_id.to_string(),
        "batch": verdict.head.batch,
        "entry_hash": verdict.head.entry_hash.hex(),
        "looked_for": verdict.looked_for,
        "failure": failure,
    })
}

fn boot_json(boot: &BootReport) -> Value {
    let unknown: Vec<_> = boot
        .unknown_outcomes
        .iter()
        .map(|call| {
            json!({"session_id": call.session_id, "call_id": call.call_id, "tool_name": call.tool_name,
                   "at": call.at.to_string()})
        })
        .collect();
    let sealing =
        boot.sealing.map(|sealing| json!({"auditor_key": sealing.auditor_key.text(), "opened": sealing.opened}));
    // Null is what nobody looked into.
    let read = |value: Value| if boot.is_read() { value } else { Value::Null };
    json!({
        "boot_id": boot.boot_id.to_string(),
        "public_key": boot.public_key,
        "sealing": sealing,
        "dev": boot.dev,
        "started_at": boot.started_at.to_string(),
        "batches": boot.batches,
        "head": boot.head.hex(),
        "records": boot.records,
        "entries": boot.entries,
        "claims": boot.claims,
        "sessions": boot.sessions,
        "open_sessions": read(boot.open_sessions.into()),
        "gaps": boot.gaps,
        "refused_calls": read(boot.refused_calls.into()),
        "controls": read(json!(boot.controls)),
        "unknown_outcomes": read(unknown.into()),
    })
}
