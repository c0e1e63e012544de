//! A payload of `azure-single` that tries what a hostile host would try, and says on its standard output how each attempt ended.
//!
//! One line each: `NAME: ok`, or `NAME: FAILED` and why. It takes threads until it gets no more, then memory until a process of its own is
//! killed; at last it plays a host that asks for dev mode. `tests/vm/azure_single.rs` reads the console.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::UnshareFlags;
use socket2::{Domain, SockAddr, Socket, Type};
use wire::blocking::{read, write};
use wire::{ControlEvent, HEADER_LEN, Header, HostOpen, OpenAnswer, OpenRefusal};

/// This machine, as vsock names it.
const LOCAL: u32 = 1;
/// Argument of the process that takes memory.
const EATER: &str = "--eat";
/// Where the enclave listens.
const PORT: u32 = 5000;

fn main() {
    if std::env::args().any(|argument| argument == EATER) {
        return eat();
    }
    println!("started");
    let boot = documents();
    files();
    privileges();
    sockets();
    enclave();
    // So that a reader of the console sees the end of one attempt before the next.
    println!("takes threads");
    threads();
    println!("takes memory");
    memory();
    dev_mode(&boot);
    println!("ends");
}

/// One attempt; what is wrong with how it ended, if anything is.
fn say(name: &str, wrong: Option<String>) {
    match wrong {
        None => println!("{name}: ok"),
        Some(wrong) => println!("{name}: FAILED {wrong}"),
    }
}

fn unknown<T: Debug>(name: &str, attempt: &Result<T, Errno>) {
    say(name, (attempt.as_ref().err() != Some(&Errno::NOSYS)).then(|| format!("{attempt:?}")));
}

fn files() {
    let mut devices: Vec<_> =
        fs::read_dir("/dev").expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    devices.sort();
    say("devices", (devices != ["null", "random", "urandom", "zero"]).then(|| format!("{devices:?}")));
    let mut root: Vec<_> = fs::read_dir("/").expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    root.sort();
    say("root", (root != ["data", "dev", "etc", "host", "tmp"]).then(|| format!("{root:?}")));
    let secrets =
        ["/dev/tpm0", "/dev/tpmrm0", "/dev/mem", "/dev/kmsg", "/dev/console", "/dev/vda", "/dev/vda2", "/init"];
    let opened: Vec<_> = secrets.into_iter().filter(|path| File::open(path).is_ok()).collect();
    say("secrets", (!opened.is_empty()).then(|| format!("{opened:?}")));
    let above: Vec<_> = ["/../init", "/../../proc/1/environ", "/proc", "/sys"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .collect();
    say("above", (!above.is_empty()).then(|| format!("{above:?}")));
    let replaced = ["/host", "/etc/hosts", "/dev/null2", "/new"]
        .into_iter()
        .filter(|path| fs::write(path, "mine").is_ok() || fs::remove_file(path).is_ok());
    let replaced: Vec<_> = replaced.collect();
    say("replaced", (!replaced.is_empty()).then(|| format!("{replaced:?}")));
    say("own folder", fs::write("/data/file", "mine").err().map(|error| error.to_string()));
}

/// A boot bundle as a host would send it, in its frame.
fn documents() -> Vec<u8> {
    let mut documents = Vec::new();
    let read = std::io::stdin().read_to_end(&mut documents);
    let header = documents.first_chunk().map(|header| Header::parse(*header).map(|header| header.length));
    let whole = matches!(header, Some(Ok(length)) if documents.len() - HEADER_LEN == length as usize);
    say("documents", (read.is_err() || !whole).then(|| format!("{read:?}, {header:?}")));
    documents
}

fn privileges() {
    let (process, user) = (rustix::process::getpid().as_raw_pid(), rustix::process::getuid().as_raw());
    say("names", ((process, user) != (1, 1000)).then(|| format!("process {process}, user {user}")));
    unknown("mount", &mount("none", "/tmp", "tmpfs", MountFlags::empty(), None));
    unknown("unmount", &unmount("/", UnmountFlags::DETACH));
    unknown("chroot", &rustix::process::chroot("/tmp"));
    unknown(
        "device",
        &mknodat(CWD, "/data/tpm", FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(10, 224)),
    );
    #[expect(deprecated, reason = "its successor is unsafe; this one is refused")]
    unknown("namespaces", &rustix::thread::unshare(UnshareFlags::NEWUSER));
    unknown("identity", &rustix::thread::set_thread_uid(rustix::process::Uid::ROOT));
    unknown("machine's name", &rustix::system::sethostname(b"mine"));
    unknown("restart", &rustix::system::reboot(rustix::system::RebootCommand::Restart));
    unknown("capabilities", &rustix::thread::capabilities(None).map(|_| ()));
    // Nothing but its own processes is there to be signalled.
    let others: Vec<_> = (2..1000).filter(|process| signalled(*process)).collect();
    say("others", (!others.is_empty()).then(|| format!("{others:?}")));
}

fn signalled(process: i32) -> bool {
    let process = rustix::process::Pid::from_raw(process).expect("not 0");
    rustix::process::test_kill_process(process).is_ok()
}

fn sockets() {
    for (name, family) in [("netlink", AddressFamily::NETLINK), ("packet", AddressFamily::PACKET)] {
        unknown(name, &socket(family, SocketType::RAW, None));
    }
    let raw = socket(AddressFamily::INET, SocketType::RAW, None);
    say("raw", raw.is_ok().then(|| "opened".to_owned()));
    // Without a word on the wire: which address it would speak from.
    let network = UdpSocket::bind(SocketAddrV4::new([0; 4].into(), 0)).and_then(|socket| {
        socket.connect("10.0.2.2:9")?;
        socket.local_addr()
    });
    let address = network.as_ref().map(|address| address.ip().to_string());
    say("network", (address.ok().as_deref() != Some("10.0.2.15")).then(|| format!("{network:?}")));
    say(
        "names of servers",
        (!fs::read_to_string("/etc/resolv.conf").is_ok_and(|text| text.contains("nameserver")))
            .then(|| "/etc/resolv.conf names none".to_owned()),
    );
}

fn connect(cid: u32, port: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.connect(&SockAddr::vsock(cid, port))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(socket)
}

fn enclave() {
    let answered = connect(LOCAL, PORT).map(|mut socket| {
        write(&mut socket, &HostOpen::Inbound).expect("the enclave reads");
        read::<OpenAnswer>(&mut socket).expect("an answer")
    });
    let expected = OpenAnswer::Refused(OpenRefusal::NotBooted);
    say("enclave", (answered.as_ref().ok() != Some(&expected)).then(|| format!("{answered:?}")));
    let imds = connect(LOCAL, PORT).map(|mut socket| {
        write(&mut socket, &HostOpen::Imds).expect("the enclave reads");
        read::<OpenAnswer>(&mut socket).expect("an answer")
    });
    let expected = OpenAnswer::Refused(OpenRefusal::NotAllowed);
    say("metadata", (imds.as_ref().ok() != Some(&expected)).then(|| format!("{imds:?}")));
    let others: Vec<_> = [(LOCAL, 22), (LOCAL, PORT + 1), (2, 1024), (0, 1)]
        .into_iter()
        .filter(|(cid, port)| connect(*cid, *port).is_ok())
        .collect();
    say("other ports", (!others.is_empty()).then(|| format!("{others:?}")));
}

/// Takes threads until it gets no more, and lives on.
fn threads() {
    let mut most = 0;
    for _ in 0..5000 {
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(|| thread::sleep(Duration::from_secs(5)));
        if thread.is_err() {
            break;
        }
        most += 1;
    }
    say("threads", (!(100..1000).contains(&most)).then(|| format!("{most} of them")));
    thread::sleep(Duration::from_secs(6));
}

/// Takes memory until it is killed, first as files, of which there is room for less.
fn memory() {
    let piece = vec![1_u8; 1 << 20];
    let mut file = File::create("/data/large").expect("a file");
    let files = (0..4096).take_while(|_| file.write_all(&piece).is_ok()).count();
    say("files", (!(1..200).contains(&files)).then(|| format!("{files} MiB")));
    drop(file);
    let _ = fs::remove_file("/data/large");
    let eater = Command::new("/host").arg(EATER).status();
    let killed = eater.as_ref().is_ok_and(|status| status.signal() == Some(9));
    say("memory", (!killed).then(|| format!("{eater:?}")));
}

fn eat() {
    let held: Vec<_> = (0..4096).map(|_| vec![1_u8; 1 << 20]).collect();
    println!("memory: FAILED {} MiB and no end", held.len());
}

/// A host may ask a production image for dev mode, and gets none. The end of its control stream is the end of the machine.
fn dev_mode(boot: &[u8]) {
    let refused = connect(LOCAL, PORT).map(|mut control| {
        write(&mut control, &HostOpen::Control { callback_port: 1024 }).expect("the enclave reads");
        assert_eq!(read::<OpenAnswer>(&mut control).expect("an answer"), OpenAnswer::Ready);
        control.write_all(boot).expect("the enclave reads");
        match read(&mut control).expect("an event") {
            ControlEvent::Refused(refusal) => refusal.found.0,
            other => format!("{other:?}"),
        }
    });
    let expected = "dev mode, which is not in this build";
    say("dev mode", (refused.as_deref().ok() != Some(expected)).then(|| format!("{refused:?}")));
}
