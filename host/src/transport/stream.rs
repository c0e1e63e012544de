//! One stream to or from the enclave.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingSocket;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::limits;

/// A connected socket of any family. The kernel reads and writes all alike, so one type serves for all, and none costs another
/// a branch.
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    at_once: usize,
}

/// The same for a thread that blocks.
#[derive(Debug)]
pub struct Blocking {
    socket: BlockingSocket,
    at_once: usize,
}

impl Stream {
    /// A Unix socket.
    pub(super) fn unix(socket: UnixStream) -> Self {
        Self { socket, at_once: usize::MAX }
    }

    /// A Unix socket with a vsock behind it.
    pub(super) fn hybrid(socket: UnixStream) -> Self {
        Self { socket, at_once: limits::VSOCK_WRITE }
    }

    /// A connected, or connecting, socket that does not block.
    pub(super) fn socket(socket: impl Into<OwnedFd>, at_once: usize) -> io::Result<Self> {
        let socket = UnixStream::from_std(BlockingSocket::from(socket.into()))?;
        Ok(Self { socket, at_once })
    }

    /// Waits until a connecting socket is connected, or has failed to.
    pub(super) async fn connected(self) -> io::Result<Self> {
        self.socket.writable().await?;
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// Hands it to a thread that blocks.
    ///
    /// # Errors
    /// It cannot be taken from the runtime.
    pub fn blocking(self) -> io::Result<Blocking> {
        let socket = self.socket.into_std()?;
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(limits::RECALL_TIMEOUT))?;
        Ok(Blocking { socket, at_once: self.at_once })
    }
}

/// As much as is written at once.
fn some(bytes: &[u8], at_once: usize) -> &[u8] {
    bytes.get(..at_once).unwrap_or(bytes)
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = some(bytes, self.at_once);
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Read for Blocking {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.read(bytes)
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(some(bytes, self.at_once))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
