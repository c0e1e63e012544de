//! Unix sockets, for a host on the same machine; paths follow the Unix-socket form of vsock (`PATH` and `PATH_PORT`).

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use wire::{Listener, Stream};

use crate::limits;

pub(super) fn listen(path: &Path) -> io::Result<Listener> {
    if UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        // Left by an enclave that has ended.
        std::fs::remove_file(path)?;
    }
    Listener::new(UnixListener::bind(path)?)
}

pub(super) async fn accept(listener: &Listener) -> io::Result<Stream> {
    let (socket, _) = listener.accept().await?;
    Stream::new(socket, usize::MAX)
}

pub(super) fn callback(path: &Path, port: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    PathBuf::from(name)
}

pub(super) async fn connect(path: &Path) -> io::Result<Stream> {
    let (socket, address) = (Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?, SockAddr::unix(path)?);
    for _ in 0..limits::CONNECT_ATTEMPTS {
        match socket.connect(&address) {
            // A Unix socket whose queue is full answers at once instead of waiting (unix(7)).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(limits::CONNECT_PAUSE).await,
            connected => return connected.and_then(|()| Stream::new(socket, usize::MAX)),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}
