//! What passes through `--stdio` and `--listen`, and that it passes to the boot that was verified only.

use std::io::{Read, Write};
use std::time::Duration;

use tests::http::{Events, request_bytes};
use tests::impostor::{Boot, Impostor};
use tests::setup::bearer;
use tests::wait_for;

use super::{INITIALIZE, Listening, Party, Spawned};

#[test]
fn a_bridge_ends_when_another_boot_answers() {
    let impostor = Impostor::start(Boot::new(1).face());
    let party = Party::approving(&Boot::new(1).references());

    let mut stdio = Spawned::start(party.connect(&impostor.url(), &["--stdio"]));
    assert_eq!(stdio.ask(INITIALIZE)["result"]["protocolVersion"], "2025-06-18");
    let before = impostor.requests().len();
    // Just as good, and not the one that was verified.
    impostor.becomes(Boot::new(2).face());
    for _ in 0..2 {
        let message = stdio.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)["error"]["message"].clone();
        assert!(message.as_str().expect("an error").contains("NEW_BOOT"), "{message}");
    }
    assert_eq!(impostor.requests().len(), before, "the new boot was told nothing");
    let (code, err) = stdio.end();
    assert_eq!(code, Some(1));
    assert!(err.contains("NEW_BOOT"), "{err}");
}

#[test]
fn an_endpoint_ends_when_another_boot_answers() {
    let impostor = Impostor::start(Boot::new(1).face());
    let party = Party::approving(&Boot::new(1).references());
    let mut listening = Listening::start(party.connect(&impostor.url(), &["--listen", "127.0.0.1:0", "--json"]));
    assert_eq!(listening.verdict["status"], "partially_verified");
    assert_eq!(listening.open().request("POST", "/echo", &[], b"one").expect("an answer").body, b"one");
    let mut idle = listening.open();
    assert_eq!(idle.request("POST", "/echo", &[], b"two").expect("an answer").body, b"two");
    impostor.becomes(Boot::new(2).face());
    assert!(idle.receive().is_err(), "nothing more comes");
    let answer = listening.open().request("POST", "/echo", &[], b"three").expect("an answer");
    assert_eq!((answer.status(), answer.error_code()), (502, "NEW_BOOT".to_owned()));
    let ended = wait_for("end", Duration::from_secs(10), || listening.process.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(1));
    assert!(listening.err().contains("NEW_BOOT"));
    let bodies: Vec<_> = impostor.requests().iter().map(tests::http::Message::text).collect();
    assert_eq!(bodies, ["one", "two"]);
}

#[test]
fn an_endpoint_passes_everything_and_adds_the_token() {
    let impostor = Impostor::start(Boot::new(1).face());
    let party = Party::approving(&Boot::new(1).references());
    let file = party.file("token");
    let words = ["--listen", "127.0.0.1:0", "--json", "--token-file", file.to_str().expect("a path")];
    let listening = Listening::start(party.connect(&impostor.url(), &words));
    assert_eq!(impostor.challenges().len(), 1);

    let large: Vec<u8> = (0..5_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
    let mut connection = listening.open();
    for body in [&b"small"[..], &large, b""] {
        let theirs = [("authorization", "Bearer theirs"), ("mcp-session-id", "s")];
        assert_eq!(connection.request("POST", "/echo", &theirs, body).expect("an answer").body, body);
    }
    connection
        .send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .expect("sent");
    assert_eq!(connection.receive().expect("an answer").body, b"abc");
    for request in impostor.requests() {
        let all: Vec<_> = request.headers.iter().filter(|(name, _)| name == "authorization").collect();
        assert_eq!(all, [&("authorization".to_owned(), bearer("alice"))]);
    }
    assert_eq!(impostor.requests()[0].header("mcp-session-id"), Some("s"));

    // An event is there before the next one is sent.
    let mut events = Events::open(listening.open(), "GET", "/events", &[], b"").expect("a stream");
    for number in ["0", "1"] {
        impostor.send_event();
        assert_eq!(events.next_data().expect("a stream").as_deref(), Some(number));
    }
    assert_eq!(events.next_data().expect("an end"), None);

    // Many at once.
    let mut connections: Vec<_> = (0..100).map(|_| listening.open()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&request_bytes("POST", "/echo", &[], number.to_string().as_bytes())).expect("sent");
    }
    for (number, connection) in connections.iter_mut().enumerate() {
        assert_eq!(connection.receive().expect("an answer").text(), number.to_string());
    }
}

/// The end of a stream that TLS did not end is no end of an answer.
#[test]
fn an_answer_that_is_cut_off_does_not_look_whole() {
    let impostor = Impostor::start(Boot::new(1).face());
    let party = Party::approving(&Boot::new(1).references());
    let listening = Listening::start(party.connect(&impostor.url(), &["--listen", "127.0.0.1:0", "--json"]));
    let mut client = std::net::TcpStream::connect(listening.address()).expect("a connection");
    client.write_all(b"GET /cut HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    assert!(client.read_to_end(&mut answer).is_err(), "{:?}", String::from_utf8_lossy(&answer));
}
