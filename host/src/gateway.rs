//! One running enclave's streams: agents in, tool servers and the store out.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use wire::{EnclaveOpen, HostOpen, OpenAnswer, OpenRefusal, Stream, Text};

use crate::documents::{Launch, Server};
use crate::events::Log;
use crate::limits;
use crate::metrics::Metrics;
use crate::polling::Polling;
use crate::processes::Processes;
use crate::relay::relay;
use crate::report::Reporter;
use crate::store::disk::Disk;
use crate::store::{Store, serve_recall};
use crate::transport::{Blocking, Transport, open};

/// The task that serves the streams an enclave opens.
#[derive(Debug)]
pub struct Callbacks {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Callbacks {
    /// Takes no more streams and waits until what the enclave had sent to the store is stored. For after its end: a batch
    /// that is stored later than that would stand behind the head that the next boot is given.
    pub async fn finish(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// What the streams of one enclave need.
pub struct Gateway<T, D: Disk> {
    transport: Arc<T>,
    store: Arc<Store<D>>,
    servers: BTreeSet<Server>,
    processes: Arc<Processes>,
    connections: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    recalls: Arc<Semaphore>,
    polling: Arc<Polling>,
    metrics: Arc<Metrics>,
    log: Mutex<Log>,
}

impl<T: Transport, D: Disk> Gateway<T, D> {
    /// Serves this transport's enclave with this store; dials these servers and no other, and starts these processes.
    pub fn new(
        transport: Arc<T>,
        store: Arc<Store<D>>,
        servers: BTreeSet<Server>,
        processes: Arc<Processes>,
        metrics: Arc<Metrics>,
        reporter: Reporter,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(limits::CONNECTIONS));
        Self {
            transport,
            store,
            servers,
            processes,
            polling: Polling::new(Arc::clone(&connections)).into(),
            connections,
            dials: Semaphore::new(limits::DIALS).into(),
            recalls: Semaphore::new(limits::RECALLS).into(),
            metrics,
            log: Mutex::new(Log::new(reporter)),
        }
    }

    /// Room for one more agent, if there is.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.connections).try_acquire_owned().ok();
        if room.is_none() {
            self.metrics.turned_away();
        }
        room
    }

    /// Relays one agent's connection to its end.
    pub async fn inbound(self: Arc<Self>, agent: TcpStream, _room: OwnedSemaphorePermit) {
        let _connected = self.metrics.connected();
        let _ = agent.set_nodelay(true);
        if let Ok(Ok(enclave)) = timeout(limits::OPEN_TIMEOUT, open(&*self.transport, &HostOpen::Inbound)).await {
            self.polling.during(relay(agent, enclave)).await;
        }
    }

    /// Serves the streams that the enclave opens.
    pub fn callbacks(self: Arc<Self>) -> Callbacks {
        let (stop, mut stopped) = oneshot::channel::<()>();
        let polling = tokio::spawn(Arc::clone(&self.polling).run());
        let task = tokio::spawn(async move {
            let mut streams = JoinSet::new();
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    Some(_) = streams.join_next() => {}
                    accepted = self.transport.accept() => match accepted {
                        Ok(stream) => _ = streams.spawn(Arc::clone(&self).serve(stream)),
                        Err(_) => sleep(limits::ACCEPT_PAUSE).await,
                    },
                }
            }
            polling.abort();
            while streams.join_next().await.is_some() {}
        });
        Callbacks { stop, task }
    }

    async fn serve(self: Arc<Self>, mut stream: Stream) {
        let Ok(Ok(open)) = timeout(limits::OPEN_TIMEOUT, wire::read::<EnclaveOpen>(&mut stream)).await else { return };
        match open {
            EnclaveOpen::Dial { host, port } => {
                // On its own: nobody waits for a tool server when the enclave has ended.
                tokio::spawn(self.dial(stream, Server::new(&host.0, port)));
            }
            EnclaveOpen::Spawn { tool, command, env, entrypoint } => {
                let texts = |texts: Vec<Text>| texts.into_iter().map(|text| text.0).collect();
                let entrypoint = entrypoint.map(|text| text.0);
                let wanted = Launch { command: texts(command), env: texts(env), entrypoint, ..Launch::default() };
                tokio::spawn(Arc::clone(&self.processes).serve(stream, wanted, tool));
            }
            EnclaveOpen::Records { boot_id, next } => self.records(stream, boot_id, next).await,
            EnclaveOpen::Recall { boot_id, first, last, session } => {
                let store = Arc::clone(&self.store);
                self.recall(stream, move || store.recall(boot_id, first, last, session)).await;
            }
        }
    }

    async fn dial(self: Arc<Self>, mut stream: Stream, server: Server) {
        let permit = Arc::clone(&self.dials).try_acquire_owned();
        let connected = match &permit {
            Ok(_) => self.connect(&server).await,
            Err(_) => Err(OpenRefusal::Busy),
        };
        let answer = connected.as_ref().map_or_else(|refusal| OpenAnswer::Refused(*refusal), |_| OpenAnswer::Ready);
        let answered = wire::write(&mut stream, &answer).await;
        if let (Ok(tool_server), Ok(())) = (connected, answered) {
            self.polling.during(relay(tool_server, stream)).await;
        }
    }

    async fn connect(&self, server: &Server) -> Result<TcpStream, OpenRefusal> {
        if !self.servers.contains(server) {
            return Err(OpenRefusal::NotAllowed);
        }
        let connect = TcpStream::connect((server.host.as_str(), server.port));
        let stream = timeout(limits::DIAL_TIMEOUT, connect).await.map_err(io::Error::from).flatten();
        let stream = stream.map_err(|_| OpenRefusal::Unreachable)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn records(&self, stream: Stream, boot_id: [u8; 16], next: u64) {
        let Ok(mut stream) = Blocking::new(stream) else { return };
        let store = Arc::clone(&self.store);
        // The enclave sees the end of the stream and opens another.
        let ended = spawn_blocking(move || store.serve_records(&mut stream, boot_id, next)).await;
        if let Ok(Ok(Some(failure))) = ended {
            self.log.lock().unwrap_or_else(PoisonError::into_inner).store_failed(failure);
        }
    }

    async fn recall(
        &self,
        mut stream: Stream,
        recall: impl FnOnce() -> Result<crate::store::Recall<D>, OpenRefusal> + Send + 'static,
    ) {
        let Ok(permit) = Arc::clone(&self.recalls).try_acquire_owned() else {
            let _ = wire::write(&mut stream, &OpenAnswer::Refused(OpenRefusal::Busy)).await;
            return;
        };
        let Ok(mut stream) = Blocking::new(stream) else { return };
        let serve = move || {
            let _permit = permit;
            serve_recall(recall(), &mut stream)
        };
        let _ = spawn_blocking(serve).await;
    }
}
