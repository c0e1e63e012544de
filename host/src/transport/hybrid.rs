//! vsock of a VM through the Unix socket of its monitor, as Firecracker, Cloud Hypervisor and vhost-device-vsock have it: a stream to
//! the VM begins with `CONNECT PORT` and `OK PORT`, a stream from the VM comes to the socket's path with `_` and the port.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wire::Stream;

use super::Transport;
use super::unix::Unix;
use crate::limits;

/// `OK` and a number, with room.
const ANSWER: usize = 32;

/// The monitor's socket, and beside it the one for streams that the enclave opens.
#[derive(Debug)]
pub struct Hybrid {
    monitor: Unix,
    port: u32,
}

impl Hybrid {
    /// Listens for whichever enclave listens at this port of whichever VM has this socket, now and later.
    ///
    /// # Errors
    /// The callback socket cannot be made; another host has it.
    pub fn attach(socket: &Path, port: u32) -> io::Result<Self> {
        Ok(Self { monitor: Unix::attach(socket)?, port })
    }
}

/// Asks the monitor for a port of its VM. Nothing behind its answer is read: what follows is the enclave's.
async fn ask(stream: &mut Stream, port: u32) -> io::Result<()> {
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER);
    while answer.last() != Some(&b'\n') && answer.len() < ANSWER {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            // Monitors close where nobody listens in the VM.
            Err(_) => return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the VM has nobody at this port")),
        }
    }
    if !answer.starts_with(b"OK ") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no monitor of a VM answers at this socket"));
    }
    Ok(())
}

impl Transport for Hybrid {
    fn callback_port(&self) -> u32 {
        self.monitor.callback_port()
    }

    async fn connect(&self) -> io::Result<Stream> {
        let connect = async {
            let mut stream = Stream::new(self.monitor.open().await?.into_std()?, limits::VSOCK_WRITE)?;
            ask(&mut stream, self.port).await?;
            Ok(stream)
        };
        timeout(limits::OPEN_TIMEOUT, connect).await?
    }

    async fn accept(&self) -> io::Result<Stream> {
        Stream::new(self.monitor.next().await?.into_std()?, limits::VSOCK_WRITE)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// What connecting gives where a monitor answers this to its first line.
    async fn answered(answer: &'static [u8]) -> (io::Result<Stream>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vsock");
        let listener = UnixListener::bind(&path).unwrap();
        let monitor = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut line = [0; 13];
            stream.read_exact(&mut line).await.unwrap();
            stream.write_all(answer).await.unwrap();
            line.to_vec()
        });
        let stream = Hybrid::attach(&path, 5000).unwrap().connect().await;
        (stream, monitor.await.unwrap())
    }

    #[tokio::test]
    async fn a_stream_begins_behind_the_monitor_s_answer() {
        let (stream, asked) = answered(b"OK 1073741824\nhello").await;
        let mut first = [0; 5];
        stream.unwrap().read_exact(&mut first).await.unwrap();
        assert_eq!((&*asked, &first), (&b"CONNECT 5000\n"[..], b"hello"));
        for (answer, kind) in [
            (&b""[..], io::ErrorKind::ConnectionRefused),
            (b"OK 10", io::ErrorKind::ConnectionRefused),
            (b"HTTP/1.1 400 Bad Request\r\n", io::ErrorKind::InvalidData),
            (&[b'O'; 4096], io::ErrorKind::InvalidData),
        ] {
            assert_eq!(answered(answer).await.0.unwrap_err().kind(), kind, "{answer:?}");
        }
    }
}
