//! What the end-to-end and hostile-host tests share: a started gateway, tool servers that misbehave on request, an HTTP
//! client that shows every byte, and a program that plays the host towards the enclave.
//!
//! The binaries under test are those of `cargo build --release`; `GATEWAY_BIN_DIR` names another folder.

pub mod agent;
pub mod bin;
pub mod gateway;
pub mod hostile;
pub mod http;
pub mod impostor;
pub mod issuer;
pub mod mcp_server;
pub mod proc;
pub mod setup;
pub mod stdio;
pub mod store;
pub mod swtpm;
pub mod tls;
pub mod upstream;
pub mod upstream_tls;
pub mod vm;

use std::time::{Duration, Instant};

/// Asks until the answer is `Some`, at most for `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
