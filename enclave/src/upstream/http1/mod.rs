//! A client's side of HTTP/1.1 (RFC 9112) over one kept-alive connection, one request at a time.
//!
//! Framing is strict: what could be read in two ways is refused. Memory grows with what arrives, never with what is
//! announced. A connection is used again only if the server left it exactly at the end of its answer.

mod body;
mod head;
mod request;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::body::{Body, Step};
pub use self::head::Head;
pub use self::request::{Method, request};
use crate::limits;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be written down.
    #[error("{0} has a character that a request cannot carry")]
    Unwritable(String),
    /// Not one byte of the request was written: it may be sent again.
    #[error("connection closed before the request")]
    Unsent,
    /// The stream's.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream ended too early.
    #[error("connection closed before the end of the answer")]
    Closed,
    /// Not HTTP/1.1, or not within the limits, or open to more than one reading.
    #[error("answer is not acceptable HTTP/1.1: {0}")]
    Malformed(&'static str),
}

/// A connection between two exchanges: nothing sent that was not answered, nothing received that was not asked for.
pub struct Connection<S> {
    stream: S,
    buffer: BytesMut,
    /// Bytes to make room for before the next read.
    room: usize,
}

/// An answer whose body is still to be read. Dropped before its end, it closes the connection.
pub struct Answer<S> {
    connection: Connection<S>,
    body: Body,
    keep_alive: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream that nobody has used.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new(), room: limits::MIN_READ }
    }

    /// Whether the server has neither closed the connection nor said anything unasked, as far as is known without waiting.
    pub async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        poll_fn(|context| {
            let read = Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte));
            Poll::Ready(read.is_pending())
        })
        .await
    }

    /// Sends the bytes of a [`request()`] and reads the head of the answer.
    ///
    /// # Errors
    /// [`Error::Unsent`] only if not one byte was written.
    pub async fn send(mut self, request: &[u8]) -> Result<(Head, Answer<S>), Error> {
        let written = self.write(request).await?;
        self.room = limits::MIN_READ;
        for _ in 0..limits::MAX_INTERIM_ANSWERS {
            let (head, framing) = self.head().await?;
            match head.status {
                101 => return Err(Error::Malformed("it switches protocols")),
                100..=199 => {}
                _ => {
                    let keep_alive = written && framing.keep_alive;
                    return Ok((head, Answer { connection: self, body: framing.body, keep_alive }));
                }
            }
        }
        Err(Error::Malformed("too many interim answers"))
    }

    /// Whether all of it was written. A server may stop reading early and still say why.
    async fn write(&mut self, request: &[u8]) -> Result<bool, Error> {
        let written = match self.stream.write(request).await {
            Ok(written) if written > 0 => written,
            _ => return Err(Error::Unsent),
        };
        let rest = request.get(written..).unwrap_or_default();
        Ok(self.stream.write_all(rest).await.is_ok() && self.stream.flush().await.is_ok())
    }

    async fn head(&mut self) -> Result<(Head, head::Framing), Error> {
        let mut searched = 0;
        loop {
            if let Some(found) = head::take(&mut self.buffer, &mut searched)? {
                return Ok(found);
            }
            if !self.fill().await? {
                return Err(Error::Closed);
            }
        }
    }

    /// Reads once; false at the end of the stream. Whoever sends more than there is room for gets twice the room.
    async fn fill(&mut self) -> Result<bool, Error> {
        self.buffer.reserve(self.room);
        let room = self.buffer.capacity() - self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if read == room {
            self.room = (self.room * 2).min(limits::MAX_READ);
        }
        Ok(read > 0)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Answer<S> {
    /// The next piece of the body as it comes; `None` at its end.
    ///
    /// # Errors
    /// [`Error`], never [`Error::Unsent`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.step(&mut self.connection.buffer)? {
                Step::Data(bytes) => return Ok(Some(bytes)),
                Step::End => return Ok(None),
                Step::Wait => {}
            }
            if !self.connection.fill().await? {
                self.body.close()?;
            }
        }
    }

    /// Bytes that are still to come at least, by the server's word.
    pub fn announced(&self) -> u64 {
        self.body.announced()
    }

    /// The connection, for the next request: if the server keeps it open, and all of this answer and nothing else has
    /// arrived.
    pub fn into_connection(mut self) -> Option<Connection<S>> {
        while let Ok(Step::Data(_)) = self.body.step(&mut self.connection.buffer) {}
        (self.keep_alive && self.body.has_ended() && self.connection.buffer.is_empty()).then_some(self.connection)
    }
}
