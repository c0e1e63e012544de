//! Writes the members of an object one after another, straight into a buffer. The caller writes them in code point
//! order of their keys; that is what makes the result sorted ASCII without a tree in between.

use crate::digest::Digest;
use crate::json::{Json, write_string};
use crate::time::Timestamp;

pub(crate) struct Members<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Members<'a> {
    /// Opens an object. Keys must be printable ASCII without quote and backslash.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        write_string(value, self.key(key));
    }

    pub(crate) fn text_or_null(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    pub(crate) fn json_or_null(&mut self, key: &str, value: Option<&Json>) {
        match value {
            Some(value) => value.write_sorted_ascii(self.key(key)),
            None => self.null(key),
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        write_decimal(value, self.key(key));
    }

    pub(crate) fn number_or_null(&mut self, key: &str, value: Option<u64>) {
        match value {
            Some(value) => self.number(key, value),
            None => self.null(key),
        }
    }

    /// Bare digits.
    pub(crate) fn hex(&mut self, key: &str, value: &Digest) {
        let out = self.key(key);
        out.push(b'"');
        value.write_hex(out);
        out.push(b'"');
    }

    /// Digits with `sha256:`.
    pub(crate) fn digest(&mut self, key: &str, value: &Digest) {
        let out = self.key(key);
        out.extend_from_slice(b"\"sha256:");
        value.write_hex(out);
        out.push(b'"');
    }

    pub(crate) fn digest_or_null(&mut self, key: &str, value: Option<&Digest>) {
        match value {
            Some(value) => self.digest(key, value),
            None => self.null(key),
        }
    }

    pub(crate) fn time(&mut self, key: &str, value: Timestamp) {
        let out = self.key(key);
        out.push(b'"');
        value.write(out);
        out.push(b'"');
    }

    fn null(&mut self, key: &str) {
        self.key(key).extend_from_slice(b"null");
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> usize {
        self.out.len()
    }
}

fn write_decimal(mut value: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0'.saturating_add(u8::try_from(value % 10).unwrap_or_default()));
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}
