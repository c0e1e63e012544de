//! A private key's file: one line, readable by its owner alone. Its label says what it is, so that no other file is taken for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use claim::b64u;

use super::{CliError, input};

/// Writes 32 random bytes to a file that must not exist.
pub(super) fn create(path: &Path, label: &str) -> Result<[u8; 32], CliError> {
    let unwritable = |error| CliError::Unwritable { path: path.display().to_string(), error };
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| unwritable(io::Error::other(error.to_string())))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    let line = format!("{label}{}\n", b64u::encode(&secret));
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    Ok(secret)
}

/// Reads such a file. `make` is the command that makes one.
pub(super) fn read(path: &Path, label: &str, make: &str) -> Result<[u8; 32], CliError> {
    let bytes = input::read(path)?;
    let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().strip_prefix(label));
    text.and_then(b64u::decode_array).ok_or_else(|| {
        let expected = format!("expected a file whose line starts with {label}; make one with {make} --out FILE");
        CliError::Input(format!("{}: {expected}", path.display()))
    })
}
