//! `azure-single`: what the host can do from its jail, and what a disk can make of the machine. Two boots.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::hostile::bundle;
use tests::setup::Setup;
use tests::vm::{Image, Machine, TpmState, Vm, turn};
use tests::{bin, wait_for};
use wire::ControlRequest;
use wire::blocking::write;

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

/// A program of the tests that needs no libraries, as a payload has to be.
fn probe() -> PathBuf {
    let target = bin::root().join("target/static");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "-p", "tests", "--bin", "payload_probe"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(bin::root())
        .status();
    assert!(status.expect("cargo").success());
    target.join("x86_64-unknown-linux-gnu/debug/payload_probe")
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

fn start(disk: &Path) -> Vm {
    let network = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="];
    Machine::from_disk(disk).with(&network).start(&TpmState::new())
}

#[test]
fn a_hostile_host_stays_in_its_jail() {
    let _turn = turn();
    let mut documents = Vec::new();
    write(&mut documents, &ControlRequest::Boot(bundle(&Setup::quickstart("http://127.0.0.1:1")))).expect("a frame");
    let host = fs::read(probe()).expect("a program");
    let header = header(host.len() as u64, documents.len() as u64);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut vm = start(&disk(folder.path(), &[header, host, documents].concat()));
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

#[test]
fn a_disk_that_lies_gets_no_payload_and_stops_nothing() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut vm = start(&disk(folder.path(), &header((48 << 20) + 1, u64::MAX)));
    let refused = "payload: not started: its files: the executable has 50331649 bytes, expected 1 to 50331648";
    wait_for("second attempt", PATIENCE, || (vm.console().matches(refused).count() == 2).then_some(()));
    assert!(vm.console().contains("payload: exit status: 1; again in 2 s"));
    assert!(vm.is_on());
}
