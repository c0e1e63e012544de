//! The host between the enclave and a tool server in TLS: whatever it does to the bytes, it reads nothing, forges nothing and spoils
//! only the call that it does it to.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use claim::bootlog::BootId;
use claim::operator::{OperatorKey, ProvisionOrder};
use claim::{Digest, b64u};
use serde_json::{Value, json};
use tests::hostile::{Dialling, HostileHost, Tamper, Unbooted, bundle};
use tests::http::{Connection, Message};
use tests::setup::{CONTACTS, Setup, bearer, call_params, rpc};
use tests::tls::{self, Trust};
use tests::upstream::{Reply, Upstream};
use tests::upstream_tls::{Identity, TlsFront};
use tests::wait_for;
use verify::{BundleOptions, verify_audit_bundle};
use wire::BootBundle;

use crate::{get, summary};

const ARGUMENT: &str = "argument-3f9c1d";
const RESULT: &str = "result-77b0e2";
/// What a relay that could read would see.
const READABLE: [&str; 6] = [ARGUMENT, RESULT, CONTACTS, "POST /mcp", "jsonrpc", "tools/"];

/// A tool server in TLS that closes after each call: every call needs a handshake.
struct Tools {
    tool: Upstream,
    front: TlsFront,
    identity: Identity,
}

fn closing() -> Upstream {
    let answer = json!({"content": [{"type": "text", "text": RESULT}]});
    Upstream::scripted(move |_| {
        Reply::Events(vec![format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{{id}},\"result\":{answer}}}\n\n")])
    })
}

fn tools() -> Tools {
    let (tool, identity) = (closing(), Identity::own(&["127.0.0.1"]));
    let front = TlsFront::start(tool.address, &identity);
    Tools { tool, front, identity }
}

impl Tools {
    fn setup(&self) -> Setup {
        let setup = Setup::quickstart(&self.front.url()).limit("upstream_timeout_ms", 2500);
        setup.pinned("key-pinned", &self.identity.key_pin())
    }

    /// A gateway that has called once, so that the next call is a handshake and a request.
    fn host(&self) -> HostileHost {
        let host = HostileHost::start(&self.setup());
        assert_eq!(call(&host, "first").status(), 200);
        host
    }
}

fn call(host: &HostileHost, session: &str) -> Message {
    call_over(host.connect(), session)
}

fn call_over(mut connection: Connection, session: &str) -> Message {
    let mut params = call_params(CONTACTS, session);
    params["arguments"]["query"] = json!(ARGUMENT);
    let body = rpc(1, "tools/call", &params);
    connection.request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer")
}

/// The last entry of a session, whose claim and chain prove each other.
fn proven(host: &HostileHost, session: &str) -> Value {
    let claim = get(host, &format!("/session/{session}/claim"));
    let bundle = get(host, &format!("/audit/export?session_id={session}"));
    let verdict =
        verify_audit_bundle(bundle.text().as_bytes(), Some(claim.text().as_bytes()), BundleOptions::default());
    assert!(verdict.verified, "{session}: {:?}", verdict.failures);
    bundle.json()["entries"].as_array().and_then(|entries| entries.last()).expect("an entry").clone()
}

fn reads_nothing(host: &HostileHost) {
    let relayed = host.relayed();
    assert!(!relayed.is_empty());
    for word in READABLE {
        assert!(!relayed.windows(word.len()).any(|bytes| bytes == word.as_bytes()), "{word} was relayed in the clear");
    }
}

/// A call that faulted with one of these codes and is on record as that.
fn faulted(host: &HostileHost, session: &str, answer: &Message, codes: &[&str]) -> Value {
    let code = answer.error_code();
    assert!(codes.contains(&code.as_str()), "{session}: {}", answer.text());
    let entry = proven(host, session);
    assert_eq!((&entry["policy_decision"], &entry["detail"]["error_code"]), (&json!("fault"), &json!(code)));
    assert_eq!(summary(host, session)["tool_calls_faulted"], 1, "{session}");
    entry
}

#[test]
fn the_relay_reads_nothing() {
    let tools = tools();
    let host = tools.host();
    assert!(call(&host, "tls").text().contains(RESULT));
    assert_eq!(proven(&host, "tls")["evidence_class"], "tls-pinned");
    assert!(tools.tool.calls()[1].text().contains(ARGUMENT));
    reads_nothing(&host);

    let plain = HostileHost::start(&Setup::quickstart(&tools.tool.url()));
    assert_eq!(call(&plain, "plain").status(), 200);
    let relayed = String::from_utf8_lossy(&plain.relayed()).into_owned();
    assert!(READABLE.iter().all(|word| relayed.contains(word)), "the test would see it");
}

#[test]
fn another_server_behind_the_name_gets_nothing() {
    let tools = tools();
    let host = tools.host();
    let impostor = closing();
    let other = TlsFront::start(impostor.address, &Identity::own(&["127.0.0.1"]));
    let thief = TlsFront::start(impostor.address, &tools.identity.clone().without_its_key());
    for (session, dialling) in [
        ("another-key", Dialling::Elsewhere(other.address.port())),
        ("stolen-certificate", Dialling::Elsewhere(thief.address.port())),
        ("no-tls", Dialling::Elsewhere(impostor.address.port())),
        ("garbage", Dialling::Bytes(b"\x16\x03\x03\xff\xff nothing like TLS".to_vec())),
        ("http", Dialling::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())),
        ("hung-up", Dialling::Bytes(Vec::new())),
    ] {
        host.set_dialling(dialling);
        let entry = faulted(&host, session, &call(&host, session), &["UPSTREAM_TLS"]);
        assert_eq!(entry["detail"]["forwarded"], false, "{session}");
        assert_eq!(entry["server_identity"], tools.front.url(), "the server that was asked for");
        host.set_dialling(Dialling::Honest);
        assert_eq!(call(&host, "between").status(), 200, "the call after {session}");
    }
    assert_eq!((impostor.calls().len(), other.connections(), thief.connections()), (0, 0, 0));
    reads_nothing(&host);
}

/// From the first byte of a connection to its last: in the handshake nothing is sent, behind it the call may have run, and only
/// the whole answer is one.
#[test]
fn a_connection_that_is_cut_anywhere_is_a_fault_of_its_call() {
    let tools = tools();
    let host = tools.host();
    for cut in [Tamper::CutInward as fn(usize) -> Tamper, Tamper::CutOutward] {
        let (mut place, mut codes) = (0, Vec::new());
        loop {
            let (session, before) = (format!("{:?}", cut(place)).replace(['(', ')'], "-"), tools.tool.calls().len());
            host.set_dialling(Dialling::Tampering(cut(place)));
            let answer = call(&host, &session);
            if answer.status() == 200 {
                assert!(answer.text().contains(RESULT));
                break;
            }
            // Between handshake and request the connection is found closed.
            let entry =
                faulted(&host, &session, &answer, &["UPSTREAM_TLS", "UPSTREAM_UNAVAILABLE", "UPSTREAM_INVALID"]);
            let sent = answer.error_code() == "UPSTREAM_INVALID";
            assert_eq!(entry["detail"]["forwarded"], sent, "{session}");
            assert!(sent || tools.tool.calls().len() == before, "{session}: nothing was sent");
            codes.push(answer.error_code());
            place += if place < 8 { 1 } else { 53 };
            assert!(place < 20_000, "no end of {session}");
        }
        assert!(codes.is_sorted_by_key(|code| code != "UPSTREAM_TLS"), "first the handshake: {codes:?}");
        assert!(codes.len() > 20 && codes.first() != codes.last(), "{codes:?}");
        host.set_dialling(Dialling::Honest);
        assert_eq!(call(&host, "afterwards").status(), 200);
    }
    reads_nothing(&host);
}

#[test]
fn a_changed_or_repeated_byte_is_never_another_answer() {
    let tools = tools();
    let host = tools.host();
    let flips = [0, 1, 5, 11, 40, 90, 700, 1300, 1400, 1700, 2000, 2400].map(Tamper::Flip);
    let repeats = [1, 6, 127, 1300].map(Tamper::Repeat);
    for tamper in flips.into_iter().chain(repeats) {
        let session = format!("{tamper:?}").replace(['(', ')'], "-");
        host.set_dialling(Dialling::Tampering(tamper));
        let answer = call(&host, &session);
        if answer.status() == 200 {
            assert!(answer.text().contains(RESULT) && proven(&host, &session)["policy_decision"] != "fault");
            continue;
        }
        // A changed length makes the enclave wait for bytes that never come.
        faulted(&host, &session, &answer, &["UPSTREAM_TLS", "UPSTREAM_INVALID", "UPSTREAM_TIMEOUT"]);
    }
    host.set_dialling(Dialling::Honest);
    assert_eq!(call(&host, "afterwards").status(), 200);
    reads_nothing(&host);
}

#[test]
fn a_stalled_relay_costs_its_calls_and_no_others() {
    let tools = tools();
    let host = HostileHost::start(&tools.setup().limit("upstream_connections_per_server", 3));
    assert_eq!(call(&host, "first").status(), 200);
    let dialled = || host.dialled().len();
    let before = dialled();
    host.set_dialling(Dialling::Tampering(Tamper::StallInward(200)));
    let stalled = ["one", "two"].map(|session| {
        let connection = host.connect();
        (session, thread::spawn(move || call_over(connection, session)))
    });
    wait_for("two stalled handshakes", Duration::from_secs(10), || (dialled() == before + 2).then_some(()));
    host.set_dialling(Dialling::Honest);
    assert_eq!(call(&host, "meanwhile").status(), 200, "there is a third connection");
    for (session, stalled) in stalled {
        faulted(&host, session, &stalled.join().expect("an answer"), &["UPSTREAM_TIMEOUT"]);
    }
    for _ in 0..4 {
        assert_eq!(call(&host, "afterwards").status(), 200, "what was stalled has given its place back");
    }
    let started = Instant::now();
    host.set_dialling(Dialling::Tampering(Tamper::Delay(Duration::from_millis(500))));
    assert_eq!(call(&host, "late").status(), 200, "late is not wrong");
    assert!(started.elapsed() >= Duration::from_millis(500));
    reads_nothing(&host);
}

/// With the time that calls usually have, the handshake has a limit of its own, and its end says that nothing was sent.
#[test]
fn a_handshake_does_not_take_as_long_as_a_call() {
    let tools = tools();
    let host = HostileHost::start(&tools.setup().limit("upstream_timeout_ms", 30_000));
    assert_eq!(call(&host, "first").status(), 200);
    host.set_dialling(Dialling::Tampering(Tamper::StallInward(0)));
    let entry = faulted(&host, "stalled", &call(&host, "stalled"), &["UPSTREAM_TLS"]);
    assert_eq!(entry["detail"]["forwarded"], false);
    assert_eq!(entry["detail"]["reason"], "TLS handshake did not end within 10 s");
}

/// What passes the host on both sides of the enclave, and what it stores, while the operator brings a secret and a tool server is shown it.
#[test]
fn a_secret_passes_the_host_unread() {
    const SECRET: &str = "s3cret-94aa01";
    let tools = tools();
    let key = OperatorKey::from_seed([3; 32]);
    let mut setup = tools.setup();
    setup.catalog[0]["server"]["secret"] = json!({"name": "crm", "use": "bearer"});
    let setup = setup.operated().operated_by(&key);
    let host = Unbooted::start().boot(BootBundle { tls: true, ..bundle(&setup) });
    let agents = Arc::new(Mutex::new(Vec::new()));
    let connect = || {
        let stream = Tapped(host.inbound(), Arc::clone(&agents));
        tls::over(stream, None, &Trust::Anybody).expect("a handshake").connection
    };
    assert_eq!(call_over(connect(), "before").error_code(), "SECRET_NOT_PROVISIONED");
    assert!(host.dialled().is_empty(), "nothing is sent before");

    let order = ProvisionOrder {
        boot_id: BootId(host.report.boot_id),
        name: "crm".to_owned(),
        value_sha256: Digest::of(SECRET),
        server: tools.front.url(),
        pin: tools.identity.key_pin(),
    };
    let value = b64u::encode(SECRET.as_bytes());
    let body = json!({
        "value": value, "server": order.server, "pin": order.pin, "signature": key.sign_provision(&order),
    });
    let operator = bearer("operator");
    let answer = connect().request("PUT", "/secrets/crm", &[("authorization", &operator)], body.to_string().as_bytes());
    assert_eq!(answer.expect("an answer").status(), 200);
    assert_eq!(call_over(connect(), "after").status(), 200);
    let shown = tools.tool.calls()[0].header("authorization").map(str::to_owned);
    assert_eq!(shown, Some(format!("Bearer {SECRET}")));
    // The host behind the name is shown nothing.
    let impostor = TlsFront::start(tools.tool.address, &Identity::own(&["127.0.0.1"]));
    host.set_dialling(Dialling::Elsewhere(impostor.address.port()));
    assert_eq!(call_over(connect(), "impostor").error_code(), "UPSTREAM_TLS");

    let mut held = host.relayed();
    held.extend_from_slice(&agents.lock().expect("not poisoned"));
    for append in host.store.appends() {
        held.extend_from_slice(&append.bytes.0);
    }
    while let Some(event) = host.try_event(Duration::from_millis(200)) {
        held.extend(format!("{event:?}").bytes());
    }
    assert!(held.len() > 10_000, "{}", held.len());
    for trace in [SECRET, &value, &Digest::of(SECRET).hex(), &operator] {
        assert!(!held.windows(trace.len()).any(|bytes| bytes == trace.as_bytes()), "the host holds {trace}");
    }
    assert!(held.windows(18).any(|bytes| bytes == b"secret_provisioned"), "the test would see it");
    reads_nothing(&host);
}

/// An agent's connection as the host relays it.
struct Tapped(UnixStream, Arc<Mutex<Vec<u8>>>);

impl Read for Tapped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.lock().expect("not poisoned").extend_from_slice(&into[..read]);
        Ok(read)
    }
}

impl Write for Tapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.lock().expect("not poisoned").extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
