//! One request to a tool server, and the messages that come back on it.

use bytes::Bytes;

use super::http1::Head;
use super::pool::Lease;
use super::sse::{Parser, Place};
use super::stdio::Hearing;
use super::{Fault, fault};
use crate::error::Code;
use crate::http::Whole;

/// A response that is being read.
pub struct Exchange {
    /// HTTP status.
    pub status: u16,
    /// `Mcp-Session-Id` of the response.
    pub session: Option<String>,
    /// The media type, if it is neither JSON nor an event stream.
    other: Option<String>,
    source: Source,
    cap: usize,
    read: usize,
}

enum Source {
    /// A connection of its own.
    Http(Lease, Form),
    /// A part of what a process says.
    Process(Hearing),
}

enum Form {
    /// One JSON text.
    Json,
    /// An event stream.
    Events(Parser),
    /// Nothing more to read; of an event stream, where it ended.
    Read(Option<Place>),
}

impl Exchange {
    /// Boxed: it is handed on from step to step, and a future has room for it in each.
    pub(super) fn new(head: &Head, lease: Lease, cap: usize) -> Box<Self> {
        let content_type = head.field("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let events = media_type.eq_ignore_ascii_case("text/event-stream") && head.status == 200;
        let known = events || media_type.eq_ignore_ascii_case("application/json");
        Box::new(Self {
            status: head.status,
            session: head.field("mcp-session-id").map(str::to_owned),
            other: (!known).then(|| media_type.to_owned()),
            source: Source::Http(lease, if events { Form::Events(Parser::default()) } else { Form::Json }),
            cap,
            read: 0,
        })
    }

    /// What a process says to one request is as an event stream would have it. The process counts what it says.
    pub(super) fn of_process(hearing: Hearing) -> Box<Self> {
        Box::new(Self { status: 200, session: None, other: None, source: Source::Process(hearing), cap: 0, read: 0 })
    }

    /// Whether messages may come before the answer.
    pub fn streams(&self) -> bool {
        matches!(self.source, Source::Http(_, Form::Events(_)) | Source::Process(_))
    }

    /// Whether the media type says that there are JSON-RPC messages in it.
    pub fn is_json(&self) -> bool {
        self.other.is_none()
    }

    /// Whether the status says success.
    pub fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// For the audit entry, when it is not what was asked for.
    pub fn describe(&self) -> String {
        let media_type = self.other.as_deref().unwrap_or("application/json");
        format!("HTTP {} with a {media_type:?} body", self.status)
    }

    /// The next message, as it comes: the one JSON body, or the data of the next event. At most the cap in all.
    ///
    /// # Errors
    /// [`Code::UpstreamInvalid`] when the response breaks off, [`Code::UpstreamTooLarge`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match &mut self.source {
            Source::Http(_, Form::Read(_)) => Ok(None),
            Source::Http(_, Form::Json) => self.whole().await,
            Source::Http(_, Form::Events(_)) => self.event().await,
            Source::Process(hearing) => hearing.next().await,
        }
    }

    async fn whole(&mut self) -> Result<Option<Bytes>, Fault> {
        let Source::Http(lease, form) = &mut self.source else { return Ok(None) };
        let cap = self.cap;
        let too_large = || Fault::new(Code::UpstreamTooLarge, format!("answer is over {cap} bytes"));
        let mut whole = Whole::new(cap, lease.announced()).ok_or_else(too_large)?;
        while let Some(piece) = lease.chunk().await.map_err(|error| fault("answer", &error))? {
            if !whole.push(piece) {
                return Err(too_large());
            }
        }
        *form = Form::Read(None);
        Ok(Some(whole.bytes()))
    }

    async fn event(&mut self) -> Result<Option<Bytes>, Fault> {
        let Source::Http(lease, form) = &mut self.source else { return Ok(None) };
        loop {
            let Form::Events(parser) = form else { return Ok(None) };
            if let Some(event) = parser.next_event() {
                return Ok(Some(event));
            }
            let Some(data) = lease.chunk().await.map_err(|error| fault("event stream", &error))? else {
                *form = Form::Read(parser.place());
                return Ok(None);
            };
            self.read = self.read.saturating_add(data.len());
            if self.read > self.cap {
                return Err(Fault::new(Code::UpstreamTooLarge, format!("event stream is over {} bytes", self.cap)));
            }
            parser.push(&data);
        }
    }

    /// Starts counting towards the cap anew: for streams that have no end, after each event that was passed on.
    pub fn forget_read(&mut self) {
        match &self.source {
            Source::Http(..) => self.read = 0,
            Source::Process(hearing) => hearing.forget_read(),
        }
    }

    /// Where an event stream that has ended can be taken up again, if its server says so.
    pub(super) fn place(&self) -> Option<Place> {
        match &self.source {
            Source::Http(_, Form::Read(place)) => place.clone(),
            _ => None,
        }
    }

    /// Bytes that count towards the cap.
    pub(super) fn bytes_read(&self) -> usize {
        self.read
    }

    /// The same, as the rest of a stream of which so many bytes were read.
    pub(super) fn after(mut self: Box<Self>, read: usize) -> Box<Self> {
        self.read = read;
        self
    }

    /// Lets it wait for an agent, without keeping other calls waiting. False if too many do.
    pub fn park(&mut self) -> bool {
        match &mut self.source {
            Source::Http(lease, _) => lease.park(),
            Source::Process(_) => true,
        }
    }

    /// The connection may serve the next request, if the whole response was read.
    pub fn give_back(self) {
        if let Source::Http(lease, _) = self.source {
            lease.give_back();
        }
    }
}
