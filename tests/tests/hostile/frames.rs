//! Frames that are cut, oversized, repeated, out of order, of another version, or not frames.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tests::hostile::{HostileHost, Started, Unbooted};
use tests::setup::Setup;
use tests::upstream::Upstream;
use wire::{HEADER_LEN, Header, HostOpen, OpenAnswer, OpenRefusal, encode};

use crate::call;

/// A frame as a hostile host may write it: header and payload need not agree.
fn frame(magic: [u8; 4], version: u16, kind: u16, length: u32, payload: &[u8]) -> Vec<u8> {
    [&magic[..], &version.to_le_bytes(), &kind.to_le_bytes(), &length.to_le_bytes(), payload].concat()
}

/// Openings that no honest host sends.
fn bad_openings() -> Vec<(&'static str, Vec<u8>)> {
    let inbound = encode(&HostOpen::Inbound).expect("it encodes");
    let length = u32::try_from(inbound.len()).expect("small");
    vec![
        ("unknown version", frame(*b"cMCP", 2, 1, length, &inbound)),
        ("version 0", frame(*b"cMCP", 0, 1, length, &inbound)),
        ("wrong magic", frame(*b"HTTP", 1, 1, length, &inbound)),
        ("unknown kind", frame(*b"cMCP", 1, 999, length, &inbound)),
        ("kind of another message", frame(*b"cMCP", 1, 7, length, &inbound)),
        ("oversized", frame(*b"cMCP", 1, 1, u32::MAX, &inbound)),
        ("over its type's limit", frame(*b"cMCP", 1, 1, 70_000, &vec![0; 70_000])),
        ("trailing bytes", frame(*b"cMCP", 1, 1, length + 4, &[&inbound[..], b"more"].concat())),
        ("unknown variant", frame(*b"cMCP", 1, 1, 1, &[77])),
        ("empty payload", frame(*b"cMCP", 1, 1, 0, b"")),
        ("plain HTTP", b"POST /mcp HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("zeros", vec![0; 64]),
    ]
}

/// Everything that comes back until the stream ends.
fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn bad_openings_are_closed_and_harm_nobody() {
    let tool = Upstream::plain();
    let mut host = HostileHost::start(&Setup::quickstart(&tool.url()));
    for (name, bytes) in bad_openings() {
        let mut stream = host.raw();
        let _ = stream.write_all(&bytes);
        assert!(rest(&mut stream).is_empty(), "{name} was answered");
        assert_eq!(call(&host, "healthy").status(), 200, "after {name}");
    }
    assert!(host.is_alive());
}

#[test]
fn truncated_openings_are_closed() {
    let tool = Upstream::plain();
    let host = HostileHost::start(&Setup::quickstart(&tool.url()));
    let payload = encode(&HostOpen::Inbound).expect("it encodes");
    let length = u32::try_from(payload.len()).expect("small");
    let whole = frame(*b"cMCP", 1, 1, length, &payload);
    assert_eq!(whole.len(), HEADER_LEN + payload.len());
    for cut in 0..whole.len() {
        let mut stream = host.raw();
        stream.write_all(&whole[..cut]).expect("the enclave reads");
        stream.shutdown(std::net::Shutdown::Write).expect("an open stream");
        assert!(rest(&mut stream).is_empty(), "cut at {cut}");
    }
    assert_eq!(call(&host, "healthy").status(), 200);
}

#[test]
fn a_stream_that_never_says_what_it_is_for_is_closed() {
    let tool = Upstream::plain();
    let host = HostileHost::start(&Setup::quickstart(&tool.url()));
    let mut silent = host.raw();
    silent.write_all(b"cMC").expect("the enclave reads");
    let started = std::time::Instant::now();
    assert!(rest(&mut silent).is_empty());
    assert!(started.elapsed() < Duration::from_secs(19), "closed by the enclave, not by this test's patience");
}

#[test]
fn a_relayed_agent_that_never_ends_its_request_is_cut() {
    let tool = Upstream::plain();
    let setup = Setup::quickstart(&tool.url()).limit("request_timeout_ms", 1000);
    let host = HostileHost::start(&setup);
    let mut stream = host.raw();
    wire::blocking::write(&mut stream, &HostOpen::Inbound).expect("the enclave reads");
    assert_eq!(wire::blocking::read::<OpenAnswer>(&mut stream).expect("an answer"), OpenAnswer::Ready);
    stream.write_all(b"GET /health HTTP/1.1\r\n").expect("the enclave reads");
    let mut sent = 0;
    while stream.write_all(b"x-more: endless\r\n").is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "a head without end is read without end");
    }
    assert_eq!(call(&host, "healthy").status(), 200);
}

#[test]
fn a_second_control_stream_is_refused() {
    let tool = Upstream::plain();
    let host = HostileHost::start(&Setup::quickstart(&tool.url()));
    let mut stranger = host.raw();
    wire::blocking::write(&mut stranger, &HostOpen::Control { callback_port: 2048 }).expect("the enclave reads");
    let answer = wire::blocking::read::<OpenAnswer>(&mut stranger).expect("an answer");
    assert_eq!(answer, OpenAnswer::Refused(OpenRefusal::ControlTaken));
    assert_eq!(call(&host, "healthy").status(), 200);
}

#[test]
fn agents_are_refused_before_the_boot() {
    let unbooted = Unbooted::start();
    let mut stream = unbooted.connect();
    wire::blocking::write(&mut stream, &HostOpen::Inbound).expect("the enclave reads");
    let answer = wire::blocking::read::<OpenAnswer>(&mut stream).expect("an answer");
    assert_eq!(answer, OpenAnswer::Refused(OpenRefusal::NotBooted));
}

#[test]
fn agents_are_refused_without_a_control_stream() {
    let mut started = Started::start();
    let mut stream = started.connect();
    wire::blocking::write(&mut stream, &HostOpen::Inbound).expect("the enclave reads");
    let answer = wire::blocking::read::<OpenAnswer>(&mut stream).expect("an answer");
    assert_eq!(answer, OpenAnswer::Refused(OpenRefusal::NotBooted));
    assert!(started.is_alive());
}

#[test]
fn a_broken_control_stream_ends_the_enclave() {
    let kind = 4;
    let frames = [
        ("garbage", b"not a frame at all".to_vec()),
        ("oversized", frame(*b"cMCP", wire::VERSION, kind, u32::MAX, b"")),
        ("unknown version", frame(*b"cMCP", 9, kind, 1, &[3])),
        ("unknown request", frame(*b"cMCP", wire::VERSION, kind, 1, &[99])),
        ("end of stream", Vec::new()),
    ];
    for (name, bytes) in frames {
        let tool = Upstream::plain();
        let mut host = HostileHost::start(&Setup::quickstart(&tool.url()));
        assert_eq!(call(&host, "before").status(), 200);
        host.control().write_all(&bytes).expect("the enclave reads");
        host.control().shutdown(std::net::Shutdown::Write).expect("an open stream");
        let status = host.wait();
        assert!(status.code().is_some(), "{name}: the enclave exits, it does not crash: {status}");
        assert_ne!(status.code(), Some(101), "{name}: a panic");
    }
}

#[test]
fn headers_are_what_the_wire_says() {
    let header = Header { kind: 1, length: 5 }.to_bytes();
    assert_eq!(&header[..], frame(*b"cMCP", wire::VERSION, 1, 5, b""));
}
