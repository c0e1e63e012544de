//! A legacy agent's MCP session: what `initialize` opened, and what is under way in it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::ask::Waiting;
use super::envelope::{Message, parse_incoming};
use super::era::Era;
use super::outbox::Outbox;
use super::{ask, inspected, wait};
use crate::catalog::{Scope, Server};
use crate::error::Code;
use crate::gateway::Gateway;
use crate::identity::Credential;
use crate::limits;
use crate::policy::Policy;
use crate::session::{Session, Source};
use crate::upstream::{Client, Exchange, Fault, Link, Links, NOTHING, approved};

/// What `initialize` opened.
pub struct Agent {
    /// What opened its session.
    pub credential: Rc<Credential>,
    /// The session's id.
    pub session_id: String,
    /// What the agent can be asked, as received.
    pub capabilities: String,
    /// By tool server.
    links: Links,
    /// What tool servers asked of the agent, by the id that the agent was given.
    waiting: RefCell<HashMap<u64, Box<Waiting>>>,
    next_id: Cell<u64>,
    /// Calls under way, by their id as received.
    in_flight: RefCell<HashMap<String, Rc<Notify>>>,
    /// The stream that the agent opened with GET.
    stream: RefCell<Option<Rc<Outbox>>>,
}

/// A call under way; dropped, it cannot be cancelled any more.
pub struct InFlight {
    agent: Rc<Agent>,
    id: String,
    cancelled: Rc<Notify>,
}

impl InFlight {
    /// Waits until the agent cancels the call.
    pub async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut calls = self.agent.in_flight.borrow_mut();
        if calls.get(&self.id).is_some_and(|current| Rc::ptr_eq(current, &self.cancelled)) {
            calls.remove(&self.id);
        }
    }
}

impl Agent {
    /// The agent of this session, with these `capabilities`.
    pub fn new(session: &Session, credential: Rc<Credential>, capabilities: String) -> Rc<Self> {
        Rc::new(Self {
            credential,
            session_id: session.id.clone(),
            capabilities,
            links: Links::default(),
            waiting: RefCell::default(),
            next_id: Cell::new(0),
            in_flight: RefCell::default(),
            stream: RefCell::default(),
        })
    }

    /// The policy bundle of its session.
    pub fn policy(&self, gateway: &Gateway) -> Option<Rc<Policy>> {
        Some(gateway.sessions.borrow().open(&self.credential.identity, &self.session_id)?.policy.clone())
    }

    /// The link to a tool server, opened when first needed.
    ///
    /// # Errors
    /// What the server or the host did instead; the next caller tries again.
    pub async fn link(self: &Rc<Self>, gateway: &Rc<Gateway>, server: usize) -> Result<Rc<Link>, Fault> {
        let entry = gateway.catalog.servers().get(server);
        let entry = entry.ok_or_else(|| Fault::new(Code::Internal, "no such tool server"))?;
        if shares(entry) {
            return gateway.upstreams.shared(server, NOTHING).await;
        }
        let opening = || async {
            let capabilities = approved(entry, &self.capabilities);
            let client = Client { era: Era::Legacy, capabilities: &capabilities };
            let link = Rc::new(gateway.upstreams.link(server, &client).await?);
            if let Some(stream) = self.stream.borrow().as_ref() {
                spawn_local(hear(gateway.clone(), Rc::downgrade(self), stream.clone(), link.clone()));
            }
            Ok(link)
        };
        self.links.open(server, NOTHING, opening).await
    }

    /// The same, if it is open already.
    pub fn link_if_open(&self, gateway: &Gateway, server: usize) -> Option<Rc<Link>> {
        let shared = gateway.catalog.servers().get(server).is_some_and(shares);
        if shared { gateway.upstreams.shared.if_open(server, NOTHING) } else { self.links.if_open(server, NOTHING) }
    }

    /// Forgets a link whose session has ended.
    pub fn forget(&self, link: &Rc<Link>) {
        self.links.forget(link);
    }

    /// The links that are open.
    pub fn links(&self) -> Vec<Rc<Link>> {
        self.links.all()
    }

    /// A call begins; its id is as received.
    pub fn begin(agent: &Rc<Self>, id: &str) -> InFlight {
        let cancelled = Rc::new(Notify::new());
        agent.in_flight.borrow_mut().insert(id.to_owned(), cancelled.clone());
        InFlight { agent: agent.clone(), id: id.to_owned(), cancelled }
    }

    /// The agent cancels the call of this id, if it is still under way.
    pub fn cancel(&self, id: &str) {
        if let Some(call) = self.in_flight.borrow().get(id) {
            call.notify_one();
        }
    }

    /// Remembers what a tool server asked; the id is for the agent. Too much that waits already is given back.
    pub(super) fn wait(&self, waiting: Box<Waiting>) -> Result<u64, Box<Waiting>> {
        let mut all = self.waiting.borrow_mut();
        if all.len() >= limits::MAX_ASKED {
            return Err(waiting);
        }
        self.next_id.set(self.next_id.get().wrapping_add(1));
        all.insert(self.next_id.get(), waiting);
        Ok(self.next_id.get())
    }

    /// Takes back what waits under this id.
    pub(super) fn take(&self, id: u64) -> Option<Box<Waiting>> {
        self.waiting.borrow_mut().remove(&id)
    }

    /// A call has ended: what its tool server asked during it will not be answered.
    pub(super) async fn abandon(&self, call_id: &str) {
        let over = |waiting: &Waiting| waiting.during.as_deref() == Some(call_id);
        let over: Vec<u64> = self.waiting.borrow().iter().filter(|(_, asked)| over(asked)).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(waiting) = self.take(id) {
                waiting.pending.give_up("the call ended before the agent answered").await;
            }
        }
    }

    /// Opens the stream of messages that belong to no call.
    ///
    /// # Errors
    /// [`Code::StreamTaken`] when there is one.
    pub fn open_stream(
        self: &Rc<Self>,
        gateway: &Rc<Gateway>,
        session: &Rc<Session>,
        credential: &Rc<Credential>,
    ) -> Result<Rc<Outbox>, Code> {
        let mut place = self.stream.borrow_mut();
        if place.as_ref().is_some_and(|stream| !stream.is_gone()) {
            return Err(Code::StreamTaken);
        }
        let stream = Outbox::new(true);
        stream.open();
        *place = Some(stream.clone());
        drop(place);
        spawn_local(keep(gateway.clone(), Rc::downgrade(session), credential.clone(), stream.clone()));
        for link in self.links() {
            spawn_local(hear(gateway.clone(), Rc::downgrade(self), stream.clone(), link));
        }
        Ok(stream)
    }

    /// The session ends: whatever waits is answered, and the tool servers' sessions end too.
    pub async fn end(&self, gateway: &Rc<Gateway>) {
        let waiting: Vec<Box<Waiting>> = self.waiting.borrow_mut().drain().map(|(_, waiting)| waiting).collect();
        for waiting in waiting {
            waiting.pending.give_up("the session ended before the agent answered").await;
        }
        for call in self.in_flight.borrow().values() {
            call.notify_one();
        }
        if let Some(stream) = self.stream.borrow_mut().take() {
            stream.hang_up();
        }
        self.links.end(gateway);
    }
}

/// Whether agents share the link to a server.
fn shares(server: &Server) -> bool {
    server.scope() == Some(Scope::Shared)
}

/// Keeps an agent's stream alive, and its session with it, until either is gone or what the agent has shown does not count any more.
async fn keep(gateway: Rc<Gateway>, session: Weak<Session>, credential: Rc<Credential>, stream: Rc<Outbox>) {
    while let Some(left) = credential.left(gateway.clock.now()) {
        tokio::select! {
            () = stream.gone() => return,
            () = sleep(limits::KEEP_ALIVE.min(left)) => {}
        }
        match session.upgrade() {
            Some(session) if !gateway.stopping.get() => session.state.borrow_mut().used = std::time::Instant::now(),
            _ => return stream.hang_up(),
        }
        if stream.keep_alive().await.is_err() {
            return;
        }
    }
    stream.end().await;
}

/// Hears what a tool server says of itself, for as long as the agent listens. A server may close its stream now and then.
async fn hear(gateway: Rc<Gateway>, agent: Weak<Agent>, stream: Rc<Outbox>, link: Rc<Link>) {
    loop {
        let listened = tokio::select! {
            () = stream.gone() => return,
            listened = gateway.upstreams.listen(&link) => listened,
        };
        let Ok(Some(exchange)) = listened else { return };
        hear_once(&gateway, &agent, &stream, &link, exchange).await;
        tokio::select! {
            () = stream.gone() => return,
            () = sleep(limits::LISTEN_AGAIN) => {}
        }
    }
}

async fn hear_once(
    gateway: &Rc<Gateway>,
    agent: &Weak<Agent>,
    stream: &Rc<Outbox>,
    link: &Rc<Link>,
    mut exchange: Box<Exchange>,
) {
    loop {
        let next = tokio::select! {
            () = stream.gone() => return,
            next = exchange.next() => next,
        };
        let (Ok(Some(bytes)), Some(agent)) = (next, agent.upgrade()) else { return };
        exchange.forget_read();
        let Ok(Message::Request(request)) = parse_incoming(&bytes, "") else { continue };
        match request.id {
            None => {
                gateway.upstreams.heard(link.server, &request.method);
                let server = gateway.catalog.servers().get(link.server);
                if server.is_some_and(|server| wait::may_say(server, &request.method))
                    && inspected::may_pass(gateway, &agent.credential.identity, &agent.session_id, &bytes)
                {
                    let _ = stream.send(&bytes).await;
                }
            }
            Some(id) => {
                let asking = ask::Asking {
                    gateway,
                    whom: ask::Whom::Session(&agent, stream),
                    credential: &agent.credential,
                    session: &agent.session_id,
                    source: Source::McpSession,
                    workflow_id: "",
                    call_id: None,
                    waiting: Rc::default(),
                };
                // Whoever has a session is asked there.
                let _ = ask::ask(&asking, link, &request, id).await;
            }
        }
    }
}
