//! The control stream: the boot bundle in, lifecycle, counters and log events out.

use std::rc::Rc;

use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Interval, MissedTickBehavior, interval};
use wire::limits::PART;
use wire::{
    Blob, BootRefusal, ControlEvent, ControlRequest, Counters, Document, PolicyFile, RefusalCode, ReloadReport,
};

use crate::boot;
use crate::claims;
use crate::collateral;
use crate::document::refusal;
use crate::events::Events;
use crate::freshness;
use crate::gateway::Gateway;
use crate::limits;
use crate::reload;
use crate::serve::{Enclave, End};
use crate::transport::{BoxStream, Callback};

/// Answers that wait for the writer; the host sends one request at a time.
const REPLIES: usize = 4;

/// Serves the control stream until it ends or the enclave was told to stop.
pub async fn serve(enclave: &Rc<Enclave>, stream: BoxStream, callback: Callback) -> End {
    let events = Rc::new(Events::default());
    let (reader, writer) = tokio::io::split(stream);
    let (replies, receiver) = mpsc::channel(REPLIES);
    let writer = spawn_local(write(writer, receiver, enclave.clone(), events.clone()));
    let end = read(enclave, reader, &replies, &callback, &events).await;
    drop(replies);
    let _ = writer.await;
    end
}

async fn read(
    enclave: &Rc<Enclave>,
    mut reader: ReadHalf<BoxStream>,
    replies: &mpsc::Sender<ControlEvent>,
    callback: &Callback,
    events: &Rc<Events>,
) -> End {
    // A frame that cannot be read ends the stream, and with it the enclave: nothing after it can be believed.
    while let Ok(request) = wire::read::<ControlRequest>(&mut reader).await {
        let stop = matches!(request, ControlRequest::Shutdown);
        let reply = match request {
            ControlRequest::Schema(catalog) => {
                if send(replies, boot::schema(&catalog.0)).await.is_err() {
                    return End::Lost;
                }
                continue;
            }
            ControlRequest::Ask(questions) => {
                if send(replies, boot::ask(&questions)).await.is_err() {
                    return End::Lost;
                }
                continue;
            }
            ControlRequest::Boot(bundle) => boot_once(enclave, &bundle, callback, events),
            ControlRequest::Check(bundle) => match boot::check(&bundle, &enclave.options.tpm) {
                Ok(report) => ControlEvent::Checked(report),
                Err(refusal) => ControlEvent::Refused(refusal),
            },
            ControlRequest::HashDefinition(json) => match boot::hash_definition(&json.0) {
                Ok(hash) => ControlEvent::DefinitionHash(*hash.bytes()),
                Err(refusal) => ControlEvent::Refused(refusal),
            },
            ControlRequest::Reload(files) => match reload_running(enclave, &files).await {
                Ok(report) => ControlEvent::Reloaded(report),
                Err(refusal) => ControlEvent::Refused(refusal),
            },
            ControlRequest::Collateral(document) => match keep_collateral(enclave, &document) {
                Ok(()) => ControlEvent::CollateralKept,
                Err(refusal) => ControlEvent::Refused(refusal),
            },
            ControlRequest::Shutdown => {
                let sessions_closed = match enclave.gateway.get() {
                    Some(gateway) => shutdown(gateway).await,
                    None => 0,
                };
                ControlEvent::Stopped { sessions_closed }
            }
        };
        let sent = replies.send(reply).await;
        if stop {
            // Whoever has booted nothing here may be a stranger, whose word ends no machine.
            return if enclave.gateway.get().is_some() { End::Stopped } else { End::Lost };
        }
        if sent.is_err() {
            break;
        }
    }
    End::Lost
}

/// Sends a document in parts, or why there is none.
async fn send(
    replies: &mpsc::Sender<ControlEvent>,
    document: Result<Vec<u8>, BootRefusal>,
) -> Result<(), mpsc::error::SendError<ControlEvent>> {
    let document = match document {
        Ok(document) => document,
        Err(refusal) => return replies.send(ControlEvent::Refused(refusal)).await,
    };
    let mut rest = document.as_slice();
    loop {
        let (part, tail) = rest.split_at(rest.len().min(PART));
        let last = tail.is_empty();
        replies.send(ControlEvent::Part { bytes: Blob(part.to_vec()), last }).await?;
        if last {
            return Ok(());
        }
        rest = tail;
    }
}

fn boot_once(
    enclave: &Rc<Enclave>,
    bundle: &wire::BootBundle,
    callback: &Callback,
    events: &Rc<Events>,
) -> ControlEvent {
    if enclave.gateway.get().is_some() {
        let expected = "one boot bundle per boot; start a new enclave for another";
        return ControlEvent::Refused(refusal(
            RefusalCode::State,
            &Document::None,
            "",
            "a second boot bundle",
            expected,
        ));
    }
    match boot::boot(bundle, &enclave.options, callback, events) {
        Ok((gateway, report)) => {
            spawn_local(claims::sweep(gateway.clone()));
            spawn_local(freshness::keep_fresh(gateway.clone()));
            let _ = enclave.gateway.set(gateway);
            ControlEvent::Booted(report)
        }
        Err(refusal) => ControlEvent::Refused(refusal),
    }
}

async fn reload_running(enclave: &Rc<Enclave>, files: &[PolicyFile]) -> Result<ReloadReport, BootRefusal> {
    match enclave.gateway.get() {
        Some(gateway) => reload::reload(gateway, files).await,
        None => {
            Err(refusal(RefusalCode::State, &Document::None, "", "a reload before the boot", "a boot bundle first"))
        }
    }
}

fn keep_collateral(enclave: &Rc<Enclave>, document: &Blob) -> Result<(), BootRefusal> {
    let Some(gateway) = enclave.gateway.get() else {
        let found = "collateral before the boot";
        return Err(refusal(RefusalCode::State, &Document::None, "collateral", found, "a boot bundle first"));
    };
    gateway.collateral.replace(Some(Rc::new(collateral::read(&document.0)?)));
    Ok(())
}

/// Calls in flight finish, then every session is closed and its final claim stored.
async fn shutdown(gateway: &Rc<Gateway>) -> u64 {
    gateway.stopping.set(true);
    let sessions = gateway.sessions.borrow().all();
    let _ = tokio::time::timeout(limits::SHUTDOWN_GRACE, async {
        for session in &sessions {
            session.parking.end(gateway).await;
        }
        for session in &sessions {
            session.quiet().await;
        }
    })
    .await;
    let closing: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let gateway = gateway.clone();
            spawn_local(async move { claims::close(&gateway, &session, "gateway stopped").await.is_ok() })
        })
        .collect();
    let mut closed = 0;
    for task in closing {
        closed += u64::from(task.await.unwrap_or(false));
    }
    closed
}

/// Writes replies first, then log events, and totals when they changed.
async fn write(
    mut writer: WriteHalf<BoxStream>,
    mut replies: mpsc::Receiver<ControlEvent>,
    enclave: Rc<Enclave>,
    events: Rc<Events>,
) {
    let mut totals = Totals::new(enclave, events.clone());
    loop {
        let event = tokio::select! {
            biased;
            reply = replies.recv() => match reply {
                Some(reply) => reply,
                None => return,
            },
            event = events.next() => ControlEvent::Log(event),
            event = totals.next() => event,
        };
        if wire::write(&mut writer, &event).await.is_err() {
            return;
        }
    }
}

/// Running totals for the host, in rounds: what changed since the last one, in frames of bounded size.
struct Totals {
    enclave: Rc<Enclave>,
    events: Rc<Events>,
    ticks: Interval,
    counters: Counters,
    /// Tools that are left of this round; those that change while it lasts are in the next one.
    tools: usize,
    /// Whether the codes are left of this round.
    codes: bool,
}

impl Totals {
    fn new(enclave: Rc<Enclave>, events: Rc<Events>) -> Self {
        let mut ticks = interval(limits::COUNTERS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { enclave, events, ticks, counters: Counters::default(), tools: 0, codes: false }
    }

    /// The next frame. Nothing is lost when it is not waited for.
    async fn next(&mut self) -> ControlEvent {
        loop {
            if self.tools > 0 {
                let tools = self.events.take_tools(self.tools.min(wire::limits::TOOLS));
                self.tools = self.tools.saturating_sub(wire::limits::TOOLS);
                return ControlEvent::Tools(tools);
            }
            if std::mem::take(&mut self.codes)
                && let Some(codes) = self.events.take_codes()
            {
                return ControlEvent::Codes(codes);
            }
            self.ticks.tick().await;
            let Some(gateway) = self.enclave.gateway.get() else { continue };
            (self.tools, self.codes) = (self.events.changed_tools(), true);
            let counters = gateway.counters();
            if counters != self.counters {
                self.counters.clone_from(&counters);
                return ControlEvent::Counters(counters);
            }
        }
    }
}
