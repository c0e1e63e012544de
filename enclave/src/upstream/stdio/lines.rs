//! Lines of bounded length from a stream of bytes.

use bytes::{Bytes, BytesMut};

use crate::error::Code;
use crate::limits;
use crate::upstream::Fault;

/// Splits a byte stream into its lines.
pub(super) struct Lines {
    buffer: BytesMut,
    /// Bytes of the buffer that hold no end of a line.
    searched: usize,
    cap: usize,
}

impl Lines {
    pub(super) fn new(cap: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, cap }
    }

    /// Where the next read goes; it grows with what arrived.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        let room = self.buffer.len().clamp(limits::MIN_READ, limits::MAX_READ);
        self.buffer.reserve(room);
        &mut self.buffer
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next line that is not empty, without its end.
    pub(super) fn next_line(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return if self.searched > self.cap { Err(self.too_large()) } else { Ok(None) };
            };
            let end = std::mem::take(&mut self.searched) + found;
            let line = self.buffer.split_to(end + 1).freeze();
            let length = line.get(..end).unwrap_or_default().trim_ascii_end().len();
            if length > self.cap {
                return Err(self.too_large());
            }
            if length > 0 {
                return Ok(Some(line.slice(..length)));
            }
        }
    }

    fn too_large(&self) -> Fault {
        Fault::new(Code::UpstreamTooLarge, format!("line of the process is over {} bytes", self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use crate::error::Code;

    #[test]
    fn lines_are_split_whatever_the_pieces() {
        for size in 1..9 {
            let mut lines = Lines::new(8);
            let mut found = Vec::new();
            for piece in b"one\r\n\n \ntwo\n12345678\nrest".chunks(size) {
                lines.room().extend_from_slice(piece);
                while let Some(line) = lines.next_line().unwrap() {
                    found.push(line);
                }
            }
            assert_eq!(found, ["one", "two", "12345678"], "{size}");
            assert!(!lines.is_empty());
        }
    }

    #[test]
    fn a_line_over_the_cap_is_refused_before_its_end() {
        for text in ["123456789", "123456789\n"] {
            let mut lines = Lines::new(8);
            lines.room().extend_from_slice(text.as_bytes());
            assert_eq!(lines.next_line().unwrap_err().code, Code::UpstreamTooLarge);
        }
    }
}
