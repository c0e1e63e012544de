//! How streams reach the enclave and how it opens its own. The transport is never trusted.

mod unix;

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::limits;

/// A bidirectional byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A stream of either kind of transport.
pub type BoxStream = Box<dyn Stream>;

/// Where the enclave listens, from its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket; streams towards the host go to the same path plus `_` and the callback port.
    Unix(PathBuf),
}

impl Address {
    /// Reads `unix:PATH`.
    ///
    /// # Errors
    /// What is accepted, as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err(format!("address {text:?} is not unix:PATH")),
        }
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Unix(path) => Ok(Listener(unix::listen(path)?)),
        }
    }

    /// Where streams towards the host go, given the port that the host named on its control stream.
    pub fn callback(&self, port: u32) -> Callback {
        match self {
            Self::Unix(path) => Callback(unix::callback(path, port)),
        }
    }
}

/// Accepts the host's streams.
pub struct Listener(tokio::net::UnixListener);

impl Listener {
    /// The next stream.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<BoxStream> {
        let (stream, _) = self.0.accept().await?;
        Ok(Box::new(stream))
    }
}

/// Opens streams towards the host.
#[derive(Clone, Debug)]
pub struct Callback(PathBuf);

impl Callback {
    /// A new stream.
    ///
    /// # Errors
    /// The system's.
    pub async fn open(&self) -> io::Result<BoxStream> {
        for _ in 0..limits::CONNECT_ATTEMPTS {
            match tokio::net::UnixStream::connect(&self.0).await {
                // A Unix socket whose queue is full answers at once instead of waiting (unix(7)).
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(limits::CONNECT_PAUSE).await;
                }
                connected => return Ok(Box::new(connected?)),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}
