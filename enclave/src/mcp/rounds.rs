//! Calls of several rounds (MCP 2026-07-28, "Multi round-trip requests"): a result that wants input, and the call again with it.
//!
//! Each round is a call of its own with an entry of its own; a later round's entry names the first round's call and the hash
//! of the input it carried, so that a reader sees one logical call. An agent of the legacy era knows no rounds: the gateway asks
//! it as a legacy server would, and makes the next round itself, within the agent's one call. The other way round: [`super::parked`].

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::pin;

use claim::Digest;
use claim::json::Json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::ask::{self, Asker, Asking};
use super::call::{Asked, Target};
use super::members::{Members, push_member, push_received, string};
use super::open::OpenCall;
use super::receipt::Clean;
use super::wait::{Patience, Reply};
use crate::error::Code;
use crate::limits;
use crate::policy::Decision;
use crate::upstream::Fault;

/// `resultType` of a result that wants input.
pub(super) const INPUT_REQUIRED: &str = "input_required";

/// Calls of a session that want input and may be continued; of more, the oldest are forgotten.
const MAX_ROUNDS: usize = 64;

/// A later round, as the agent sent it.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// `inputResponses`.
    pub responses: Option<&'a RawValue>,
    /// `requestState`.
    pub state: Option<&'a RawValue>,
}

impl<'a> Round<'a> {
    /// The round of these parameters, if it is not the first.
    pub fn of(params: &Members<'a>) -> Option<Self> {
        let round = Self { responses: params.find("inputResponses"), state: params.find("requestState") };
        (round.responses.is_some() || round.state.is_some()).then_some(round)
    }
}

/// What a session remembers of calls that want input: key and first call, oldest first.
#[derive(Debug, Default)]
pub struct Rounds(VecDeque<(Digest, String)>);

impl Rounds {
    fn remember(&mut self, key: Digest, call_id: String) {
        if self.0.len() >= MAX_ROUNDS {
            self.0.pop_front();
        }
        self.0.push_back((key, call_id));
    }

    fn find(&self, key: &Digest) -> Option<String> {
        self.0.iter().rev().find(|(found, _)| found == key).map(|(_, call_id)| call_id.clone())
    }
}

/// What a round has in common with the one before: the call, and the state that the server gave.
pub(super) fn key(asked: &Asked<'_>, request_hash: Digest, state: &str) -> Digest {
    let object = match asked.target {
        Target::Tool(id) | Target::Other { id, .. } => id,
    };
    Digest::of(format!("{}\n{}\n{object}\n{state}", asked.method, request_hash.hex()))
}

fn text(state: Option<&RawValue>) -> Cow<'_, str> {
    state.and_then(string).unwrap_or_default()
}

/// Says in the entry of a later round what it continues.
pub(super) fn note(open: &mut OpenCall, asked: &Asked<'_>, round: &Round<'_>) {
    let key = key(asked, open.request_hash(), &text(round.state));
    let first = open.session.state.borrow().rounds.find(&key);
    open.note("continues", first.map_or(Json::Null, |call_id| Json::from(call_id.as_str())));
    let hash = round.responses.map(|responses| Json::String(Digest::of(responses.get()).prefixed()));
    open.note("input_responses_hash", hash.unwrap_or(Json::Null));
}

/// Records that a result wants input, and asks the policy for each thing that it wants.
///
/// # Errors
/// What the server wants and may not.
pub(super) fn wants_input(
    open: &mut OpenCall,
    asked: &Asked<'_>,
    server: usize,
    result: &Clean<'_>,
) -> Result<(), String> {
    if result.find("resultType").and_then(string).as_deref() != Some(INPUT_REQUIRED) {
        return Ok(());
    }
    let wanted = result.find("inputRequests").map_or("{}", RawValue::get);
    let wanted = Members::parse(wanted).map_err(|_| "ask without inputRequests".to_owned())?;
    let mut methods = Vec::new();
    for (_, request) in wanted.iter() {
        let request = Members::parse(request.get()).map_err(|_| "ask for something unreadable".to_owned())?;
        let method = request.text("method").unwrap_or_default();
        allowed(open, server, &method)?;
        methods.push(Json::from(method.as_ref()));
    }
    open.note("input_required", Json::Array(methods));
    let key = key(asked, open.request_hash(), &text(result.find("requestState")));
    let mut state = open.session.state.borrow_mut();
    let before = asked.round.as_ref().map(|round| self::key(asked, open.request_hash(), &text(round.state)));
    let first = before.and_then(|key| state.rounds.find(&key));
    state.rounds.remember(key, first.unwrap_or_else(|| open.call_id.clone()));
    Ok(())
}

/// Puts what a result wants to a legacy agent: the parameters of the next round. Nothing if the result wants no input.
///
/// # Errors
/// What the agent could not be asked, or did not answer.
pub(super) async fn next(
    asking: &Asking<'_>,
    server: usize,
    params: &str,
    reply: &Reply,
    patience: &mut Patience,
) -> Result<Option<String>, Fault> {
    let unreadable = || Fault::new(Code::UpstreamInvalid, "result wants input and does not say which");
    let Ok(result) = Members::parse(reply.text()) else { return Ok(None) };
    if reply.is_error || result.text("resultType").as_deref() != Some(INPUT_REQUIRED) {
        return Ok(None);
    }
    let wanted = Members::parse(result.find("inputRequests").map_or("{}", RawValue::get)).map_err(|_| unreadable())?;
    let mut responses = String::from("{");
    for (key, request) in wanted.iter().take(limits::MAX_ASKED) {
        let request = Members::parse(request.get()).map_err(|_| unreadable())?;
        let method = request.text("method").ok_or_else(unreadable)?;
        let (sender, answer) = oneshot::channel();
        let params = request.find("params").map_or("{}", RawValue::get);
        // Whoever has a session is asked there.
        let _ = ask::put(asking, server, &method, params, Asker::Round(sender)).await;
        let answer = patience.bear(pin!(async { answer.await.map_err(|_| unreadable()) })).await?;
        let answer = answer.map_err(|error| {
            Fault::new(Code::UpstreamInvalid, format!("tool server wants {method}, and the answer was {error}"))
        })?;
        push_received(&mut responses, key, &answer);
    }
    responses.push('}');
    let params = Members::parse(params).map_err(|_| Fault::new(Code::Internal, "parameters"))?;
    let mut next = params.without(|key| matches!(key, "inputResponses" | "requestState"));
    next.pop();
    push_member(&mut next, "inputResponses", &responses);
    if let Some(state) = result.find("requestState") {
        push_member(&mut next, "requestState", state.get());
    }
    next.push('}');
    Ok(Some(next))
}

fn allowed(open: &OpenCall, server: usize, method: &str) -> Result<(), String> {
    let known = ask::METHODS.into_iter().find(|(name, ..)| *name == method);
    let question = known.ok_or_else(|| format!("send {method:?}"))?;
    let about = ask::about(&open.gateway, server, question).ok_or_else(|| method.to_owned())?;
    match open.would_decide(&about) {
        Decision::Allow => Ok(()),
        _ if !open.enforces() => Ok(()),
        _ => Err(method.to_owned()),
    }
}
