//! One stream between host and enclave: a socket of any family.
//!
//! The kernel reads, writes and polls sockets of every family and pipes alike, so `tokio`'s types for descriptors of which nothing
//! else is used hold them: those of pipes, which alone of them are watched in one direction, and that of Unix sockets for listening.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingSocket;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockAddr, SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

/// A connected socket.
///
/// It is watched for what there is to read, and for room to write only once there was none: a Unix socket tells of room with every
/// message that its peer has read, and whoever watches for it is woken as often.
#[derive(Debug)]
pub struct Stream {
    socket: Receiver,
    /// The same socket, watched for room.
    room: Option<Sender>,
    at_once: usize,
}

/// A socket on which streams arrive.
#[derive(Debug)]
pub struct Listener(UnixStream);

impl Stream {
    /// A connected socket, or one that connects: see [`Stream::connected`]. No write has more than `at_once` bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: impl Into<OwnedFd>, at_once: usize) -> io::Result<Self> {
        Ok(Self { socket: Receiver::from_owned_fd_unchecked(nonblocking(socket)?)?, room: None, at_once })
    }

    /// Waits until a connecting socket is connected.
    ///
    /// # Errors
    /// It cannot be, as the system says.
    pub async fn connected(self) -> io::Result<Self> {
        self.watched_for_room()?.writable().await?;
        match SockRef::from(&self.socket).take_error()? {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// The socket alone, which does not block.
    ///
    /// # Errors
    /// It cannot be taken from the runtime.
    pub fn into_socket(self) -> io::Result<Socket> {
        self.socket.into_nonblocking_fd().map(Socket::from)
    }

    fn watched_for_room(&self) -> io::Result<Sender> {
        Sender::from_owned_fd_unchecked(self.socket.as_fd().try_clone_to_owned()?)
    }
}

impl Listener {
    /// A listening socket.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        UnixStream::from_std(BlockingSocket::from(nonblocking(socket)?)).map(Self)
    }

    /// The next connected socket, and where it came from.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<(Socket, SockAddr)> {
        self.0.async_io(Interest::READABLE, || SockRef::from(&self.0).accept()).await
    }
}

fn nonblocking(socket: impl Into<OwnedFd>) -> io::Result<OwnedFd> {
    let socket = Socket::from(socket.into());
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..self.at_once).unwrap_or(bytes);
        let room = match &mut self.room {
            Some(room) => room,
            None => match (&*SockRef::from(&self.socket)).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let room = self.watched_for_room()?;
                    self.room.insert(room)
                }
                written => return Poll::Ready(written),
            },
        };
        Pin::new(room).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.socket).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair(at_once: usize) -> (Stream, Stream) {
        let (one, other) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        (Stream::new(one, at_once).unwrap(), Stream::new(other, at_once).unwrap())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn much_arrives_whole_at_a_slow_reader() {
        let (mut one, mut other) = pair(usize::MAX);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            one.write_all(&sent).await.unwrap();
            assert!(one.room.is_some(), "there was no room");
            one.shutdown().await.unwrap();
            one
        });
        let (mut got, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            match other.read(&mut buffer).await.unwrap() {
                0 => break,
                read => got.extend_from_slice(&buffer[..read]),
            }
            tokio::task::yield_now().await;
        }
        assert!(got == expected);
        // The other direction is open.
        other.write_all(b"back").await.unwrap();
        let mut back = [0; 4];
        writing.await.unwrap().read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"back");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_is_heard_behind_a_short_read() {
        for wait in [false, true] {
            let (mut one, mut other) = pair(usize::MAX);
            one.write_all(b"last").await.unwrap();
            if !wait {
                drop(one);
                let mut all = Vec::new();
                assert_eq!(other.read_to_end(&mut all).await.unwrap(), 4);
                continue;
            }
            let mut buffer = [0; 100];
            assert_eq!(other.read(&mut buffer).await.unwrap(), 4);
            let ending = tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(one);
            });
            assert_eq!(other.read(&mut buffer).await.unwrap(), 0);
            ending.await.unwrap();
            assert_eq!(other.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_write_has_more_than_it_may() {
        let (mut one, mut other) = pair(10);
        assert_eq!(one.write(&[7; 25]).await.unwrap(), 10);
        assert_eq!(one.write(b"short").await.unwrap(), 5);
        drop(one);
        let mut all = Vec::new();
        assert_eq!(other.read_to_end(&mut all).await.unwrap(), 15);
    }
}
