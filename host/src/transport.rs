//! How host and enclave reach each other. Never trusted: the wire and the enclave's own checks do not depend on it.

use std::future::Future;
use std::io;

use wire::{HostOpen, OpenAnswer, Stream, WireError};

pub mod address;
pub mod blocking;
pub mod hybrid;
pub mod tcp;
pub mod unix;
pub mod vsock;

pub use self::address::Address;
pub use self::blocking::Blocking;

use self::hybrid::Hybrid;
use self::tcp::Tcp;
use self::unix::Unix;
use self::vsock::Vsock;

/// A way to open streams to the enclave and to take those that it opens.
pub trait Transport: Send + Sync + 'static {
    /// Port that the enclave opens its streams to.
    fn callback_port(&self) -> u32;
    /// Opens a stream to the enclave.
    fn connect(&self) -> impl Future<Output = io::Result<Stream>> + Send;
    /// The next stream that the enclave opened; those of others are dropped.
    fn accept(&self) -> impl Future<Output = io::Result<Stream>> + Send;
}

/// Opens a stream that the enclave takes for this.
///
/// # Errors
/// It cannot be reached, or refuses.
pub async fn open(transport: &impl Transport, purpose: &HostOpen) -> Result<Stream, WireError> {
    let mut stream = transport.connect().await?;
    wire::write(&mut stream, purpose).await?;
    match wire::read(&mut stream).await? {
        OpenAnswer::Ready => Ok(stream),
        OpenAnswer::Refused(_) => Err(WireError::Closed),
    }
}

/// Any of the transports.
#[derive(Debug)]
pub enum Link {
    /// A process of this machine.
    Unix(Unix),
    /// A VM, through the socket of its monitor.
    Hybrid(Hybrid),
    /// A VM, through the kernel.
    Vsock(Vsock),
    /// Another machine.
    Tcp(Tcp),
}

impl Link {
    /// Listens for whichever enclave listens at this address, now and later.
    ///
    /// # Errors
    /// There is no such transport here, or another host has what enclaves there open their streams to.
    pub fn attach(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Unix(path) => Self::Unix(Unix::attach(path)?),
            Address::Hybrid { path, port } => Self::Hybrid(Hybrid::attach(path, *port)?),
            Address::Vsock { cid, port } => Self::Vsock(Vsock::attach(*cid, *port)?),
            Address::Tcp { host, port } => Self::Tcp(Tcp::attach(host, *port)?),
        })
    }
}

impl Transport for Link {
    fn callback_port(&self) -> u32 {
        match self {
            Self::Unix(unix) => unix.callback_port(),
            Self::Hybrid(hybrid) => hybrid.callback_port(),
            Self::Vsock(vsock) => vsock.callback_port(),
            Self::Tcp(tcp) => tcp.callback_port(),
        }
    }

    async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(unix) => unix.connect().await,
            Self::Hybrid(hybrid) => hybrid.connect().await,
            Self::Vsock(vsock) => vsock.connect().await,
            Self::Tcp(tcp) => tcp.connect().await,
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(unix) => unix.accept().await,
            Self::Hybrid(hybrid) => hybrid.accept().await,
            Self::Vsock(vsock) => vsock.accept().await,
            Self::Tcp(tcp) => tcp.accept().await,
        }
    }
}
