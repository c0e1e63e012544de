//! Bodies of HTTP messages, bounded while they stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::Code;

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// More bytes than the cap.
    TooLarge,
    /// The peer broke off.
    Broken(hyper::Error),
    /// It took longer than the patience.
    Late,
}

/// The whole body, at most `cap` bytes.
///
/// # Errors
/// See [`BodyError`].
pub async fn collect(body: Incoming, cap: usize, patience: Duration) -> Result<Bytes, BodyError> {
    timeout(patience, collect_all(body, cap)).await.unwrap_or(Err(BodyError::Late))
}

async fn collect_all(mut body: Incoming, cap: usize) -> Result<Bytes, BodyError> {
    let mut whole = Whole::new(cap, body.size_hint().lower()).ok_or(BodyError::TooLarge)?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if !whole.push(data) {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(whole.bytes())
}

/// A body from its pieces, capped; memory grows with what arrives, never with what is announced. One piece is not copied.
pub struct Whole {
    cap: usize,
    first: Bytes,
    rest: BytesMut,
}

impl Whole {
    /// Nothing yet. `None` if more than the cap is announced.
    pub fn new(cap: usize, announced: u64) -> Option<Self> {
        (announced <= cap as u64).then(|| Self { cap, first: Bytes::new(), rest: BytesMut::new() })
    }

    /// Whether the piece was within the cap.
    #[must_use]
    pub fn push(&mut self, piece: Bytes) -> bool {
        if self.first.len() + self.rest.len() + piece.len() > self.cap {
            return false;
        }
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
        true
    }

    /// All pieces.
    pub fn bytes(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        [self.first, self.rest.freeze()].concat().into()
    }
}

/// The body of an answer.
pub enum Body {
    /// All there is.
    Whole(Option<Bytes>),
    /// Pieces as they come; a dropped sender without [`Piece::End`] breaks the answer off.
    Stream(mpsc::Receiver<Piece>),
}

/// A piece of a streamed answer.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The answer is complete.
    End,
}

/// A streamed answer was broken off.
#[derive(Debug, thiserror::Error)]
#[error("answer was broken off")]
pub struct BrokenOff;

impl From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Piece::Data(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Piece::End)) => {
                    receiver.close();
                    Poll::Ready(None)
                }
                Poll::Ready(None) => Poll::Ready(Some(Err(BrokenOff))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body: Bytes = body.into();
    let mut response = Response::new(Body::Whole(Some(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with a JSON body that carries an error code, which is counted when the answer leaves.
pub fn error(code: Code, status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = json(status, body);
    response.extensions_mut().insert(code);
    response
}

/// The refusal of a caller, with how to say who it is.
pub fn challenged(challenge: Option<HeaderValue>, mut refusal: Response<Body>) -> Response<Body> {
    refusal.headers_mut().extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
    refusal
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = status;
    response
}
