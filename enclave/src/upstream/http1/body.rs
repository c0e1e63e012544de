//! Bodies of answers (RFC 9112, sections 6.3 and 7.1), taken off a buffer as they arrive.

use bytes::{Buf, Bytes, BytesMut};

use super::Error;
use crate::limits;

/// How much of a body is still to come.
pub(super) enum Body {
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the server closes.
    UntilClose,
}

/// What a buffer held.
pub(super) enum Step {
    /// Some of the body.
    Data(Bytes),
    /// Nothing more of use: read on.
    Wait,
    /// The end of the body.
    End,
}

impl Body {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked { place: Place::Size, overhead: limits::MAX_CHUNK_OVERHEAD })
    }

    /// Takes what comes next off the buffer.
    pub(super) fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Error> {
        match self {
            Self::Length(0) => Ok(Step::End),
            Self::Length(left) => Ok(data(buffer, left)),
            Self::UntilClose => {
                let mut all = u64::MAX;
                Ok(data(buffer, &mut all))
            }
            Self::Chunked(chunks) => chunks.step(buffer),
        }
    }

    /// The stream has ended.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        match self {
            Self::UntilClose => {
                *self = Self::Length(0);
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(Error::Closed),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked { place: Place::End, .. }))
    }

    /// Bytes that are still to come at least.
    pub(super) fn announced(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(_) | Self::UntilClose => 0,
        }
    }
}

/// Smaller pieces are copied, and the connection keeps its buffer; larger ones take the buffer with them.
const COPIED: usize = 4 << 10;

/// Takes data off the buffer, at most what is left.
fn data(buffer: &mut BytesMut, left: &mut u64) -> Step {
    if buffer.is_empty() {
        return Step::Wait;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= length as u64;
    match buffer.get(..length).filter(|piece| piece.len() < COPIED).map(Bytes::copy_from_slice) {
        Some(copy) => {
            buffer.advance(length);
            Step::Data(copy)
        }
        None => Step::Data(buffer.split_to(length).freeze()),
    }
}

/// A body in chunks.
pub(super) struct Chunked {
    place: Place,
    /// Bytes that extensions and trailers may still take.
    overhead: usize,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Place {
    Size,
    /// Data, and after its last byte the end of a line.
    Data(u64),
    Trailers,
    End,
}

/// Digits of a chunk's size: more could not be counted.
const MAX_SIZE_DIGITS: usize = 15;

impl Chunked {
    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Error> {
        loop {
            match &mut self.place {
                Place::End => return Ok(Step::End),
                Place::Data(0) => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.place = Place::Size;
                    }
                    [] | [b'\r'] => return Ok(Step::Wait),
                    _ => return Err(Error::Malformed("a chunk is longer than its size")),
                },
                Place::Data(left) => return Ok(data(buffer, left)),
                Place::Size | Place::Trailers => {
                    let Some(line) = self.line(buffer)? else { return Ok(Step::Wait) };
                    let length = line.len() + b"\r\n".len();
                    self.place = self.after(line)?;
                    buffer.advance(length);
                }
            }
        }
    }

    /// The next line without its end, once it is whole.
    fn line<'b>(&self, buffer: &'b [u8]) -> Result<Option<&'b [u8]>, Error> {
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
            let longest = MAX_SIZE_DIGITS + self.overhead + b"\r".len();
            return if buffer.len() > longest { Err(TOO_MUCH_OVERHEAD) } else { Ok(None) };
        };
        let line = buffer.get(..end).and_then(|line| line.strip_suffix(b"\r")).filter(|line| !line.contains(&b'\r'));
        line.map(Some).ok_or(Error::Malformed("a line between its chunks does not end as lines do"))
    }

    /// What follows a line: of a size, or among the trailers.
    fn after(&mut self, line: &[u8]) -> Result<Place, Error> {
        if matches!(self.place, Place::Trailers) {
            self.spend(line.len())?;
            return Ok(if line.is_empty() { Place::End } else { Place::Trailers });
        }
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        self.spend(line.len() - digits.len())?;
        match size(digits)? {
            0 => Ok(Place::Trailers),
            size => Ok(Place::Data(size)),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.overhead = self.overhead.checked_sub(bytes).ok_or(TOO_MUCH_OVERHEAD)?;
        Ok(())
    }
}

const TOO_MUCH_OVERHEAD: Error = Error::Malformed("it has too many chunk extensions or trailers");

fn size(digits: &[u8]) -> Result<u64, Error> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u64::from);
    let size = digits.iter().try_fold(0, |size, byte| digit(byte).map(|digit| size << 4 | digit));
    size.filter(|_| (1..=MAX_SIZE_DIGITS).contains(&digits.len())).ok_or(Error::Malformed("a chunk has no size"))
}
