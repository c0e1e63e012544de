//! What the tests share: one key, one session with every kind of entry, and where fixtures are.

pub(crate) mod session;
pub(crate) mod values;

use std::path::{Path, PathBuf};

use claim::json::{Json, parse};
use claim::key::Key;

pub(crate) use session::Session;

/// The key of every vector. Its seed is public, so nothing it signs means anything.
pub(crate) fn key() -> Key {
    Key::from_seed(SEED)
}

/// `00 01 .. 1f`.
pub(crate) const SEED: [u8; 32] = {
    let (mut seed, mut index) = ([0; 32], 0_u8);
    while index < 32 {
        seed[index as usize] = index;
        index += 1;
    }
    seed
};

/// A key that signed none of them.
pub(crate) fn other_key() -> Key {
    Key::from_seed([9; 32])
}

/// A file of the folder `shared` beside the checkout. Absent in a bare clone: the caller then skips, and says so.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if !folder.is_dir() {
        eprintln!("skipped: {} is absent, it holds {path}", folder.display());
        return None;
    }
    Some(folder.join(path))
}

/// A JSON file.
pub(crate) fn load(path: impl AsRef<Path>) -> Json {
    let path = path.as_ref();
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of `vectors/`.
pub(crate) fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}
