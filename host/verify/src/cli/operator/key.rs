//! An operator's key in its file.

use std::path::Path;

use claim::operator::OperatorKey;

use super::super::{CliError, keyfile};

const LABEL: &str = "cmcp-operator-key-v1:";

/// Makes a key and writes it to a file that must not exist.
pub(super) fn create(path: &Path) -> Result<OperatorKey, CliError> {
    keyfile::create(path, LABEL).map(OperatorKey::from_seed)
}

pub(in crate::cli) fn read(path: &Path) -> Result<OperatorKey, CliError> {
    keyfile::read(path, LABEL, "cmcp-verify operator new-key").map(OperatorKey::from_seed)
}
