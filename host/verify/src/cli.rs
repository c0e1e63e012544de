//! The command line: reads files and the clock, prints verdicts. Everything it decides is decided by the library.

mod answers;
#[cfg(feature = "connect")]
mod attest;
mod auditor;
mod bundle;
mod claim;
#[cfg(feature = "connect")]
mod connect;
mod event_log;
mod evidence;
mod input;
mod keyfile;
mod operator;
mod pcrs;
#[cfg(feature = "connect")]
mod provision;
mod reference;
mod snp_report;
mod store_export;
mod store_verify;
mod table;
mod tdx_quote;
mod tpm_quote;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::verdict::Status;

/// How a run ends, as a process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was judged and nothing is wrong.
    Verified,
    /// Something is wrong.
    Unverified,
    /// An input could not be read, or the answer not written.
    NotJudged,
    /// Nothing is wrong, but something could not be judged.
    PartiallyVerified,
    /// The command line is not one of this program.
    Usage,
}

impl Exit {
    /// 0 verified, 1 unverified, 2 not judged, 3 partially verified, 64 usage (`EX_USAGE` of sysexits.h).
    pub const fn code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Unverified => 1,
            Self::NotJudged => 2,
            Self::PartiallyVerified => 3,
            Self::Usage => 64,
        }
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Verified => Self::Verified,
            Status::PartiallyVerified => Self::PartiallyVerified,
            Status::Unverified => Self::Unverified,
        }
    }
}

const AFTER_HELP: &str = "\
Exit code: 0 verified, 3 partially verified (nothing is wrong, but something could not be judged, as in dev mode), 1 \
unverified (something is wrong), 2 an input could not be read or a gateway not reached, 64 wrong usage. connect as a \
bridge: 0 when its client is done; operator, auditor, provision, reference: 0 when it is done.

Examples:
  cmcp-verify claim.json --policy-hash sha256:... --catalog-hash sha256:...
      The two hashes are those that you approved; the gateway prints them when it starts.
  cmcp-verify claim.json --audit-bundle audit.json --record record.json --trusted-key 3f0c...
      Also: are these the calls that the claim counts, does the TRACE record say the same, is it
      the key that you know?
  cmcp-verify claim.json --attachment evidence.json --reference approved.json
      On hardware: is the evidence genuine, current, and of what you approved? Only then a claim is
      verified. The attachment is GET /session/ID/evidence.
  cmcp-verify store verify ./audit-store --head receipt.json
      Is everything that the gateway stored still there and unaltered, up to this receipt?
  cmcp-verify connect https://gateway.example:8443 --reference approved.json
      Is what answers there the gateway that you approved? With --stdio or --listen MCP clients then
      talk to it, and to it alone.
  cmcp-verify connect http://127.0.0.1:8443
      In dev mode, for an MCP client's configuration: the command that it spawns.
  cmcp-verify operator new-key --out operator.key
  cmcp-verify operator sign-policy ./policies --key operator.key
      For operators: the gateway then loads no bundle that this key has not signed.
  cmcp-verify auditor new-key --out auditor.key
      For auditors: the gateway then stores nothing that others can read.";

/// Checks what a confidential MCP gateway says of a session, without trusting who runs it. Works offline, but for connect.
#[derive(Debug, Parser)]
#[command(name = "cmcp-verify", version, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    claim: Option<claim::Args>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the key that opens sealed records
    #[command(subcommand)]
    Auditor(auditor::Command),
    /// Check a claim, and what belongs to it; the same as giving the claim without a command
    Claim(claim::Args),
    /// Check an audit bundle without a claim, as after a crash
    Bundle(bundle::Args),
    /// Verify a gateway before it is told anything, and let MCP clients talk to it
    #[cfg(feature = "connect")]
    Connect(connect::Args),
    /// Judge evidence of a gateway: is it genuine, is it current, is it of what you approved?
    Evidence(evidence::Args),
    /// Show the events of a firmware's log, and compare the registers that they make
    EventLog(event_log::Args),
    /// Make an operator's key, and sign policy bundles and controls with it
    #[command(subcommand)]
    Operator(operator::Command),
    /// Verify a gateway, then bring it a tool's secret or its certificate, past whoever runs it
    #[cfg(feature = "connect")]
    Provision(provision::Args),
    /// Make reference values of measured images and of the documents that you approve
    Reference(reference::Args),
    /// Judge one attestation report of AMD SEV-SNP
    SnpReport(snp_report::Args),
    /// Check or read a gateway's record store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Judge one quote of Intel TDX
    TdxQuote(tdx_quote::Args),
    /// Judge a TPM's quote by itself: its key, its PCRs, what it is for
    TpmQuote(tpm_quote::Args),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Check that a store is whole: every batch signed and in order, every session's chain, every head
    Verify(store_verify::Args),
    /// Write one session's audit bundle and claims out of a store
    Export(store_export::Args),
}

/// Runs the command line given with the program's name in front. Answers go to `out`, everything else to `err`.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, out, err),
    };
    let result = match (cli.command, cli.claim) {
        (Some(Command::Claim(args)), _) | (None, Some(args)) => claim::run(&args, out),
        (Some(Command::Auditor(command)), _) => auditor::run(&command, out),
        (Some(Command::Bundle(args)), _) => bundle::run(&args, out),
        #[cfg(feature = "connect")]
        (Some(Command::Connect(args)), _) => connect::run(&args, out, err),
        (Some(Command::Evidence(args)), _) => evidence::run(&args, out),
        (Some(Command::EventLog(args)), _) => event_log::run(&args, out),
        (Some(Command::Operator(command)), _) => operator::run(&command, out),
        #[cfg(feature = "connect")]
        (Some(Command::Provision(args)), _) => provision::run(&args, out),
        (Some(Command::Reference(args)), _) => reference::run(&args, out),
        (Some(Command::SnpReport(args)), _) => snp_report::run(&args, out),
        (Some(Command::Store(StoreCommand::Verify(args))), _) => store_verify::run(&args, out, err),
        (Some(Command::Store(StoreCommand::Export(args))), _) => store_export::run(&args, out, err),
        (Some(Command::TdxQuote(args)), _) => tdx_quote::run(&args, out),
        (Some(Command::TpmQuote(args)), _) => tpm_quote::run(&args, out),
        (None, None) => Ok(Exit::Usage),
    };
    result.unwrap_or_else(|error| {
        // A standard error that is closed leaves nobody to tell.
        let _ = writeln!(err, "cmcp-verify: {error}");
        error.exit()
    })
}

/// `--help` and `--version` are answers; anything else that clap does not accept is wrong usage.
fn refuse(error: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let text = error.render();
    let (written, exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (write!(out, "{text}"), Exit::Verified),
        _ => (write!(err, "{text}"), Exit::Usage),
    };
    if written.is_ok() { exit } else { Exit::NotJudged }
}

/// Why a run could not come to a verdict.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("cannot read {path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{0}")]
    Input(String),
    /// Options that do not go with the URL, which clap cannot know.
    #[cfg(feature = "connect")]
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Export(#[from] crate::store::ExportError),
    #[error("cannot write {path}: {error}")]
    Unwritable { path: String, error: io::Error },
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

impl CliError {
    const fn exit(&self) -> Exit {
        match self {
            #[cfg(feature = "connect")]
            Self::Usage(_) => Exit::Usage,
            _ => Exit::NotJudged,
        }
    }
}
