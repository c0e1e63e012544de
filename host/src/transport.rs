//! How host and enclave reach each other. Never trusted: the wire and the enclave's own checks do not depend on it.

use std::future::Future;
use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncWrite};

pub mod unix;

/// A way to open streams to the enclave and to take those that it opens.
pub trait Transport: Send + Sync + 'static {
    /// One stream.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// The same stream for a thread that blocks.
    type Blocking: Read + Write + Send + 'static;

    /// Port that the enclave opens its streams to.
    fn callback_port(&self) -> u32;
    /// Opens a stream to the enclave.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// The next stream that the enclave opened.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// Hands a stream to a thread that blocks.
    ///
    /// # Errors
    /// The stream cannot be taken from the runtime.
    fn blocking(stream: Self::Stream) -> io::Result<Self::Blocking>;
}
