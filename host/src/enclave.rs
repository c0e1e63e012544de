//! The enclave as a child process, for dev mode and for commands that need measured logic.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

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
    /// The control stream failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A running enclave and its control stream. Dropping it kills the process.
#[derive(Debug)]
pub struct Enclave {
    /// How to reach it.
    pub transport: std::sync::Arc<Unix>,
    /// Its control stream.
    pub control: Control,
    child: Child,
    /// Removed with its sockets when the enclave is gone.
    _folder: Folder,
}

impl Enclave {
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
        Ok(Self { transport: transport.into(), control, child, _folder: folder })
    }

    /// Waits a moment for the process to end, then kills it.
    pub async fn reap(&mut self, patience: Duration) -> Option<ExitStatus> {
        if let Ok(status) = timeout(patience, self.child.wait()).await {
            return status.ok();
        }
        let _ = self.child.kill().await;
        None
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
