//! Puts [`Peer`]'s TLS under the HTTP client.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::peer::Peer;

/// Makes every connection one with the peer: handshake first, then who it is, then the client's bytes.
#[derive(Debug)]
pub(super) struct Handshake(pub(super) Arc<Peer>);

impl<In: Transport> Connector<In> for Handshake {
    type Out = Secured<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Secured<In>>, Error> {
        let Some(socket) = chained else { return Ok(None) };
        let mut socket = TransportAdapter::new(socket, Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        let connection = self.shake_hands(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Secured { buffers, stream: StreamOwned::new(connection, socket) }))
    }
}

impl Handshake {
    fn shake_hands(&self, socket: &mut (impl Read + Write)) -> Result<ClientConnection, Error> {
        let wrong = |error: rustls::Error| Error::Io(io::Error::other(error));
        let mut connection = ClientConnection::new(self.0.tls(), self.0.name()?).map_err(wrong)?;
        while connection.is_handshaking() {
            connection.complete_io(socket).map_err(|error| match self.0.refused(&error) {
                Some(refusal) => Error::Other(Box::new(refusal)),
                None => Error::Io(error),
            })?;
        }
        self.0.admit(&connection).map_err(|refusal| Error::Other(Box::new(refusal)))?;
        Ok(connection)
    }
}

/// A connection with the peer.
pub(super) struct Secured<In: Transport> {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter<In>>,
}

impl<In: Transport> fmt::Debug for Secured<In> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secured")
    }
}

impl<In: Transport> Transport for Secured<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(self.buffers.output().get(..amount).unwrap_or_default())?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let received = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(received);
        Ok(received > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
