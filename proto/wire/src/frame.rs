//! Frame header and framed reading and writing, for tokio streams and for plain blocking ones.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::{CodecError, decode, encode};
use crate::messages::Message;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"cMCP";
/// Version of the wire format; any other is refused.
pub const VERSION: u16 = 1;
/// Size of a frame header in bytes.
pub const HEADER_LEN: usize = 12;

/// Reserved for a payload before its bytes arrive: a usual batch in one read, and no more than a pipe holds for a lie.
const RESERVE: usize = 64 << 10;

/// Why a frame could not be read or written.
#[derive(Debug, Error)]
pub enum WireError {
    /// The stream ended at a frame boundary.
    #[error("stream closed")]
    Closed,
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame")]
    Truncated,
    /// Not our protocol.
    #[error("frame does not start with the magic bytes")]
    Magic,
    /// Another version of the protocol.
    #[error("frame version {0}, expected {VERSION}")]
    Version(u16),
    /// A frame of a type that is not expected here.
    #[error("frame kind {found}, expected {expected}")]
    Kind {
        /// Kind in the header.
        found: u16,
        /// Kind of the message that was to be read.
        expected: u16,
    },
    /// The header announces more than the type allows.
    #[error("frame of {found} bytes is over the limit of {limit}")]
    TooLarge {
        /// Announced payload size in bytes.
        found: usize,
        /// The type's limit in bytes.
        limit: usize,
    },
    /// The payload is not the message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
}

/// A parsed frame header: magic (4 bytes), version (u16 LE), kind (u16 LE), payload length (u32 LE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which message type the payload is.
    pub kind: u16,
    /// Payload length in bytes.
    pub length: u32,
}

impl Header {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let (magic, rest) = bytes.split_at_mut(4);
        magic.copy_from_slice(&MAGIC);
        let (version, rest) = rest.split_at_mut(2);
        version.copy_from_slice(&VERSION.to_le_bytes());
        let (kind, length) = rest.split_at_mut(2);
        kind.copy_from_slice(&self.kind.to_le_bytes());
        length.copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Wrong magic or version.
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, v0, v1, k0, k1, l0, l1, l2, l3] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(WireError::Magic);
        }
        match u16::from_le_bytes([v0, v1]) {
            VERSION => Ok(Self { kind: u16::from_le_bytes([k0, k1]), length: u32::from_le_bytes([l0, l1, l2, l3]) }),
            other => Err(WireError::Version(other)),
        }
    }

    /// The payload length in bytes, if this header may announce an `M`.
    fn length_of<M: Message>(self) -> Result<usize, WireError> {
        if self.kind != M::KIND {
            return Err(WireError::Kind { found: self.kind, expected: M::KIND });
        }
        match usize::try_from(self.length) {
            Ok(length) if length <= M::MAX => Ok(length),
            other => Err(WireError::TooLarge { found: other.unwrap_or(usize::MAX), limit: M::MAX }),
        }
    }
}

/// One whole frame: header and payload.
fn frame<M: Message>(message: &M) -> Result<Vec<u8>, WireError> {
    let payload = encode(message)?;
    let length =
        u32::try_from(payload.len()).map_err(|_| WireError::TooLarge { found: payload.len(), limit: M::MAX })?;
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend_from_slice(&Header { kind: M::KIND, length }.to_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Reads one frame that must hold an `M`. Past 64 KiB memory grows with the bytes that arrive, not with the length announced.
///
/// # Errors
/// See [`WireError`]; [`WireError::Closed`] only at a frame boundary.
pub async fn read<M: Message>(stream: &mut (impl AsyncRead + Unpin)) -> Result<M, WireError> {
    let mut header = [0; HEADER_LEN];
    let mut filled = 0;
    while let Some(rest) = header.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await? {
            0 if filled == 0 => return Err(WireError::Closed),
            0 => return Err(WireError::Truncated),
            n => filled += n,
        }
    }
    let length = Header::parse(header)?.length_of::<M>()?;
    let mut payload = Vec::with_capacity(length.min(RESERVE));
    stream.take(length as u64).read_to_end(&mut payload).await?;
    if payload.len() < length {
        return Err(WireError::Truncated);
    }
    Ok(decode(&payload)?)
}

/// Writes one frame and flushes it.
///
/// # Errors
/// A message over its limit, or a failed stream.
pub async fn write<M: Message>(stream: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), WireError> {
    stream.write_all(&frame(message)?).await?;
    Ok(stream.flush().await?)
}

/// The same over plain blocking streams.
pub mod blocking {
    use std::io::{Read, Write};

    use super::{HEADER_LEN, Header, Message, RESERVE, WireError, decode, frame};

    /// Reads one frame that must hold an `M`.
    ///
    /// # Errors
    /// See [`WireError`]; [`WireError::Closed`] only at a frame boundary.
    pub fn read<M: Message>(stream: &mut impl Read) -> Result<M, WireError> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        stream.take(HEADER_LEN as u64).read_to_end(&mut header)?;
        if header.is_empty() {
            return Err(WireError::Closed);
        }
        let header = header.try_into().map_err(|_| WireError::Truncated)?;
        let length = Header::parse(header)?.length_of::<M>()?;
        let mut payload = Vec::with_capacity(length.min(RESERVE));
        stream.take(length as u64).read_to_end(&mut payload)?;
        if payload.len() < length {
            return Err(WireError::Truncated);
        }
        Ok(decode(&payload)?)
    }

    /// Writes one frame and flushes it.
    ///
    /// # Errors
    /// A message over its limit, or a failed stream.
    pub fn write<M: Message>(stream: &mut impl Write, message: &M) -> Result<(), WireError> {
        stream.write_all(&frame(message)?)?;
        Ok(stream.flush()?)
    }
}
