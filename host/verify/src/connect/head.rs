//! Heads of HTTP/1.1 requests, as far as a relay that adds a token has to look into them (RFC 9112, sections 3 and 6).

use std::io;
use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Request, Status};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, copy};
use ureq::http::uri::Authority;

use super::Token;

/// Longest head in bytes, and longest line between chunks.
const LONGEST_HEAD: u64 = 64 << 10;
/// Most headers.
const HEADERS: usize = 128;

/// How the body after a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// After so many bytes.
    Length(u64),
    /// With a chunk of length zero, and trailers.
    Chunked,
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The next request's head with the empty line after it, or the end of the connection.
pub(super) async fn read(client: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut rest = client.take(LONGEST_HEAD);
    loop {
        let start = head.len();
        let read = rest.read_until(b'\n', &mut head).await?;
        match head.get(start..).unwrap_or_default() {
            [] if start == 0 => return Ok(None),
            b"\r\n" | b"\n" if start > 0 => return Ok(Some(head)),
            // RFC 9112, section 2.2: empty lines before a request are ignored.
            b"\r\n" | b"\n" => head.clear(),
            line if read == 0 || !line.ends_with(b"\n") => return Err(malformed("a head without an end")),
            _ => {}
        }
    }
}

/// The head with this token and no other, or as it is without a token; and how its body ends.
pub(super) fn with_token(head: Vec<u8>, token: Option<&Token>) -> io::Result<(Vec<u8>, BodyEnd)> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    let complete = request.parse(&head).map_err(|error| malformed(&error.to_string()))?;
    let (Status::Complete(_), Some(method), Some(path)) = (complete, request.method, request.path) else {
        return Err(malformed("a head without an end"));
    };
    if !named_as_here(request.headers) {
        return Err(malformed("a request for another host than this machine"));
    }
    let end = body_end(request.headers)?;
    let Some(token) = token else { return Ok((head, end)) };
    let mut written = format!("{method} {path} HTTP/1.{}\r\n", request.version.unwrap_or(1)).into_bytes();
    for header in request.headers.iter().filter(|header| !header.name.eq_ignore_ascii_case("authorization")) {
        line(&mut written, header.name, header.value);
    }
    line(&mut written, "Authorization", token.header().as_bytes());
    written.extend_from_slice(b"\r\n");
    Ok((written, end))
}

/// Whether the client asks for this machine. A browser asks by the name of the page's address, and whoever owns a name can point it
/// here: that page would have the agent's rights, and for what it reads a browser does not even say that it is another's.
fn named_as_here(headers: &[httparse::Header<'_>]) -> bool {
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    hosts.all(|header| Authority::try_from(header.value).is_ok_and(|authority| is_loopback(authority.host())))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// What two readers could read in two ways is no request.
fn body_end(headers: &[httparse::Header<'_>]) -> io::Result<BodyEnd> {
    let all = |name: &str| -> Vec<&[u8]> {
        headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value).collect()
    };
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => Ok(BodyEnd::Length(0)),
        ([], [encoding]) if encoding.eq_ignore_ascii_case(b"chunked") => Ok(BodyEnd::Chunked),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
            length.map(BodyEnd::Length).ok_or_else(|| malformed("a Content-Length beyond 64 bits"))
        }
        _ => Err(malformed("a body whose end is not clear")),
    }
}

/// Passes the body on as it is.
pub(super) async fn pass_body(
    client: &mut (impl AsyncBufRead + Unpin),
    gateway: &mut (impl AsyncWriteExt + Unpin),
    end: BodyEnd,
) -> io::Result<()> {
    match end {
        BodyEnd::Length(length) => pass(client, gateway, length).await,
        BodyEnd::Chunked => {
            while let size @ 1.. = chunk_size(client, gateway).await? {
                // And the line end after the chunk.
                pass(client, gateway, size.saturating_add(2)).await?;
            }
            while pass_line(client, gateway).await?.trim_ascii() != b"" {}
            Ok(())
        }
    }
}

async fn pass(
    client: &mut (impl AsyncBufRead + Unpin),
    gateway: &mut (impl AsyncWriteExt + Unpin),
    length: u64,
) -> io::Result<()> {
    let passed = copy(&mut client.take(length), gateway).await?;
    if passed == length { Ok(()) } else { Err(malformed("a body that broke off")) }
}

async fn chunk_size(
    client: &mut (impl AsyncBufRead + Unpin),
    gateway: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<u64> {
    match httparse::parse_chunk_size(&pass_line(client, gateway).await?) {
        Ok(Status::Complete((_, size))) => Ok(size),
        _ => Err(malformed("a chunk without a size")),
    }
}

async fn pass_line(
    client: &mut (impl AsyncBufRead + Unpin),
    gateway: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    client.take(LONGEST_HEAD).read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(malformed("a chunk that broke off"));
    }
    gateway.write_all(&line).await?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::{BodyEnd, pass_body, read, with_token};
    use crate::connect::Token;

    const TOKEN: &str = "0123456789abcdef0123456789ABCDEF";

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn rewritten(head: &str) -> Option<(String, BodyEnd)> {
        let token = Token::parse(TOKEN).unwrap();
        with_token(head.into(), Some(&token)).ok().map(|(head, end)| (String::from_utf8(head).unwrap(), end))
    }

    #[test]
    fn the_token_replaces_what_the_client_says() {
        let head =
            "POST /mcp?x=1 HTTP/1.1\r\nHost: localhost\r\nauthorization: Bearer theirs\r\nContent-Length: 12\r\n\r\n";
        let expected = format!(
            "POST /mcp?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        assert_eq!(rewritten(head), Some((expected, BodyEnd::Length(12))));
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(rewritten(chunked).unwrap().1, BodyEnd::Chunked);
        assert_eq!(rewritten("GET / HTTP/1.1\r\n\r\n").unwrap().1, BodyEnd::Length(0));
    }

    #[test]
    fn a_page_of_another_name_does_not_get_the_token() {
        let asked_for = |host: &str| rewritten(&format!("GET /session/s/claim HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        for here in ["localhost", "LocalHost:8080", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080"] {
            assert!(asked_for(here).is_some(), "{here}");
        }
        let as_it_is = b"GET / HTTP/1.1\r\nhost:  localhost\r\nauthorization: x\r\n\r\n".to_vec();
        assert_eq!(with_token(as_it_is.clone(), None).unwrap(), (as_it_is, BodyEnd::Length(0)));
        assert!(
            with_token(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), None).is_err(),
            "nor a client certificate's rights"
        );
        for elsewhere in [
            "attacker.example:8080",
            "localhost.attacker.example",
            "10.0.0.1",
            "[2001:db8::1]:8080",
            "",
            "localhost\r\nHost: a",
        ] {
            assert_eq!(asked_for(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_body_without_a_clear_end_is_refused() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "No colon\r\n",
            "Content-Length : 1\r\n",
        ] {
            assert_eq!(rewritten(&format!("POST / HTTP/1.1\r\n{headers}\r\n")), None, "{headers}");
        }
    }

    #[test]
    fn requests_are_told_apart_by_their_bodies() {
        let bytes = b"\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        block_on(async {
            let mut client = &bytes[..];
            let mut passed = Vec::new();
            assert!(read(&mut client).await.unwrap().unwrap().starts_with(b"POST"));
            pass_body(&mut client, &mut passed, BodyEnd::Chunked).await.unwrap();
            assert_eq!(passed, b"3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n");
            assert_eq!(read(&mut client).await.unwrap().unwrap(), b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(read(&mut client).await.unwrap(), None);
            for broken in [&b"3\r\nab"[..], b"x\r\n", b"3", b"0\r\nT: 1"] {
                assert!(pass_body(&mut &*broken, &mut Vec::new(), BodyEnd::Chunked).await.is_err(), "{broken:?}");
            }
            assert!(pass_body(&mut &b"ab"[..], &mut Vec::new(), BodyEnd::Length(3)).await.is_err());
            assert!(read(&mut &b"GET / HTTP/1.1\r\nHost"[..]).await.is_err());
            assert!(read(&mut &vec![b'a'; 70_000][..]).await.is_err());
        });
    }
}
