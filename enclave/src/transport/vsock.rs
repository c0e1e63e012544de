//! vsock: between a VM and whoever runs it, or (context 1) between two processes of one VM.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};
use wire::Stream;

use crate::limits;

/// Every context of this machine (`VMADDR_CID_ANY`).
const ANY: u32 = u32::MAX;
/// The operation goes on in the background (`EINPROGRESS`).
const IN_PROGRESS: i32 = 115;

/// A port on which the host's streams arrive.
pub(super) struct Listener(wire::Listener);

impl Listener {
    pub(super) fn bind(port: u32) -> io::Result<Self> {
        let socket = socket()?;
        socket.bind(&SockAddr::vsock(ANY, port))?;
        socket.listen(limits::BACKLOG)?;
        wire::Listener::new(socket).map(Self)
    }

    /// The next stream, and the context that it came from.
    pub(super) async fn accept(&self) -> io::Result<(Stream, u32)> {
        let (socket, from) = self.0.accept().await?;
        let (cid, _) = from.as_vsock_address().ok_or(io::ErrorKind::InvalidData)?;
        Ok((Stream::new(socket, limits::VSOCK_PIECE)?, cid))
    }
}

/// Opens a stream; the kernel gives up after two seconds without an answer.
pub(super) async fn connect(cid: u32, port: u32) -> io::Result<Stream> {
    let socket = socket()?;
    match socket.connect(&SockAddr::vsock(cid, port)) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
        _ => {}
    }
    Stream::new(socket, limits::VSOCK_PIECE)?.connected().await
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::VSOCK, Type::STREAM.nonblocking(), None)
}

#[cfg(test)]
mod tests {
    use super::Listener;

    #[tokio::test(flavor = "current_thread")]
    async fn a_port_is_listened_on_once() {
        // Machines without vsock are left out here: what passes over it is tried in VMs.
        let Ok(first) = Listener::bind(0x7000_0001) else { return };
        assert!(Listener::bind(0x7000_0001).is_err());
        drop(first);
        Listener::bind(0x7000_0001).unwrap();
    }
}
