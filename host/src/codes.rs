//! Names of the error codes whose numbers the enclave sends: the table in `docs/errors.md`, which is made from the enclave's.

use std::collections::BTreeMap;
use std::sync::LazyLock;

static NAMES: LazyLock<BTreeMap<u16, &'static str>> =
    LazyLock::new(|| include_str!("../../docs/errors.md").lines().filter_map(row).collect());

/// Name of the code with this number; the number itself, if an enclave of another version sent it.
pub fn name(code: u16) -> String {
    NAMES.get(&code).map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

/// `| NAME | number | ...`
fn row(line: &'static str) -> Option<(u16, &'static str)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let name = cells.next()?;
    Some((cells.next()?.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_name() {
        assert_eq!((name(7).as_str(), name(15).as_str()), ("POLICY_DENY", "AUDIT_UNAVAILABLE"));
        assert_eq!(name(u16::MAX), "65535");
        let rows = include_str!("../../docs/errors.md").lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(NAMES.len() + 1, rows, "all rows but the heading");
        assert!(NAMES.values().all(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')));
    }
}
