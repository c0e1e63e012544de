//! Unix sockets: in a folder of our own for the enclave that runs as a child process, or where somebody else started one.

use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use wire::Stream;

use super::Transport;
use crate::limits;

/// The port of the callback socket, in its name.
const CALLBACK_PORT: u32 = 1024;

/// The enclave's socket, and beside it the one for streams that it opens.
#[derive(Debug)]
pub struct Unix {
    socket: PathBuf,
    callback: UnixListener,
    /// The enclave's process, whose streams are taken.
    enclave: AtomicI32,
    /// The callback socket, if it is ours to remove and the enclave not ours.
    foreign: Option<PathBuf>,
}

impl Unix {
    /// Listens for the enclave that listens at `socket` and runs as this process.
    ///
    /// # Errors
    /// The callback socket cannot be made.
    pub fn new(socket: &Path, enclave_pid: u32) -> io::Result<Self> {
        let enclave = AtomicI32::new(i32::try_from(enclave_pid).unwrap_or_default());
        Ok(Self { socket: socket.to_owned(), callback: UnixListener::bind(callback(socket))?, enclave, foreign: None })
    }

    /// Listens for whichever enclave listens at `socket`, now and later.
    ///
    /// # Errors
    /// The callback socket cannot be made; another host has it.
    pub fn attach(socket: &Path) -> io::Result<Self> {
        let path = callback(socket);
        if let Err(error) = BlockingStream::connect(&path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            // Left by a host that was killed.
            std::fs::remove_file(&path)?;
        }
        let callback = UnixListener::bind(&path)?;
        Ok(Self { socket: socket.to_owned(), callback, enclave: AtomicI32::default(), foreign: Some(path) })
    }

    /// A queue that is full is no error but a reason to wait; the callers do not wait for ever.
    pub(super) async fn open(&self) -> io::Result<UnixStream> {
        let stream = loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(limits::CONNECT_PAUSE).await,
                other => break other?,
            }
        };
        if self.foreign.is_some() {
            self.enclave.store(stream.peer_cred()?.pid().unwrap_or_default(), Ordering::Relaxed);
        }
        Ok(stream)
    }

    /// Another process of the same user could reach the socket; its streams are dropped.
    pub(super) async fn next(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.callback.accept().await?;
            if stream.peer_cred()?.pid().unwrap_or_default() == self.enclave.load(Ordering::Relaxed) {
                return Ok(stream);
            }
        }
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        if let Some(path) = &self.foreign {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn callback(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(format!("_{CALLBACK_PORT}"));
    path.into()
}

impl Transport for Unix {
    fn callback_port(&self) -> u32 {
        CALLBACK_PORT
    }

    async fn connect(&self) -> io::Result<Stream> {
        Stream::new(self.open().await?.into_std()?, usize::MAX)
    }

    async fn accept(&self) -> io::Result<Stream> {
        Stream::new(self.next().await?.into_std()?, usize::MAX)
    }
}
