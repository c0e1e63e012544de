//! The audit bundle of a session: read back, checked, hashed, signed, and streamed in bounded memory.

use std::rc::Rc;

use bytes::Bytes;
use claim::Digest;
use claim::hashes::EntriesHasher;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::history::History;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body, Piece};
use crate::mcp::members::push_string;
use crate::session::Find;

/// Pieces that wait for a slow reader.
const PIECES: usize = 4;
/// Size of a piece in bytes.
const PIECE: usize = 64 << 10;

/// Which entries.
#[derive(Clone, Copy)]
struct Extent {
    session: u64,
    batches: (u64, u64),
    tip: Digest,
    length: u64,
}

impl Extent {
    async fn history(&self, gateway: &Gateway) -> Result<History, Code> {
        History::open(gateway, self.session, self.batches, self.tip, self.length).await
    }
}

/// `{session_id, entries, bundle_signature}`. The store is read twice: once to check every entry before the first byte
/// goes out, once to send them.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub async fn export(gateway: &Rc<Gateway>, found: &Find) -> Result<Response<Body>, Code> {
    let (id, extent) = extent(found).await?;
    let digest = hash(gateway, &extent).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let gateway = gateway.clone();
    spawn_local(async move {
        // An error here breaks the answer off, which the reader sees as a truncated body.
        let _ = send(&gateway, &id, &extent, digest, &sender).await;
    });
    let mut response = http::json(StatusCode::OK, Bytes::new());
    *response.body_mut() = Body::Stream(receiver);
    Ok(response)
}

async fn extent(found: &Find) -> Result<(String, Extent), Code> {
    match found {
        Find::Closed(closed) => {
            let extent =
                Extent { session: closed.number, batches: closed.batches, tip: closed.tip, length: closed.length };
            Ok((closed.id.clone(), extent))
        }
        Find::Open(session) => {
            let (extent, last) = {
                let state = session.state.borrow();
                let extent = Extent {
                    session: session.number,
                    batches: state.batches().ok_or(Code::Internal)?,
                    tip: state.chain.tip().ok_or(Code::Internal)?,
                    length: state.chain.length(),
                };
                (extent, state.last.clone())
            };
            if let Some(last) = last {
                last.stored().await?;
            }
            Ok((session.id.clone(), extent))
        }
    }
}

async fn hash(gateway: &Gateway, extent: &Extent) -> Result<Digest, Code> {
    let mut history = extent.history(gateway).await?;
    let mut hasher = EntriesHasher::new();
    while let Some((bytes, _)) = history.next().await? {
        hasher.push(&bytes);
    }
    Ok(hasher.finish())
}

async fn send(
    gateway: &Gateway,
    id: &str,
    extent: &Extent,
    digest: Digest,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), Code> {
    let signature = gateway.key.sign_bundle_digest(digest);
    let mut history = extent.history(gateway).await?;
    let mut piece = String::from("{\"bundle_signature\":");
    push_string(&mut piece, &signature);
    piece.push_str(",\"entries\":[");
    let mut piece = piece.into_bytes();
    let mut first = true;
    while let Some((bytes, _)) = history.next().await? {
        if !std::mem::take(&mut first) {
            piece.push(b',');
        }
        piece.extend_from_slice(&bytes);
        if piece.len() >= PIECE {
            push(sender, std::mem::take(&mut piece)).await?;
        }
    }
    let mut end = String::from("],\"session_id\":");
    push_string(&mut end, id);
    end.push('}');
    piece.extend_from_slice(end.as_bytes());
    push(sender, piece).await?;
    sender.send(Piece::End).await.map_err(|_| Code::Internal)
}

async fn push(sender: &mpsc::Sender<Piece>, piece: Vec<u8>) -> Result<(), Code> {
    sender.send(Piece::Data(piece.into())).await.map_err(|_| Code::Internal)
}
