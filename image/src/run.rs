//! Other programs: with an environment of our own, and their words kept.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{BuildError, folder};

/// Lines of a log that an error repeats.
const TAIL: usize = 20;
/// What a build may know of who starts it, besides where programs and their files are: how to reach a network.
const PASSED: [&str; 13] = [
    "HOME",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_AUTO_INSTALL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "CARGO_HTTP_CAINFO",
];

/// A program with a cleared environment: no flags of whoever starts it get into an image.
pub(crate) fn program(name: &str, path: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().stdin(Stdio::null()).envs(PASSED.iter().filter_map(passed));
    command.env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
    command
}

fn passed(name: &&'static str) -> Option<(&'static str, OsString)> {
    std::env::var_os(name).map(|value| (*name, value))
}

/// Runs it and returns what it says.
pub(crate) fn output(command: &mut Command) -> Result<String, BuildError> {
    Ok(String::from_utf8_lossy(&bytes(command)?).into_owned())
}

/// Runs it and returns what it writes.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>, BuildError> {
    let output = answer(command)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(BuildError::Failed { program: name(command), status: output.status.to_string(), log: None, said })
}

/// Runs it and returns what it says, also if it fails.
pub(crate) fn answer(command: &mut Command) -> Result<Output, BuildError> {
    command.output().map_err(|error| start(command, error))
}

/// Runs it and writes what it says into a file.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<(), BuildError> {
    folder(log.parent().unwrap_or(Path::new(".")))?;
    let failed = |error| BuildError::File { what: "write", path: log.to_owned(), error };
    let file = File::create(log).map_err(failed)?;
    let both = file.try_clone().map_err(failed)?;
    let status = command.stdout(file).stderr(both).status().map_err(|error| start(command, error))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&std::fs::read(log).map_err(failed)?).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let said = lines.iter().skip(lines.len().saturating_sub(TAIL)).copied().collect::<Vec<_>>().join("\n");
    Err(BuildError::Failed { program: name(command), status: status.to_string(), log: Some(log.to_owned()), said })
}

fn start(command: &Command, error: std::io::Error) -> BuildError {
    BuildError::Start { program: command.get_program().to_string_lossy().into_owned(), error }
}

/// The program and its first argument that is no option.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what =
        command.get_args().map(|argument| argument.to_string_lossy()).find(|argument| !argument.starts_with('-'));
    what.map_or_else(|| program.clone(), |what| format!("{program} {what}"))
}
