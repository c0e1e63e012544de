//! Requests as bytes (RFC 9112, section 3): head and body in one buffer, for one write.

use std::io::Write;

use super::Error;

/// Methods whose answers are framed alike; those to HEAD and CONNECT are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Sends a body.
    Post,
    /// Ends what the target names.
    Delete,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// A request with these header fields, and the length of its body, in a buffer that never has to grow: a field can be a secret, and
/// growing would leave a copy behind.
///
/// # Errors
/// [`Error::Unwritable`]: no field can end its line and begin another.
pub fn request<'a>(
    method: Method,
    target: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Unwritable("request target".to_owned()));
    }
    let mut room = LINES + target.len() + body.len();
    for (name, value) in fields.clone() {
        if !is_name(name) || !is_value(value) {
            return Err(Error::Unwritable(format!("header field {name:?}")));
        }
        room += name.len() + value.len() + FIELD;
    }
    let mut bytes = Vec::with_capacity(room);
    extend(&mut bytes, [method.as_str(), " ", target, " HTTP/1.1\r\n"]);
    for (name, value) in fields {
        extend(&mut bytes, [name, ": ", value, "\r\n"]);
    }
    if method == Method::Post || !body.is_empty() {
        // Writing to a vector does not fail.
        let _ = write!(bytes, "content-length: {}\r\n", body.len());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Room for all of a request but its target, fields and body: method, version, `content-length` and the line ends.
const LINES: usize = 64;
/// `: ` and the end of a line.
const FIELD: usize = 4;

fn extend<const N: usize>(bytes: &mut Vec<u8>, parts: [&str; N]) {
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
}

/// A token (RFC 9110, section 5.6.2).
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Visible ASCII, space and tab (RFC 9110, section 5.5, without obs-text).
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}
