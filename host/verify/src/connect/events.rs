//! Event streams (WHATWG HTML, "Server-sent events"), as far as MCP uses them: the data of each event.

use std::io::{self, BufRead};

/// Calls `each` with the data of every event until the stream ends.
pub(super) fn read(mut stream: impl BufRead, mut each: impl FnMut(Vec<u8>)) -> io::Result<()> {
    let (mut data, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let field = line.trim_ascii_end();
        if field.is_empty() {
            if !data.is_empty() {
                each(std::mem::take(&mut data));
            }
        } else if let Some(value) = field.strip_prefix(b"data:") {
            if !data.is_empty() {
                data.push(b'\n');
            }
            data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn events_are_split() {
        let stream =
            b": hello\r\nevent: message\r\nid: 1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata\n\ndata:two\n\ndata: cut off";
        let mut events = Vec::new();
        super::read(&stream[..], |data| events.push(String::from_utf8(data).unwrap())).unwrap();
        assert_eq!(events, ["{\"a\":\n1}", "two"]);
    }
}
