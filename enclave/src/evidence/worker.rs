//! The thread that speaks to a device, and the bounded queue before it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{AttestFailure, Attester, Identity, Opener, Unable};
use crate::limits;

/// Work for the thread.
type Job = Box<dyn FnOnce(&mut Held) + Send>;

/// A thread with a device. It ends when this is dropped, after what it was told before.
pub(super) struct Worker(SyncSender<Job>);

impl Worker {
    /// Starts the thread, which opens the device first: with what it is, or why there is none.
    pub(super) fn start(open: Opener) -> Result<(Self, Identity), Unable> {
        let (jobs, queue) = sync_channel(limits::MAX_ATTESTATIONS);
        let (tell, told) = sync_channel(1);
        let run = move || match open() {
            Err(unable) => drop(tell.send(Err(unable))),
            Ok(attester) => {
                let identity = attester.identity();
                if tell.send(Ok(identity)).is_ok() {
                    serve(&queue, Held { attester: Some(attester), identity, open });
                }
            }
        };
        thread::Builder::new().name("attester".to_owned()).spawn(run).map_err(AttestFailure::from)?;
        let identity = told.recv_timeout(limits::ATTEST_BOOT_TIMEOUT).map_err(lost)??;
        Ok((Self(jobs), identity))
    }

    /// Blocks until it is done: for the boot alone.
    pub(super) fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Attester) -> Result<T, AttestFailure> + Send + 'static,
    ) -> Result<T, AttestFailure> {
        let (reply, answer) = sync_channel(1);
        self.queue(Box::new(move |held| drop(reply.send(held.run(work)))))?;
        answer.recv_timeout(limits::ATTEST_BOOT_TIMEOUT).map_err(lost)?
    }

    /// Waits until it is done. What nobody waits for any more is not begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Attester) -> Result<T, AttestFailure> + Send + 'static,
    ) -> Result<T, AttestFailure> {
        let (reply, answer) = oneshot::channel();
        self.queue(Box::new(move |held| {
            if !reply.is_closed() {
                let _ = reply.send(held.run(work));
            }
        }))?;
        let answer = timeout(limits::ATTEST_TIMEOUT, answer).await.map_err(|_| AttestFailure::Silent)?;
        answer.map_err(|_| AttestFailure::Ended)?
    }

    fn queue(&self, job: Job) -> Result<(), AttestFailure> {
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => AttestFailure::Busy,
            TrySendError::Disconnected(_) => AttestFailure::Ended,
        })
    }
}

fn lost(error: RecvTimeoutError) -> AttestFailure {
    match error {
        RecvTimeoutError::Timeout => AttestFailure::Silent,
        RecvTimeoutError::Disconnected => AttestFailure::Ended,
    }
}

fn serve(queue: &Receiver<Job>, mut held: Held) {
    while let Ok(job) = queue.recv() {
        job(&mut held);
    }
}

/// The device, while its connection can be used.
struct Held {
    attester: Option<Box<dyn Attester>>,
    identity: Identity,
    open: Opener,
}

impl Held {
    /// Does the work. After an answer that did not come to its end, the next work begins on a new connection.
    fn run<T>(&mut self, work: impl FnOnce(&mut dyn Attester) -> Result<T, AttestFailure>) -> Result<T, AttestFailure> {
        let mut attester = match self.attester.take() {
            Some(attester) => attester,
            None => self.reopen()?,
        };
        let done = work(attester.as_mut());
        if !done.as_ref().is_err_and(|failure| !failure.keeps_connection()) {
            self.attester = Some(attester);
        }
        done
    }

    fn reopen(&self) -> Result<Box<dyn Attester>, AttestFailure> {
        let attester = (self.open)()?;
        if attester.identity() == self.identity { Ok(attester) } else { Err(AttestFailure::Changed) }
    }
}
