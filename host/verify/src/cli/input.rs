//! Files and the clock.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use claim::attachment::Collateral;
use claim::profile::Profile;
use claim::time::Timestamp;
use clap::ValueEnum;

use crate::references::References;

use super::CliError;

/// Where reference values are looked for when no flag names them.
const REFERENCE_VALUES: &str = "./reference-values.json";

/// Names the file before that.
const REFERENCE_VARIABLE: &str = "CMCP_REFERENCE_VALUES";

/// Names of the profiles on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProfileName {
    /// TRACE v0.2, what gateways issue by default.
    #[value(name = "trace-v0.2")]
    TraceV02,
    /// TRACE v0.1, the quickstart's example to the letter.
    #[value(name = "trace-v0.1")]
    TraceV01,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::TraceV02 => Self::TraceV02,
            ProfileName::TraceV01 => Self::TraceV01,
        }
    }
}

/// A whole file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let result = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    result.map_err(|error| CliError::Read { path: path.display().to_string(), error })
}

/// The time given, or the system's.
pub(super) fn now(at: Option<Timestamp>) -> Timestamp {
    at.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}

/// Parses `--at`.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| format!("{error}; write it as 2026-06-05T00:00:00Z"))
}

/// Parses a public key.
pub(super) fn key(text: &str) -> Result<String, String> {
    let key = text.trim().to_ascii_lowercase();
    claim::key::PublicKey::from_hex(&key).map(|_| key).map_err(|_| "write the 32 bytes as 64 hexadecimal digits".into())
}

/// Parses what a guest has its hardware sign.
pub(super) fn report_data(text: &str) -> Result<[u8; 64], String> {
    let digits = text.trim().to_ascii_lowercase();
    claim::hex::decode(&digits).ok_or_else(|| "write the 64 bytes as 128 hexadecimal digits".to_owned())
}

/// Parses an approved hash. The comparison ignores the prefix; what is no hash would only look like a mismatch.
pub(super) fn hash(text: &str) -> Result<String, String> {
    let hash = text.trim().to_ascii_lowercase();
    let ok = claim::profile::TaggedDigest::parse(&hash).is_ok() || claim::Digest::parse(&hash).is_ok();
    if ok { Ok(hash) } else { Err("write it as sha256: and 64 hexadecimal digits".into()) }
}

/// Reference values from the flag, else from the variable, else from the default place; or where they were looked for.
///
/// The variable is no default of the option: it would count as an argument of a claim beside every other command.
pub(super) fn references(path: Option<&Path>) -> Result<Result<References, String>, CliError> {
    let variable = std::env::var_os(REFERENCE_VARIABLE).map(PathBuf::from);
    let (path, bytes) = match path.or(variable.as_deref()) {
        Some(path) => (path, read(path)?),
        None => match std::fs::read(REFERENCE_VALUES) {
            Ok(bytes) => (Path::new(REFERENCE_VALUES), bytes),
            Err(error) => return Ok(Err(format!("{REFERENCE_VARIABLE} is not set, {REFERENCE_VALUES}: {error}"))),
        },
    };
    References::parse(&bytes).map(Ok).map_err(|error| CliError::Input(format!("{}: {error}", path.display())))
}

/// Certificates and vendors' statements.
pub(super) fn collateral(path: &Path) -> Result<Collateral, CliError> {
    claim::json::read(&read(path)?)
        .map_err(|error| CliError::Input(format!("{}: no collateral: {error}", path.display())))
}
