//! A record store in memory that can be told to lie.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex};

use wire::blocking::{read, write};
use wire::{Append, AppendAnswer, Blob, OpenAnswer, OpenRefusal, RecallItem, StoreFailure, StorePosition, WireError};

use crate::store::{Record, batch_records};

/// How the store misbehaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Refuses the stream.
    Refuse,
    /// Answers each batch with this failure.
    Fail(StoreFailure),
    /// Takes batches and never answers.
    Silent,
    /// Acknowledges batches and throws them away.
    Forget,
    /// Keeps each batch twice.
    Twice,
    /// Acknowledges another number than the one it was given.
    WrongNumber,
    /// Sends each acknowledgement twice.
    AcknowledgeTwice,
    /// Acknowledges batches before they are sent.
    AcknowledgeEarly,
    /// Sends these bytes in place of an acknowledgement.
    Bytes(Vec<u8>),
    /// Claims to hold this many batches when the stream opens.
    Position(u64),
    /// Recalls with one byte of every batch changed.
    RecallAltered,
    /// Recalls in reverse order.
    RecallReversed,
    /// Recalls without the last batch.
    RecallShort,
    /// Recalls and never says that it ended.
    RecallEndless,
    /// Recalls only the failure.
    RecallFailed,
    /// Recalls these batches in the places of its own.
    RecallThese(Vec<Vec<u8>>),
}

/// The store of one boot.
#[derive(Default)]
pub struct MemoryStore {
    appends: Mutex<Vec<Append>>,
    fault: Mutex<Fault>,
    changed: Condvar,
    streams: Mutex<Vec<UnixStream>>,
}

impl MemoryStore {
    /// Misbehaves like this from now on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().expect("not poisoned") = fault;
        self.changed.notify_all();
    }

    /// The batches that it holds.
    pub fn appends(&self) -> Vec<Append> {
        self.appends.lock().expect("not poisoned").clone()
    }

    /// Every record that it holds.
    pub fn records_held(&self) -> Vec<Record> {
        self.appends().iter().flat_map(|append| batch_records(&append.bytes.0)).collect()
    }

    /// Forgets the last batches.
    pub fn truncate(&self, batches: usize) {
        self.appends.lock().expect("not poisoned").truncate(batches);
    }

    /// Breaks the record streams that are open; the enclave has to open another.
    pub fn drop_streams(&self) {
        for stream in self.streams.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn fault(&self) -> Fault {
        self.fault.lock().expect("not poisoned").clone()
    }

    /// Serves a records stream.
    pub(super) fn records(&self, mut stream: UnixStream, _boot_id: [u8; 16], _next: u64) -> Result<(), WireError> {
        if self.fault() == Fault::Refuse {
            return write(&mut stream, &OpenAnswer::Refused(OpenRefusal::StoreUnavailable));
        }
        write(&mut stream, &OpenAnswer::Ready)?;
        let next = match self.fault() {
            Fault::Position(next) => next,
            _ => self.appends.lock().expect("not poisoned").len() as u64,
        };
        write(&mut stream, &StorePosition { next })?;
        self.streams.lock().expect("not poisoned").push(stream.try_clone()?);
        loop {
            let append: Append = read(&mut stream)?;
            if !self.take(append, &mut stream)? {
                return Ok(());
            }
        }
    }

    /// Whether the stream goes on.
    fn take(&self, append: Append, stream: &mut UnixStream) -> Result<bool, WireError> {
        let batch = append.batch;
        match self.fault() {
            Fault::Fail(failure) => {
                write(stream, &AppendAnswer::Failed(failure))?;
                return Ok(false);
            }
            Fault::Silent => {
                let held = self.fault.lock().expect("not poisoned");
                drop(self.changed.wait_while(held, |fault| *fault == Fault::Silent).expect("not poisoned"));
                return Ok(false);
            }
            Fault::Bytes(bytes) => {
                stream.write_all(&bytes)?;
                return Ok(false);
            }
            Fault::Forget => write(stream, &AppendAnswer::Stored { batch })?,
            Fault::WrongNumber => write(stream, &AppendAnswer::Stored { batch: batch + 1 })?,
            fault => {
                self.keep(append, &fault);
                write(stream, &AppendAnswer::Stored { batch })?;
                match fault {
                    Fault::AcknowledgeTwice => write(stream, &AppendAnswer::Stored { batch })?,
                    Fault::AcknowledgeEarly => write(stream, &AppendAnswer::Stored { batch: batch + 1 })?,
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    fn keep(&self, append: Append, fault: &Fault) {
        let mut appends = self.appends.lock().expect("not poisoned");
        if *fault == Fault::Twice {
            appends.push(append.clone());
        }
        appends.push(append);
    }

    /// Serves a recall stream.
    pub(super) fn recall(&self, mut stream: UnixStream, first: u64, last: u64, session: u64) -> Result<(), WireError> {
        let fault = self.fault();
        write(&mut stream, &OpenAnswer::Ready)?;
        if fault == Fault::RecallFailed {
            return write(&mut stream, &RecallItem::Failed(StoreFailure::Io));
        }
        let wanted = |append: &&Append| (first..=last).contains(&append.batch) && append.sessions.contains(&session);
        let mut held = self.appends();
        if let Fault::RecallThese(others) = &fault {
            held.iter_mut().zip(others).for_each(|(append, other)| append.bytes = Blob(other.clone()));
        }
        let mut batches: Vec<Blob> = held.iter().filter(wanted).map(|append| append.bytes.clone()).collect();
        match fault {
            Fault::RecallAltered => batches.iter_mut().for_each(alter),
            Fault::RecallReversed => batches.reverse(),
            Fault::RecallShort => drop(batches.pop()),
            _ => {}
        }
        loop {
            for batch in &batches {
                write(&mut stream, &RecallItem::Batch(batch.clone()))?;
            }
            if fault != Fault::RecallEndless {
                return write(&mut stream, &RecallItem::End);
            }
        }
    }
}

/// Changes a digit inside the last record, so that the batch still parses.
fn alter(batch: &mut Blob) {
    if let Some(byte) = batch.0.iter_mut().rev().find(|byte| byte.is_ascii_digit()) {
        *byte = if *byte == b'0' { b'1' } else { b'0' };
    }
}
