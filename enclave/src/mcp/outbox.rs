//! Messages to an agent before the answer to its request: with the first of them the response becomes an event stream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::http::{Body, Piece};
use crate::limits;

/// The way back to the agent while its request is being served.
pub struct Outbox {
    /// Whether the agent reads event streams.
    streams: bool,
    sender: RefCell<Option<mpsc::Sender<Piece>>>,
    stream: RefCell<Option<mpsc::Receiver<Piece>>>,
    gone: Cell<bool>,
    leaving: Notify,
}

/// The agent does not read any more, or never read event streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Outbox {
    /// For an agent that reads event streams, or does not.
    pub fn new(streams: bool) -> Rc<Self> {
        Rc::new(Self {
            streams,
            sender: RefCell::default(),
            stream: RefCell::default(),
            gone: Cell::new(false),
            leaving: Notify::new(),
        })
    }

    /// Whether messages can be sent.
    pub fn streams(&self) -> bool {
        self.streams && !self.gone.get()
    }

    /// Sends one JSON-RPC message. An agent that does not take it in time counts as gone: a tool server must not wait for it.
    ///
    /// # Errors
    /// See [`Gone`].
    pub async fn send(&self, message: &[u8]) -> Result<(), Gone> {
        if !self.streams() {
            return Err(Gone);
        }
        self.push(event(message)).await
    }

    /// Says that the stream is alive.
    ///
    /// # Errors
    /// See [`Gone`].
    pub async fn keep_alive(&self) -> Result<(), Gone> {
        self.push(Bytes::from_static(b": keep-alive\n\n")).await
    }

    async fn push(&self, bytes: Bytes) -> Result<(), Gone> {
        let sender = self.sender();
        if let Ok(Ok(())) = timeout(limits::SLOW_AGENT, sender.send(Piece::Data(bytes))).await {
            return Ok(());
        }
        self.hang_up();
        Err(Gone)
    }

    fn sender(&self) -> mpsc::Sender<Piece> {
        let mut place = self.sender.borrow_mut();
        place
            .get_or_insert_with(|| {
                let (sender, stream) = mpsc::channel(1);
                self.stream.replace(Some(stream));
                sender
            })
            .clone()
    }

    /// Makes the response an event stream before there is anything to send.
    pub fn open(&self) {
        self.sender();
    }

    /// Whether the agent does not read any more.
    pub fn is_gone(&self) -> bool {
        self.gone.get() || self.sender.borrow().as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// The event stream, once there is something to send.
    pub fn take_stream(&self) -> Option<mpsc::Receiver<Piece>> {
        self.stream.borrow_mut().take()
    }

    /// Ends the event stream with the answer.
    pub async fn finish(&self, answer: Response<Body>) {
        let Some(sender) = self.sender.borrow().clone() else { return };
        let Body::Whole(Some(answer)) = answer.into_body() else { return };
        for piece in [Piece::Data(event(&answer)), Piece::End] {
            if !matches!(timeout(limits::SLOW_AGENT, sender.send(piece)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// The agent's connection ended.
    pub fn hang_up(&self) {
        self.gone.set(true);
        self.leaving.notify_waiters();
    }

    /// Ends an event stream that no answer ends.
    pub async fn end(&self) {
        self.hang_up();
        let _ = timeout(limits::SLOW_AGENT, self.sender().send(Piece::End)).await;
    }

    /// Waits until the agent is gone.
    pub async fn gone(&self) {
        let leaving = self.leaving.notified();
        if self.gone.get() {
            return;
        }
        let sender = self.sender.borrow().clone();
        match sender {
            Some(sender) => tokio::select! {
                () = leaving => {}
                () = sender.closed() => self.gone.set(true),
            },
            None => leaving.await,
        }
    }
}

/// A response that streams these events.
pub fn response(stream: mpsc::Receiver<Piece>) -> Response<Body> {
    let mut response = Response::new(Body::Stream(stream));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// One event. A line break in a JSON text is white space, so a message of several lines stays the same message.
pub fn event(message: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(message.len() + 24);
    text.extend_from_slice(b"event: message\n");
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()) {
        text.extend_from_slice(b"data: ");
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::{Gone, Outbox, event};

    #[test]
    fn an_event_keeps_the_message() {
        assert_eq!(event(b"{\"a\":1}"), "event: message\ndata: {\"a\":1}\n\n");
        assert_eq!(event(b"{\r\n \"a\":1\n}\n"), "event: message\ndata: {\ndata:  \"a\":1\ndata: }\n\n");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nothing_is_sent_to_whoever_does_not_read_events() {
        let outbox = Outbox::new(false);
        assert_eq!(outbox.send(b"{}").await, Err(Gone));
        assert!(outbox.take_stream().is_none());
        let outbox = Outbox::new(true);
        assert_eq!(outbox.send(b"{}").await, Ok(()));
        drop(outbox.take_stream());
        assert_eq!(outbox.send(b"{}").await, Err(Gone));
        outbox.gone().await;
    }
}
