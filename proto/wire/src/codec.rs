//! The one place that knows the encoding: bincode 2, standard configuration (little endian, variable-length integers).

use bincode::config::{self, Configuration, Limit};
use bincode::error::{DecodeError, EncodeError};
use thiserror::Error;

use crate::messages::{Message, limits};

/// What the codec refuses.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The bytes are not one message of the expected type.
    #[error("not a valid message: {0}")]
    Decode(#[from] DecodeError),
    /// The message could not be written.
    #[error("message cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// Bytes were left over after the message.
    #[error("{0} trailing bytes after the message")]
    Trailing(usize),
    /// The encoded message is larger than its type allows.
    #[error("message of {found} bytes is over its limit of {limit}")]
    TooLarge {
        /// Encoded size in bytes.
        found: usize,
        /// The type's limit in bytes.
        limit: usize,
    },
}

/// The bytes of one message, without a frame header.
///
/// # Errors
/// [`CodecError::TooLarge`] when the message is over its type's limit.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::encode_to_vec(message, config::standard())?;
    if bytes.len() > M::MAX {
        return Err(CodecError::TooLarge { found: bytes.len(), limit: M::MAX });
    }
    Ok(bytes)
}

/// One message from exactly these bytes.
///
/// Containers are bounded by the size class of the message type before anything is allocated.
///
/// # Errors
/// Bytes that are too long, malformed, or longer than the message.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, CodecError> {
    if bytes.len() > M::MAX {
        return Err(CodecError::TooLarge { found: bytes.len(), limit: M::MAX });
    }
    let (message, used) = if M::MAX <= limits::SMALL {
        decode_within(bytes, limited::<{ limits::SMALL }>())?
    } else {
        decode_within(bytes, limited::<{ limits::LARGE }>())?
    };
    match bytes.len().saturating_sub(used) {
        0 => Ok(message),
        extra => Err(CodecError::Trailing(extra)),
    }
}

type Limited<const N: usize> = Configuration<config::LittleEndian, config::Varint, Limit<N>>;

const fn limited<const N: usize>() -> Limited<N> {
    config::standard().with_limit::<N>()
}

fn decode_within<M: Message, const N: usize>(bytes: &[u8], config: Limited<N>) -> Result<(M, usize), DecodeError> {
    bincode::borrow_decode_from_slice(bytes, config)
}
