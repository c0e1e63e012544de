//! Unix sockets in a folder of our own, for the enclave that runs as a child process.

use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use super::Transport;
use crate::limits;

/// The port of the callback socket, in its name.
const CALLBACK_PORT: u32 = 1024;

/// The enclave's socket, and beside it the one for streams that it opens.
#[derive(Debug)]
pub struct Unix {
    socket: PathBuf,
    callback: UnixListener,
    enclave_pid: u32,
}

impl Unix {
    /// Listens for the enclave that listens at `socket` and runs as this process.
    ///
    /// # Errors
    /// The callback socket cannot be made.
    pub fn new(socket: &Path, enclave_pid: u32) -> io::Result<Self> {
        let mut callback = socket.as_os_str().to_owned();
        callback.push(format!("_{CALLBACK_PORT}"));
        Ok(Self { socket: socket.to_owned(), callback: UnixListener::bind(callback)?, enclave_pid })
    }
}

impl Transport for Unix {
    type Stream = UnixStream;
    type Blocking = BlockingStream;

    fn callback_port(&self) -> u32 {
        CALLBACK_PORT
    }

    /// A queue that is full is no error but a reason to wait; the callers do not wait for ever.
    async fn connect(&self) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(limits::CONNECT_PAUSE).await,
                other => return other,
            }
        }
    }

    /// Another process of the same user could reach the socket; its streams are dropped.
    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.callback.accept().await?;
            if stream.peer_cred()?.pid() == i32::try_from(self.enclave_pid).ok() {
                return Ok(stream);
            }
        }
    }

    fn blocking(stream: UnixStream) -> io::Result<BlockingStream> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(limits::RECALL_TIMEOUT))?;
        Ok(stream)
    }
}
