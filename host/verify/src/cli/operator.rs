//! `cmcp-verify operator`: what an operator signs. Here, because the host may hold no key.

pub(super) mod key;
mod policy;

use std::fs::{File, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

use claim::json::{Json, from_json};
use claim::operator::Controls;

use super::{CliError, Exit, input};

const KEY_HELP: &str = "\
The file holds the private key: keep it away from the machine that runs the gateway. What is printed goes into the \
gateway's configuration:

  operator:
    public_key: ...";

const POLICY_HELP: &str = "\
Writes `signature` into the bundle's manifest.json. A gateway whose configuration has operator.public_key loads no \
other bundles. Sign again after every change, with a higher `version` if a running gateway shall take it (SIGHUP).";

const CONTROLS_HELP: &str = "\
Writes `signature` into the file, which the configuration names as controls_path. All of it, for a start:

  {\"epoch\": 1, \"blocked\": [], \"revoked_keys\": [], \"min_policy_version\": \"1.0.0\"}

Raise `epoch` with every change: a host can boot with older controls, and only who checks the epoch finds it.";

/// What an operator does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key and write it to a new file
    #[command(after_help = KEY_HELP)]
    NewKey(NewKey),
    /// Sign a policy bundle
    #[command(after_help = POLICY_HELP)]
    SignPolicy(SignPolicy),
    /// Sign controls: blocked identities, revoked keys, the lowest policy version
    #[command(after_help = CONTROLS_HELP)]
    SignControls(SignControls),
}

/// Where a new key goes.
#[derive(Debug, clap::Args)]
pub(super) struct NewKey {
    /// A file that does not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What to sign with what.
#[derive(Debug, clap::Args)]
pub(super) struct SignPolicy {
    /// The bundle's folder
    bundle: PathBuf,
    /// The key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// What to sign with what.
#[derive(Debug, clap::Args)]
pub(super) struct SignControls {
    /// The controls' file
    controls: PathBuf,
    /// The key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        Command::NewKey(args) => {
            let key = key::create(&args.out)?.public();
            writeln!(out, "operator.public_key: {}\nkey id: {}", key.x(), key.key_id())?;
        }
        Command::SignPolicy(args) => {
            let key = key::read(&args.key)?;
            let (hash, manifest) = policy::read(&args.bundle)?;
            write_signed(&args.bundle.join(policy::MANIFEST), &manifest, key.sign_policy(hash))?;
            writeln!(out, "signed {hash} with key {}", key.public().key_id())?;
        }
        Command::SignControls(args) => {
            let key = key::read(&args.key)?;
            let (epoch, controls) = controls(&args.controls)?;
            write_signed(&args.controls, &controls, key.sign_controls(&controls))?;
            writeln!(out, "signed epoch {epoch} with key {}", key.public().key_id())?;
        }
    }
    Ok(Exit::Verified)
}

fn controls(path: &Path) -> Result<(u64, Json), CliError> {
    let document = json(path)?;
    let wrong = |message: String| CliError::Input(format!("{}: {message}", path.display()));
    let controls: Controls = from_json(&document).map_err(|error| wrong(error.to_string()))?;
    if controls.epoch == 0 {
        return Err(wrong("epoch: found 0, expected 1 or more".into()));
    }
    Ok((controls.epoch, document))
}

fn json(path: &Path) -> Result<Json, CliError> {
    claim::json::parse(&input::read(path)?).map_err(|error| CliError::Input(format!("{}: {error}", path.display())))
}

/// Replaces the file in one step, with its signature.
fn write_signed(path: &Path, document: &Json, signature: String) -> Result<(), CliError> {
    let signed = document.clone().with("signature", signature.into());
    let unwritable = |error| CliError::Unwritable { path: path.display().to_string(), error };
    let mut text = serde_json::to_string_pretty(&signed).map_err(|error| unwritable(error.into()))?;
    text.push('\n');
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside).map_err(unwritable)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    rename(&beside, path).map_err(unwritable)
}
