//! A tool server's answers as HTTP: no panic, and the same is read in whatever pieces they come. The first byte is the size
//! of the pieces.
#![no_main]

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use enclave::upstream::http1::Connection;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A server that has said all it will say.
struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let size = self.size.min(into.remaining()).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at(size);
        into.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn read(stream: Pieces<'_>) -> Option<(u16, Option<String>, Vec<u8>)> {
    let (head, mut answer) = Connection::new(stream).send(b"x").await.ok()?;
    let content_type = head.field("content-type").map(str::to_owned);
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.ok()? {
        assert!(!piece.is_empty());
        body.extend_from_slice(&piece);
    }
    let _ = answer.into_connection();
    Some((head.status, content_type, body))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let read = |size| match pin!(read(Pieces { bytes, size })).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => unreachable!("the stream never waits"),
    };
    assert_eq!(read(usize::from(size).max(1)), read(usize::MAX));
});
