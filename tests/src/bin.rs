//! The binaries under test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// Path of one of the built binaries: `host`, `enclave`, `cmcp-verify`.
///
/// # Panics
/// When it has not been built.
pub fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("GATEWAY_BIN_DIR").map_or_else(|| root().join("target/release"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: cargo build --release", path.display());
    path
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// A loopback port that nobody listens on, below the ports that the kernel hands to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 100).expect("under 100") * 100;
    (0..1000)
        .map(|_| 12_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
