//! A tool server that is a process of the host: one JSON-RPC message a line, both ways (MCP, "stdio").
//!
//! Many requests share the process, so each has an id of ours on it, and its progress token and subscription id are ours too:
//! what comes back is given to the request it belongs to, as if it had a connection of its own. What belongs to no request
//! is heard only by the session whose process it is. A process that breaks the protocol is ended, with the
//! calls that it has.

mod inbox;
mod launch;
mod lines;
mod route;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use self::inbox::Inbox;
use self::lines::Lines;
use self::route::{Calls, Waiting};
use super::Fault;
use super::tools::Changes;
use crate::error::Code;
use crate::limits;
use crate::mcp::envelope;

pub(super) use self::launch::Launcher;

/// A running process. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Process {
    lines: mpsc::Sender<Bytes>,
    state: Rc<State>,
}

/// What the process and the task that reads it share.
#[derive(Debug)]
struct State {
    calls: RefCell<Calls>,
    /// Who hears what belongs to no request.
    listener: RefCell<Option<Rc<Inbox>>>,
    /// Whether all requests are of one session.
    exclusive: bool,
    /// Largest message in bytes, and most that one request may hear.
    cap: usize,
    /// Hears that its tools have changed, whoever else hears it.
    changes: Changes,
    /// Bytes that nobody heard, and since when they are counted.
    unheard: Cell<(usize, Instant)>,
    over: Cell<bool>,
    end: Notify,
}

/// A request to the process, or the wish to hear what belongs to none. Dropped before the answer, it is cancelled.
#[derive(Debug)]
pub(super) struct Hearing {
    process: Rc<Process>,
    inbox: Rc<Inbox>,
    /// Our id of the request, if the process has to be told that nobody waits for it any more.
    cancel: Option<u64>,
    /// Our id of the request, if it is one.
    id: Option<u64>,
}

impl Process {
    /// Speaks to a process over this stream.
    fn over<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        stream: S,
        exclusive: bool,
        cap: usize,
        changes: Changes,
    ) -> Rc<Self> {
        let (lines, waiting) = mpsc::channel(limits::MAX_LINES);
        let state = Rc::new(State {
            calls: RefCell::default(),
            listener: RefCell::default(),
            exclusive,
            cap,
            changes,
            unheard: Cell::new((0, Instant::now())),
            over: Cell::new(false),
            end: Notify::new(),
        });
        spawn_local(run(stream, waiting, lines.downgrade(), state.clone()));
        Rc::new(Self { lines, state })
    }

    /// Whether the process is of no use any more.
    pub(super) fn is_over(&self) -> bool {
        self.state.over.get()
    }

    /// Ends the process; the host closes its input first.
    pub(super) fn end(&self) {
        self.state.over.set(true);
        self.state.end.notify_one();
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`], and then the request was not sent.
    pub(super) async fn request(
        self: &Rc<Self>,
        id: Option<&str>,
        method: &str,
        params: Option<&str>,
    ) -> Result<Hearing, Fault> {
        let gone = || Fault::new(Code::UpstreamUnavailable, "process has ended");
        let room = self.lines.reserve().await.map_err(|_| gone())?;
        if self.is_over() {
            return Err(gone());
        }
        let handshake = matches!(method, "initialize" | "server/discover");
        let inbox = Inbox::new();
        let waiting = Waiting {
            id: id.unwrap_or("null").to_owned(),
            token: params.and_then(route::progress_token),
            subscription: method == "subscriptions/listen",
            inbox: inbox.clone(),
        };
        let replaced = waiting.token.is_some();
        let own = self.state.calls.borrow_mut().add(waiting);
        let params = params.map(|params| if replaced { route::with_token(params, own) } else { params.to_owned() });
        room.send(line(&envelope::request(Some(&own.to_string()), method, params.as_deref())));
        Ok(Hearing { process: self.clone(), inbox, cancel: (!handshake).then_some(own), id: Some(own) })
    }

    /// Sends a message that gets no answer.
    ///
    /// # Errors
    /// [`Code::UpstreamUnavailable`].
    pub(super) async fn tell(&self, message: &str) -> Result<(), Fault> {
        let gone = |_| Fault::new(Code::UpstreamUnavailable, "process has ended");
        self.lines.send(line(message)).await.map_err(gone)
    }

    /// Hears what belongs to no request, in place of whoever heard it before; nothing of a process that several sessions
    /// share.
    pub(super) fn listen(self: &Rc<Self>) -> Option<Hearing> {
        if self.is_over() || !self.state.exclusive {
            return None;
        }
        let inbox = Inbox::new();
        let before = self.state.listener.replace(Some(inbox.clone()));
        if let Some(before) = before {
            before.end(Ok(()));
        }
        Some(Hearing { process: self.clone(), inbox, cancel: None, id: None })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Hearing {
    /// The next message.
    ///
    /// # Errors
    /// Why no more will come.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        self.inbox.next().await
    }

    /// Starts counting towards the cap anew.
    pub(super) fn forget_read(&self) {
        self.inbox.forget_read();
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let state = &self.process.state;
        let Some(id) = self.id else {
            let mut listener = state.listener.borrow_mut();
            if listener.as_ref().is_some_and(|listener| Rc::ptr_eq(listener, &self.inbox)) {
                *listener = None;
            }
            return;
        };
        let unanswered = state.calls.borrow_mut().remove(id).is_some();
        if let Some(id) = self.cancel.filter(|_| unanswered) {
            let params = format!("{{\"requestId\":{id}}}");
            let message = envelope::request(None, "notifications/cancelled", Some(&params));
            // One that does not read does not get to know it.
            let _ = self.process.lines.try_send(line(&message));
        }
    }
}

/// A message as one line. Outside of strings a line break is white space, and inside of them JSON has none.
fn line(message: &str) -> Bytes {
    let byte = |byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
    message.bytes().map(byte).chain([b'\n']).collect()
}

/// Speaks to the process until it ends, breaks the protocol, or is not wanted any more.
async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    waiting: mpsc::Receiver<Bytes>,
    replies: mpsc::WeakSender<Bytes>,
    state: Rc<State>,
) {
    let (reader, writer) = tokio::io::split(stream);
    let fault = tokio::select! {
        fault = read(reader, &replies, &state) => fault,
        fault = write(writer, waiting) => fault,
        () = state.end.notified() => Fault::new(Code::UpstreamInvalid, "process was ended"),
    };
    state.over.set(true);
    for call in state.calls.borrow_mut().take() {
        call.inbox.end(Err(fault.clone()));
    }
    if let Some(listener) = state.listener.take() {
        listener.end(Ok(()));
    }
}

async fn read<S: AsyncRead>(mut reader: ReadHalf<S>, replies: &mpsc::WeakSender<Bytes>, state: &State) -> Fault {
    let mut lines = Lines::new(state.cap);
    loop {
        loop {
            match lines.next_line() {
                Ok(Some(line)) => match route::route(state, &line) {
                    Ok(None) => {}
                    Ok(Some(reply)) => {
                        let _ = replies.upgrade().map(|replies| replies.try_send(self::line(&reply)));
                    }
                    Err(text) => return Fault::new(Code::UpstreamInvalid, text),
                },
                Ok(None) => break,
                Err(fault) => return fault,
            }
        }
        match reader.read_buf(lines.room()).await {
            Ok(1..) => {}
            Ok(0) if lines.is_empty() => return Fault::new(Code::UpstreamInvalid, "process ended before its answer"),
            Ok(0) => return Fault::new(Code::UpstreamInvalid, "process ended within a line"),
            Err(error) => return Fault::new(Code::UpstreamInvalid, format!("process broke off: {error}")),
        }
    }
}

async fn write<S: AsyncWrite>(mut writer: WriteHalf<S>, mut waiting: mpsc::Receiver<Bytes>) -> Fault {
    while let Some(line) = waiting.recv().await {
        if writer.write_all(&line).await.is_err() || writer.flush().await.is_err() {
            // What it said before it closed its input is still to be read.
            return std::future::pending().await;
        }
    }
    Fault::new(Code::UpstreamInvalid, "process was ended")
}
