//! The control stream: the boot bundle in, events out.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::{
    BootBundle, BootRefusal, BootReport, ControlEvent, ControlRequest, HostOpen, OpenAnswer, OpenRefusal, PolicyFile,
    PolicyQuestions, WireError,
};

use crate::limits;
use crate::transport::Transport;

/// Why the control stream did not do what it is for.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The enclave cannot be reached (yet).
    #[error("the enclave cannot be reached: {0}")]
    Connect(io::Error),
    /// The stream broke or carried something else.
    #[error("control stream: {0}")]
    Wire(#[from] WireError),
    /// The enclave does not take this control stream.
    #[error("the enclave refused the control stream{}", match .0 { OpenRefusal::ControlTaken => ": another host has it", _ => "" })]
    NotTaken(OpenRefusal),
    /// The enclave refused the boot bundle.
    #[error("the enclave refused to start: {} found {}, expected {}", .0.field.0, .0.found.0, .0.expected.0)]
    Refused(Box<BootRefusal>),
    /// The stream ended.
    #[error("the enclave closed the control stream")]
    Closed,
    /// No answer in time.
    #[error("the enclave gave no answer within {} s", limits::BOOT_TIMEOUT.as_secs())]
    Silent,
    /// An answer to another question.
    #[error("the enclave gave an answer that does not belong here")]
    Unexpected,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The host's end of the control stream. Dropping it ends the enclave.
pub struct Control {
    writer: WriteHalf<Box<dyn Stream>>,
    events: mpsc::Receiver<ControlEvent>,
    reader: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The reading half would keep the stream open.
        self.reader.abort();
    }
}

impl Control {
    /// Opens the one control stream of an enclave.
    ///
    /// # Errors
    /// The enclave is not there, or has one already.
    pub async fn open<T: Transport>(transport: &T) -> Result<Self, ControlError> {
        let mut stream = transport.connect().await.map_err(ControlError::Connect)?;
        let hello = async {
            wire::write(&mut stream, &HostOpen::Control { callback_port: transport.callback_port() }).await?;
            wire::read::<OpenAnswer>(&mut stream).await
        };
        match timeout(limits::START_TIMEOUT, hello).await.map_err(|_| ControlError::Silent)?? {
            OpenAnswer::Ready => Ok(Self::new(Box::new(stream))),
            OpenAnswer::Refused(refusal) => Err(ControlError::NotTaken(refusal)),
        }
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = split(stream);
        let mut reader = BufReader::new(reader);
        // Reading a frame cannot be cancelled half way, so it has a task of its own.
        let (sender, events) = mpsc::channel(limits::EVENTS);
        let reader = tokio::spawn(async move {
            while let Ok(event) = wire::read(&mut reader).await {
                if sender.send(event).await.is_err() {
                    break;
                }
            }
        });
        Self { writer, events, reader }
    }

    /// Boots the enclave.
    ///
    /// # Errors
    /// The bundle is refused, or no answer comes.
    pub async fn boot(&mut self, bundle: BootBundle) -> Result<BootReport, ControlError> {
        match self.ask(&ControlRequest::Boot(bundle)).await? {
            ControlEvent::Booted(report) => Ok(report),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Has the enclave validate a bundle.
    ///
    /// # Errors
    /// The bundle is refused, or no answer comes.
    pub async fn check(&mut self, bundle: BootBundle) -> Result<BootReport, ControlError> {
        match self.ask(&ControlRequest::Check(bundle)).await? {
            ControlEvent::Checked(report) => Ok(report),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The `definition_hash` of a JSON document.
    ///
    /// # Errors
    /// It is not JSON, or no answer comes.
    pub async fn hash_definition(&mut self, document: Vec<u8>) -> Result<[u8; 32], ControlError> {
        match self.ask(&ControlRequest::HashDefinition(wire::Blob(document))).await? {
            ControlEvent::DefinitionHash(hash) => Ok(hash),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// A Cedar schema for the tools of a catalog.
    ///
    /// # Errors
    /// The catalog is refused, or no answer comes.
    pub async fn schema(&mut self, catalog: Vec<u8>) -> Result<Vec<u8>, ControlError> {
        let first = self.ask(&ControlRequest::Schema(wire::Blob(catalog))).await?;
        self.document(first).await
    }

    /// What a policy bundle says of some requests, as JSON.
    ///
    /// # Errors
    /// The bundle, the catalog or a request is refused, or no answer comes.
    pub async fn questions(&mut self, questions: PolicyQuestions) -> Result<Vec<u8>, ControlError> {
        let first = self.ask(&ControlRequest::Ask(questions)).await?;
        self.document(first).await
    }

    /// All parts of a document of which this is the first.
    async fn document(&mut self, first: ControlEvent) -> Result<Vec<u8>, ControlError> {
        let (mut document, mut next) = (Vec::new(), first);
        loop {
            match next {
                ControlEvent::Part { bytes, last } => {
                    document.extend(bytes.0);
                    if last || document.len() > limits::ANSWER {
                        return if last { Ok(document) } else { Err(ControlError::Unexpected) };
                    }
                }
                _ => return Err(ControlError::Unexpected),
            }
            let event = timeout(limits::BOOT_TIMEOUT, self.events.recv()).await.map_err(|_| ControlError::Silent)?;
            next = event.ok_or(ControlError::Closed)?;
        }
    }

    /// Asks the enclave to finish and stop; it answers with [`ControlEvent::Stopped`].
    ///
    /// # Errors
    /// The stream broke.
    pub async fn shutdown(&mut self) -> Result<(), ControlError> {
        Ok(wire::write(&mut self.writer, &ControlRequest::Shutdown).await?)
    }

    /// Asks the enclave to decide new sessions by this policy bundle; it answers with [`ControlEvent::Reloaded`] or
    /// [`ControlEvent::Refused`].
    ///
    /// # Errors
    /// The stream broke.
    pub async fn reload(&mut self, files: Vec<PolicyFile>) -> Result<(), ControlError> {
        Ok(wire::write(&mut self.writer, &ControlRequest::Reload(files)).await?)
    }

    /// Asks the enclave to attach this to claims; it answers with [`ControlEvent::CollateralKept`] or
    /// [`ControlEvent::Refused`].
    ///
    /// # Errors
    /// The stream broke.
    pub async fn collateral(&mut self, document: Vec<u8>) -> Result<(), ControlError> {
        Ok(wire::write(&mut self.writer, &ControlRequest::Collateral(wire::Blob(document))).await?)
    }

    /// The next event; `None` when the stream has ended.
    pub async fn event(&mut self) -> Option<ControlEvent> {
        self.events.recv().await
    }

    /// Sends a request and waits for its answer; running totals and log events that come first are passed over.
    async fn ask(&mut self, request: &ControlRequest) -> Result<ControlEvent, ControlError> {
        let answer = async {
            wire::write(&mut self.writer, request).await?;
            loop {
                match self.events.recv().await.ok_or(ControlError::Closed)? {
                    ControlEvent::Refused(refusal) => return Err(ControlError::Refused(refusal.into())),
                    ControlEvent::Counters(_)
                    | ControlEvent::Tools(_)
                    | ControlEvent::Codes(_)
                    | ControlEvent::Log(_) => {}
                    other => return Ok(other),
                }
            }
        };
        timeout(limits::BOOT_TIMEOUT, answer).await.map_err(|_| ControlError::Silent)?
    }
}
