//! Streams from the host: which kinds there are, how many, and what becomes of each.

mod imds;
mod inbound;
mod kill_switch;
mod orders;
mod private;
mod public_name;
mod routes;
mod secrets;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;
use wire::{HostOpen, OpenAnswer, OpenRefusal};

use crate::control;
use crate::gateway::Gateway;
use crate::limits;
use crate::options::Options;
use crate::transport::{BoxStream, Listener, Peer};

pub use self::routes::ENDPOINTS;

/// The enclave process: before its boot bundle, and after.
pub struct Enclave {
    /// The command line.
    pub options: Options,
    /// Set once, by the boot bundle.
    pub gateway: OnceCell<Rc<Gateway>>,
    /// Where the one control stream came from.
    host: Cell<Option<Peer>>,
    streams: Cell<usize>,
    connections: Cell<usize>,
    imds: Cell<usize>,
    end: Cell<End>,
    stop: Notify,
}

/// How the control stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The host that booted the enclave told it to stop.
    Stopped,
    /// Without a word.
    Lost,
}

impl Enclave {
    /// An enclave that waits for its control stream.
    pub fn new(options: Options) -> Rc<Self> {
        Rc::new(Self {
            options,
            gateway: OnceCell::new(),
            host: Cell::new(None),
            streams: Cell::new(0),
            connections: Cell::new(0),
            imds: Cell::new(0),
            end: Cell::new(End::Lost),
            stop: Notify::new(),
        })
    }

    /// Serves streams until the control stream has ended.
    pub async fn run(self: Rc<Self>, listener: Listener) -> End {
        loop {
            tokio::select! {
                () = self.stop.notified() => return self.end.get(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) if self.streams.get() < limits::MAX_STREAMS => {
                        spawn_local(self.clone().stream(stream, peer));
                    }
                    // Out of descriptors, or the host opens streams without end: let others finish first.
                    Ok(_) | Err(_) => tokio::task::yield_now().await,
                },
            }
        }
    }

    async fn stream(self: Rc<Self>, mut stream: BoxStream, peer: Peer) {
        let _count = Counted::one(&self.streams);
        let Ok(Ok(open)) = timeout(limits::OPEN_TIMEOUT, wire::read::<HostOpen>(&mut stream)).await else { return };
        let admitted = match open {
            HostOpen::Control { .. } => self.admit_control(peer),
            HostOpen::Inbound => self.admit_inbound(peer),
            HostOpen::Imds => match self.admit_imds(peer) {
                Ok(()) => return self.imds(stream).await,
                Err(refusal) => Err(refusal),
            },
        };
        if let Err(refusal) = admitted {
            let _ = wire::write(&mut stream, &OpenAnswer::Refused(refusal)).await;
            return;
        }
        if wire::write(&mut stream, &OpenAnswer::Ready).await.is_err() && open == HostOpen::Inbound {
            return;
        }
        match open {
            HostOpen::Control { callback_port } => {
                let callback = self.options.listen.callback(peer, callback_port);
                self.end.set(control::serve(&self, stream, callback).await);
                // Without its control stream nothing can stop this boot in order; fail closed.
                self.stop.notify_one();
            }
            HostOpen::Inbound => {
                let _count = Counted::one(&self.connections);
                if let Some(gateway) = self.gateway.get() {
                    inbound::serve(gateway.clone(), stream).await;
                }
            }
            HostOpen::Imds => {}
        }
    }

    /// Answered once it is known whether the service is there.
    async fn imds(&self, mut stream: BoxStream) {
        let _count = Counted::one(&self.imds);
        let connected = imds::connect().await;
        let answer = connected.as_ref().map_or_else(|refusal| OpenAnswer::Refused(*refusal), |_| OpenAnswer::Ready);
        let answered = wire::write(&mut stream, &answer).await;
        if let (Ok(service), Ok(())) = (connected, answered) {
            imds::relay(stream, service).await;
        }
    }

    fn admit_imds(&self, peer: Peer) -> Result<(), OpenRefusal> {
        if !self.options.imds {
            return Err(OpenRefusal::NotAllowed);
        }
        self.booted_by(peer)?;
        if self.imds.get() < limits::MAX_IMDS_STREAMS { Ok(()) } else { Err(OpenRefusal::Busy) }
    }

    fn admit_control(&self, peer: Peer) -> Result<(), OpenRefusal> {
        if self.host.get().is_some() {
            return Err(OpenRefusal::ControlTaken);
        }
        self.host.set(Some(peer));
        Ok(())
    }

    /// Only the host that booted the enclave relays to it; others on its network have no business here.
    fn booted_by(&self, peer: Peer) -> Result<&Rc<Gateway>, OpenRefusal> {
        let gateway = self.gateway.get().ok_or(OpenRefusal::NotBooted)?;
        if self.host.get() == Some(peer) { Ok(gateway) } else { Err(OpenRefusal::NotAllowed) }
    }

    fn admit_inbound(&self, peer: Peer) -> Result<(), OpenRefusal> {
        let gateway = self.booted_by(peer)?;
        if self.connections.get() >= gateway.config.limits.max_connections || gateway.stopping.get() {
            return Err(OpenRefusal::Busy);
        }
        Ok(())
    }
}

/// One of something, until it is dropped.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn one(count: &'a Cell<usize>) -> Self {
        count.set(count.get().saturating_add(1));
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
