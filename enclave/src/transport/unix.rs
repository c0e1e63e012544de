//! Unix sockets, for a host on the same machine; paths follow the Unix-socket form of vsock (`PATH` and `PATH_PORT`).

use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::limits;

pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    if BlockingStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
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

pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    for _ in 0..limits::CONNECT_ATTEMPTS {
        match UnixStream::connect(path).await {
            // A Unix socket whose queue is full answers at once instead of waiting (unix(7)).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(limits::CONNECT_PAUSE).await,
            connected => return connected,
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}
