//! What `strict` means on the disk, seen from the system calls of a run of a hundred calls.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tests::gateway::Gateway;
use tests::setup::{CONTACTS, Setup, rpc};
use tests::store;
use tests::upstream::Upstream;

use crate::sha256_hex;

const CALLS: usize = 100;

/// What the processes did, in order.
enum Event {
    /// Bytes written into a store file at an offset.
    Store { file: String, offset: usize, bytes: Vec<u8> },
    /// A store file's data is on the disk: everything written before the call began.
    Synced { file: String, covers: usize },
    /// Bytes sent to the tool server.
    ToTool(Vec<u8>),
    /// Bytes sent anywhere else.
    Elsewhere(Vec<u8>),
}

/// A run under strace, with one call after another.
fn traced_run(durability: &str) -> (Vec<Event>, usize) {
    let tool = Upstream::plain();
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let calls = "trace=openat,lseek,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync";
    let wrapper = ["strace", "-f", "-yy", "-xx", "-s", "10000000", "-e", calls, "-o", trace.to_str().expect("UTF-8")];
    let gateway = Gateway::start_under(&Setup::quickstart(&tool.url()).durability(durability), &wrapper);
    let mut connection = gateway.connect();
    for number in 0..CALLS {
        let params = json!({
            "name": CONTACTS, "arguments": {"query": format!("m-{number}")},
            "_cmcp": {"session_id": "traced", "workflow_id": "demo-agent"},
        });
        let body = rpc(1, "tools/call", &params);
        let answer =
            connection.request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let (_, kept) = gateway.stop();
    let events = parse(&std::fs::read_to_string(&trace).expect("a trace"), tool.address.port());
    (events, store::segments(&kept.path().join("audit-store")).len())
}

fn parse(trace: &str, tool_port: u16) -> Vec<Event> {
    let mut events = Vec::new();
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    let mut syncing: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... f") && rest.contains("sync resumed>") {
            if let Some((file, covers)) = syncing.remove(process) {
                events.push(Event::Synced { file, covers });
            }
            continue;
        }
        let Some((call, arguments)) = rest.split_once('(') else { continue };
        let target = target(arguments);
        let file = target.contains("audit-store").then(|| target.clone());
        match (call, file) {
            ("fdatasync" | "fsync", Some(file)) if rest.contains("unfinished") => {
                drop(syncing.insert(process.to_owned(), (file, events.len())));
            }
            ("fdatasync" | "fsync", Some(file)) => events.push(Event::Synced { file, covers: events.len() }),
            ("lseek", Some(file)) => drop(positions.insert(file, number_after(arguments, 1))),
            ("pwrite64", Some(file)) => {
                let offset = number_after(arguments.rsplit_once('"').map_or("", |(_, rest)| rest), 2);
                events.push(Event::Store { file, offset, bytes: quoted(arguments) });
            }
            ("write" | "writev", Some(file)) => {
                let bytes = quoted(arguments);
                let position = positions.entry(file.clone()).or_default();
                events.push(Event::Store { file, offset: *position, bytes: bytes.clone() });
                *position += bytes.len();
            }
            ("pwritev", Some(_)) => panic!("a call that this test does not read: {line:.200}"),
            ("write" | "writev" | "sendto" | "sendmsg", None)
                if target.contains(&format!("->127.0.0.1:{tool_port}")) =>
            {
                events.push(Event::ToTool(quoted(arguments)));
            }
            ("write" | "writev" | "sendto" | "sendmsg", None) => events.push(Event::Elsewhere(quoted(arguments))),
            _ => {}
        }
    }
    events
}

/// What the first argument's descriptor is, in angle brackets; `-xx` writes paths in hexadecimal too.
fn target(arguments: &str) -> String {
    let rest = arguments.split_once('<').map(|(_, rest)| rest).unwrap_or_default();
    let end = [">)", ">,", "> <unfinished"].iter().filter_map(|end| rest.find(end)).min().unwrap_or_default();
    let name = &rest[..end];
    if name.starts_with("\\x") { String::from_utf8_lossy(&unhex(name)).into_owned() } else { name.to_owned() }
}

/// The number after this many commas.
fn number_after(arguments: &str, commas: usize) -> usize {
    let word = arguments.split(',').nth(commas).unwrap_or_default().trim();
    word.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

/// Every quoted string of a line, one after the other; strace wrote all bytes as `\xHH`.
fn quoted(arguments: &str) -> Vec<u8> {
    arguments.split('"').skip(1).step_by(2).flat_map(unhex).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16).expect("strace -xx")).collect()
}

/// The store as a disk that forgets whatever no finished sync covers.
#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    written: Vec<(usize, String, usize, Vec<u8>)>,
}

impl Disk {
    fn sync(&mut self, file: &str, covers: usize) {
        let (durable, kept) = self.written.drain(..).partition(|(at, name, ..)| name == file && *at < covers);
        self.written = kept;
        let durable: Vec<(usize, String, usize, Vec<u8>)> = durable;
        for (_, name, offset, bytes) in durable {
            let content = self.files.entry(name).or_default();
            content.resize(content.len().max(offset + bytes.len()), 0);
            content[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
    }

    fn holds(&self, text: &str) -> bool {
        self.files.values().any(|content| contains(content, text.as_bytes()))
    }

    fn write_to(&self, folder: &Path) {
        for (name, content) in &self.files {
            let name = Path::new(name).file_name().expect("a name");
            std::fs::write(folder.join(name), content).expect("a file");
        }
    }
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

/// The hash in every receipt among these bytes.
fn receipts(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split("\"audit_entry_hash\":\"").skip(1).filter_map(|rest| rest.get(..64).map(str::to_owned)).collect()
}

/// The marker of a call among these bytes.
fn marker(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (_, rest) = text.split_once("\"query\":\"")?;
    rest.split_once('"').map(|(marker, _)| marker.to_owned())
}

#[test]
fn strict_syncs_intents_before_tools_and_outcomes_before_answers() {
    let (events, _) = traced_run("strict");
    let (mut disk, mut syncs, mut sent, mut answered) = (Disk::default(), 0, 0, 0);
    for (at, event) in events.into_iter().enumerate() {
        match event {
            Event::Store { file, offset, bytes } => disk.written.push((at, file, offset, bytes)),
            Event::Synced { file, covers } => {
                disk.sync(&file, covers);
                syncs += 1;
                let forgotten = tempfile::tempdir().expect("a folder");
                disk.write_to(forgotten.path());
                store::assert_verifies(forgotten.path());
            }
            Event::ToTool(bytes) => {
                if let Some(marker) = marker(&bytes) {
                    let hash = sha256_hex(json!({"query": marker}).to_string().as_bytes());
                    assert!(disk.holds(&hash), "{marker} went to the tool before its intent was on the disk");
                    sent += 1;
                }
            }
            Event::Elsewhere(bytes) => {
                for hash in receipts(&bytes) {
                    assert!(disk.holds(&hash), "an answer left before {hash} was on the disk");
                    answered += 1;
                }
            }
        }
    }
    assert_eq!(sent, CALLS, "every call was seen on its way to the tool");
    assert!(answered >= CALLS, "every answer was seen: {answered}");
    assert!(syncs >= 2 * CALLS, "an fdatasync for each intent and each outcome: {syncs}");
}

#[test]
fn process_does_not_wait_for_the_disk() {
    let (events, _) = traced_run("process");
    let syncs = events.iter().filter(|event| matches!(event, Event::Synced { .. })).count();
    assert!(syncs < CALLS / 2, "{syncs} syncs in {CALLS} calls");
    let written: usize =
        events.iter().map(|event| if let Event::Store { bytes, .. } = event { bytes.len() } else { 0 }).sum();
    assert!(written > 0, "the host writes what it acknowledges");
}
