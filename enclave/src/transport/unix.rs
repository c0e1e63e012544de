//! Unix sockets, for a host on the same machine; paths follow the Unix-socket form of vsock (`PATH` and `PATH_PORT`).

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        // Left by an enclave that has ended.
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

pub(super) fn callback(path: &Path, port: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    PathBuf::from(name)
}
