//! vsock: between a VM and whoever runs it, or (context 1) between two processes of one VM.
//!
//! The standard library has no type for such sockets. They are read, written, polled and closed with the same system calls as Unix
//! sockets, so `tokio`'s type for those holds the descriptor; nothing of it that is about addresses is used.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use crate::limits;

/// Every context of this machine (`VMADDR_CID_ANY`).
const ANY: u32 = u32::MAX;
/// The operation goes on in the background (`EINPROGRESS`).
const IN_PROGRESS: i32 = 115;

/// A port on which the host's streams arrive.
pub(super) struct Listener(UnixStream);

impl Listener {
    pub(super) fn bind(port: u32) -> io::Result<Self> {
        let socket = socket()?;
        socket.bind(&SockAddr::vsock(ANY, port))?;
        socket.listen(limits::BACKLOG)?;
        polled(socket).map(Self)
    }

    /// The next stream, and the context that it came from.
    pub(super) async fn accept(&self) -> io::Result<(Stream, u32)> {
        let accept = || SockRef::from(&self.0).accept();
        let (socket, from) = self.0.async_io(Interest::READABLE, accept).await?;
        let (cid, _) = from.as_vsock_address().ok_or(io::ErrorKind::InvalidData)?;
        socket.set_nonblocking(true)?;
        Ok((Stream(polled(socket)?), cid))
    }
}

/// Opens a stream; the kernel gives up after two seconds without an answer.
pub(super) async fn connect(cid: u32, port: u32) -> io::Result<Stream> {
    let socket = socket()?;
    match socket.connect(&SockAddr::vsock(cid, port)) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
        _ => {}
    }
    let stream = Stream(polled(socket)?);
    stream.0.writable().await?;
    match stream.0.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::VSOCK, Type::STREAM.nonblocking(), None)
}

fn polled(socket: Socket) -> io::Result<UnixStream> {
    UnixStream::from_std(BlockingStream::from(OwnedFd::from(socket)))
}

/// A connected stream.
pub(super) struct Stream(UnixStream);

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    /// In pieces: the kernel hands a large one over as a chain that some devices drop, and the stream with it.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let piece = bytes.get(..limits::VSOCK_PIECE).unwrap_or(bytes);
        Pin::new(&mut self.get_mut().0).poll_write(context, piece)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::{Listener, Stream};
    use crate::limits;

    #[tokio::test(flavor = "current_thread")]
    async fn no_write_is_longer_than_a_piece() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream(ours);
        assert_eq!(stream.write(&vec![7; limits::VSOCK_PIECE * 2]).await.unwrap(), limits::VSOCK_PIECE);
        assert_eq!(stream.write(b"short").await.unwrap(), 5);
        drop(stream);
        let mut all = Vec::new();
        assert_eq!(theirs.read_to_end(&mut all).await.unwrap(), limits::VSOCK_PIECE + 5);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_port_is_listened_on_once() {
        // Machines without vsock are left out here: what passes over it is tried in VMs.
        let Ok(first) = Listener::bind(0x7000_0001) else { return };
        assert!(Listener::bind(0x7000_0001).is_err());
        drop(first);
        Listener::bind(0x7000_0001).unwrap();
    }
}
