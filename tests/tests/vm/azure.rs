//! `azure`: over TCP with a host on another machine, and the machine's metadata service through the enclave. One boot.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tests::gateway::Gateway;
use tests::setup::CONTACTS;
use tests::store::Auditor;
use tests::upstream::Upstream;
use tests::vm::{Image, Machine, TpmState, turn};
use tests::{bin, wait_for};
use wire::blocking::{read, write};
use wire::{HostOpen, OpenAnswer};

use crate::attacks::unaffected;
use crate::desk::Desk;
use crate::load::{all_stored, under_load};
use crate::{claimed, production};

const ASKED: &[u8] =
    b"GET /metadata/THIM/amd/certification HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n";

/// What the stand-in answers: every byte there is, whatever HTTP makes of it.
fn recorded() -> Vec<u8> {
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(40_000).collect();
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
}

/// A stand-in for the metadata service: the machine's network hands it all requests on one connection.
fn metadata() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the machine");
        let mut asked = vec![0; ASKED.len()];
        while stream.read_exact(&mut asked).is_ok() {
            assert_eq!(asked, ASKED);
            stream.write_all(&recorded()).expect("the machine reads");
        }
    });
    address
}

/// As the host asks, when the platform is Azure's.
fn through_the_enclave(enclave: SocketAddr) {
    let mut stream = TcpStream::connect(enclave).expect("the enclave");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    write(&mut stream, &HostOpen::Imds).expect("a frame");
    assert_eq!(read::<OpenAnswer>(&mut stream).expect("an answer"), OpenAnswer::Ready);
    stream.write_all(ASKED).expect("it is read");
    let mut answer = vec![0; recorded().len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(answer == recorded(), "every byte as it was recorded");
}

#[test]
fn the_quickstart_over_tcp() {
    let _turn = turn();
    let (image, auditor, tool) = (Image::of("azure"), Auditor::new(), Upstream::plain());
    let enclave = SocketAddr::from((Ipv4Addr::LOCALHOST, bin::free_port()));
    let mut vm = Machine::from_disk(&image.path("disk.vhd")).on_network(enclave, metadata()).start(&TpmState::new());
    vm.wait_listening();
    let gateway =
        Gateway::start_measured(&production(&tool.url(), &auditor), &["--enclave", &format!("tcp://{enclave}")]);
    let desk = Desk::approving(&image, gateway.folder());
    let alice = gateway.caller("alice");
    assert_eq!(alice.call("first", CONTACTS).status(), 200);
    assert_eq!(alice.post("/sessions/first/close", b"").status(), 200);
    let (claim, evidence) = claimed(&gateway, "first");
    unaffected(&evidence, &image);
    desk.finds_ours(&claim, &evidence);
    through_the_enclave(enclave);

    let answered = under_load(&gateway, "load", || {
        thread::sleep(Duration::from_secs(2));
        vm.kill();
        wait_for("the report", Duration::from_secs(30), || gateway.log().contains("are lost").then_some(()));
    });
    wait_for("waiting", Duration::from_secs(10), || {
        gateway.log().contains("waiting for an enclave at tcp://").then_some(())
    });
    let (status, folder) = gateway.stop();
    assert!(status.success(), "{status}");
    all_stored(&folder.path().join("audit-store"), &auditor, &answered);
}
