//! The way from a client to a gateway: verify who answers, then let MCP clients through.
//!
//! [`attest`] verifies a gateway over https; what it returns talks to that gateway and to nobody else. [`serve`] is a bridge for
//! MCP clients that only spawn a program: JSON-RPC lines on one side, MCP's Streamable HTTP on the other. [`relay`] is a
//! loopback endpoint for clients that speak HTTP themselves. [`Attested::provision`] brings a gateway what the host must
//! not see.
//!
//! Lines in and lines out of [`serve`] follow the stdio transport of MCP (one JSON-RPC message a line); what the gateway says
//! passes byte for byte but for line breaks between JSON tokens, which the transport forbids.

mod attested;
mod events;
mod gateway;
mod head;
mod identity;
mod message;
mod peer;
mod provision;
mod relay;
mod token;
mod transport;

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::value::RawValue;

pub use self::attested::{AttestError, Attested, attest};
pub use self::gateway::{Gateway, UrlError};
pub use self::identity::{Identity, IdentityError};
use self::message::Head;
pub use self::peer::Refusal;
pub use self::provision::{Provision, ProvisionError};
pub use self::relay::relay;
pub use self::token::{Token, TokenError};

/// Requests under way at once; more wait. Notifications, a cancellation among them, do not queue behind requests.
const REQUESTS: usize = 16;
/// Longest line in bytes.
const LONGEST: u64 = 16 << 20;

/// A message for the client, without its line end.
type Line = Vec<u8>;
/// A request of the client, and its id.
type Request = (Line, Box<RawValue>);

/// Relays until the client closes `input` and every answer is written, then ends the MCP session.
///
/// # Errors
/// `input` cannot be read, has a line over 16 MiB, or `output` takes no more.
pub fn serve(gateway: &Gateway, input: impl BufRead + Send, output: &mut dyn Write) -> io::Result<()> {
    let (lines, answers) = channel();
    let (queue, requests) = sync_channel(REQUESTS);
    let requests = &Mutex::new(requests);
    let read = thread::scope(|scope| {
        for _ in 0..REQUESTS {
            let lines = lines.clone();
            scope.spawn(move || work(gateway, requests, &lines));
        }
        let reader = scope.spawn(move || read(gateway, input, &queue, &lines));
        for line in answers {
            output.write_all(&line)?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")))
    });
    gateway.end_session();
    read
}

/// Takes the client's messages in their order.
fn read(
    gateway: &Gateway,
    mut input: impl BufRead,
    queue: &SyncSender<Request>,
    lines: &Sender<Line>,
) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LONGEST {
            return Err(io::Error::other(format!("a line of the client is over {LONGEST} bytes")));
        }
        let line = line.trim_ascii().to_vec();
        match Head::parse(&line) {
            _ if line.is_empty() => {}
            None => {
                let _ = lines.send(message::error(None, -32700, "not one JSON-RPC message a line"));
            }
            Some(head) if head.is("initialize") => gateway.initialize(&line, head.id, lines),
            // The queue is as long as there are workers; that is the client's brake.
            Some(Head { id: Some(id), method: Some(_) }) => {
                let id = id.to_owned();
                drop(queue.send((line, id)));
            }
            Some(_) => gateway.notify(&line),
        }
    }
}

fn work(gateway: &Gateway, requests: &Mutex<Receiver<Request>>, lines: &Sender<Line>) {
    loop {
        let next = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((line, id)) = next else { return };
        gateway.request(&line, &id, lines);
    }
}
