//! AF_VSOCK: an enclave in a VM of this machine, or, at CID 1, on the machine that this host is on too.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::timeout;
use wire::{Listener, Stream};

use super::Transport;
use crate::limits;

/// Where enclaves open their streams.
const CALLBACK_PORT: u32 = 1024;
/// Every CID of this machine.
const ANY: u32 = u32::MAX;
const QUEUE: i32 = 1024;

/// The enclave's CID and port, and the port for streams that it opens.
#[derive(Debug)]
pub struct Vsock {
    cid: u32,
    port: u32,
    callback: Listener,
}

impl Vsock {
    /// Listens for whichever enclave listens at this port of whichever VM has this CID, now and later.
    ///
    /// # Errors
    /// The kernel has no vsock, or another host has the callback port.
    pub fn attach(cid: u32, port: u32) -> io::Result<Self> {
        Self::listening(cid, port, CALLBACK_PORT)
    }

    fn listening(cid: u32, port: u32, callback: u32) -> io::Result<Self> {
        let socket = socket()?;
        socket.bind(&SockAddr::vsock(ANY, callback))?;
        socket.listen(QUEUE)?;
        Ok(Self { cid, port, callback: Listener::new(socket)? })
    }
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::VSOCK, Type::STREAM.nonblocking(), None)
}

impl Transport for Vsock {
    fn callback_port(&self) -> u32 {
        CALLBACK_PORT
    }

    async fn connect(&self) -> io::Result<Stream> {
        let socket = socket()?;
        match socket.connect(&SockAddr::vsock(self.cid, self.port)) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let stream = Stream::new(socket, limits::VSOCK_WRITE)?;
        timeout(limits::OPEN_TIMEOUT, stream.connected()).await?
    }

    async fn accept(&self) -> io::Result<Stream> {
        loop {
            let (socket, peer) = self.callback.accept().await?;
            if peer.as_vsock_address().is_some_and(|(cid, _)| cid == self.cid) {
                return Stream::new(socket, limits::VSOCK_WRITE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a VM that is all that can be tried; the rest is in `tests/tests/vm`.
    #[tokio::test]
    async fn a_second_host_is_told_that_the_port_is_taken() {
        let (port, mut tried) = (0x7000_0000 | std::process::id(), 0);
        if let Ok(_held) = Vsock::listening(3, 5000, port) {
            assert_eq!(Vsock::listening(3, 5000, port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            tried += 1;
        }
        assert!(tried == 1 || Socket::new(Domain::VSOCK, Type::STREAM, None).is_err(), "where there is vsock");
    }
}
