//! `cmcp-verify store export`: one session out of a store.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::store::{ExportOptions, Exported, StoreOptions, export_session};

use super::store_verify::{heads, print, progress, verdict_json};
use super::{CliError, Exit, auditor};
use crate::verdict::Status;

const EXPORT_HELP: &str = "\
Writes SESSION-BOOT-NUMBER.audit.json (the audit bundle), .claim-N.json (each claim) and .batches (the signed \
batches that prove the entries: the enclave's key, which would sign a bundle, is not in the store). Then:
  cmcp-verify SESSION-...claim-1.json --audit-bundle SESSION-...audit.json \\
      --proof SESSION-...batches
  cmcp-verify bundle SESSION-...audit.json --proof SESSION-...batches
      (no claim was issued before a crash)
A batch is signed as a whole, so .batches holds records of other sessions too. If records are sealed, --key FILE \
opens them, here and beside --proof; .batches stays sealed.

Exit code: 0 exported, and the store is whole; 1 the store is not whole (what comes before the fault is exported), \
or the session is not in it; 2 something could not be read or written; 3 nothing is wrong, but records are sealed to \
an auditor whose key was not given, and the session may be among them; 64 wrong usage.";

/// What to export.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPORT_HELP)]
pub(super) struct Args {
    /// The store's folder
    store: PathBuf,
    /// The session's id, as the agent named it
    #[arg(long, value_name = "ID")]
    session: String,
    /// Folder for the files
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Auditor's private key, which opens sealed records; can be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// What must be in the store; can be given several times
    #[arg(long, value_name = "HEAD")]
    head: Vec<String>,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    let mut progress = progress(err);
    let options = ExportOptions { session_id: &args.session, out: &args.out };
    let store_options = StoreOptions {
        heads: heads(&args.head)?,
        auditors: auditor::secrets(&args.key)?,
        progress: Some(&mut progress),
        ..StoreOptions::default()
    };
    let (verdict, exported) = export_session(&args.store, options, store_options)?;
    if args.json {
        let sessions: Vec<_> = exported.iter().map(exported_json).collect();
        writeln!(out, "{:#}", json!({"store": verdict_json(&verdict), "sessions": sessions}))?;
    } else {
        print(&verdict, &args.store, out)?;
        for session in &exported {
            print_exported(session, out)?;
        }
        if exported.is_empty() {
            let unread = verdict.boots.iter().any(|boot| !boot.is_read());
            let looked = if unread { "what can be read of this store" } else { "this store" };
            writeln!(out, "No session {:?} in {looked}.", args.session)?;
        }
    }
    Ok(match verdict.status() {
        Status::Verified if exported.is_empty() => Exit::Unverified,
        status => status.into(),
    })
}

fn print_exported(session: &Exported, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "session {} of boot {}: {} entries", session.number, session.boot_id, session.entries)?;
    for path in [&session.bundle, &session.proof].into_iter().chain(&session.claims) {
        writeln!(out, "  {}", path.display())?;
    }
    Ok(())
}

fn exported_json(session: &Exported) -> Value {
    json!({
        "boot_id": session.boot_id.to_string(),
        "session_number": session.number,
        "entries": session.entries,
        "bundle": session.bundle,
        "proof": session.proof,
        "claims": session.claims,
    })
}
