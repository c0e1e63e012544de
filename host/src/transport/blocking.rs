//! A stream to the enclave on a thread that blocks.

use std::io::{self, Read, Write};

use socket2::Socket;
use wire::Stream;

use crate::limits;

/// A connected socket of any family.
#[derive(Debug)]
pub struct Blocking(Socket);

impl Blocking {
    /// Takes a stream from the runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn new(stream: Stream) -> io::Result<Self> {
        let socket = stream.into_socket()?;
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(limits::RECALL_TIMEOUT))?;
        Ok(Self(socket))
    }
}

impl Read for Blocking {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Blocking {
    /// No more than any transport takes at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes.get(..limits::VSOCK_WRITE).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
