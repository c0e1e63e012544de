//! `cmcp-verify connect` and `provision` over https: who is refused by which name, and what a gateway that was verified is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use claim::Digest;
use claim::operator::OperatorKey;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::gateway::Gateway;
use tests::http::{Connection, Events};
use tests::impostor::{Boot, Face, Impostor, certificate};
use tests::setup::{CONTACTS, Setup, call_params, rpc, token};
use tests::tls::{self, Ca, Trust};
use tests::upstream::Upstream;
use tests::upstream_tls::{Identity, TlsFront};
use tests::{bin, wait_for};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// What a relying party has: approved values, and an agent's token.
struct Party {
    folder: TempDir,
}

impl Party {
    fn approving(references: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("approved.json"), references.to_string()).expect("a file");
        std::fs::write(folder.path().join("token"), token("alice")).expect("a file");
        std::fs::write(folder.path().join("operator-token"), token("operator")).expect("a file");
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(bin::path("cmcp-verify"));
        command.args(words).arg("--reference").arg(self.file("approved.json")).env_remove("CMCP_BEARER_TOKEN");
        command
    }

    /// `connect` that accepts software.
    fn connect(&self, url: &str, words: &[&str]) -> Command {
        let mut command = self.command(&["connect", url, "--dangerous-accept-software"]);
        command.args(words);
        command
    }

    /// As the program that an MCP client spawns, with the client's first request in the pipe.
    fn bridge(&self, url: &str, words: &[&str]) -> Output {
        let mut command = self.command(&["connect", url, "--stdio", "--json"]);
        command.args(words).arg("--token-file").arg(self.file("token"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        // It may be gone before it has read.
        let _ = writeln!(child.stdin.take().expect("a pipe"), "{INITIALIZE}");
        child.wait_with_output().expect("it ends")
    }
}

fn json_of(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Refused by this name, with exit code 1, and told the challenge at most.
fn refused(face: Face, references: &Value, words: &[&str], reason: &str) {
    let impostor = Impostor::start(face);
    let party = Party::approving(references);
    let output = party.bridge(&impostor.url(), words);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{reason}: {err}");
    assert_eq!(json_of(&output.stderr)["failure_reason"], reason, "{err}");
    assert_eq!(output.stdout, b"", "{reason}");
    told_nothing(&impostor, reason);
}

fn told_nothing(impostor: &Impostor, what: &str) {
    assert!(impostor.requests().is_empty(), "{what}: {:?}", impostor.requests());
    assert!(impostor.challenges().len() <= 1, "{what}");
    for challenge in impostor.challenges() {
        assert_eq!((challenge.target().0, challenge.body.len()), ("GET", 0), "{what}");
        assert_eq!(challenge.header("authorization"), None, "{what}");
    }
    let raw = impostor.raw();
    for secret in [token("alice"), "initialize".to_owned()] {
        assert!(!raw.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{what}");
    }
    assert!(raw.is_empty() || raw[..3] == [22, 3, 1], "{what}: only a ClientHello");
}

const SOFTWARE: &[&str] = &["--dangerous-accept-software"];

#[test]
fn who_is_not_the_approved_gateway_is_refused_by_name() {
    let approved = Boot::new(1).references();
    let refused = |face: Face, reason: &str| refused(face, &approved, SOFTWARE, reason);

    // Somebody in between with a certificate of their own, and with the gateway's evidence in it.
    let theirs = KeyPair::generate().expect("a key");
    let boot = Boot::new(1);
    let copied = certificate(&theirs, &[boot.extension()]);
    refused(Face::tls(copied, &theirs, move |nonce| boot.answer(nonce).to_string()), "TLS_KEY_NOT_BOUND");
    let boot = Boot::new(1);
    let bare = certificate(&theirs, &[]);
    refused(Face::tls(bare, &theirs, move |nonce| boot.answer(nonce).to_string()), "EXTENSION_MISSING");
    // The gateway's own certificate, without its key.
    let boot = Boot::new(1);
    let stolen = certificate(&boot.tls, &[boot.extension()]);
    refused(Face::tls(stolen, &theirs, move |nonce| boot.answer(nonce).to_string()), "TLS_HANDSHAKE");

    let with = |extensions: fn(&Boot) -> Vec<Vec<u8>>| {
        let boot = Boot::new(1);
        let (shown, key) = (certificate(&boot.tls, &extensions(&boot)), Arc::clone(&boot.tls));
        Face::tls(shown, &key, move |nonce| boot.answer(nonce).to_string())
    };
    refused(with(|boot| vec![boot.extension(), boot.extension()]), "EXTENSION_TWICE");
    refused(with(|_| vec![vec![0x0c; (32 << 10) + 1]]), "EXTENSION_TOO_LONG");
    refused(with(|_| vec![b"\x0c\x02{}".to_vec()]), "EXTENSION_MALFORMED");

    let answering = |answer: fn(&Boot, &str) -> Value| {
        let boot = Boot::new(1);
        let (shown, key) = (certificate(&boot.tls, &[boot.extension()]), Arc::clone(&boot.tls));
        Face::tls(shown, &key, move |nonce| answer(&boot, nonce).to_string())
    };
    refused(answering(|boot, _| boot.answer(&"A".repeat(43))), "NONCE_MISMATCH");
    let replayed = |boot: &Boot, nonce: &str| {
        let mut answer = boot.answer(&"A".repeat(43));
        answer["nonce"] = nonce.into();
        answer
    };
    refused(answering(replayed), "CHALLENGE_NOT_BOUND");
    refused(answering(|_, nonce| Boot::new(2).answer(nonce)), "BOOT_MISMATCH");
    let of_another_key = |boot: &Boot, nonce: &str| {
        let stranger = Boot { binding: boot.binding.clone(), ..Boot::new(2) };
        stranger.answer(nonce)
    };
    refused(answering(of_another_key), "KEY_MISMATCH");
    refused(answering(|_, _| json!("<html>")), "ANSWER_MALFORMED");
    let boot = Boot::new(1);
    let (shown, key) = (certificate(&boot.tls, &[boot.extension()]), Arc::clone(&boot.tls));
    refused(Face::tls(shown, &key, |_| String::new()), "ATTESTATION_NOT_ANSWERED");
}

#[test]
fn what_was_not_approved_is_refused_by_name() {
    let approved = Boot::new(1).references();
    refused(Boot::new(1).face(), &approved, &[], "SOFTWARE_EVIDENCE");
    let running = |change: fn(&mut Boot)| {
        let mut boot = Boot::new(1);
        change(&mut boot);
        boot.face()
    };
    for (face, reason) in [
        (running(|boot| boot.artifact = Digest::of("other")), "IMAGE_NOT_APPROVED"),
        (running(|boot| boot.binding.config_hash = Digest::of("other")), "CONFIG_NOT_APPROVED"),
        (running(|boot| boot.binding.bundle_hash = Digest::of("other")), "BUNDLE_NOT_APPROVED"),
        (running(|boot| boot.binding.catalog_hash = Digest::of("other")), "CATALOG_NOT_APPROVED"),
        (running(|boot| boot.binding.tls_spki = vec![Digest::of("other")]), "TLS_KEY_NOT_BOUND"),
    ] {
        refused(face, &approved, SOFTWARE, reason);
    }
}

#[test]
fn nothing_older_than_tls_1_3_is_spoken() {
    let approved = Boot::new(1).references();
    // Alert protocol_version, as a server that knows TLS 1.2 at most answers.
    let alert = vec![21, 3, 3, 0, 2, 2, 70];
    // ServerHello of TLS 1.2: version, random, no session, a suite, no compression, no extensions.
    let hello: Vec<u8> = [&[2, 0, 0, 38, 3, 3][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
    let hello: Vec<u8> = [&[22, 3, 3, 0, 42][..], &hello].concat();
    let http = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    for (bytes, reason) in [(alert, "TLS_VERSION"), (hello, "TLS_VERSION"), (http, "NOT_TLS")] {
        refused(Face::Raw(bytes), &approved, SOFTWARE, reason);
    }
}

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
        .send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .expect("sent");
    assert_eq!(connection.receive().expect("an answer").body, b"abc");
    for request in impostor.requests() {
        let all: Vec<_> = request.headers.iter().filter(|(name, _)| name == "authorization").collect();
        assert_eq!(all, [&("authorization".to_owned(), format!("Bearer {}", token("alice")))]);
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
        connection
            .send(&tests::http::request_bytes("POST", "/echo", &[], number.to_string().as_bytes()))
            .expect("sent");
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
    client.write_all(b"GET /cut HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    assert!(client.read_to_end(&mut answer).is_err(), "{:?}", String::from_utf8_lossy(&answer));
}

#[test]
fn wrong_usage_and_unreachable_gateways_have_codes_of_their_own() {
    let party = Party::approving(&Boot::new(1).references());
    let run = |mut command: Command| {
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let bare = |words: &[&str]| {
        let mut command = Command::new(bin::path("cmcp-verify"));
        command.arg("connect").args(words);
        command
    };
    let url = "https://127.0.0.1:1";
    for (words, hint) in [
        (vec![url], "--reference"),
        (vec![url, "--stdio", "--listen", "127.0.0.1:0"], "--listen"),
        (vec![url, "--listen", "0.0.0.0:8080"], "this machine"),
        (vec!["http://127.0.0.1:1", "--listen", "127.0.0.1:0"], "https://"),
        (vec!["http://127.0.0.1:1", "--dangerous-accept-software"], "https://"),
    ] {
        let (code, err) = run(bare(&words));
        assert_eq!(code, Some(64), "{words:?}: {err}");
        assert!(err.contains(hint), "{words:?}: {err}");
    }
    let (code, err) = run(party.connect(url, &[]));
    assert_eq!(code, Some(2), "{err}");
    let closing = Impostor::start(Face::Raw(Vec::new()));
    assert_eq!(run(party.connect(&closing.url(), &[])).0, Some(2), "a connection that breaks off says nothing");
    std::fs::write(party.file("approved.json"), "{}").expect("a file");
    let (code, err) = run(party.connect(url, &[]));
    assert_eq!(code, Some(2));
    assert!(err.contains("approved.json") && err.contains("version"), "{err}");
}

/// A gateway over TLS, its relying party, and its tool server.
struct Served {
    gateway: Gateway,
    party: Party,
    tool: Upstream,
}

impl Served {
    fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let tool = Upstream::plain();
        let gateway = Gateway::start_tls(&change(Setup::quickstart(&tool.url())));
        let party = Party::approving(&references(gateway.folder()));
        Self { gateway, party, tool }
    }

    fn url(&self) -> String {
        format!("https://{}", self.gateway.address)
    }

    fn provision(&self, words: &[&str]) -> Output {
        let url = self.url();
        let mut command = self.party.command(&["provision", &url, "--dangerous-accept-software"]);
        command.arg("--token-file").arg(self.party.file("operator-token")).args(words);
        command.output().expect("it runs")
    }
}

/// What a relying party approves that has read the configuration and built the program: nothing of it is asked of the gateway.
fn references(folder: &Path) -> Value {
    let mut check = Command::new(bin::path("host"));
    check.args(["check", "--json", "--config"]).arg(folder.join("cmcp-config.yaml"));
    let checked: Value = serde_json::from_slice(&check.output().expect("host runs").stdout).expect("JSON");
    let enclave = std::fs::read(bin::path("enclave")).expect("the program");
    json!({
        "version": 1,
        "images": [{"type": "software", "artifact": Digest::of(enclave)}],
        "config_hashes": [checked["config_hash"]],
        "bundle_hashes": [checked["policy_bundle_hash"]],
        "catalog_hashes": [checked["tool_catalog_hash"]],
    })
}

#[test]
fn the_gateway_that_was_approved_is_verified() {
    let served = Served::start(|setup| setup);
    let output = served.party.connect(&served.url(), &[]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("RESULT: partially_verified") && text.contains("hardware"), "{text}");
    let output = served.party.connect(&served.url(), &["--json"]).output().expect("it runs");
    let verdict = json_of(&output.stdout);
    let boot = served.gateway.get(&format!("/attestation?nonce={}", "A".repeat(43))).json()["boot"].clone();
    assert_eq!(verdict["verified"]["boot"], boot);

    let strict = served.party.command(&["connect", &served.url(), "--json"]).output().expect("it runs");
    assert_eq!(
        (strict.status.code(), &json_of(&strict.stdout)["failure_reason"]),
        (Some(1), &json!("SOFTWARE_EVIDENCE"))
    );
    // Another configuration than the approved one.
    let other = Served::start(|setup| setup.mode("enforcing"));
    let output = served.party.connect(&other.url(), &["--json"]).output().expect("it runs");
    assert_eq!(json_of(&output.stdout)["failure_reason"], "CONFIG_NOT_APPROVED");
}

#[test]
fn mcp_clients_call_through_the_endpoint_and_the_bridge() {
    let served = Served::start(|setup| setup.agents(&["alice"]));
    let file = served.party.file("token");
    let words = ["--listen", "127.0.0.1:0", "--json", "--token-file", file.to_str().expect("a path")];
    let listening = Listening::start(served.party.connect(&served.url(), &words));
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "through"));
    let mut connection = listening.open();
    for _ in 0..2 {
        let answer = connection.request("POST", "/mcp", &[("content-type", "application/json")], &call);
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    assert_eq!(served.tool.calls().len(), 2);
    let start = served.gateway.caller("alice").entries("through")[0].clone();
    assert_eq!(start["detail"]["identity"]["subject"], "alice");

    let mut command = served.party.connect(&served.url(), &["--stdio"]);
    command.arg("--token-file").arg(&file);
    let mut stdio = Spawned::start(command);
    assert_eq!(stdio.ask(INITIALIZE)["result"]["protocolVersion"], "2025-06-18");
    let answer = stdio.ask(
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"salesforce.contacts","arguments":{}}}"#,
    );
    assert_eq!(answer["result"]["content"][0]["text"], "ok", "{answer}");

    // The next boot has another key.
    served.gateway.kill_enclave();
    served.gateway.wait_ready();
    let message = stdio.ask(r#"{"jsonrpc":"2.0","id":8,"method":"tools/list"}"#)["error"]["message"].clone();
    assert!(message.as_str().expect("an error").contains("NEW_BOOT"), "{message}");
    assert_eq!(stdio.end().0, Some(1));
    let answer = listening.open().request("POST", "/mcp", &[], &call).expect("an answer");
    assert_eq!((answer.status(), answer.error_code()), (502, "NEW_BOOT".to_owned()));
    assert_eq!(served.tool.calls().len(), 3);
}

#[test]
fn an_operator_brings_a_tool_server_s_secret() {
    let (tool, identity) = (Upstream::plain(), Identity::own(&["127.0.0.1"]));
    let front = TlsFront::start(tool.address, &identity);
    let folder = tempfile::tempdir().expect("a folder");
    let (key, secret) = (folder.path().join("operator.key"), folder.path().join("crm.token"));
    let mut made = Command::new(bin::path("cmcp-verify"));
    made.args(["operator", "new-key", "--out"]).arg(&key);
    assert!(made.output().expect("it runs").status.success());
    let seed = std::fs::read_to_string(&key).expect("the key");
    let seed = seed.trim().strip_prefix("cmcp-operator-key-v1:").and_then(claim::b64u::decode_array).expect("a seed");
    let served = Served::start(|setup| {
        let mut setup = setup.pinned("key-pinned", &identity.key_pin());
        setup.catalog[0]["server"]["url"] = json!(front.url());
        setup.catalog[0]["server"]["secret"] = json!({"name": "crm", "use": "bearer"});
        setup.agents(&["alice"]).operated_by(&OperatorKey::from_seed(seed))
    });
    let alice = served.gateway.caller("alice");
    assert_eq!(alice.call("before", CONTACTS).error_code(), "SECRET_NOT_PROVISIONED");

    std::fs::write(&secret, "t0ken-of-the-crm\n").expect("a file");
    let brought = format!("crm=@{}", secret.display());
    let (url, pin, key) = (front.url(), identity.key_pin(), key.display().to_string());
    let order = |server: &str, pin: &str| {
        let words = ["--operator-key", &key, "--secret", &brought, "--server", server, "--pin", pin];
        let output = served.provision(&words);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (server, pin) in [("https://other.example/mcp", pin.as_str()), (url.as_str(), "none")] {
        let (code, err) = order(server, pin);
        assert!(code == Some(2) && err.contains("SECRET_REFUSED"), "{err}");
    }
    assert_eq!(order(&url, &pin), (Some(0), String::new()));
    assert_eq!(alice.call("after", CONTACTS).status(), 200);
    assert_eq!(tool.calls()[0].header("authorization"), Some("Bearer t0ken-of-the-crm"));
}

/// An agent's certificate is shown to a gateway that was verified, and to nobody before.
#[test]
fn agents_with_certificates_call_through_the_endpoint_and_the_bridge() {
    const ID: &str = "spiffe://bank.example/agent";
    let ca = Ca::default();
    let mtls = json!({"client_ca": tls::pem(&ca.root), "trust_domain": "bank.example"});
    let served = Served::start(|setup| setup.with("/auth", json!({"mode": "mtls", "mtls": mtls})).operated());
    let shows = ca.workload(&[ID], SystemTime::now() + Duration::from_hours(1));
    let file = served.party.file("agent.pem");
    let key = tls::base64(&shows.key.serialize_der());
    let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&file, tls::pem(&shows.certificate) + &key).expect("a file");
    let certificate = ["--client-certificate", file.to_str().expect("a path")];

    let listen = [&certificate[..], &["--listen", "127.0.0.1:0", "--json"]].concat();
    let listening = Listening::start(served.party.connect(&served.url(), &listen));
    let headers = [("content-type", "application/json")];
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "through"));
    assert_eq!(listening.open().request("POST", "/mcp", &headers, &call).expect("an answer").status(), 200);
    let entries = served.gateway.caller("operator").entries("through");
    assert_eq!(entries[0]["detail"]["identity"]["subject"], ID);

    let mut stdio = Spawned::start(served.party.connect(&served.url(), &[&certificate[..], &["--stdio"]].concat()));
    assert_eq!(stdio.ask(INITIALIZE)["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(stdio.end().0, Some(0));

    for (artifact, code, shown) in [("another enclave", 1, 0), ("enclave", 0, 1)] {
        let mut references = Boot::new(1).references();
        references["images"][0]["artifact"] = json!(Digest::of(artifact));
        let party = Party::approving(&references);
        let impostor = Impostor::start(Boot::new(1).face());
        let mut stdio = Spawned::start(party.connect(&impostor.url(), &[&certificate[..], &["--stdio"]].concat()));
        if code == 0 {
            stdio.ask(INITIALIZE);
        }
        assert_eq!((stdio.end().0, impostor.shown()), (Some(code), shown), "{artifact}");
    }

    std::fs::write(&file, key).expect("a file");
    let output = served.party.connect(&served.url(), &certificate).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && err.contains("agent.pem") && !err.contains("PRIVATE"), "{err}");
}

#[test]
fn an_operator_brings_a_certificate_for_the_public_name() {
    const NAME: &str = "gateway.bank.example";
    let served = Served::start(|setup| setup.agents(&["alice"]).with("/tls/public_name", json!(NAME)));
    let (csr, chain) = (served.party.file("gateway.csr"), served.party.file("chain.pem"));
    let output = served.provision(&["--csr", csr.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let ca = Ca::default();
    let request = std::fs::read_to_string(&csr).expect("the request");
    std::fs::write(&chain, ca.sign(&request, &[NAME], |_| {})).expect("a file");
    let output = served.provision(&["--chain", chain.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    // A client that knows the name and the CA, and nothing of evidence.
    let mut stock =
        tls::connect(served.gateway.address, Some(NAME), &Trust::Ca(ca.root.clone())).expect("a CA that it trusts");
    let authorization = format!("Bearer {}", token("alice"));
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "s"));
    assert_eq!(stock.connection.request("POST", "/mcp", &headers, &call).expect("an answer").status(), 200);

    // What is wrong is the gateway's to say.
    std::fs::write(&chain, ca.sign(&request, &["other.example"], |_| {})).expect("a file");
    let output = served.provision(&["--chain", chain.to_str().expect("a path")]);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && err.contains("TLS_CHAIN_REFUSED"), "{err}");
}

#[test]
fn a_gateway_that_is_refused_gets_neither_token_nor_secret() {
    let party = Party::approving(&Boot::new(1).references());
    std::fs::write(party.file("secret"), "hunter2").expect("a file");
    let key = party.file("operator.key");
    let made = Command::new(bin::path("cmcp-verify")).args(["operator", "new-key", "--out"]).arg(&key).status();
    assert!(made.expect("it runs").success());
    let secret = format!("crm=@{}", party.file("secret").display());
    let (csr, key) = (party.file("csr").display().to_string(), key.display().to_string());
    let words: [&[&str]; 2] = [
        &["--csr", &csr],
        &["--secret", &secret, "--server", "https://crm.example/mcp", "--pin", "none", "--operator-key", &key],
    ];
    for words in words {
        let impostor = Impostor::start(Boot::new(1).face());
        let mut command = party.command(&["provision", &impostor.url()]);
        let output =
            command.arg("--token-file").arg(party.file("operator-token")).args(words).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("SOFTWARE_EVIDENCE"), "{text}");
        told_nothing(&impostor, "provision");
    }
    let wrong: [&[&str]; 4] =
        [&["--secret", &secret], &["--secret", "crm=value"], &["--csr", &csr, "--chain", &csr], &[]];
    for wrong in wrong {
        let mut command = party.command(&["provision", "https://127.0.0.1:1"]);
        let output =
            command.arg("--token-file").arg(party.file("operator-token")).args(wrong).output().expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
    }
}

/// The bridge on standard input and output.
struct Spawned {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Spawned {
    fn start(mut command: Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, answers }
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.process.stdin.as_mut().expect("a pipe"), "{line}").expect("it reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("a line");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// Closes its input: how it ends, and what it says.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.process.stdin.take());
        let output = self.process.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The endpoint, after its verdict.
struct Listening {
    process: Child,
    verdict: Value,
}

impl Listening {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("a verdict");
        Self { process, verdict: json_of(line.as_bytes()) }
    }

    fn address(&self) -> SocketAddr {
        let url = self.verdict["listening"].as_str().unwrap_or_else(|| panic!("{}", self.verdict));
        url.trim_start_matches("http://").parse().expect("an address")
    }

    fn open(&self) -> Connection {
        Connection::open(self.address()).expect("a connection")
    }

    fn err(&mut self) -> String {
        let mut text = String::new();
        self.process.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
