//! Which request a message of a process belongs to.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::State;
use super::inbox::Inbox;
use crate::error::Code;
use crate::mcp::envelope::{self, Answer, Message, Request, Response};
use crate::mcp::members::{Members, push_member, push_received};
use crate::upstream::Fault;

const PROGRESS: &str = "notifications/progress";
const TOKEN: &str = "progressToken";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its id as whoever asks knows it, as JSON.
    pub(super) id: String,
    /// Its progress token, as received.
    pub(super) token: Option<String>,
    /// Whether its answer is a stream of what it subscribed to.
    pub(super) subscription: bool,
    pub(super) inbox: Rc<Inbox>,
}

/// The requests under way, by our id; the last one began last.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: BTreeMap<u64, Waiting>,
    given: u64,
}

impl Calls {
    pub(super) fn add(&mut self, waiting: Waiting) -> u64 {
        self.given = self.given.saturating_add(1);
        self.waiting.insert(self.given, waiting);
        self.given
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        self.waiting.remove(&id)
    }

    pub(super) fn take(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Whose stream carries what belongs to no request: the only call's, the listener's, the last call's.
    fn unclaimed(&self, listener: Option<&Rc<Inbox>>) -> Option<Rc<Inbox>> {
        let mut calls = self.waiting.values().rev().filter(|waiting| !waiting.subscription);
        let last = calls.next().map(|waiting| &waiting.inbox);
        let only = last.filter(|_| calls.next().is_none());
        only.or(listener).or(last).cloned()
    }
}

/// Gives a message to the request it belongs to; what is to be replied to the process.
///
/// # Errors
/// What no process may say.
pub(super) fn route(state: &State, line: &Bytes) -> Result<Option<String>, &'static str> {
    let request = match envelope::parse_line(line)? {
        Message::Response(response) => return answered(state, &response, line.len()).map(|()| None),
        Message::Request(request) => request,
    };
    state.changes.hear(&request.method);
    let params = request.params.and_then(|params| Members::parse(params.get()).ok());
    let claimed = match (&request, &params) {
        (Request { id: None, method, .. }, Some(params)) if method == PROGRESS => {
            Some(params.find(TOKEN).and_then(|token| progress(state, params, token)))
        }
        (Request { id: None, method, .. }, Some(params)) => {
            subscription(params).map(|id| subscribed(state, method, params, id))
        }
        _ => None,
    };
    match claimed {
        Some(Some((inbox, message))) => hear(state, &inbox, message.into()),
        // Of a request that is over.
        Some(None) => unheard(state, line.len()).map(|()| None),
        None => unclaimed(state, &request, line),
    }
}

fn answered(state: &State, response: &Response<'_>, length: usize) -> Result<(), &'static str> {
    let number = response.id.and_then(|id| id.get().parse::<u64>().ok()).ok_or("answer carries no id of ours")?;
    let mut calls = state.calls.borrow_mut();
    let Some(call) = calls.remove(number) else {
        // A second answer, or one that came too late.
        return if (1..=calls.given).contains(&number) {
            unheard(state, length)
        } else {
            Err("answer carries another id")
        };
    };
    if !call.inbox.count(length, state.cap) {
        call.inbox.end(Err(too_large(state.cap)));
        return Ok(());
    }
    let id = RawValue::from_string(call.id).ok();
    call.inbox.push(match response.answer {
        Answer::Result(result) => envelope::success(id.as_deref().map_or("null", RawValue::get), result.get()).into(),
        Answer::Error(error) => envelope::failure(id.as_deref(), error.get()).into(),
    });
    Ok(())
}

fn hear(state: &State, inbox: &Inbox, message: Bytes) -> Result<Option<String>, &'static str> {
    let length = message.len();
    if !inbox.count(length, state.cap) {
        inbox.end(Err(too_large(state.cap)));
    }
    if inbox.offer(message) { Ok(None) } else { unheard(state, length).map(|()| None) }
}

fn too_large(cap: usize) -> Fault {
    Fault::new(Code::UpstreamTooLarge, format!("messages for one request are over {cap} bytes"))
}

/// What nobody hears costs nobody but the processor: a process may not say more of it in a second than in an answer.
fn unheard(state: &State, bytes: usize) -> Result<(), &'static str> {
    let (before, since) = state.unheard.get();
    let (before, since) = if since.elapsed() > Duration::from_secs(1) { (0, Instant::now()) } else { (before, since) };
    let total = before.saturating_add(bytes);
    state.unheard.set((total, since));
    if total > state.cap { Err("process floods with messages that belong to nothing") } else { Ok(()) }
}

/// A message that belongs to no request. One that asks something and that nobody can be asked is answered here.
fn unclaimed(state: &State, request: &Request<'_>, line: &Bytes) -> Result<Option<String>, &'static str> {
    let listener = state.listener.borrow().clone();
    let inbox = if state.exclusive { state.calls.borrow().unclaimed(listener.as_ref()) } else { None };
    if let Some(inbox) = inbox {
        return hear(state, &inbox, Bytes::copy_from_slice(line));
    }
    unheard(state, line.len())?;
    Ok(request.id.map(|id| match request.method.as_ref() {
        "ping" => envelope::success(id.get(), "{}"),
        _ => envelope::failure(Some(id), r#"{"code":-32601,"message":"nobody can be asked"}"#),
    }))
}

/// The call that a progress notification belongs to, and the notification with the call's own token.
fn progress(state: &State, params: &Members<'_>, token: &RawValue) -> Option<(Rc<Inbox>, String)> {
    let calls = state.calls.borrow();
    let call = token.get().parse().ok().and_then(|id: u64| calls.waiting.get(&id))?;
    let mut text = params.without(|key| key == TOKEN);
    text.pop();
    push_member(&mut text, TOKEN, call.token.as_deref()?);
    text.push('}');
    Some((call.inbox.clone(), envelope::request(None, PROGRESS, Some(&text))))
}

fn subscription<'a>(params: &Members<'a>) -> Option<&'a RawValue> {
    Members::parse(params.find("_meta")?.get()).ok()?.find(SUBSCRIPTION)
}

/// The subscription that a notification belongs to, and the notification with the subscription's own id.
fn subscribed(state: &State, method: &str, params: &Members<'_>, id: &RawValue) -> Option<(Rc<Inbox>, String)> {
    let calls = state.calls.borrow();
    // The specification has strings and numbers here, and servers write either.
    let call = id.get().trim_matches('"').parse().ok().and_then(|id: u64| calls.waiting.get(&id))?;
    let params = with_meta(params, SUBSCRIPTION, &call.id)?;
    Some((call.inbox.clone(), envelope::request(None, method, Some(&params))))
}

/// The progress token among parameters, as received.
pub(super) fn progress_token(params: &str) -> Option<String> {
    if !params.contains(TOKEN) {
        return None;
    }
    let members = Members::parse(params).ok()?;
    let meta = Members::parse(members.find("_meta")?.get()).ok()?;
    meta.find(TOKEN).map(|token| token.get().to_owned())
}

/// Parameters with our id as their progress token.
pub(super) fn with_token(params: &str, id: u64) -> String {
    let members = Members::parse(params).ok();
    members.and_then(|members| with_meta(&members, TOKEN, &id.to_string())).unwrap_or_else(|| params.to_owned())
}

/// Parameters with another value of one key in `_meta`; every other value as received.
fn with_meta(params: &Members<'_>, key: &'static str, value: &str) -> Option<String> {
    let mut meta = Members::parse(params.find("_meta")?.get()).ok()?.without(|found| found == key);
    meta.pop();
    push_member(&mut meta, key, value);
    meta.push('}');
    let mut text = params.without(|found| found == "_meta");
    text.pop();
    push_received(&mut text, "_meta", &meta);
    text.push('}');
    Some(text)
}
