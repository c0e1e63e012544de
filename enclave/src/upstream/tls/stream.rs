//! The stream inside TLS, with two properties that the pool relies on: an error of the first write means that not one byte of the
//! request left, and a connection that is dropped says so to its server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::transport::BoxStream;

/// What is under TLS. It remembers whether something was written.
pub(super) struct Counted {
    stream: BoxStream,
    written: u64,
}

impl Counted {
    pub(super) fn new(stream: BoxStream) -> Self {
        Self { stream, written: 0 }
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.written = self.written.saturating_add(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream inside TLS. Its end is an end only with the server's close_notify (RFC 8446, section 6.1); without it, it is an error.
pub(super) struct Secured(TlsStream<Counted>);

impl Secured {
    pub(super) fn new(stream: TlsStream<Counted>) -> Self {
        Self(stream)
    }

    fn written(&self) -> u64 {
        self.0.get_ref().0.written
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let before = self.written();
        match ready!(Pin::new(&mut self.0).poll_write(cx, bytes)) {
            // Some of it is on its way: whoever asks whether a byte was written is told yes, and gets the error next time.
            Err(_) if self.written() > before => Poll::Ready(Ok(bytes.len().min(1))),
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for Secured {
    /// Sends close_notify as far as that goes without waiting.
    fn drop(&mut self) {
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}
