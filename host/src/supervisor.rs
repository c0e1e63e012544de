//! Keeps an enclave running and its streams served, from the first boot to an orderly stop.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wire::{BootReport, ControlEvent, Counters, PolicyFile};

use crate::collateral::{Fetching, Sources};
use crate::control::ControlError;
use crate::documents::{Documents, Finding, Mode};
use crate::enclave::{Enclave, Ending, Source, StartError};
use crate::events::Log;
use crate::gateway::{Callbacks, Gateway};
use crate::metrics::Metrics;
use crate::processes::Processes;
use crate::report::{Reporter, unix_ms};
use crate::store::Store;
use crate::store::disk::Folder;
use crate::transport::Link;
use crate::{events, hints, limits};

/// Why serving ended other than by a signal.
#[derive(Debug, Error)]
pub enum SuperviseError {
    /// The enclave refused the documents.
    #[error("{0}")]
    Refused(Finding),
    /// Neither a TEE nor dev mode.
    #[error(
        "{0}\n\nThis machine has no TEE that this build can use. On a laptop, run\n\n  host --dev-enclave\n\nwhose claims say that they are software-only."
    )]
    NoTee(Finding),
    /// The enclave did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The enclave did not finish in time after a signal.
    #[error("the enclave did not stop within {} s and was killed; sessions may be without a final claim", limits::STOP_TIMEOUT.as_secs())]
    Unstopped,
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Everything that serving needs.
pub struct Supervisor {
    /// The boot documents; the same for every boot.
    pub documents: Documents,
    /// Where agents connect.
    pub listener: TcpListener,
    /// Where records go.
    pub store: Arc<Store<Folder>>,
    /// Where enclaves come from.
    pub source: Source,
    /// Where what goes with their evidence comes from.
    pub collateral: Sources,
    /// What to ask of the enclave.
    pub mode: Mode,
    /// Tool servers that are processes.
    pub processes: Arc<Processes>,
    /// What happens, in numbers.
    pub metrics: Arc<Metrics>,
    /// Where to report.
    pub reporter: Reporter,
}

/// How the serving of one enclave ended.
enum End {
    Stopped,
    Died { how: Ending, counters: Counters },
}

/// One booted enclave.
struct Running {
    enclave: Enclave,
    gateway: Arc<Gateway<Link, Folder>>,
    callbacks: Callbacks,
    counters: Counters,
    log: Log,
    /// What goes with its evidence, as it is fetched.
    collateral: Fetching,
    /// What the enclave was asked and has not answered, in order.
    asked: VecDeque<Asked>,
}

/// What is answered on the control stream.
enum Asked {
    Reload(Vec<PolicyFile>),
    Collateral,
}

impl Supervisor {
    /// Serves until a signal asks to stop.
    ///
    /// # Errors
    /// The first start failed, the documents are refused, or the stop was not in order.
    pub async fn run(self) -> Result<(), SuperviseError> {
        let processes = Arc::clone(&self.processes);
        let ended = self.keep_running().await;
        processes.ended().await;
        ended
    }

    async fn keep_running(mut self) -> Result<(), SuperviseError> {
        let mut signals = Signals::new()?;
        if let Some(text) = self.source.beginning() {
            self.reporter.info("starting", &text, json!({}));
        }
        let Some(first) = signals.or_stop(self.start()).await else { return Ok(()) };
        let (mut running, report) = first?;
        self.metrics.enclave_started();
        self.announce(&report)?;
        let mut pause = limits::RESTART_FIRST;
        loop {
            let started = Instant::now();
            match self.serve(running, &mut signals).await? {
                End::Stopped => break,
                End::Died { how, counters } => {
                    self.metrics.enclave_ended();
                    self.report_death(how, &counters);
                }
            }
            if started.elapsed() > limits::RESTART_RESET {
                pause = limits::RESTART_FIRST;
            }
            match self.restart(&mut pause, &mut signals).await? {
                Some(again) => running = again,
                None => break,
            }
        }
        Ok(self.store.close()?)
    }

    /// Starts another enclave after a pause, which grows each time, or waits for another that somebody else starts; nothing if
    /// a signal comes first.
    async fn restart(&self, pause: &mut Duration, signals: &mut Signals) -> Result<Option<Running>, SuperviseError> {
        let mut said = None;
        loop {
            match &self.source {
                Source::Program(_) | Source::Machine(_) => {
                    self.reporter.info("restarting", &format!("restarting in {} ms", pause.as_millis()), json!({}));
                }
                Source::Attached(address, _) if said.is_none() => {
                    let text = format!("waiting for an enclave at {address}");
                    self.reporter.info("waiting", &text, json!({}));
                }
                Source::Attached(..) => {}
            }
            let attempt = async {
                sleep(*pause).await;
                self.start().await
            };
            let Some(started) = signals.or_stop(attempt).await else { return Ok(None) };
            *pause = (*pause * 2).min(limits::RESTART_LONGEST);
            match started {
                Ok((running, report)) => {
                    self.metrics.enclave_restarted();
                    events::loaded(self.reporter, &report);
                    return Ok(Some(running));
                }
                Err(refused @ (SuperviseError::Refused(_) | SuperviseError::NoTee(_))) => return Err(refused),
                // Whoever waits for somebody else says only once why.
                Err(error)
                    if matches!(self.source, Source::Attached(..)) && said.as_ref() == Some(&error.to_string()) => {}
                Err(error) => {
                    self.reporter.warn("start_failed", &format!("the enclave did not start: {error}"), json!({}));
                    said = Some(error.to_string());
                }
            }
        }
    }

    /// Starts an enclave and boots it.
    async fn start(&self) -> Result<(Running, BootReport), SuperviseError> {
        let enclave = Enclave::of(&self.source).await?;
        let servers = self.documents.catalog.servers.clone();
        let (transport, store, metrics) =
            (Arc::clone(&enclave.transport), Arc::clone(&self.store), Arc::clone(&self.metrics));
        let gateway =
            Arc::new(Gateway::new(transport, store, servers, Arc::clone(&self.processes), metrics, self.reporter));
        let callbacks = Arc::clone(&gateway).callbacks();
        let mut running = Running {
            enclave,
            gateway,
            callbacks,
            counters: Counters::default(),
            log: Log::new(self.reporter),
            collateral: Fetching::none(),
            asked: VecDeque::new(),
        };
        match self.boot(&mut running).await {
            Ok(report) => {
                running.collateral = self.collateral.fetch(&report, &running.enclave.transport, self.reporter);
                Ok((running, report))
            }
            Err(error) => {
                running.end(limits::EXIT_TIMEOUT).await;
                Err(error)
            }
        }
    }

    async fn boot(&self, running: &mut Running) -> Result<BootReport, SuperviseError> {
        let bundle = self.documents.bundle(self.mode, unix_ms(), self.store.head()?);
        match running.enclave.control.boot(bundle).await {
            Ok(report) => Ok(report),
            Err(ControlError::Refused(refusal)) => {
                let finding = self.documents.finding(&refusal);
                Err(match refusal.code {
                    wire::RefusalCode::NoTee => SuperviseError::NoTee(finding),
                    _ => SuperviseError::Refused(finding),
                })
            }
            Err(error) => Err(StartError::Control(error).into()),
        }
    }

    /// The lines that say that everything is up, and what to do next.
    fn announce(&self, report: &BootReport) -> io::Result<()> {
        let address: SocketAddr = self.listener.local_addr()?;
        events::loaded(self.reporter, report);
        self.reporter.info("listening", &format!("listening on {address}"), json!({ "address": address.to_string() }));
        events::warnings(self.reporter, report, &self.documents);
        self.reporter.hint(&hints::first_steps(address, &self.documents, report));
        Ok(())
    }

    /// Serves agents until the enclave dies or a signal comes.
    async fn serve(&mut self, mut running: Running, signals: &mut Signals) -> Result<End, SuperviseError> {
        let mut agents = JoinSet::new();
        let asked = loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((agent, _)) => match running.gateway.admit() {
                        Some(room) => _ = agents.spawn(Arc::clone(&running.gateway).inbound(agent, room)),
                        None => running.log.turned_away(),
                    },
                    Err(_) => sleep(limits::ACCEPT_PAUSE).await,
                },
                Some(_) = agents.join_next() => {}
                event = running.enclave.control.event() => match event {
                    Some(event) => self.event(&mut running, event),
                    // The end of the process is the end of its control stream.
                    None => break false,
                },
                Some(document) = running.collateral.next() => {
                    // A stream that broke shows as the end of the enclave.
                    let _ = running.enclave.control.collateral(document).await;
                    running.asked.push_back(Asked::Collateral);
                }
                signal = signals.any() => match signal {
                    Wanted::Reload => self.reload(&mut running).await,
                    Wanted::Stop => break true,
                },
            }
        };
        if asked {
            let stopped = self.stop(running, signals).await;
            let _ = timeout(limits::LINGER, agents.join_all()).await;
            return stopped.map(|()| End::Stopped);
        }
        let counters = running.counters.clone();
        let how = running.end(limits::EXIT_TIMEOUT).await;
        tokio::spawn(async move { timeout(limits::FLUSH_TIMEOUT, agents.join_all()).await });
        Ok(End::Died { how, counters })
    }

    /// Has the enclave decide new sessions by the policy bundle as it is now; configuration and catalog stay.
    async fn reload(&self, running: &mut Running) {
        if running.asked.iter().any(|asked| matches!(asked, Asked::Reload(_))) {
            return self.reporter.warn("policy_not_reloaded", "a reload is under way; send SIGHUP again", json!({}));
        }
        match self.documents.policy_again() {
            Ok(files) => {
                // A stream that broke shows as the end of the enclave.
                let _ = running.enclave.control.reload(files.clone()).await;
                running.asked.push_back(Asked::Reload(files));
            }
            Err(finding) => events::reloaded(self.reporter, Err(&finding)),
        }
    }

    fn event(&mut self, running: &mut Running, event: ControlEvent) {
        match event {
            ControlEvent::Reloaded(report) => {
                if let Some(Asked::Reload(files)) = running.asked.pop_front() {
                    self.documents.set_policy(files);
                    events::reloaded(self.reporter, Ok(&report));
                }
            }
            ControlEvent::CollateralKept => _ = running.asked.pop_front(),
            ControlEvent::Refused(refusal) => match running.asked.pop_front() {
                Some(Asked::Reload(_)) => events::reloaded(self.reporter, Err(&self.documents.finding(&refusal))),
                Some(Asked::Collateral) => events::collateral_refused(self.reporter, &refusal),
                None => {}
            },
            ControlEvent::Counters(counters) => {
                self.metrics.counters(counters.clone());
                running.counters = counters;
                running.log.catch_up();
            }
            ControlEvent::Tools(tools) => self.metrics.tools(tools),
            ControlEvent::Codes(codes) => self.metrics.codes(&codes),
            ControlEvent::Log(event) => running.log.event(&self.documents.catalog, event),
            // Answers to nothing that was asked.
            _ => {}
        }
    }

    /// Lets the enclave finish its calls and store its sessions' claims; agents that are being served stay connected.
    async fn stop(&mut self, mut running: Running, signals: &mut Signals) -> Result<(), SuperviseError> {
        self.reporter.info("stopping", "stopping: finishing calls and closing sessions", json!({}));
        let stopped = async {
            running.enclave.control.shutdown().await.ok()?;
            loop {
                match running.enclave.control.event().await? {
                    ControlEvent::Stopped { sessions_closed } => return Some(sessions_closed),
                    event => self.event(&mut running, event),
                }
            }
        };
        let stopped = signals.or_stop(timeout(limits::STOP_TIMEOUT, stopped)).await.and_then(Result::ok).flatten();
        running.end(limits::EXIT_TIMEOUT).await;
        let closed = stopped.ok_or(SuperviseError::Unstopped)?;
        self.reporter.info(
            "stopped",
            &format!("stopped; {closed} sessions closed"),
            json!({ "sessions_closed": closed }),
        );
        Ok(())
    }

    fn report_death(&self, how: Ending, counters: &Counters) {
        let how = match how {
            Ending::Exited(status) => format!("ended ({status})"),
            Ending::Killed => "stopped answering and was killed".to_owned(),
            Ending::Gone => "closed its control stream".to_owned(),
        };
        let lost = counters.sessions_open;
        self.reporter.warn(
            "enclave_died",
            &format!("the enclave {how}; {lost} open sessions are lost: their key is gone, so they get no more claims"),
            json!({ "sessions_lost": lost, "totals": events::totals(counters) }),
        );
    }
}

impl Running {
    /// Waits for the enclave to be gone and for the store to have what it sent.
    async fn end(self, patience: Duration) -> Ending {
        let Self { mut enclave, callbacks, .. } = self;
        let how = enclave.reap(patience).await;
        drop(enclave);
        match how {
            // One that does not end with its control stream is not ours to kill, nor to wait for.
            Ending::Gone => _ = timeout(patience, callbacks.finish()).await,
            Ending::Exited(_) | Ending::Killed => callbacks.finish().await,
        }
        how
    }
}

/// What a signal asks for.
enum Wanted {
    Stop,
    Reload,
}

/// SIGTERM and SIGINT, and SIGHUP, which reloads the policy bundle.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn any(&mut self) -> Wanted {
        tokio::select! {
            _ = self.hangup.recv() => Wanted::Reload,
            _ = self.terminate.recv() => Wanted::Stop,
            _ = self.interrupt.recv() => Wanted::Stop,
        }
    }

    /// What comes of this, or nothing if a signal comes first.
    async fn or_stop<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.next() => None,
        }
    }
}
