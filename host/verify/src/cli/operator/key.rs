//! A key's file: one line, readable by its owner alone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use claim::b64u;
use claim::operator::OperatorKey;

use super::super::{CliError, input};

/// What the line starts with, so that another file is not taken for a key.
const LABEL: &str = "cmcp-operator-key-v1:";

/// Makes a key and writes it to a file that must not exist.
pub(super) fn create(path: &Path) -> Result<OperatorKey, CliError> {
    let unwritable = |error| CliError::Unwritable { path: path.display().to_string(), error };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| unwritable(io::Error::other(error.to_string())))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    let line = format!("{LABEL}{}\n", b64u::encode(&seed));
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    Ok(OperatorKey::from_seed(seed))
}

pub(super) fn read(path: &Path) -> Result<OperatorKey, CliError> {
    let bytes = input::read(path)?;
    let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().strip_prefix(LABEL));
    text.and_then(b64u::decode_array).map(OperatorKey::from_seed).ok_or_else(|| {
        let expected = "expected a key's file; make one with cmcp-verify operator new-key --out FILE";
        CliError::Input(format!("{}: {expected}", path.display()))
    })
}
