//! What the payload says, for the console: in measure, in printed ASCII, and marked as its words.

use std::io::{Read, Write};
use std::time::Instant;

use crate::limits;

/// Begins each line.
const MARK: &[u8] = b"payload: ";

/// Passes on until there is no more. What exceeds the measure of a moment is left out, never waited for.
pub(super) fn pass_on(mut said: impl Read, console: &mut impl Write) {
    let mut buffer = [0; 4096];
    let mut lines = Lines::default();
    let (mut since, mut room, mut left_out) = (Instant::now(), limits::PAYLOAD_WORDS, 0_usize);
    while let Ok(length @ 1..) = said.read(&mut buffer) {
        if since.elapsed() >= limits::PAYLOAD_WORDS_PER {
            if left_out > 0 {
                let _ = writeln!(console, "\npayload: ({left_out} bytes of its words are left out)");
            }
            (since, room, left_out) = (Instant::now(), limits::PAYLOAD_WORDS, 0);
        }
        let taken = length.min(room);
        let _ = console.write_all(&lines.marked(buffer.get(..taken).unwrap_or_default()));
        room = room.saturating_sub(taken);
        left_out = left_out.saturating_add(length.saturating_sub(taken));
    }
}

/// Where in a line it is.
#[derive(Default)]
struct Lines {
    within: bool,
}

impl Lines {
    fn marked(&mut self, said: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in said {
            if !std::mem::replace(&mut self.within, *byte != b'\n') {
                out.extend_from_slice(MARK);
            }
            out.push(if matches!(byte, b' '..=b'~' | b'\n') { *byte } else { b'?' });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::pass_on;
    use crate::limits;

    #[test]
    fn every_line_is_marked_and_printable() {
        let mut console = Vec::new();
        pass_on(&b"one\nenclave: 2\x1b[2J\n\n\xffthree"[..], &mut console);
        let text = String::from_utf8(console).unwrap();
        assert_eq!(text, "payload: one\npayload: enclave: 2?[2J\npayload: \npayload: ?three");
    }

    #[test]
    fn a_flood_is_cut() {
        let mut console = Vec::new();
        pass_on(&vec![b'x'; limits::PAYLOAD_WORDS * 8][..], &mut console);
        assert_eq!(console.len(), limits::PAYLOAD_WORDS + "payload: ".len());
    }
}
