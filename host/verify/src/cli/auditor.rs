//! `cmcp-verify auditor`: the key that opens sealed records.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::store::{AuditorSecret, NotASecret};

use super::{CliError, Exit, keyfile};

const LABEL: &str = "cmcp-auditor-key-v1:";

const KEY_HELP: &str = "\
The file holds the private key: keep it away from the machine that runs the gateway, and keep it as long as the \
records, which nobody can read without it. What is printed goes into the gateway's configuration:

  audit:
    auditor_key: ...

The enclave then seals what it stores to this key, with a new key for each boot. Only the store of boots that \
started with it is sealed to it. Then, with FILE:
  cmcp-verify store verify ./audit-store --key FILE
  cmcp-verify store export ./audit-store --session ID --key FILE";

/// What an auditor does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key pair and write the private key to a new file
    #[command(after_help = KEY_HELP)]
    NewKey(NewKey),
}

/// Where a new key goes.
#[derive(Debug, clap::Args)]
pub(super) struct NewKey {
    /// A file that does not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Reads private keys, as `new-key` wrote them.
pub(super) fn secrets(files: &[PathBuf]) -> Result<Vec<AuditorSecret>, CliError> {
    files.iter().map(|path| read(path)).collect()
}

pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<Exit, CliError> {
    let Command::NewKey(NewKey { out: path }) = command;
    let secret = keyfile::create(path, LABEL)?;
    let secret = AuditorSecret::from_bytes(&secret).map_err(|error| wrong(path, error))?;
    writeln!(out, "audit.auditor_key: {}", secret.public().text())?;
    Ok(Exit::Verified)
}

fn read(path: &Path) -> Result<AuditorSecret, CliError> {
    let secret = keyfile::read(path, LABEL, "cmcp-verify auditor new-key")?;
    AuditorSecret::from_bytes(&secret).map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, error: NotASecret) -> CliError {
    CliError::Input(format!("{}: {error}", path.display()))
}
