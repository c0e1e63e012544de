//! The enclave on a network: only who booted it relays to it, and its own streams go back there and nowhere else.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use serde_json::json;
use tests::hostile::bundle;
use tests::setup::Setup;
use tests::{bin, wait_for};
use wire::blocking::{read, write};
use wire::{ControlEvent, ControlRequest, EnclaveOpen, HostOpen, OpenAnswer, OpenRefusal};

const PATIENCE: Duration = Duration::from_secs(30);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

struct Enclave {
    process: Child,
    port: u16,
}

impl Enclave {
    fn start() -> Self {
        let port = bin::free_port();
        let process = Command::new(bin::path("enclave"))
            .args(["--isolation", "vm", "--listen", &format!("tcp:{port}")])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .expect("the enclave starts");
        wait_for("enclave's port", PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        Self { process, port }
    }

    /// A connection that comes from this address.
    fn connect_from(&self, from: Ipv4Addr) -> TcpStream {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&socket, &SocketAddr::V4(SocketAddrV4::new(from, 0))).expect("an address of this machine");
        let enclave = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port));
        rustix::net::connect(&socket, &enclave).expect("the enclave listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    fn open(&self, from: Ipv4Addr, open: &HostOpen) -> (TcpStream, OpenAnswer) {
        let mut stream = self.connect_from(from);
        write(&mut stream, open).expect("the enclave reads");
        let answer = read(&mut stream).expect("an answer");
        (stream, answer)
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_network_of_strangers_reaches_nothing() {
    let enclave = Enclave::start();
    let setup = Setup::quickstart("http://127.0.0.1:1").with("/audit/durability", json!("process"));
    // Streams that the enclave opens go to the address that its control stream came from, at the port that was named there.
    let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let callback_port = ours.local_addr().expect("an address").port();
    let elsewhere = TcpListener::bind((OTHER, callback_port)).expect("the same port of another address");

    let early = enclave.open(OTHER, &HostOpen::Inbound).1;
    assert_eq!(early, OpenAnswer::Refused(OpenRefusal::NotBooted));
    let control = HostOpen::Control { callback_port: callback_port.into() };
    let (mut control, answer) = enclave.open(Ipv4Addr::LOCALHOST, &control);
    assert_eq!(answer, OpenAnswer::Ready);
    let second = enclave.open(OTHER, &HostOpen::Control { callback_port: 1 }).1;
    assert_eq!(second, OpenAnswer::Refused(OpenRefusal::ControlTaken));

    write(&mut control, &ControlRequest::Boot(bundle(&setup))).expect("the enclave reads");
    assert!(matches!(read(&mut control).expect("an event"), ControlEvent::Booted(_)));
    let (mut records, _) = ours.accept().expect("the enclave's stream");
    records.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(matches!(read(&mut records).expect("an opening"), EnclaveOpen::Records { .. }));
    elsewhere.set_nonblocking(true).expect("a listener");
    assert_eq!(elsewhere.accept().map(|_| ()).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    let (mut stranger, answer) = enclave.open(OTHER, &HostOpen::Inbound);
    assert_eq!(answer, OpenAnswer::Refused(OpenRefusal::NotAllowed));
    assert_eq!(stranger.read(&mut [0]).expect("the end"), 0);
    let (mut relayed, answer) = enclave.open(Ipv4Addr::LOCALHOST, &HostOpen::Inbound);
    assert_eq!(answer, OpenAnswer::Ready);
    relayed.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("the enclave reads");
    let mut answer = [0; 12];
    relayed.read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
}

#[test]
fn without_its_host_an_enclave_on_a_network_ends() {
    let mut enclave = Enclave::start();
    let (control, answer) = enclave.open(Ipv4Addr::LOCALHOST, &HostOpen::Control { callback_port: 1 });
    assert_eq!(answer, OpenAnswer::Ready);
    drop(control);
    let status = wait_for("end of the enclave", PATIENCE, || enclave.process.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}
