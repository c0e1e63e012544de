//! A program in the host's place: it starts the built enclave, boots it, and then lies where a test wants it to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use wire::blocking::{read, write};
use wire::{
    Blob, BootBundle, BootReport, ControlEvent, ControlRequest, EnclaveOpen, HostOpen, OpenAnswer, OpenRefusal,
    PolicyFile, Spawned, Text,
};

use crate::http::Connection;
use crate::mcp_server::Speaks;
use crate::setup::Setup;
use crate::stdio::plain_answer;
use crate::{bin, proc, wait_for};

mod memory_store;

pub use memory_store::{Fault, MemoryStore};

/// Port of the callback socket.
pub const CALLBACK_PORT: u32 = 1024;
/// How long the enclave may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the host does with a request to dial a tool server.
#[derive(Clone)]
pub enum Dialling {
    /// Connects where it was asked to.
    Honest,
    /// Connects to this port whatever was asked.
    Elsewhere(u16),
    /// Refuses.
    Refuse(OpenRefusal),
    /// Never answers.
    Silent,
    /// Answers, waits for a first word, then sends these bytes whatever it was told, and closes.
    Bytes(Vec<u8>),
    /// Answers with these bytes in place of a frame.
    Answer(Vec<u8>),
    /// Connects where it was asked to, and does this to what it relays.
    Tampering(Tamper),
}

/// What the host does to the bytes between the enclave and a tool server. Places count from 0 in each direction of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// Passes on so many bytes of the tool server, and closes.
    CutInward(usize),
    /// Passes on so many bytes of the enclave, and closes.
    CutOutward(usize),
    /// Passes on so many bytes of the tool server, and then nothing more, without closing.
    StallInward(usize),
    /// Changes one byte of the tool server.
    Flip(usize),
    /// Keeps the first bytes of the tool server for this long.
    Delay(Duration),
    /// Passes on the first so many bytes of the tool server twice.
    Repeat(usize),
}

/// What the host does with a request to start a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spawning {
    /// Starts a plain tool server, and says that its entrypoint has this digest.
    Plain([u8; 32]),
    /// Refuses.
    Refuse(OpenRefusal),
    /// Says that it is ready and no more, and closes.
    NoFrame,
    /// Says that it is ready and nothing more.
    Silent,
    /// Like plain, but these bytes are the answer to a call, and then nothing is.
    Cut([u8; 32], &'static str),
}

/// The host's side of one enclave.
pub struct HostileHost {
    enclave: Started,
    control: UnixStream,
    events: Receiver<ControlEvent>,
    /// What the enclave said of its boot bundle.
    pub report: BootReport,
    /// The record store, honest until told otherwise.
    pub store: Arc<MemoryStore>,
    dialling: Arc<Mutex<Dialling>>,
    dialled: Arc<Mutex<Vec<(String, u16)>>>,
    relayed: Arc<Mutex<Vec<u8>>>,
    spawning: Arc<Mutex<Spawning>>,
    spawned: Arc<Mutex<Vec<EnclaveOpen>>>,
}

/// An enclave that has a control stream but no boot bundle yet.
pub struct Unbooted {
    enclave: Started,
    control: UnixStream,
    listener: UnixListener,
}

impl Unbooted {
    /// Starts the enclave and opens the control stream.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments of the enclave.
    pub fn start_with(arguments: &[&str]) -> Self {
        let enclave = Started::start_with(arguments);
        let listener =
            UnixListener::bind(enclave.folder.path().join(format!("enclave.sock_{CALLBACK_PORT}"))).expect("a socket");
        let mut control = enclave.connect();
        write(&mut control, &HostOpen::Control { callback_port: CALLBACK_PORT }).expect("the enclave reads");
        assert_eq!(read::<OpenAnswer>(&mut control).expect("an answer"), OpenAnswer::Ready);
        Self { enclave, control, listener }
    }

    /// Sends a request on the control stream and reads the next event.
    pub fn ask(&mut self, request: &ControlRequest) -> ControlEvent {
        write(&mut self.control, request).expect("the enclave reads");
        read(&mut self.control).expect("an event")
    }

    /// Boots, and serves the enclave's streams from then on.
    pub fn boot(mut self, bundle: BootBundle) -> HostileHost {
        match self.ask(&ControlRequest::Boot(bundle)) {
            ControlEvent::Booted(report) => self.serve(report),
            other => panic!("not booted: {other:?}"),
        }
    }

    /// A further connection to the enclave.
    pub fn connect(&self) -> UnixStream {
        self.enclave.connect()
    }

    /// The control stream's raw bytes.
    pub fn control(&mut self) -> &mut UnixStream {
        &mut self.control
    }

    /// Waits for the enclave to end.
    pub fn wait(mut self) -> ExitStatus {
        drop(self.control);
        self.enclave.wait()
    }

    fn serve(self, report: BootReport) -> HostileHost {
        let (sender, events) = mpsc::channel();
        let control = self.control.try_clone().expect("a second handle");
        thread::spawn(move || forward_events(control, &sender));
        let store = Arc::new(MemoryStore::default());
        let dialling = Arc::new(Mutex::new(Dialling::Honest));
        let dialled = Arc::<Mutex<Vec<_>>>::default();
        let relayed = Arc::<Mutex<Vec<u8>>>::default();
        let spawning = Arc::new(Mutex::new(Spawning::NoFrame));
        let spawned = Arc::<Mutex<Vec<_>>>::default();
        let server = Server {
            store: Arc::clone(&store),
            dialling: Arc::clone(&dialling),
            dialled: Arc::clone(&dialled),
            relayed: Arc::clone(&relayed),
            spawning: Arc::clone(&spawning),
            spawned: Arc::clone(&spawned),
        };
        thread::spawn(move || server.accept(&self.listener));
        let Self { enclave, control, .. } = self;
        HostileHost { enclave, control, events, report, store, dialling, dialled, relayed, spawning, spawned }
    }
}

impl HostileHost {
    /// Boots an enclave in dev mode with these documents.
    pub fn start(setup: &Setup) -> Self {
        Unbooted::start().boot(bundle(setup))
    }

    /// Changes what happens to dial requests.
    pub fn set_dialling(&self, dialling: Dialling) {
        *self.dialling.lock().expect("not poisoned") = dialling;
    }

    /// Changes what happens to requests to start a process.
    pub fn set_spawning(&self, spawning: Spawning) {
        *self.spawning.lock().expect("not poisoned") = spawning;
    }

    /// What the enclave asked to start.
    pub fn spawned(&self) -> Vec<EnclaveOpen> {
        self.spawned.lock().expect("not poisoned").clone()
    }

    /// Names and ports that the enclave asked for.
    pub fn dialled(&self) -> Vec<(String, u16)> {
        self.dialled.lock().expect("not poisoned").clone()
    }

    /// Every byte that was relayed between the enclave and tool servers, in either direction.
    pub fn relayed(&self) -> Vec<u8> {
        self.relayed.lock().expect("not poisoned").clone()
    }

    /// An agent's connection.
    pub fn connect(&self) -> Connection {
        Connection::over(self.inbound())
    }

    /// The stream of an agent's connection, on which nothing was said yet.
    pub fn inbound(&self) -> UnixStream {
        let mut stream = self.raw();
        write(&mut stream, &HostOpen::Inbound).expect("the enclave reads");
        assert_eq!(read::<OpenAnswer>(&mut stream).expect("an answer"), OpenAnswer::Ready);
        stream
    }

    /// A connection that has said nothing yet.
    pub fn raw(&self) -> UnixStream {
        self.enclave.connect()
    }

    /// The control stream.
    pub fn control(&mut self) -> &mut UnixStream {
        &mut self.control
    }

    /// The next event that the test looks for; others are dropped.
    pub fn event<T>(&self, what: &str, mut pick: impl FnMut(&ControlEvent) -> Option<T>) -> T {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) => {
                    if let Some(found) = pick(&event) {
                        return found;
                    }
                }
                Err(error) => panic!("no {what}: {error}"),
            }
        }
    }

    /// The next event, if there is one soon.
    pub fn try_event(&self, patience: Duration) -> Option<ControlEvent> {
        self.events.recv_timeout(patience).ok()
    }

    /// Whether the enclave's process is there.
    pub fn is_alive(&mut self) -> bool {
        self.enclave.is_alive()
    }

    /// Waits for the enclave to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.enclave.wait()
    }

    /// The enclave's process.
    pub fn pid(&self) -> u32 {
        self.enclave.process.id()
    }
}

/// The documents as the host would send them.
pub fn bundle(setup: &Setup) -> BootBundle {
    let file = |(path, text): &(String, String)| PolicyFile {
        path: Text::from(path.as_str()),
        bytes: Blob(text.clone().into_bytes()),
    };
    BootBundle {
        config: Blob(setup.config.to_string().into_bytes()),
        policy: setup.policies.iter().map(file).collect(),
        catalog: Blob(setup.catalog.to_string().into_bytes()),
        controls: setup.controls.as_ref().map(|controls| Blob(controls.to_string().into_bytes())),
        wall_unix_ms: wall_unix_ms(),
        dev: true,
        store_head: None,
        tls: false,
    }
}

fn wall_unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("a date")
}

/// An enclave process that nobody has spoken to.
pub struct Started {
    process: Child,
    folder: TempDir,
}

impl Started {
    /// Starts it and waits for its socket.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Command::new(bin::path("enclave"))
            .args(["--listen", &format!("unix:{}", socket(&folder).display())])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .expect("the enclave starts");
        wait_for("enclave socket", PATIENCE, || UnixStream::connect(socket(&folder)).ok());
        Self { process, folder }
    }

    /// A connection.
    pub fn connect(&self) -> UnixStream {
        connect(&self.folder)
    }

    /// Whether the process is there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("end of the enclave", PATIENCE, || self.process.try_wait().expect("a child"))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.is_alive() {
            proc::signal(self.process.id(), Signal::KILL);
            let _ = self.process.wait();
        }
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("enclave.sock")
}

fn connect(folder: &TempDir) -> UnixStream {
    let stream = UnixStream::connect(socket(folder)).expect("the enclave accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn forward_events(mut control: UnixStream, sender: &Sender<ControlEvent>) {
    let _ = control.set_read_timeout(None);
    while let Ok(event) = read(&mut control) {
        if sender.send(event).is_err() {
            return;
        }
    }
}

#[derive(Clone)]
struct Server {
    store: Arc<MemoryStore>,
    dialling: Arc<Mutex<Dialling>>,
    dialled: Arc<Mutex<Vec<(String, u16)>>>,
    relayed: Arc<Mutex<Vec<u8>>>,
    spawning: Arc<Mutex<Spawning>>,
    spawned: Arc<Mutex<Vec<EnclaveOpen>>>,
}

impl Server {
    fn accept(self, listener: &UnixListener) {
        for stream in listener.incoming().flatten() {
            let server = self.clone();
            thread::spawn(move || {
                let _ = server.serve(stream);
            });
        }
    }

    fn serve(&self, mut stream: UnixStream) -> Result<(), wire::WireError> {
        match read(&mut stream)? {
            EnclaveOpen::Records { boot_id, next } => self.store.records(stream, boot_id, next),
            EnclaveOpen::Recall { first, last, session, .. } => self.store.recall(stream, first, last, session),
            EnclaveOpen::Dial { host, port } => {
                self.dialled.lock().expect("not poisoned").push((host.0.clone(), port));
                let dialling = self.dialling.lock().expect("not poisoned").clone();
                dial(&dialling, stream, &host.0, port, &self.relayed)
            }
            open @ EnclaveOpen::Spawn { .. } => {
                self.spawned.lock().expect("not poisoned").push(open);
                let spawning = self.spawning.lock().expect("not poisoned").clone();
                spawn(&spawning, stream)
            }
        }
    }
}

fn dial(
    dialling: &Dialling,
    mut stream: UnixStream,
    host: &str,
    port: u16,
    relayed: &Arc<Mutex<Vec<u8>>>,
) -> Result<(), wire::WireError> {
    let mut tamper = None;
    let port = match dialling {
        Dialling::Honest => port,
        Dialling::Tampering(how) => {
            tamper = Some(*how);
            port
        }
        Dialling::Elsewhere(other) => *other,
        Dialling::Refuse(refusal) => return write(&mut stream, &OpenAnswer::Refused(*refusal)),
        Dialling::Answer(bytes) => return Ok(stream.write_all(bytes)?),
        Dialling::Silent => {
            thread::sleep(PATIENCE * 2);
            return Ok(());
        }
        Dialling::Bytes(bytes) => {
            write(&mut stream, &OpenAnswer::Ready)?;
            let _ = stream.read(&mut [0; 4096])?;
            return Ok(stream.write_all(bytes)?);
        }
    };
    let Ok(tool) = TcpStream::connect((host, port)) else {
        return write(&mut stream, &OpenAnswer::Refused(OpenRefusal::Unreachable));
    };
    write(&mut stream, &OpenAnswer::Ready)?;
    relay(stream, &tool, tamper, relayed);
    Ok(())
}

fn spawn(spawning: &Spawning, mut stream: UnixStream) -> Result<(), wire::WireError> {
    let (digest, last) = match spawning {
        Spawning::Refuse(refusal) => return write(&mut stream, &OpenAnswer::Refused(*refusal)),
        Spawning::NoFrame => return write(&mut stream, &OpenAnswer::Ready),
        Spawning::Silent => {
            write(&mut stream, &OpenAnswer::Ready)?;
            thread::sleep(PATIENCE * 2);
            return Ok(());
        }
        Spawning::Plain(digest) => (digest, None),
        Spawning::Cut(digest, last) => (digest, Some(last)),
    };
    write(&mut stream, &OpenAnswer::Ready)?;
    write(&mut stream, &Spawned { entrypoint_digest: *digest })?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let message: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        line.clear();
        if let Some(last) = last.filter(|_| message["method"] == "tools/call") {
            stream.write_all(last.as_bytes())?;
            return Ok(stream.shutdown(Shutdown::Both)?);
        }
        if let Some(answer) = plain_answer(&message, Speaks::Modern) {
            writeln!(stream, "{answer}")?;
        }
    }
    Ok(())
}

fn relay(mut enclave: UnixStream, tool: &TcpStream, tamper: Option<Tamper>, relayed: &Arc<Mutex<Vec<u8>>>) {
    let _ = (enclave.set_read_timeout(None), tool.set_nodelay(true));
    let (Ok(mut from_tool), Ok(mut to_enclave)) = (tool.try_clone(), enclave.try_clone()) else { return };
    let seen = Arc::clone(relayed);
    let close = (enclave.try_clone(), tool.try_clone());
    let inward = thread::spawn(move || {
        let _ = copy(&mut from_tool, &mut to_enclave, &seen, |place, bytes| inward(tamper, place, bytes));
        if let (Ok(enclave), Ok(tool)) = close {
            let _ = (enclave.shutdown(Shutdown::Both), tool.shutdown(Shutdown::Both));
        }
    });
    let mut to_tool = tool;
    let outward = |place: usize, bytes: &mut Vec<u8>| match tamper {
        Some(Tamper::CutOutward(cut)) if place + bytes.len() >= cut => {
            bytes.truncate(cut.saturating_sub(place));
            false
        }
        _ => true,
    };
    let _ = copy(&mut enclave, &mut to_tool, relayed, outward);
    let _ = (tool.shutdown(Shutdown::Both), enclave.shutdown(Shutdown::Both));
    let _ = inward.join();
}

/// Changes what a tool server says, which begins at this place. False if it is the last that is passed on.
fn inward(tamper: Option<Tamper>, place: usize, bytes: &mut Vec<u8>) -> bool {
    match tamper {
        Some(Tamper::CutInward(cut)) if place + bytes.len() >= cut => {
            bytes.truncate(cut.saturating_sub(place));
            return false;
        }
        Some(Tamper::StallInward(cut)) => bytes.truncate(cut.saturating_sub(place)),
        Some(Tamper::Flip(at)) => {
            if let Some(byte) = at.checked_sub(place).and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1;
            }
        }
        Some(Tamper::Delay(pause)) if place == 0 => thread::sleep(pause),
        Some(Tamper::Repeat(first)) if place == 0 => {
            let again = bytes.get(..first).unwrap_or(bytes).to_vec();
            bytes.splice(0..0, again);
        }
        _ => {}
    }
    true
}

/// Copies what is left of each piece after `change`, which gets its place too, and keeps what was relayed.
fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    relayed: &Mutex<Vec<u8>>,
    change: impl Fn(usize, &mut Vec<u8>) -> bool,
) -> io::Result<()> {
    let mut place = 0;
    loop {
        let mut bytes = vec![0; 16 << 10];
        let read = from.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        bytes.truncate(read);
        relayed.lock().expect("not poisoned").extend_from_slice(&bytes);
        let goes_on = change(place, &mut bytes);
        place += read;
        to.write_all(&bytes)?;
        if !goes_on {
            return Ok(());
        }
    }
}
