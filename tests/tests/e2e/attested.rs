//! `cmcp-verify connect` and `provision` over https: who is refused by which name, and what a gateway that was verified is told.

mod bridges;
mod gateways;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use claim::Digest;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::bin;
use tests::http::Connection;
use tests::impostor::{Boot, Face, Impostor, certificate};
use tests::setup::token;

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
