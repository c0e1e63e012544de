//! Unix sockets, for `host --dev-enclave`; paths follow the Unix-socket form of vsock (`PATH` and `PATH_PORT`).

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    UnixListener::bind(path)
}

pub(super) fn callback(path: &Path, port: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    PathBuf::from(name)
}
