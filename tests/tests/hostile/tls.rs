//! Agents' TLS ends in the enclave: the host sees ciphertext, and what it does to it ends the connection and nothing else.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::hostile::{HostileHost, Unbooted, bundle};
use tests::http::Message;
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::tls::{self, Trust};
use tests::upstream::Upstream;
use wire::BootBundle;

use crate::outcome;

/// What agents send and nobody on the way may read.
const MARKER: &str = "Acme Corp";

fn host(setup: &Setup) -> HostileHost {
    Unbooted::start().boot(BootBundle { tls: true, ..bundle(setup) })
}

/// What the host does to the bytes of one connection.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    /// Bytes towards the enclave that pass before the host cuts, or turns a bit.
    cut_after: Option<usize>,
    flip_at: Option<usize>,
    passed: Arc<Mutex<usize>>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    /// Every byte that passed, in either direction.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

/// A stream of an agent's connection, by way of the host.
pub(crate) struct Relayed(UnixStream, Wire);

impl Relayed {
    pub(crate) fn new(stream: UnixStream, wire: &Wire) -> Self {
        Self(stream, wire.clone())
    }
}

impl Read for Relayed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.seen.lock().unwrap().extend(&buffer[..read]);
        Ok(read)
    }
}

impl Write for Relayed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut passed = self.1.passed.lock().unwrap();
        let mut bytes = bytes.to_vec();
        if let Some(cut) = self.1.cut_after.filter(|cut| *cut < *passed + bytes.len()) {
            self.0.write_all(&bytes[..cut.saturating_sub(*passed)])?;
            self.0.shutdown(std::net::Shutdown::Both)?;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(place) =
            self.1.flip_at.and_then(|flip| flip.checked_sub(*passed)).filter(|place| *place < bytes.len())
        {
            bytes[place] ^= 1;
        }
        *passed += bytes.len();
        self.1.seen.lock().unwrap().extend(&bytes);
        self.0.write_all(&bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn call(host: &HostileHost, wire: &Wire, session: &str) -> io::Result<Message> {
    let stream = Relayed::new(host.inbound(), wire);
    let mut met = tls::over(stream, None, &Trust::Anybody)?;
    let body = rpc(1, "tools/call", &call_params(CONTACTS, session));
    met.connection.request("POST", "/mcp", &[("content-type", "application/json")], &body)
}

fn claimed_calls(host: &HostileHost, session: &str) -> serde_json::Value {
    let mut met = tls::over(host.inbound(), None, &Trust::Anybody).expect("a handshake");
    let claim = met.connection.request("GET", &format!("/session/{session}/claim"), &[], b"").expect("an answer");
    claim.json()["gateway"]["call_summary"]["tool_calls_total"].clone()
}

#[test]
fn the_host_reads_nothing() {
    let upstream = Upstream::fixed(r#"{"content":[{"type":"text","text":"SECRET RESULT"}]}"#);
    let host = host(&Setup::quickstart(&upstream.url()));
    let wire = Wire::default();
    let answer = call(&host, &wire, "session-name").expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.text().contains("SECRET RESULT"));
    let seen = wire.seen();
    assert!(seen.len() > 1000);
    for text in [MARKER, "SECRET RESULT", "session-name", CONTACTS, "tools/call", "HTTP/1.1"] {
        let found = seen.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(!found, "{text} passed the host");
    }
}

#[test]
fn a_connection_cut_anywhere_leaves_no_call() {
    let upstream = Upstream::plain();
    let host = host(&Setup::quickstart(&upstream.url()));
    let whole = Wire::default();
    assert_eq!(call(&host, &whole, "s").expect("an answer").status(), 200);
    // The last byte is the request's: without it there is no record to decrypt, and so no request.
    let length = *whole.passed.lock().unwrap();
    for cut in (0..length).step_by(97).chain([length - 1]) {
        let wire = Wire { cut_after: Some(cut), ..Wire::default() };
        assert!(call(&host, &wire, "s").is_err(), "cut after {cut} of {length}");
    }
    assert_eq!(call(&host, &Wire::default(), "s").expect("an answer").status(), 200);
    assert_eq!(upstream.calls().len(), 2);
    assert_eq!(claimed_calls(&host, "s"), 2);
}

#[test]
fn a_turned_bit_ends_the_connection() {
    let upstream = Upstream::plain();
    let host = host(&Setup::quickstart(&upstream.url()));
    let whole = Wire::default();
    assert_eq!(call(&host, &whole, "s").expect("an answer").status(), 200);
    let length = *whole.passed.lock().unwrap();
    // From the middle of the request's record on; what comes before is the handshake's.
    for flip in (length - 200..length).step_by(23) {
        let wire = Wire { flip_at: Some(flip), ..Wire::default() };
        assert!(call(&host, &wire, "s").is_err(), "a bit turned at {flip} of {length}");
    }
    assert_eq!(upstream.calls().len(), 1);
    assert_eq!(claimed_calls(&host, "s"), 1);
}

#[test]
fn a_connection_played_again_is_no_call() {
    let upstream = Upstream::plain();
    let host = host(&Setup::quickstart(&upstream.url()));
    // All that an agent sent, recorded and sent again: the enclave's part of the handshake is another.
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut met = tls::over(Recorded(host.inbound(), Arc::clone(&sent)), None, &Trust::Anybody).expect("a handshake");
    let body = rpc(1, "tools/call", &call_params(CONTACTS, "s"));
    let headers = [("content-type", "application/json")];
    assert_eq!(met.connection.request("POST", "/mcp", &headers, &body).expect("an answer").status(), 200);
    let mut again = host.inbound();
    again.write_all(&sent.lock().unwrap()).expect("the enclave reads");
    let mut answer = Vec::new();
    let _ = again.read_to_end(&mut answer);
    assert_eq!(upstream.calls().len(), 1);
    assert_eq!(claimed_calls(&host, "s"), 1);
}

struct Recorded(UnixStream, Arc<Mutex<Vec<u8>>>);

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.lock().unwrap().extend(bytes);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_handshake_that_never_comes_costs_one_connection() {
    let upstream = Upstream::plain();
    let host = host(&Setup::quickstart(&upstream.url()));
    let mut silent: Vec<_> = (0..50).map(|_| host.inbound()).collect();
    assert_eq!(outcome(&call(&host, &Wire::default(), "s").expect("an answer")), (200, String::new()));
    // The enclave gives up on them, without a word.
    let stream = silent.first_mut().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).expect("an end"), 0);
    assert_eq!(claimed_calls(&host, "s"), 1);
}
