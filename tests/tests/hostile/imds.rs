//! The way to the metadata service: only where the command line opens it, only to that one address, and never without end.
//!
//! The address is in the enclave and nothing changes it; so the tests that need the service give it to a network of their own (as root).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::UnshareFlags;
use tests::hostile::{HostileHost, Unbooted, bundle};
use tests::setup::Setup;
use wire::blocking::{read, write};
use wire::{HostOpen, OpenAnswer, OpenRefusal};

/// What the relay passes on in each direction.
const MOST: usize = 64 << 10;

fn open(host: &HostileHost) -> (UnixStream, OpenAnswer) {
    opened(host.raw())
}

fn opened(mut stream: UnixStream) -> (UnixStream, OpenAnswer) {
    write(&mut stream, &HostOpen::Imds).expect("the enclave reads");
    let answer = read(&mut stream).expect("an answer");
    (stream, answer)
}

fn booted() -> HostileHost {
    Unbooted::start_with(&["--imds"]).boot(bundle(&Setup::quickstart("http://127.0.0.1:1")))
}

/// Runs the test where the service's address is this machine's, and where there is no other network.
fn in_its_network(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a network namespace takes nothing away that this thread holds"
        )]
        rustix::thread::unshare(UnshareFlags::NEWNET).expect("root may have a network of its own");
        for line in ["link set lo up", "address add 169.254.169.254/32 dev lo"] {
            let status = Command::new("ip").args(line.split(' ')).status().expect("ip, of the package iproute2");
            assert!(status.success(), "ip {line}");
        }
        test();
    };
    thread::spawn(run).join().expect("the test in its network");
}

/// The service: each connection to the test.
fn service() -> Receiver<TcpStream> {
    let listener = TcpListener::bind("169.254.169.254:80").expect("this network's own address");
    let (sender, connections) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    connections
}

#[test]
fn it_is_closed_unless_the_command_line_opens_it() {
    let host = HostileHost::start(&Setup::quickstart("http://127.0.0.1:1"));
    assert_eq!(open(&host).1, OpenAnswer::Refused(OpenRefusal::NotAllowed));
}

#[test]
fn it_is_closed_before_the_boot() {
    let unbooted = Unbooted::start_with(&["--imds"]);
    assert_eq!(opened(unbooted.connect()).1, OpenAnswer::Refused(OpenRefusal::NotBooted));
}

#[test]
fn where_there_is_no_service_the_answer_says_so() {
    in_its_network(|| {
        let host = booted();
        assert_eq!(open(&host).1, OpenAnswer::Refused(OpenRefusal::Unreachable));
    });
}

#[test]
fn bytes_pass_both_ways_and_the_end_of_one_is_the_end_of_both() {
    in_its_network(|| {
        let (connections, host) = (service(), booted());
        let (mut stream, answer) = open(&host);
        assert_eq!(answer, OpenAnswer::Ready);
        let mut service = connections.recv().expect("a connection");
        stream.write_all(b"GET /metadata/THIM HTTP/1.1\r\n\r\n").expect("the enclave reads");
        let mut request = [0; 31];
        service.read_exact(&mut request).expect("the request");
        assert_eq!(&request, b"GET /metadata/THIM HTTP/1.1\r\n\r\n");
        service.write_all(b"HTTP/1.1 200 OK\r\n\r\ncertificates").expect("the enclave reads");
        drop(service);
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the answer and its end");
        assert_eq!(text, "HTTP/1.1 200 OK\r\n\r\ncertificates");

        let (stream, _) = open(&host);
        let mut service = connections.recv().expect("a connection");
        drop(stream);
        assert_eq!(service.read(&mut [0]).expect("the end"), 0);
    });
}

#[test]
fn neither_side_says_more_than_it_may() {
    in_its_network(|| {
        let (connections, host) = (service(), booted());
        let (mut stream, _) = open(&host);
        let mut service = connections.recv().expect("a connection");
        let endless = thread::spawn(move || while service.write_all(&[7; 4096]).is_ok() {});
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        assert!(!all.is_empty() && all.len() <= MOST, "{} bytes came", all.len());
        endless.join().expect("the service was cut off");

        let (mut stream, _) = open(&host);
        let mut service = connections.recv().expect("a connection");
        let endless = thread::spawn(move || while stream.write_all(&[7; 4096]).is_ok() {});
        let mut all = Vec::new();
        let _ = service.read_to_end(&mut all);
        assert!(!all.is_empty() && all.len() <= MOST, "{} bytes came", all.len());
        endless.join().expect("the host was cut off");
    });
}

#[test]
fn four_at_once_and_none_for_ever() {
    in_its_network(|| {
        let (connections, host) = (service(), booted());
        let began = Instant::now();
        let silent: Vec<_> = (0..4).map(|_| open(&host)).collect();
        assert!(silent.iter().all(|(_, answer)| *answer == OpenAnswer::Ready));
        let services: Vec<_> = (0..4).map(|_| connections.recv().expect("a connection")).collect();
        assert_eq!(open(&host).1, OpenAnswer::Refused(OpenRefusal::Busy));
        assert_eq!(host.connect().request("GET", "/health", &[], b"").expect("an answer").status(), 200);
        for (mut stream, _) in silent {
            assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
        }
        assert!((Duration::from_secs(15)..Duration::from_secs(29)).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(open(&host).1, OpenAnswer::Ready);
        drop(services);
    });
}
