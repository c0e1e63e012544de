//! The two canonical forms.

use std::io::Write as _;

use super::{Json, JsonError, number};

impl Json {
    /// Sorted ASCII (SA).
    pub fn sorted_ascii(&self) -> String {
        let mut out = Vec::with_capacity(256);
        self.write_sorted_ascii(&mut out);
        out.into_iter().map(char::from).collect()
    }

    /// Appends sorted ASCII (SA).
    pub fn write_sorted_ascii(&self, out: &mut Vec<u8>) {
        match self {
            Self::Float(value) => number::write_float(*value, out),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => write_array(items, out, Self::write_sorted_ascii),
            Self::Object(members) => {
                out.push(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    separate(index, out);
                    write_string(key, out);
                    out.push(b':');
                    value.write_sorted_ascii(out);
                }
                out.push(b'}');
            }
            simple => simple.write_simple(out),
        }
    }

    /// RFC 8785. Refuses floats, and integers beyond 2^53-1: none of our formats has them.
    pub fn jcs(&self) -> Result<String, JsonError> {
        self.check(&|value| match value {
            Self::Float(_) => Err(JsonError::Float),
            other => number::require_safe(other),
        })?;
        let mut out = Vec::with_capacity(256);
        self.write_jcs(&mut out);
        String::from_utf8(out).map_err(|error| JsonError::Syntax(error.to_string()))
    }

    fn write_jcs(&self, out: &mut Vec<u8>) {
        match self {
            Self::String(text) => write_utf8_string(text, out),
            Self::Array(items) => write_array(items, out, Self::write_jcs),
            Self::Object(members) => {
                // RFC 8785, section 3.2.3: keys as UTF-16 code units. Differs from code points beyond U+FFFF.
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
                out.push(b'{');
                for (index, (key, value)) in sorted.into_iter().enumerate() {
                    separate(index, out);
                    write_utf8_string(key, out);
                    out.push(b':');
                    value.write_jcs(out);
                }
                out.push(b'}');
            }
            simple => simple.write_simple(out),
        }
    }

    /// What both forms write alike; nothing for the rest.
    fn write_simple(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(value) => write_display(value, out),
            Self::UInt(value) => write_display(value, out),
            _ => {}
        }
    }
}

fn write_array(items: &[Json], out: &mut Vec<u8>, write: fn(&Json, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        separate(index, out);
        write(item, out);
    }
    out.push(b']');
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

pub(crate) fn write_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

/// Appends a string in sorted-ASCII form, with its quotes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    write_quoted(
        text,
        out,
        |byte| (0x20..=0x7e).contains(&byte),
        |character, out| {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write_unicode_escape(*unit, out);
            }
        },
    );
}

fn write_utf8_string(text: &str, out: &mut Vec<u8>) {
    write_quoted(
        text,
        out,
        |byte| byte >= 0x20,
        |character, out| {
            write_unicode_escape(u16::try_from(u32::from(character)).unwrap_or_default(), out);
        },
    );
}

/// Copies runs of bytes that are `plain` (and neither quote nor backslash), and escapes each character between them.
fn write_quoted(text: &str, out: &mut Vec<u8>, plain: impl Fn(u8) -> bool, escape: impl Fn(char, &mut Vec<u8>)) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let run = run(rest.as_bytes(), |byte| plain(byte) && !matches!(byte, b'"' | b'\\'));
        let (head, tail) = rest.split_at(run);
        out.extend_from_slice(head.as_bytes());
        let mut characters = tail.chars();
        let Some(character) = characters.next() else { break };
        match short_escape(character) {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => escape(character, out),
        }
        rest = characters.as_str();
    }
    out.push(b'"');
}

/// How many bytes from the first on are `plain`. Without an early end within 16 bytes, the compiler looks at all of them at once.
fn run(bytes: &[u8], plain: impl Fn(u8) -> bool) -> usize {
    let (chunks, _) = bytes.as_chunks::<16>();
    let whole = chunks.iter().take_while(|chunk| chunk.iter().fold(true, |all, byte| all & plain(*byte))).count() * 16;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().position(|byte| !plain(*byte)).unwrap_or(rest.len())
}

/// The escapes of two characters, the same in Python and RFC 8785.
fn short_escape(character: char) -> Option<u8> {
    match character {
        '"' => Some(b'"'),
        '\\' => Some(b'\\'),
        '\u{8}' => Some(b'b'),
        '\t' => Some(b't'),
        '\n' => Some(b'n'),
        '\u{c}' => Some(b'f'),
        '\r' => Some(b'r'),
        _ => None,
    }
}

fn write_unicode_escape(unit: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for byte in unit.to_be_bytes() {
        out.extend_from_slice(&crate::hex::pair(byte));
    }
}
