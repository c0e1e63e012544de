//! Bytes both ways between an agent or a tool server and the enclave.
//!
//! There is no half-close: the end of either side flushes what was read and closes both. A connection owns no buffer while
//! it is idle: reads go to one buffer per thread and from there straight to the other side; only what that side does not
//! take at once is kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::limits;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::RELAY_BUFFER].into());
}

/// Relays until either side ends and the other has taken what was read from it.
///
/// `near` is the peer on the network. If the enclave ends first, `near` hears the end of the stream, and what it still
/// sends is read for a moment: closing with unread bytes would reset the connection and could overtake the last answer.
pub async fn relay<N, E>(mut near: N, mut enclave: E)
where
    N: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let (mut inward, mut outward) = (Flow::default(), Flow::default());
    let ended = poll_fn(|cx| {
        if inward.poll(cx, &mut near, &mut enclave).is_ready() {
            return Poll::Ready(Ended::Near);
        }
        outward.poll(cx, &mut enclave, &mut near).map(|()| Ended::Enclave)
    })
    .await;
    if let Ended::Enclave = ended {
        linger(&mut near).await;
    }
}

enum Ended {
    Near,
    Enclave,
}

/// One direction.
#[derive(Default)]
struct Flow {
    /// Read, and not taken yet by the sink.
    pending: Vec<u8>,
    sent: usize,
    /// The sink takes no more. Its own end follows, and may come with a last answer before it.
    sink_closed: bool,
}

impl Flow {
    /// Moves bytes until the source ends. Nothing is read while bytes are pending, so none are left then.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<()> {
        loop {
            if self.sink_closed {
                return Poll::Pending;
            }
            ready!(self.poll_pending(cx, sink));
            if ready!(self.poll_once(cx, source, sink)) == 0 {
                return Poll::Ready(());
            }
        }
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>, sink: &mut (impl AsyncWrite + Unpin)) -> Poll<()> {
        while let Some(rest) = self.pending.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *sink).poll_write(cx, rest)) {
                Ok(written) if written > 0 => self.sent += written,
                _ => {
                    self.sink_closed = true;
                    break;
                }
            }
        }
        self.pending.clear();
        self.sent = 0;
        Poll::Ready(())
    }

    /// One read and, for what it gave, one write. An error of the source is its end.
    fn poll_once(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<usize> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            if ready!(Pin::new(source).poll_read(cx, &mut buffer)).is_err() {
                return Poll::Ready(0);
            }
            self.offer(cx, buffer.filled(), sink);
            Poll::Ready(buffer.filled().len())
        })
    }

    fn offer(&mut self, cx: &mut Context<'_>, bytes: &[u8], sink: &mut (impl AsyncWrite + Unpin)) {
        if bytes.is_empty() {
            return;
        }
        match Pin::new(sink).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) if written > 0 => {
                self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
            }
            Poll::Ready(_) => self.sink_closed = true,
            Poll::Pending => self.pending.extend_from_slice(bytes),
        }
    }
}

async fn linger(near: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let drain = async {
        near.shutdown().await?;
        let mut buffer = [0; 4096];
        while near.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(limits::LINGER, drain).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::*;

    fn run<F: Future<Output = ()>>(future: F) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    }

    #[test]
    fn relays_much_both_ways_with_a_slow_reader() {
        run(async {
            let (mut agent, near) = duplex(1000);
            let (enclave, mut served) = duplex(77);
            tokio::spawn(relay(near, enclave));
            let up: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let down: Vec<u8> = up.iter().rev().copied().collect();
            let (up2, down2) = (up.clone(), down.clone());
            let reading = tokio::spawn(async move {
                let mut got = vec![0; up2.len()];
                let (mut read, mut write) = tokio::io::split(&mut served);
                let (read, written) = tokio::join!(read.read_exact(&mut got), write.write_all(&down2));
                read.unwrap();
                written.unwrap();
                assert_eq!(got, up2);
            });
            let mut got = vec![0; down.len()];
            let (mut read, mut write) = tokio::io::split(&mut agent);
            let (read_result, written) = tokio::join!(read.read_exact(&mut got), write.write_all(&up));
            read_result.unwrap();
            written.unwrap();
            assert_eq!(got, down);
            reading.await.unwrap();
        });
    }

    #[test]
    fn the_end_of_either_side_flushes_and_closes_both() {
        run(async {
            for near_ends in [true, false] {
                let (mut agent, near) = duplex(64 << 10);
                let (enclave, mut served) = duplex(10);
                let relay = tokio::spawn(relay(near, enclave));
                let (ending, mut other) = if near_ends { (&mut agent, served) } else { (&mut served, agent) };
                ending.write_all(&[7; 5]).await.unwrap();
                ending.shutdown().await.unwrap();
                let mut got = Vec::new();
                other.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, [7; 5]);
                drop(other);
                relay.await.unwrap();
            }
        });
    }

    #[test]
    fn an_answer_before_the_whole_request_arrives_whole() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut agent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (enclave, mut served) = UnixStream::pair().unwrap();
            tokio::spawn(relay(listener.accept().await.unwrap().0, enclave));
            let answer = vec![b'a'; 300_000];
            let expected = answer.clone();
            tokio::spawn(async move {
                let mut some = [0; 100];
                served.read_exact(&mut some).await.unwrap();
                // Closes with most of the request unread.
                served.write_all(&answer).await.unwrap();
            });
            let (mut read, mut write) = agent.split();
            let (mut got, request) = (Vec::new(), vec![b'q'; 8 << 20]);
            let (result, _) = tokio::join!(read.read_to_end(&mut got), write.write_all(&request));
            result.unwrap();
            assert_eq!(got.len(), expected.len());
        });
    }
}
