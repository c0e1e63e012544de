//! Event streams (WHATWG HTML, "Server-sent events"), as far as MCP uses them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::limits;

/// Splits a byte stream into the data of its events.
#[derive(Default)]
pub(super) struct Parser {
    buffer: BytesMut,
    data: Option<BytesMut>,
    after_cr: bool,
    /// Bytes of the buffer that hold no end of a line: a line in many pieces is searched once.
    searched: usize,
    /// The id of the event that is being read, or of the last one.
    id: Option<String>,
    /// The id of the last whole event.
    last_event: Option<String>,
    pause: Option<Duration>,
}

/// Where a stream that ended can be taken up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// For header `Last-Event-ID`.
    pub(super) last_event: String,
    /// How long the server wants to be left alone before.
    pub(super) pause: Duration,
}

impl Parser {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next event that has any.
    pub(super) fn next_event(&mut self) -> Option<Bytes> {
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                self.last_event.clone_from(&self.id);
                if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
                    return Some(data.freeze());
                }
                continue;
            }
            let (field, value) = split(&line);
            match (field, &mut self.data) {
                (b"data", Some(data)) => {
                    data.extend_from_slice(b"\n");
                    data.extend_from_slice(value);
                }
                (b"data", data) => *data = Some(BytesMut::from(value)),
                (b"id", _) => self.id = event_id(value),
                (b"retry", _) => self.pause = milliseconds(value).or(self.pause),
                _ => {}
            }
        }
        None
    }

    /// Where the stream can be taken up again, if its last event had an id.
    pub(super) fn place(&self) -> Option<Place> {
        let pause = self.pause.unwrap_or(limits::RESUME_PAUSE).max(limits::MIN_RESUME_PAUSE);
        self.last_event.clone().map(|last_event| Place { last_event, pause })
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

/// The field of a line and its value; a comment has an empty field.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let value = line.get(end + 1..).unwrap_or_default();
    (line.get(..end).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
}

/// An id that a header can carry.
fn event_id(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))?;
    (1..=limits::MAX_EVENT_ID).contains(&text.len()).then(|| text.to_owned())
}

fn milliseconds(value: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn a_place_is_that_of_the_last_whole_event() {
        let place = |stream: &str| {
            let mut parser = Parser::default();
            parser.push(stream.as_bytes());
            while parser.next_event().is_some() {}
            parser.place().map(|place| (place.last_event, place.pause))
        };
        let second = Duration::from_secs(1);
        assert_eq!(place("id: a\ndata:\n\n"), Some(("a".to_owned(), second)));
        assert_eq!(place("id:a\nretry: 500\n\ndata: x\n\n"), Some(("a".to_owned(), second / 2)));
        assert_eq!(place("id: a\n\nid: b\ndata: x\n"), Some(("a".to_owned(), second)), "an event that broke off");
        assert_eq!(place("id: a b\nretry: soon\nretry: 0\n\n"), Some(("a b".to_owned(), second / 10)));
        let long = format!("id: {}\n\n", "x".repeat(2000));
        for none in ["data: x\n\n", "id: a\n\nid\n\n", "id: a\n\nid: \u{e9}\n\n", "id: a\tb\n\n", "id: a\n", &long] {
            assert_eq!(place(none), None, "{none}");
        }
    }
}
