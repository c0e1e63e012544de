//! Has the host start a process, and looks at what it says it found.

use std::rc::Rc;

use claim::Digest;
use tokio::time::timeout;
use wire::{EnclaveOpen, OpenAnswer, OpenRefusal, Spawned, Text};

use super::Process;
use crate::catalog::{Command, Scope};
use crate::error::Code;
use crate::limits;
use crate::transport::{BoxStream, Callback};
use crate::upstream::Fault;
use crate::upstream::tools::Changes;

/// Starts processes of one tool server.
pub(in crate::upstream) struct Launcher {
    open: EnclaveOpen,
    pinned: Digest,
    exclusive: bool,
    cap: usize,
    changes: Changes,
    callback: Callback,
}

impl Launcher {
    /// `tool` is the place of one of the server's tools in the catalog, `cap` the largest message in bytes.
    pub(in crate::upstream) fn new(
        command: &Command,
        tool: usize,
        cap: usize,
        changes: Changes,
        callback: Callback,
    ) -> Self {
        let texts = |texts: &[String]| texts.iter().cloned().map(Text).collect();
        let open = EnclaveOpen::Spawn {
            tool: u32::try_from(tool).unwrap_or(u32::MAX),
            command: texts(&command.words),
            env: texts(&command.env),
            entrypoint: command.entrypoint.clone().map(Text),
        };
        Self {
            open,
            pinned: command.entrypoint_digest,
            exclusive: command.scope == Scope::Session,
            cap,
            changes,
            callback,
        }
    }

    /// A new process.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`], [`Code::ProcessLimit`], [`Code::EntrypointMismatch`].
    pub(in crate::upstream) async fn launch(&self) -> Result<Rc<Process>, Fault> {
        match timeout(limits::ANSWER_TIMEOUT, self.open()).await {
            Ok(opened) => Ok(Process::over(opened?, self.exclusive, self.cap, self.changes.clone())),
            Err(_) => Err(unavailable("host did not answer the request to start a process".to_owned())),
        }
    }

    async fn open(&self) -> Result<BoxStream, Fault> {
        let broken = |error: wire::WireError| unavailable(error.to_string());
        let mut stream = self.callback.open().await.map_err(|error| unavailable(error.to_string()))?;
        wire::write(&mut stream, &self.open).await.map_err(broken)?;
        match wire::read(&mut stream).await.map_err(broken)? {
            OpenAnswer::Ready => {}
            OpenAnswer::Refused(OpenRefusal::Busy) => {
                let text = "host has no room for another process";
                return Err(Fault::new(Code::ProcessLimit, text).before_the_call());
            }
            OpenAnswer::Refused(refusal) => return Err(unavailable(format!("host did not start it: {refusal:?}"))),
        }
        let Spawned { entrypoint_digest } = wire::read(&mut stream).await.map_err(broken)?;
        let found = Digest::from_bytes(entrypoint_digest);
        if found == self.pinned {
            return Ok(stream);
        }
        let text = format!("host found {found} as the entrypoint, and the catalog has {}", self.pinned);
        Err(Fault::new(Code::EntrypointMismatch, text).before_the_call())
    }
}

fn unavailable(text: String) -> Fault {
    Fault::new(Code::UpstreamUnavailable, text)
}
