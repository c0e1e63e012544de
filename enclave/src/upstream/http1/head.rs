//! Heads of answers, parsed by `httparse`, and what they say of the body (RFC 9112, section 6).

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, BytesMut};
use httparse::{Header, ParserConfig, Response, Status};

use super::Error;
use super::body::Body;
use crate::limits;

/// Status and header fields.
#[derive(Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    text: Box<[u8]>,
    /// Where names and values are in the text.
    fields: Vec<(Range<usize>, Range<usize>)>,
}

impl Head {
    /// The value of the first field of this name, if it is text.
    pub fn field(&self, name: &str) -> Option<&str> {
        let is_named = |range: &Range<usize>| self.slice(range).eq_ignore_ascii_case(name.as_bytes());
        let (_, value) = self.fields.iter().find(|(found, _)| is_named(found))?;
        std::str::from_utf8(self.slice(value)).ok()
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

/// Where the answer ends, and whether the connection goes on.
pub(super) struct Framing {
    pub(super) body: Body,
    pub(super) keep_alive: bool,
}

/// Takes a head off the buffer, once it is whole. `searched` is for the next attempt, when more has arrived: no byte is
/// looked at twice until then, however small the pieces.
pub(super) fn take(buffer: &mut BytesMut, searched: &mut usize) -> Result<Option<(Head, Framing)>, Error> {
    if buffer.iter().zip(b"HTTP/1.").any(|(found, expected)| found != expected) {
        return Err(Error::Malformed("it does not begin with HTTP/1"));
    }
    let end = after_empty_line(buffer, *searched);
    if end.unwrap_or(buffer.len()) > limits::MAX_HEAD_BYTES {
        return Err(Error::Malformed("its head is too long"));
    }
    let Some(text) = end.and_then(|end| buffer.get(..end)) else {
        *searched = buffer.len();
        return Ok(None);
    };
    let parsed = parse(text)?;
    let length = text.len();
    buffer.advance(length);
    Ok(Some(parsed))
}

/// Where the first empty line ends; none does in what was searched before.
fn after_empty_line(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut line = searched.saturating_sub(2);
    loop {
        line += bytes.get(line..)?.iter().position(|byte| *byte == b'\n')? + 1;
        match bytes.get(line..)? {
            [b'\n', ..] => return Some(line + 1),
            [b'\r', b'\n', ..] => return Some(line + 2),
            _ => {}
        }
    }
}

fn parse(text: &[u8]) -> Result<(Head, Framing), Error> {
    let mut slots = [const { MaybeUninit::uninit() }; limits::MAX_ANSWER_FIELDS];
    let mut response = Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut response, text, &mut slots) {
        Ok(Status::Complete(length)) if length == text.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Error::Malformed("it has too many header fields")),
        _ => return Err(Error::Malformed("its head cannot be parsed")),
    }
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(Error::Malformed("it has no status"));
    };
    let place = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        start..start.saturating_add(part.len())
    };
    let fields = response.headers.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect();
    Ok((Head { status, text: text.into(), fields }, framing(status, version, response.headers)?))
}

fn framing(status: u16, version: u8, fields: &[Header<'_>]) -> Result<Framing, Error> {
    let length = content_length(fields)?;
    let chunked = is_chunked(fields)?;
    if chunked && (length.is_some() || version == 0) {
        return Err(Error::Malformed("Transfer-Encoding with Content-Length, or in HTTP/1.0"));
    }
    let body = match length {
        _ if matches!(status, 100..=199 | 204 | 304) => Body::Length(0),
        _ if chunked => Body::chunked(),
        Some(length) => Body::Length(length),
        None => Body::UntilClose,
    };
    let stays = version > 0 && !values(fields, "connection").any(|option| option.eq_ignore_ascii_case(b"close"));
    Ok(Framing { keep_alive: stays && !matches!(body, Body::UntilClose), body })
}

/// The length that all `Content-Length` fields agree on.
fn content_length(fields: &[Header<'_>]) -> Result<Option<u64>, Error> {
    let mut length = None;
    for value in values(fields, "content-length") {
        let found = decimal(value).ok_or(Error::Malformed("its Content-Length is no number"))?;
        if length.is_some_and(|earlier| earlier != found) {
            return Err(Error::Malformed("it has two Content-Lengths"));
        }
        length = Some(found);
    }
    Ok(length)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// The one transfer coding that is accepted is `chunked`, once.
fn is_chunked(fields: &[Header<'_>]) -> Result<bool, Error> {
    let mut codings = values(fields, "transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Error::Malformed("its Transfer-Encoding is not chunked")),
    }
}

/// The values of a list field, over all its lines (RFC 9110, section 5.3).
fn values<'f>(fields: &'f [Header<'_>], name: &'static str) -> impl Iterator<Item = &'f [u8]> {
    let lines = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    lines.flat_map(|field| field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
}
