//! Calls that wait for their agent between two rounds: a legacy tool server asks in the middle of a call, and a modern agent is
//! asked in results only (MCP 2026-07-28, "Multi round-trip requests").
//!
//! The agent gets a result that wants input, and the open exchange with the server is kept under the result's `requestState`, which
//! is random and says nothing. The agent's request again, with the input and that state, goes on where the call stopped; the server
//! is called once. A state holds for one session, method, object and payload, and for one use; whatever else comes with it
//! is refused and disturbs nobody.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};

use claim::{Digest, hex};
use serde_json::value::RawValue;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep_until;

use super::ask::{self, Question};
use super::call::{self, Answered, Asked, Refusal};
use super::confirm;
use super::envelope::Answer;
use super::forward::{Reached, give_notice};
use super::members::{Members, push_member, push_text, string};
use super::open::OpenCall;
use super::receipt;
use super::rounds::{self, INPUT_REQUIRED, Round};
use super::wait::{self, Heard, Patience};
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::limits;
use crate::random;
use crate::session::{Session, Source};
use crate::upstream::{Exchange, Fault, Link};

/// What a `requestState` of ours begins with. None of them is ever forwarded.
const STATE: &str = "io.cmcp/";
/// Key of the one request in `inputRequests`.
const INPUT: &str = "input";

/// The calls of a session that wait.
#[derive(Default)]
pub struct Parking {
    calls: RefCell<Vec<Call>>,
    /// Places that are taken, also by calls that are on their way here.
    taken: Cell<usize>,
}

/// A call that waits.
pub(super) struct Call {
    stopped: Stopped,
    link: Rc<Link>,
    /// The request's id on the link.
    id: String,
    patience: Patience,
    /// Its `requestState`.
    state: String,
    /// Its session was made for a connection.
    unnamed: bool,
    /// What its next round has to be.
    key: Option<Digest>,
    timer: Option<JoinHandle<()>>,
}

/// An exchange whose server waits for an answer.
pub(super) struct Stopped {
    exchange: Box<Exchange>,
    question: Box<Question>,
    /// Held until the agent has answered.
    _place: Place,
}

/// A place for a call that waits.
struct Place {
    gateway: Rc<Gateway>,
    session: Rc<Session>,
}

impl Place {
    fn take(open: &OpenCall) -> Option<Self> {
        let (all, own) = (&open.gateway.parked, &open.session.parking.taken);
        if all.get() >= limits::MAX_ALL_PARKED || own.get() >= limits::MAX_PARKED {
            return None;
        }
        all.set(all.get() + 1);
        own.set(own.get() + 1);
        Some(Self { gateway: open.gateway.clone(), session: open.session.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for count in [&self.gateway.parked, &self.session.parking.taken] {
            count.set(count.get().saturating_sub(1));
        }
    }
}

/// Stops an exchange for a question. Without room the server is told so, and the exchange goes on.
pub(super) async fn stop(
    open: &OpenCall,
    mut exchange: Box<Exchange>,
    question: Box<Question>,
) -> Result<Stopped, Box<Exchange>> {
    match Place::take(open) {
        Some(place) if exchange.park() => Ok(Stopped { exchange, question, _place: place }),
        _ => {
            question.pending.give_up("too many calls wait for their agents").await;
            Err(exchange)
        }
    }
}

impl Call {
    pub(super) fn new(stopped: Stopped, link: Rc<Link>, id: String, patience: Patience) -> Box<Self> {
        let (state, unnamed) = (String::new(), false);
        Box::new(Self { stopped, link, id, patience, state, unnamed, key: None, timer: None })
    }

    /// It will not go on: its question ends, and the server is told.
    async fn end(self, gateway: &Rc<Gateway>, reason: &str) {
        let Self { stopped: Stopped { exchange, question, _place }, link, id, .. } = self;
        question.pending.give_up(reason).await;
        give_notice(gateway, &link, &id, Code::CallCancelled);
        drop(exchange);
    }

    /// The result that asks.
    fn result(&self) -> String {
        let Question { method, params, .. } = &*self.stopped.question;
        let mut request = String::from("{");
        push_text(&mut request, "method", method);
        push_member(&mut request, "params", params);
        request.push('}');
        let mut requests = String::from("{");
        push_member(&mut requests, INPUT, &request);
        requests.push('}');
        let mut result = String::from("{");
        push_text(&mut result, "resultType", INPUT_REQUIRED);
        push_member(&mut result, "inputRequests", &requests);
        push_text(&mut result, "requestState", &self.state);
        result.push('}');
        result
    }
}

/// Ends a round with the result that asks, and keeps the call for the next one.
pub(super) async fn park(
    mut open: Box<OpenCall>,
    asked: &Asked<'_>,
    server: usize,
    mut call: Box<Call>,
) -> Result<Answered, Refusal> {
    let (gateway, session) = (open.gateway.clone(), open.session.clone());
    let Ok(token) = random::bytes::<16>() else {
        call.end(&gateway, "the kernel gives no random bytes").await;
        return Err(open.fault(Code::Internal, "no random bytes").await);
    };
    call.state = format!("{STATE}{}", hex::encode(&token));
    call.unnamed = asked.session.source == Source::Connection;
    call.key = Some(rounds::key(asked, open.request_hash(), &call.state));
    let result = call.result();
    let answered = match receipt::inspect(&result) {
        Ok(clean) => call::answer(open, asked, server, &result, &clean).await,
        Err(_) => Err(open.fault(Code::Internal, "the result that asks cannot be written").await),
    };
    match &answered {
        // The end of the session does not wait for an agent.
        Ok(_) if gateway.stopping.get() || session.state.borrow().closing => call.end(&gateway, ENDED).await,
        Ok(_) => session.parking.keep(&gateway, &session, *call),
        Err(_) => call.end(&gateway, "the agent could not be asked").await,
    }
    answered
}

/// Why calls do not go on in a session that ends.
const ENDED: &str = "the session ended before the agent answered";

impl Parking {
    fn keep(&self, gateway: &Rc<Gateway>, session: &Rc<Session>, mut call: Call) {
        let until = call.patience.until(gateway.config.limits.input_timeout());
        let (gateway, session, state): (_, Weak<Session>, _) =
            (gateway.clone(), Rc::downgrade(session), call.state.clone());
        call.timer = Some(spawn_local(async move {
            sleep_until(until).await;
            let call = session.upgrade().and_then(|session| session.parking.take(|call| call.state == state));
            if let Some(call) = call {
                call.end(&gateway, ask::LATE).await;
            }
        }));
        self.calls.borrow_mut().push(call);
    }

    fn take(&self, is: impl Fn(&Call) -> bool) -> Option<Call> {
        let mut calls = self.calls.borrow_mut();
        let place = calls.iter().position(is)?;
        Some(calls.swap_remove(place))
    }

    /// No call goes on.
    pub async fn end(&self, gateway: &Rc<Gateway>) {
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        for call in calls {
            call.timer.iter().for_each(JoinHandle::abort);
            call.end(gateway, ENDED).await;
        }
    }
}

fn state_of(round: Option<&Round<'_>>) -> Option<String> {
    let state = string(round?.state?)?;
    state.starts_with(STATE).then(|| state.into_owned())
}

/// Takes a caller that names no session to the one where its call waits: between two rounds it may come over another connection.
pub(super) fn lead_home(gateway: &Gateway, session: &mut SessionRef, round: Option<&Round<'_>>) {
    let Some(state) = state_of(round).filter(|_| session.source == Source::Connection) else { return };
    let waits =
        |session: &&Rc<Session>| session.parking.calls.borrow().iter().any(|call| call.unnamed && call.state == state);
    if let Some(home) = gateway.sessions.borrow().of(&session.credential.identity).iter().find(waits) {
        home.id.clone_into(&mut session.id);
    }
}

/// The server behind the call that a request goes on with, if there is one.
pub(super) fn server(gateway: &Gateway, asked: &Asked<'_>) -> Option<usize> {
    let state = state_of(asked.round.as_ref())?;
    let session = gateway.sessions.borrow().open(&asked.session.credential.identity, &asked.session.id)?;
    let calls = session.parking.calls.borrow();
    calls.iter().find(|call| call.state == state).map(|call| call.link.server)
}

/// The call that this round goes on with, and the agent's answer. Nothing if it does not say that it goes on with one.
///
/// # Errors
/// [`Code::InvalidParams`]: there is no such call, or no answer for it.
pub(super) fn take<'a>(
    open: &OpenCall,
    asked: &Asked<'a>,
    server: usize,
) -> Result<Option<(Box<Call>, &'a RawValue)>, Fault> {
    let Some(state) = state_of(asked.round.as_ref()) else { return Ok(None) };
    let responses = asked.round.as_ref().and_then(|round| round.responses).map_or("{}", RawValue::get);
    let responses = Members::parse(responses).map_err(|_| refused("inputResponses must be an object"))?;
    let answer = responses.find(INPUT).filter(|answer| answer.get().starts_with('{'));
    let answer = answer.ok_or_else(|| refused("inputResponses must have an object for each of inputRequests"))?;
    let key = Some(rounds::key(asked, open.request_hash(), &state));
    let call = open.session.parking.take(|call| call.key == key && call.link.server == server);
    let call = call.ok_or_else(|| {
        refused("requestState belongs to no call that waits: not with these parameters, not in this session, or not any more")
    })?;
    call.timer.iter().for_each(JoinHandle::abort);
    Ok(Some((Box::new(call), answer)))
}

/// A round that nobody waits for.
pub(super) fn refused(reason: &str) -> Fault {
    Fault::new(Code::InvalidParams, reason).before_the_call()
}

/// Goes on with a call: its server gets the answer, and is heard until it has finished or asks again.
pub(super) async fn go_on(
    open: &mut OpenCall,
    asked: &Asked<'_>,
    mut call: Box<Call>,
    answer: &RawValue,
) -> Result<Reached, Fault> {
    call.patience.renew(asked);
    if let Err(fault) = confirm::last(open, asked, &call.link, &mut call.patience).await {
        call.end(&open.gateway, "the call does not go on").await;
        return Err(fault);
    }
    let Call { stopped: Stopped { exchange, question, _place: place }, link, id, mut patience, .. } = *call;
    question.pending.answered(&Answer::Result(answer)).await;
    drop(place);
    patience.heard();
    let heard = pin!(wait::answer(open, asked, &link, exchange, &id, &mut patience)).await;
    if let Err(fault) = &heard {
        give_notice(&open.gateway, &link, &id, fault.code);
    }
    match heard? {
        Heard::Reply(reply) => Ok(Reached::Reply(reply)),
        Heard::Question(stopped) => Ok(Reached::Question(Call::new(stopped, link, id, patience))),
        Heard::Forgotten => Err(Fault::new(Code::UpstreamInvalid, "tool server ended its session during the call")),
    }
}
