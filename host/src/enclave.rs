//! The enclave: a child process, for dev mode and for commands that need measured logic, or one that somebody else started.

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

mod folder;

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
    #[error("no enclave answers at unix:{path} ({error}); start one there with `enclave --listen unix:{path}`", path = .path.display())]
    Absent {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The control stream failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Where enclaves come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// This program, started when one is needed.
    Program(PathBuf),
    /// Somebody else starts them, and they listen there.
    Attached(Arc<Unix>),
}

/// A running enclave and its control stream. Dropping it ends the enclave, which does not outlive its control stream.
#[derive(Debug)]
pub struct Enclave {
    /// How to reach it.
    pub transport: Arc<Unix>,
    /// Its control stream.
    pub control: Control,
    process: Option<Process>,
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

impl Enclave {
    /// Starts an enclave, or connects to one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn of(source: &Source) -> Result<Self, StartError> {
        match source {
            Source::Program(program) => Self::start(program).await,
            Source::Attached(transport) => {
                let control = find(transport).await?;
                Ok(Self { transport: Arc::clone(transport), control, process: None })
            }
        }
    }

    /// Starts the program and opens the control stream.
    ///
    /// The child has no environment, no input, no output but stderr, and a process group of its own, so that an interrupt
    /// from the terminal reaches the host alone, which then stops the enclave in order.
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
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| StartError::Program { path: program.to_owned(), error })?;
        let transport = Unix::new(&socket, child.id().unwrap_or_default()).map_err(StartError::Sockets)?;
        let control = reach(&transport, &mut child).await?;
        Ok(Self { transport: transport.into(), control, process: Some(Process { child, _folder: folder }) })
    }

    /// Waits a moment for a process of our own to end, then kills it.
    pub async fn reap(&mut self, patience: Duration) -> Ending {
        let Some(Process { child, .. }) = &mut self.process else { return Ending::Gone };
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
async fn reach(transport: &Unix, child: &mut Child) -> Result<Control, StartError> {
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
async fn find(transport: &Unix) -> Result<Control, StartError> {
    let begun = Instant::now();
    loop {
        match Control::open(transport).await {
            // One that is ending closes its streams; the next may listen in a moment.
            Err(ControlError::Connect(_) | ControlError::Wire(_)) if begun.elapsed() < limits::START_TIMEOUT => {
                sleep(limits::ATTACH_PAUSE).await;
            }
            Err(ControlError::Connect(error)) => {
                return Err(StartError::Absent { path: transport.socket().to_owned(), error });
            }
            other => return Ok(other?),
        }
    }
}
