//! `azure-single`: what the host can do from its jail, and what a disk can make of the machine. Two boots.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use image::tar;
use serde_json::json;
use tests::hostile::bundle;
use tests::http::Message;
use tests::setup::{CONTACTS, Setup, bearer, call_params, rpc};
use tests::store::Auditor;
use tests::tls::{self, Trust};
use tests::upstream::Upstream;
use tests::upstream_tls::{Identity, TlsFront};
use tests::vm::{Image, Machine, TpmState, Vm, turn};
use tests::{bin, wait_for};
use wire::ControlRequest;
use wire::blocking::write;

use crate::attacks::unaffected;
use crate::desk::Desk;
use crate::production;

/// An emulated machine that runs a whole test of its own.
const PATIENCE: Duration = Duration::from_mins(2);
/// Attempts of `payload_probe`, and that each ended as it should.
const ATTEMPTS: [&str; 29] = [
    "documents",
    "devices",
    "root",
    "secrets",
    "above",
    "replaced",
    "own folder",
    "names",
    "mount",
    "unmount",
    "chroot",
    "device",
    "namespaces",
    "identity",
    "machine's name",
    "restart",
    "capabilities",
    "others",
    "netlink",
    "packet",
    "raw",
    "network",
    "names of servers",
    "enclave",
    "metadata",
    "other ports",
    "threads",
    "files",
    "memory",
];

/// A program that needs no libraries, as a payload has to be: the host, or one of the tests.
fn payload(name: &str) -> Vec<u8> {
    let target = bin::root().join("target/static");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "-p", "tests", "-p", "host", "--bin", "payload_probe", "--bin", "host"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_DEV_STRIP", "symbols")
        .current_dir(bin::root())
        .status();
    assert!(status.expect("cargo").success());
    fs::read(target.join("x86_64-unknown-linux-gnu/debug").join(name)).expect("a program")
}

/// The flavour's disk with these bytes at the beginning of its second partition.
fn disk(folder: &Path, payload: &[u8]) -> PathBuf {
    let disk = folder.join("disk.raw");
    fs::copy(Image::of("azure-single").path("disk.raw"), &disk).expect("a copy");
    let file = fs::OpenOptions::new().read(true).write(true).open(&disk).expect("a disk");
    // Sector 2 has the table of partitions, entries of 128 bytes, in each at 32 the first sector.
    let mut first = [0; 8];
    file.read_exact_at(&mut first, 2 * 512 + 128 + 32).expect("a partition table");
    file.write_all_at(payload, u64::from_le_bytes(first) * 512).expect("a partition");
    disk
}

fn header(host: u64, documents: u64) -> Vec<u8> {
    [&b"CMCPHOST"[..], &host.to_le_bytes(), &documents.to_le_bytes()].concat()
}

/// A machine with a network; what comes to this address arrives at its port for agents.
fn start(disk: &Path, agents: SocketAddr) -> Vm {
    let network = format!("user,id=net,hostfwd=tcp:{agents}-:8443");
    let network = ["-netdev", &network, "-device", "virtio-net-pci,netdev=net,romfile="];
    Machine::from_disk(disk).with(&network).start(&TpmState::new())
}

/// What alice is answered.
fn asked(gateway: SocketAddr, method: &str, path: &str, body: &[u8]) -> io::Result<Message> {
    let authorization = bearer("alice");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    tls::connect(gateway, None, &Trust::Anybody)?.connection.request(method, path, &headers, body)
}

fn port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, bin::free_port()))
}

#[test]
fn a_hostile_host_stays_in_its_jail() {
    let _turn = turn();
    let mut documents = Vec::new();
    write(&mut documents, &ControlRequest::Boot(bundle(&Setup::quickstart("http://127.0.0.1:1")))).expect("a frame");
    let host = payload("payload_probe");
    let header = header(host.len() as u64, documents.len() as u64);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut vm = start(&disk(folder.path(), &[header, host, documents].concat()), port());
    wait_for("end of the machine", PATIENCE, || (!vm.is_on()).then_some(()));
    let console = vm.console();
    for attempt in ATTEMPTS {
        assert!(console.contains(&format!("payload: {attempt}: ok")), "{attempt}");
    }
    // A production image has no dev mode, whoever asks.
    assert!(console.contains("payload: dev mode: ok"));
    assert!(!console.contains("FAILED") && !console.contains("panicked"));
    // The end of the control stream that the payload held.
    assert!(console.contains("enclave: the control stream has ended: restart"));
}

/// First a disk that lies, which gets no payload and stops nothing; then one with a host on it.
#[test]
fn the_host_in_its_jail_serves() {
    let _turn = turn();
    let (image, auditor, tool, agents) = (Image::of("azure-single"), Auditor::new(), Upstream::plain(), port());
    // Where the machine's network has this one's loopback.
    let identity = Identity::own(&["10.0.2.2"]);
    let front = TlsFront::start(tool.address, &identity);
    let setup = production(&format!("https://10.0.2.2:{}", front.address.port()), &auditor)
        .pinned("key-pinned", &identity.key_pin())
        .with("/listen_addr", json!("0.0.0.0:8443"))
        .with("/audit/store_path", json!("/data/audit-store"));
    let (folder, documents) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    setup.write(documents.path());

    let disk = disk(folder.path(), &header((48 << 20) + 1, u64::MAX));
    let mut vm = start(&disk, agents);
    let refused = "payload: not started: its files: the executable has 50331649 bytes, expected 1 to 50331648";
    wait_for("second attempt", PATIENCE, || (vm.console().matches(refused).count() == 2).then_some(()));
    assert!(vm.console().contains("payload: exit status: 1; again in 2 s"));
    assert!(vm.is_on());

    let archive = tar::of(documents.path()).expect("an archive");
    image::payload::write(&disk, &payload("host"), &archive).expect("it fits");
    wait_for("gateway", PATIENCE, || asked(agents, "GET", "/readyz", b"").ok().filter(|answer| answer.status() == 200));
    let answered = |method: &str, path: &str, body: &[u8]| {
        let answer = asked(agents, method, path, body).expect("an answer");
        assert_eq!(answer.status(), 200, "{path}: {}\n{}", answer.text(), vm.console());
        answer.json()
    };
    answered("POST", "/mcp", &rpc(1, "tools/call", &call_params(CONTACTS, "s")));
    answered("POST", "/sessions/s/close", b"");
    let [claim, evidence] = ["/session/s/claim", "/session/s/evidence"].map(|path| answered("GET", path, b""));
    unaffected(&evidence, &image);
    let auditors = Desk::approving(&image, documents.path());
    auditors.refuses(&claim, &evidence, "approved.isolation");
    auditors.approve(&["--accept-process-isolation"]);
    auditors.finds_ours(&claim, &evidence);
}
