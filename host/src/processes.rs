//! Tool servers that run as processes of this machine: started when the enclave asks, and never left behind.
//!
//! Only what the catalog lists is started. Each process has a group of its own, an environment of the listed variables
//! alone, and the catalog's folder to work in. Its standard error goes to the log.

mod backoff;
mod group;
mod program;
mod stderr;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wire::{OpenAnswer, OpenRefusal, Spawned};

use self::backoff::Backoff;
use self::group::Group;
use self::stderr::Budget;
use crate::documents::{Catalog, Launch};
use crate::limits;
use crate::report::{Reporter, sha256};

pub use self::program::{Found, find};

/// All processes of one host.
pub struct Processes {
    catalog: Catalog,
    folder: PathBuf,
    room: Arc<Semaphore>,
    backoff: Mutex<HashMap<String, Backoff>>,
    reporter: Reporter,
    budget: Mutex<Budget>,
}

/// A process that was started, with what keeps it among its like.
struct Running {
    launch: Arc<Launch>,
    child: Child,
    group: Group,
    started: Instant,
    _room: OwnedSemaphorePermit,
}

impl Processes {
    /// Starts what this catalog lists, in this folder.
    pub fn new(catalog: Catalog, folder: &Path, reporter: Reporter) -> Self {
        let room = Arc::new(Semaphore::new(limits::PROCESSES));
        let (folder, budget) = (folder.to_owned(), Mutex::new(Budget::new()));
        Self { catalog, folder, room, backoff: Mutex::default(), reporter, budget }
    }

    /// Starts a process for the enclave, relays to it, and ends it with the stream.
    pub async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin, wanted: Launch, tool: u32) {
        match self.start(&wanted, tool).await {
            Ok((digest, running)) => {
                let answered = async {
                    wire::write(&mut stream, &OpenAnswer::Ready).await?;
                    wire::write(&mut stream, &Spawned { entrypoint_digest: digest }).await
                };
                let answered = answered.await.is_ok();
                if let Some(running) = running {
                    self.attend(running, stream, answered).await;
                }
            }
            Err(refusal) => {
                let _ = wire::write(&mut stream, &OpenAnswer::Refused(refusal)).await;
            }
        }
    }

    /// Waits until every process has ended.
    pub async fn ended(&self) {
        let all = u32::try_from(limits::PROCESSES).unwrap_or(u32::MAX);
        let _ = timeout(limits::PROCESS_GRACE * 3, self.room.acquire_many(all)).await;
    }

    /// The digest of the entrypoint, and the process. There is none if the file is not the one in the catalog: the enclave
    /// would not use it, so it does not get to run.
    async fn start(&self, wanted: &Launch, tool: u32) -> Result<([u8; 32], Option<Running>), OpenRefusal> {
        let launch = self.catalog.launch(tool).filter(|launch| launch.is(wanted)).ok_or(OpenRefusal::NotAllowed)?;
        self.not_too_early(launch)?;
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            self.warn("process_limit", launch, &format!("not started, {} processes run already", limits::PROCESSES));
            return Err(OpenRefusal::Busy);
        };
        let searched = launch.clone();
        let found = spawn_blocking(move || find(&searched)).await.map_err(io::Error::other).flatten();
        let spawned = found.and_then(|found| {
            let child = found.is_pinned.then(|| self.spawn(launch, &found)).transpose()?;
            Ok((found, child))
        });
        match spawned {
            Ok((found, None)) => {
                let (file, digest) = (found.entrypoint.display(), sha256(found.digest));
                let text = format!("not started, {file} is {digest} and the catalog has {}", launch.entrypoint_digest);
                self.warn("entrypoint_mismatch", launch, &text);
                Ok((found.digest, None))
            }
            Ok((found, Some((child, group)))) => {
                let running = Running { launch: launch.clone(), child, group, started: Instant::now(), _room: room };
                Ok((found.digest, Some(running)))
            }
            Err(error) => {
                self.warn("process_failed", launch, &format!("cannot be started: {error}"));
                self.died(&launch.name, Duration::ZERO);
                Err(OpenRefusal::Unreachable)
            }
        }
    }

    /// What the operator should know; an agent that calls again and again says it no louder.
    fn warn(&self, event: &str, launch: &Launch, text: &str) {
        if self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend().is_some() {
            let text = format!("tool server {}: {text}", launch.name);
            self.reporter.warn(event, &text, json!({ "server": launch.name }));
        }
    }

    fn not_too_early(&self, launch: &Launch) -> Result<(), OpenRefusal> {
        let backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        let early = backoff.get(&launch.name).is_some_and(Backoff::is_too_early);
        if early { Err(OpenRefusal::Unreachable) } else { Ok(()) }
    }

    fn died(&self, name: &str, after: Duration) {
        let mut backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        backoff.entry(name.to_owned()).or_default().died(after);
    }

    fn spawn(&self, launch: &Launch, found: &Found) -> io::Result<(Child, Group)> {
        let variable = |name: &String| Some((name.clone(), std::env::var_os(name)?));
        let env: Vec<(String, OsString)> = launch.env.iter().filter_map(variable).collect();
        let child = Command::new(&found.program)
            .args(launch.command.iter().skip(1))
            .env_clear()
            .envs(env)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = Group::of(&child).ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok((child, group))
    }

    /// Relays until either side ends, then ends the process.
    async fn attend(&self, mut running: Running, stream: impl AsyncRead + AsyncWrite + Unpin, answered: bool) {
        let pipes = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return };
        let name = running.launch.name.clone();
        let errors = tokio::spawn(stderr::log(stderr, name.clone(), running.group.id(), self.reporter));
        let by_itself = answered && relay(&running.group, stdin, stdout, stream).await;
        let status = running.group.end(&mut running.child).await;
        let lived = running.started.elapsed();
        if by_itself {
            let how = status.map_or_else(String::new, |status| format!(" ({status})"));
            self.warn("process_ended", &running.launch, &format!("process {} ended{how}", running.group.id()));
            self.died(&name, lived);
        }
        // A grandchild that left the group may hold the pipe.
        let _ = timeout(limits::LINGER, errors).await;
    }
}

/// Both ways; whether the process ended first. It hears the end of its input at once, and what it still says is read.
async fn relay(
    group: &Group,
    mut stdin: ChildStdin,
    mut stdout: ChildStdout,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> bool {
    let (mut from_enclave, mut to_enclave) = split(stream);
    let by_itself = tokio::select! {
        // A process that closed its input may still have something to say; the enclave's end ends it in any case.
        () = inward(&mut from_enclave, &mut stdin) => false,
        _ = copy(&mut stdout, &mut to_enclave) => true,
        () = group.ended() => {
            let _ = timeout(limits::LINGER, copy(&mut stdout, &mut to_enclave)).await;
            true
        }
    };
    let _ = to_enclave.shutdown().await;
    drop(stdin);
    if !by_itself {
        tokio::spawn(async move { timeout(limits::PROCESS_GRACE * 3, copy(&mut stdout, &mut sink())).await });
    }
    by_itself
}

async fn inward(from: &mut (impl AsyncRead + Unpin), stdin: &mut ChildStdin) {
    if copy(from, stdin).await.is_err() {
        // The process does not read any more. The enclave notices by its silence, or by its end.
        let _ = copy(from, &mut sink()).await;
    }
}
