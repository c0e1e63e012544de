//! Event streams (WHATWG HTML, "Server-sent events"), as far as MCP uses them.

use bytes::{Bytes, BytesMut};

/// Splits a byte stream into the data of its events.
#[derive(Default)]
pub(super) struct Parser {
    buffer: BytesMut,
    data: Option<BytesMut>,
    after_cr: bool,
    /// Bytes of the buffer that hold no end of a line: a line in many pieces is searched once.
    searched: usize,
}

impl Parser {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next event that has any.
    pub(super) fn next_event(&mut self) -> Option<Bytes> {
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
                    return Some(data.freeze());
                }
                continue;
            }
            let Some(value) = line.strip_prefix(b"data") else { continue };
            let value = match value.strip_prefix(b":") {
                Some(value) => value.strip_prefix(b" ").unwrap_or(value),
                None if value.is_empty() => value,
                None => continue,
            };
            match &mut self.data {
                Some(data) => {
                    data.extend_from_slice(b"\n");
                    data.extend_from_slice(value);
                }
                None => self.data = Some(BytesMut::from(value)),
            }
        }
        None
    }

    /// The next line without its end: LF, CR LF or CR.
    fn next_line(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.after_cr) {
            match self.buffer.first() {
                None => {
                    self.after_cr = true;
                    return None;
                }
                Some(b'\n') => drop(self.buffer.split_to(1)),
                Some(_) => {}
            }
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = unsearched.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = std::mem::take(&mut self.searched) + found;
        let line = self.buffer.split_to(end).freeze();
        let terminator = self.buffer.split_to(1);
        self.after_cr = terminator.first() == Some(&b'\r');
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::Parser;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk);
            while let Some(event) = parser.next_event() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        events
    }

    #[test]
    fn events_are_split_whatever_the_line_ends_and_chunks() {
        let stream = b": hello\r\nevent: message\r\nid: 1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata\n\ndata:two\n\n";
        let expected = vec!["{\"a\":\n1}".to_owned(), "two".to_owned()];
        assert_eq!(events(&[stream]), expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&bytes), expected);
        assert_eq!(events(&[b"data: x\r\rdata: y\r\r"]), vec!["x", "y"]);
        assert_eq!(events(&[b"dataset: x\n\nretry: 5\n\n"]), Vec::<String>::new());
    }
}
