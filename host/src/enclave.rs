//! The enclave: a child process, for dev mode and for commands that need measured logic, a VM of ours, or one that somebody else
//! started.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::control::{Control, ControlError};
use crate::limits;
use crate::transport::unix::Unix;
use crate::transport::{Address, Link};
use crate::vm::{Machine, Vm, VmError};

pub(crate) mod folder;

use folder::Folder;

/// Why the enclave did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The program is not where it belongs.
    #[error("the enclave program {path} cannot be run ({error}); build it with `cargo build --release`", path = .path.display())]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Its folder or sockets cannot be made.
    #[error("no place for the enclave's sockets: {0}")]
    Sockets(io::Error),
    /// It ended before it could be reached.
    #[error("the enclave ended before it was ready: {0}")]
    Exited(ExitStatus),
    /// It did not open its socket.
    #[error("the enclave did not open its socket within {} s", limits::START_TIMEOUT.as_secs())]
    Silent,
    /// Nobody listens where an enclave should.
    #[error("no enclave answers at {address} ({error}); {}", how_to_start(.address))]
    Absent {
        /// Where it should listen.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
    /// Its VM did not start.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The control stream failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

fn how_to_start(address: &Address) -> String {
    match address {
        Address::Unix(_) => format!("start one there with `enclave --listen {address}`"),
        Address::Hybrid { port, .. } | Address::Vsock { port, .. } => {
            format!("start its VM, whose enclave has to say `--listen vsock:{port}`")
        }
        Address::Tcp { port, .. } => {
            format!("start its machine, whose enclave has to say `--listen tcp:{port}`, and let this one reach it")
        }
    }
}

/// Where enclaves come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// This program, started when one is needed.
    Program(PathBuf),
    /// This VM, started when one is needed.
    Machine(Arc<Machine>),
    /// Somebody else starts them, and they listen there.
    Attached(Address, Arc<Link>),
}

/// A running enclave and its control stream. Dropping it ends the enclave, which does not outlive its control stream.
#[derive(Debug)]
pub struct Enclave {
    /// How to reach it.
    pub transport: Arc<Link>,
    /// Its control stream.
    pub control: Control,
    body: Body,
}

/// What of it is ours to end.
#[derive(Debug)]
enum Body {
    Process(Process),
    Vm(Box<Vm>),
    Foreign,
}

/// An enclave of our own; killed when it is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Removed with its sockets when the enclave is gone.
    _folder: Folder,
}

/// How an enclave ended.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// It stopped answering and was killed.
    Killed,
    /// It closed the control stream; whoever started it knows more.
    Gone,
}

impl Source {
    /// What is done first, if it takes a while.
    pub fn beginning(&self) -> Option<String> {
        match self {
            Self::Program(_) => None,
            Self::Machine(_) => Some("booting the VM".to_owned()),
            Self::Attached(address, _) => Some(format!("connecting to the enclave at {address}")),
        }
    }
}

impl Enclave {
    /// Starts an enclave, or connects to one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn of(source: &Source) -> Result<Self, StartError> {
        match source {
            Source::Program(program) => Self::start(program).await,
            Source::Machine(machine) => {
                let mut vm = machine.start().await?;
                let control = match vm.reach().await {
                    Ok(control) => control,
                    Err(error) => {
                        vm.end(Duration::ZERO).await;
                        return Err(error);
                    }
                };
                Ok(Self { transport: Arc::clone(&vm.link), control, body: Body::Vm(vm.into()) })
            }
            Source::Attached(address, link) => {
                let control = find(address, link).await?;
                Ok(Self { transport: Arc::clone(link), control, body: Body::Foreign })
            }
        }
    }

    /// Starts the program and opens the control stream.
    ///
    /// The child has no environment but [`limits::ENCLAVE_ENVIRONMENT`], no input, no output but stderr, and a process group of
    /// its own, so that an interrupt from the terminal reaches the host alone, which then stops the enclave in order.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(program: &Path) -> Result<Self, StartError> {
        let folder = Folder::new().map_err(StartError::Sockets)?;
        let socket = folder.path().join("enclave.sock");
        let mut listen = std::ffi::OsString::from("unix:");
        listen.push(&socket);
        let mut child = Command::new(program)
            .arg("--listen")
            .arg(listen)
            .env_clear()
            .envs([limits::ENCLAVE_ENVIRONMENT])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| StartError::Program { path: program.to_owned(), error })?;
        let unix = Unix::new(&socket, child.id().unwrap_or_default()).map_err(StartError::Sockets)?;
        let transport = Arc::new(Link::Unix(unix));
        let control = reach(&transport, &mut child).await?;
        Ok(Self { transport, control, body: Body::Process(Process { child, _folder: folder }) })
    }

    /// Waits a moment for a process of our own to end, then kills it.
    pub async fn reap(&mut self, patience: Duration) -> Ending {
        let child = match &mut self.body {
            Body::Process(process) => &mut process.child,
            Body::Vm(vm) => return vm.end(patience.max(limits::VM_EXIT_TIMEOUT)).await,
            Body::Foreign => return Ending::Gone,
        };
        if let Ok(Ok(status)) = timeout(patience, child.wait()).await {
            return Ending::Exited(status);
        }
        let _ = child.kill().await;
        Ending::Killed
    }
}

/// The enclave program beside this one.
///
/// # Errors
/// The system does not say where this program is.
pub fn sibling() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name("enclave"))
}

/// Opens the control stream as soon as the socket is there.
async fn reach(transport: &Link, child: &mut Child) -> Result<Control, StartError> {
    let connect = async {
        loop {
            match Control::open(transport).await {
                Err(ControlError::Connect(_)) => sleep(Duration::from_millis(2)).await,
                other => return other,
            }
        }
    };
    tokio::select! {
        status = child.wait() => Err(status.map_or_else(StartError::Sockets, StartError::Exited)),
        control = timeout(limits::START_TIMEOUT, connect) => Ok(control.map_err(|_| StartError::Silent)??),
    }
}

/// Opens the control stream of an enclave that somebody else starts, or is just starting.
async fn find(address: &Address, link: &Link) -> Result<Control, StartError> {
    let patience = match address {
        Address::Unix(_) => limits::START_TIMEOUT,
        Address::Hybrid { .. } | Address::Vsock { .. } | Address::Tcp { .. } => limits::VM_START_TIMEOUT,
    };
    let begun = Instant::now();
    loop {
        match Control::open(link).await {
            // One that is ending closes its streams; the next may listen in a moment.
            Err(ControlError::Connect(_) | ControlError::Wire(_) | ControlError::Silent)
                if begun.elapsed() < patience =>
            {
                sleep(limits::ATTACH_PAUSE).await;
            }
            // Of a host that was killed just now: its enclave has not noticed yet.
            Err(ControlError::NotTaken(_)) if begun.elapsed() < limits::EXIT_TIMEOUT => {
                sleep(limits::ATTACH_PAUSE).await;
            }
            Err(ControlError::Connect(error)) => {
                return Err(StartError::Absent { address: address.clone(), error });
            }
            other => return Ok(other?),
        }
    }
}
