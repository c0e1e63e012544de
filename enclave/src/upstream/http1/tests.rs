//! Framing, rule by rule, in whatever pieces an answer arrives.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{Connection, Error, Method, request};
use crate::limits;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Status, body, and the connection if it goes on.
type Exchanged = (u16, Vec<u8>, Option<Connection<DuplexStream>>);

/// Status, body, and whether the connection is good for another request.
type Read = (u16, Vec<u8>, bool);

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_mins(1), future).await.expect("an end") })
}

async fn exchange(client: DuplexStream, request: &[u8]) -> Result<Exchanged, Error> {
    let (head, mut answer) = Connection::new(client).send(request).await?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
    }
    Ok((head.status, body, answer.into_connection()))
}

/// What is read of an answer that arrives in these pieces, from a server that then closes, or does not.
async fn read(pieces: Vec<&[u8]>, closes: bool) -> Result<Read, Error> {
    let (client, mut server) = duplex(1 << 20);
    let serve = async move {
        server.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
        for piece in pieces {
            if server.write_all(piece).await.is_err() {
                break;
            }
            yield_now().await;
        }
        (!closes).then_some(server)
    };
    let (_open, read) = tokio::join!(serve, exchange(client, REQUEST));
    let (status, body, connection) = read?;
    let reusable = match connection {
        Some(mut connection) => connection.is_quiet().await,
        None => false,
    };
    Ok((status, body, reusable))
}

/// What is read, the same however the answer is cut.
fn read_cut(answer: &[u8], closes: bool) -> Result<Read, String> {
    let read = |size| block_on(read(answer.chunks(size).collect(), closes)).map_err(|error| error.to_string());
    let whole = read(answer.len());
    for size in [1, 2, 3, 7, 64] {
        let cut = read(size);
        assert_eq!(cut.as_ref().ok(), whole.as_ref().ok(), "in pieces of {size}: {}", answer.escape_ascii());
    }
    whole
}

/// The answer with this head and body (`\n` for each end of a line), from a server that keeps the connection open.
fn accepted(head: &str, body: &str) -> Read {
    let answer = format!("{head}\n\n{body}").replace('\n', "\r\n");
    read_cut(answer.as_bytes(), false).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn refused(answer: &str) -> String {
    read_cut(answer.as_bytes(), true).expect_err(answer)
}

fn ok(body: &str, reusable: bool) -> Read {
    (200, body.as_bytes().to_vec(), reusable)
}

#[test]
fn a_length_ends_a_body() {
    for field in
        ["Content-Length: 5", "content-length:5", "Content-Length: 5, 5", "Content-Length: 5\nContent-Length: 5"]
    {
        assert_eq!(accepted(&format!("HTTP/1.1 200 OK\n{field}"), "hello"), ok("hello", true), "{field}");
    }
    assert_eq!(accepted("HTTP/1.1 200\nContent-Length: 0", ""), ok("", true));
    for lengths in
        ["", "+5", "-5", "5 5", "5;5", "0x5", "five", "5,", "5, 6", "5\r\nContent-Length: 6", "18446744073709551616"]
    {
        let error = refused(&format!("HTTP/1.1 200 OK\r\nContent-Length: {lengths}\r\n\r\nhello"));
        assert!(error.contains("Content-Length"), "{lengths}: {error}");
    }
    assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello").contains("closed before the end"));
}

#[test]
fn chunks_end_with_the_empty_one() {
    let head = "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked";
    for body in [
        "5\nhello\n0\n\n",
        "1\nh\n004\nello\n000\n\n",
        "5;name=value\nhello\n0;last\n\n",
        "5 ; name=\"v\"\nhello\n0 \n\n",
        "5\nhello\n0\nDigest: x\nOther: y\n\n",
    ] {
        assert_eq!(accepted(head, body), ok("hello", true), "{body}");
    }
    assert_eq!(accepted(head, "9\n\n\n12345\n0\n\n"), ok("\r\n\r\n12345", true));
    for body in [
        "hello\r\n",
        "\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ] {
        let error = refused(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert!(error.contains("chunk"), "{body:?}: {error}");
    }
    for body in ["", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\nDigest: x\r\n"] {
        let error = refused(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert!(error.contains("closed before the end"), "{body:?}: {error}");
    }
}

#[test]
fn what_nobody_reads_is_bounded() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = "x".repeat(limits::MAX_CHUNK_OVERHEAD + 20);
    let many = format!("1;{}\r\nh\r\n", "x".repeat(1000)).repeat(9);
    for body in [
        format!("5;{long}"),
        format!("5;{long}\r\nhello\r\n0\r\n\r\n"),
        format!("{many}0\r\n\r\n"),
        format!("0\r\n{long}"),
        format!("0\r\n{long}\r\n\r\n"),
        format!("0\r\n{}\r\n", "a: b\r\n".repeat(3000)),
        format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(9000)),
    ] {
        assert!(refused(&format!("{head}{body}")).contains("too many"));
    }
}

#[test]
fn two_readings_are_refused() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert!(refused(both).contains("Transfer-Encoding with Content-Length"));
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert!(refused(old).contains("HTTP/1.0"));
    for coding in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "",
    ] {
        let error = refused(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
        assert!(error.contains("Transfer-Encoding is not chunked"), "{coding}: {error}");
    }
}

#[test]
fn without_length_or_chunks_a_body_ends_with_the_connection() {
    assert_eq!(read_cut(b"HTTP/1.1 200 OK\r\n\r\nhello", true), Ok(ok("hello", false)));
    assert_eq!(read_cut(b"HTTP/1.0 200 OK\r\n\r\n", true), Ok(ok("", false)));
}

#[test]
fn some_answers_have_no_body() {
    assert_eq!(accepted("HTTP/1.1 204 No Content", ""), (204, Vec::new(), true));
    assert_eq!(accepted("HTTP/1.1 304 Not Modified\nContent-Length: 5", ""), (304, Vec::new(), true));
    assert_eq!(accepted("HTTP/1.1 204 No Content\nContent-Length: 5", "hello"), (204, Vec::new(), false));
}

#[test]
fn interim_answers_are_skipped() {
    let hints = "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: </a>\n\n";
    assert_eq!(accepted(&format!("{hints}HTTP/1.1 200 OK\nContent-Length: 5"), "hello"), ok("hello", true));
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(limits::MAX_INTERIM_ANSWERS);
    assert!(refused(&(many + last)).contains("interim"));
    assert!(refused(&format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n{last}")).contains("switches"));
}

#[test]
fn a_connection_goes_on_only_from_the_end_of_its_answer() {
    let with = |fields: &str| accepted(&format!("HTTP/1.1 200 OK\nContent-Length: 5{fields}"), "hello").2;
    assert!(with(""));
    assert!(with("\nConnection: keep-alive"));
    assert!(!with("\nConnection: close"));
    assert!(!with("\nConnection: Keep-Alive, Close"));
    assert!(!with("\nConnection: x\nConnection: close"));
    assert_eq!(accepted("HTTP/1.0 200 OK\nContent-Length: 5\nConnection: keep-alive", "hello"), ok("hello", false));
    assert_eq!(accepted("HTTP/1.1 200 OK\nContent-Length: 5", "hello\n"), ok("hello", false));
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".repeat(2);
    assert_eq!(read_cut(two.as_bytes(), false), Ok(ok("hello", false)));
}

#[test]
fn what_is_not_a_head_is_refused() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n first: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nspace : a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nnul: \0\r\n\r\n",
    ] {
        assert!(refused(answer).contains("not acceptable HTTP/1.1"), "{answer}");
    }
    let field = |size: usize| format!("a: {}\r\n", "x".repeat(size));
    assert!(refused(&format!("HTTP/1.1 200 OK\r\n{}", field(limits::MAX_HEAD_BYTES))).contains("too long"));
    assert!(refused(&format!("HTTP/1.1 200 OK\r\n{}\r\n", field(limits::MAX_HEAD_BYTES))).contains("too long"));
    let many = field(1).repeat(limits::MAX_ANSWER_FIELDS + 1);
    assert!(refused(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).contains("too many header fields"));
    assert!(refused("HTTP/1.1 200 OK\r\nContent-Le").contains("closed before the end"));
}

#[test]
fn fields_are_found_by_name() {
    let (client, mut server) = duplex(1024);
    let answer =
        b"HTTP/1.1 200 OK\r\nMcp-Session-Id:  one\r\nmcp-session-id: two\r\nodd: \xff\r\nContent-Length: 0\r\n\r\n";
    let (head, _) = block_on(async {
        server.write_all(answer).await.unwrap();
        Connection::new(client).send(REQUEST).await.unwrap()
    });
    assert_eq!(head.field("mcp-session-id"), Some("one"));
    assert_eq!((head.field("odd"), head.field("absent")), (None, None));
}

#[test]
fn silence_is_told_from_an_end_and_from_words_unasked() {
    block_on(async {
        let pair = || duplex(64);
        let (client, server) = pair();
        let mut connection = Connection::new(client);
        assert!(connection.is_quiet().await);
        drop(server);
        assert!(!connection.is_quiet().await);
        let (client, mut server) = pair();
        server.write_all(b"H").await.unwrap();
        assert!(!Connection::new(client).is_quiet().await);
    });
}

/// What comes of a request of a thousand bytes over a pipe of fewer, if the server reads some, says this, and closes.
fn cut_short(says: &'static [u8]) -> Result<Exchanged, Error> {
    let (client, mut server) = duplex(64);
    let serve = async move {
        server.read_exact(&mut [0; 10]).await.unwrap();
        server.write_all(says).await.unwrap();
    };
    block_on(async { tokio::join!(exchange(client, &[b'x'; 1000]), serve).0 })
}

#[test]
fn only_what_was_not_sent_counts_as_unsent() {
    let (client, server) = duplex(64);
    drop(server);
    assert!(matches!(block_on(exchange(client, REQUEST)), Err(Error::Unsent)));
    assert!(matches!(cut_short(b""), Err(Error::Closed)));
}

#[test]
fn an_early_refusal_is_heard() {
    let (status, _, connection) = cut_short(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert_eq!(status, 413);
    assert!(connection.is_none());
}

#[test]
fn an_announced_length_takes_no_memory() {
    let (client, mut server) = duplex(1024);
    let answer = block_on(async {
        server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\nx").await.unwrap();
        let (_, mut answer) = Connection::new(client).send(REQUEST).await.unwrap();
        assert_eq!(answer.announced(), 1 << 40);
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "x");
        answer
    });
    assert_eq!(answer.announced(), (1 << 40) - 1);
    assert!(answer.connection.buffer.capacity() <= limits::MIN_READ);
}

#[test]
fn requests_are_one_piece() {
    let fields = [("host", "a:1"), ("accept", "x")];
    assert_eq!(
        request(Method::Post, "/mcp?x=1", fields, b"{}").unwrap(),
        b"POST /mcp?x=1 HTTP/1.1\r\nhost: a:1\r\naccept: x\r\ncontent-length: 2\r\n\r\n{}"
    );
    assert!(request(Method::Post, "/", [], b"").unwrap().ends_with(b"\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(request(Method::Get, "/", [], b"").unwrap(), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(request(Method::Delete, "/", [], b"").unwrap(), b"DELETE / HTTP/1.1\r\n\r\n");
}

#[test]
fn no_copy_of_a_field_is_left_behind() {
    let (long, longest) = ("a".repeat(8 << 10), "/".repeat(2 << 10));
    for (target, value, body) in
        [("/", "", ""), (longest.as_str(), long.as_str(), "{}"), ("/", long.as_str(), long.as_str())]
    {
        let bytes = request(Method::Delete, target, [("authorization", value), ("x", value)], body.as_bytes()).unwrap();
        assert!(bytes.capacity() < bytes.len() + 64, "grown from {} to {}", bytes.len(), bytes.capacity());
    }
}

#[test]
fn no_field_can_begin_another() {
    for value in ["a\r\nb: c", "a\rb", "a\nb", "a\0b", "\u{7f}", "é"] {
        let error = request(Method::Post, "/", [("mcp-session-id", value)], b"").unwrap_err();
        assert_eq!(error.to_string(), "header field \"mcp-session-id\" has a character that a request cannot carry");
    }
    for name in ["", "a b", "a:", "a\r\n", "é"] {
        assert!(matches!(request(Method::Post, "/", [(name, "")], b""), Err(Error::Unwritable(_))), "{name:?}");
    }
    for target in ["", "/a b", "/a\r\nb: c", "/é"] {
        assert!(matches!(request(Method::Post, target, [], b""), Err(Error::Unwritable(_))), "{target:?}");
    }
}

/// How a server marks the end of a body.
#[derive(Clone, Debug)]
enum Framed {
    Length,
    Chunks(Vec<usize>),
    Close,
}

fn framed() -> impl Strategy<Value = Framed> {
    prop_oneof![
        Just(Framed::Length),
        proptest::collection::vec(1..900_usize, 1..8).prop_map(Framed::Chunks),
        Just(Framed::Close)
    ]
}

/// Cuts bytes into pieces of these sizes, again and again.
fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn answer(framed: &Framed, fields: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in fields {
        answer.extend(format!("x-{name}: {value}\r\n").bytes());
    }
    match framed {
        Framed::Length => answer.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes()),
        Framed::Chunks(_) => answer.extend(b"Transfer-Encoding: chunked\r\n\r\n"),
        Framed::Close => answer.extend(b"\r\n"),
    }
    let Framed::Chunks(sizes) = framed else { return [&answer, body].concat() };
    for chunk in cut(body, sizes) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend_from_slice(chunk);
        answer.extend(b"\r\n");
    }
    [&answer, &b"0\r\n\r\n"[..]].concat()
}

proptest! {
    #[test]
    fn a_body_arrives_whole_however_it_is_framed_and_cut(
        body in proptest::collection::vec(any::<u8>(), 0..3000),
        framed in framed(),
        fields in proptest::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 0..6),
        cuts in proptest::collection::vec(1..700_usize, 1..6),
    ) {
        let answer = answer(&framed, &fields, &body);
        let closes = matches!(framed, Framed::Close);
        let read = block_on(read(cut(&answer, &cuts), closes)).unwrap();
        prop_assert_eq!(read, (200, body, !closes));
    }
}
