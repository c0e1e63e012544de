//! What inspection means for a call: labels join its session, what is refused goes no further, what was found is in its entry.
//!
//! Where the gateway does not enforce, nothing is withheld or changed; the entry says what would have been.

use std::borrow::Cow;

use claim::json::Json;
use serde_json::value::RawValue;

use super::call::Asked;
use super::members::{Members, push_member, push_text};
use super::open::OpenCall;
use crate::catalog::Tool;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::inspect::{Seen, redact};
use crate::policy::Policy;
use crate::session::Session;

/// What was found in one direction.
#[derive(Debug, Default)]
struct Found {
    detectors: Vec<String>,
    injections: Vec<String>,
    unseen: Vec<&'static str>,
    /// Where it does not fit the approved definition.
    schema: Option<String>,
}

/// What inspection found of a call.
#[derive(Debug, Default)]
pub(super) struct Report {
    arguments: Found,
    result: Found,
    /// The arguments do not fit and must.
    misfit: bool,
    /// Places that lost a field.
    redacted: u64,
    /// Members that the definition does not have.
    surplus: u64,
    refused: bool,
    /// What would have been withheld or changed was not.
    not_applied: bool,
}

impl Found {
    fn add(&mut self, seen: &Seen<'_>) {
        self.detectors.extend(seen.detectors.iter().map(|name| (*name).to_owned()));
        self.injections.extend(seen.injections.iter().map(|name| (*name).to_owned()));
        self.unseen.extend(&seen.unseen);
    }

    fn is_flagged(&self) -> bool {
        !self.detectors.is_empty() || !self.injections.is_empty() || self.schema.is_some()
    }

    fn json(&self, counts: &[(&str, u64)]) -> Json {
        let texts = |texts: &[String]| Json::Array(texts.iter().map(|text| Json::from(text.as_str())).collect());
        let unseen = Json::Array(self.unseen.iter().map(|name| Json::from(*name)).collect());
        let mut members = vec![
            ("detectors", (!self.detectors.is_empty()).then(|| texts(&self.detectors))),
            ("injection", (!self.injections.is_empty()).then(|| texts(&self.injections))),
            ("schema", self.schema.as_deref().map(Json::from)),
            ("not_inspected", (!self.unseen.is_empty()).then_some(unseen)),
        ];
        members.extend(counts.iter().map(|(name, count)| (*name, (*count > 0).then(|| Json::from(*count)))));
        Json::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

impl Report {
    /// The entry's `response_inspection_result` of a result that was inspected.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self { refused: true, .. } => "refused",
            Self { not_applied: true, .. } => "flagged",
            report if report.redacted + report.surplus > 0 => "redacted",
            report if report.result.is_flagged() => "flagged",
            _ => "pass",
        }
    }

    /// Whether the result is another than the tool server's.
    pub(super) fn changed(&self) -> bool {
        self.redacted + self.surplus > 0 && !self.not_applied
    }

    /// Whether the arguments refuse a call that the policy allows. Where both refuse, the policy's word is the one that is told.
    pub(super) fn refuses_arguments(&mut self, allowed: bool) -> bool {
        self.misfit &= allowed;
        self.misfit
    }

    /// How the arguments do not fit the approved definition, if that refuses the call.
    pub(super) fn misfit(&self) -> Option<&str> {
        self.arguments.schema.as_deref().filter(|_| self.misfit)
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// The entry's `detail.inspection`; nothing if there is nothing to say.
    pub(super) fn detail(&self, dropped: u64) -> Option<Json> {
        let counts = [("redacted", self.redacted), ("surplus", self.surplus), ("notifications_dropped", dropped)];
        let parts = [("arguments", self.arguments.json(&[])), ("result", self.result.json(&counts))];
        let said = |part: &Json| part.as_object().is_some_and(|members| !members.is_empty());
        let mut members: Vec<_> = parts.into_iter().filter(|(_, part)| said(part)).collect();
        if self.not_applied {
            members.push(("applied", Json::Bool(false)));
        }
        let members = members.into_iter().map(|(name, part)| (name.to_owned(), part));
        let detail = Json::Object(members.collect());
        said(&detail).then_some(detail)
    }
}

/// Looks at what an agent sends, before the policy is asked: what it holds, the session holds.
pub(super) fn arguments(open: &mut OpenCall, asked: &Asked<'_>, tool: Option<&Tool>) {
    let policy = open.session.policy.clone();
    let Some(inspection) = policy.inspection() else { return };
    let seen = inspection.see(asked.forward);
    open.bring(seen.labels);
    let violation = tool.and_then(|tool| inspection.arguments(tool, asked.payload, asked.forward.len()));
    let report = open.report();
    report.arguments.add(&Seen { injections: Vec::new(), ..seen });
    report.misfit = violation.is_some() && inspection.refuses_arguments();
    report.arguments.schema = violation.map(|violation| violation.to_string());
}

/// Looks at what an agent answers to a tool server.
pub(super) fn agent_answer(open: &mut OpenCall, answer: &str) {
    let policy = open.session.policy.clone();
    let Some(inspection) = policy.inspection() else { return };
    let seen = inspection.see(answer);
    open.bring(seen.labels);
    open.report().arguments.add(&Seen { injections: Vec::new(), ..seen });
}

/// Looks at what a tool server asks of an agent.
///
/// # Errors
/// Why it must not reach the agent.
pub(super) fn question(open: &mut OpenCall, params: &str) -> Result<(), String> {
    let policy = open.session.policy.clone();
    if policy.inspection().is_none() {
        return Ok(());
    }
    see(open, params)
}

/// Looks at a result on its way to the agent. What goes out instead of it, if anything has to be taken out.
///
/// # Errors
/// Why it must not go out.
pub(super) fn result(open: &mut OpenCall, tool: Option<&Tool>, result: &str) -> Result<Option<String>, String> {
    let policy = open.session.policy.clone();
    if policy.inspection().is_none() && open.redact.is_empty() {
        return Ok(None);
    }
    let mut text = Cow::Borrowed(result);
    if let (Some(inspection), Some(tool)) = (policy.inspection(), tool) {
        let held = inspection.result(tool, result);
        if let Some((without, count)) = held.without_surplus {
            open.report().surplus = count;
            apply(open, &mut text, without);
        }
        if let Some(violation) = held.violation {
            let reason = format!("result does not fit the approved definition: {violation}");
            open.report().result.schema = Some(violation.to_string());
            if held.refused {
                refuse(open, reason)?;
            }
        }
    }
    if !open.redact.is_empty() {
        match redact(&text, &open.redact) {
            Ok(None) => {}
            Ok(Some((without, count))) => {
                open.report().redacted = count;
                apply(open, &mut text, without);
            }
            Err(_) => refuse(open, "result cannot be redacted: a key twice, or nested too deeply".to_owned())?,
        }
    }
    if policy.inspection().is_some() {
        see(open, &text)?;
    }
    Ok(match text {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    })
}

/// Looks at a tool server's JSON-RPC error on its way to the agent.
///
/// # Errors
/// Why it must not go out.
pub(super) fn error(open: &mut OpenCall, error: &str) -> Result<Option<String>, String> {
    let policy = open.session.policy.clone();
    let mut text = Cow::Borrowed(error);
    if !open.redact.is_empty() {
        open.report().redacted = 1;
        apply(open, &mut text, without_words(error));
    }
    if policy.inspection().is_some() {
        see(open, &text)?;
    }
    Ok(match text {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    })
}

/// An error has no fields: nothing is left of it but its number.
fn without_words(error: &str) -> String {
    let members = Members::parse(error).unwrap_or_default();
    let code = members.find("code").map(RawValue::get).filter(|code| code.parse::<i64>().is_ok());
    let mut text = String::from("{");
    push_member(&mut text, "code", code.unwrap_or("-32000"));
    push_text(&mut text, "message", "[redacted]");
    text.push('}');
    text
}

/// Whether a notification of the call's tool server may pass. One of a call whose result loses fields, or is
/// withheld, may not: they could be in it.
pub(super) fn may_notify(open: &OpenCall, message: &[u8]) -> bool {
    let (session, enforces) = (&*open.session, open.enforces());
    let passes = open.check_answer().is_ok()
        && (open.redact.is_empty() || !enforces)
        && passes(&session.policy, Some(session), enforces, message);
    if !passes {
        open.dropped.set(open.dropped.get().saturating_add(1));
    }
    passes
}

/// Whether a notification outside a call may pass to the agent of a session, whose labels it joins.
pub(super) fn may_pass(gateway: &Gateway, identity: &Identity, session: &str, message: &[u8]) -> bool {
    let session = gateway.sessions.borrow().open(identity, session);
    let policy = session.as_ref().map_or_else(|| gateway.policy(), |session| session.policy.clone());
    passes(&policy, session.as_deref(), gateway.enforces(), message)
}

fn passes(policy: &Policy, session: Option<&Session>, enforces: bool, message: &[u8]) -> bool {
    let Some(inspection) = policy.inspection() else { return true };
    let Ok(message) = std::str::from_utf8(message) else { return false };
    let seen = inspection.see(message);
    if seen.denied && enforces {
        return false;
    }
    if let Some(session) = session {
        session.join(seen.labels);
    }
    true
}

/// Text on its way to the agent: nothing of it may be an instruction, and what it holds, the session will hold.
fn see(open: &mut OpenCall, text: &str) -> Result<(), String> {
    let policy = open.session.policy.clone();
    let Some(inspection) = policy.inspection() else { return Ok(()) };
    let seen = inspection.see(text);
    open.report().result.add(&seen);
    if seen.denied {
        refuse(open, format!("looks like instructions to a model: {}", seen.injections.join(", ")))?;
    }
    open.found = open.found.join(seen.labels);
    open.bring(seen.labels);
    Ok(())
}

fn apply(open: &mut OpenCall, text: &mut Cow<'_, str>, without: String) {
    if open.enforces() {
        *text = Cow::Owned(without);
    } else {
        open.report().not_applied = true;
    }
}

fn refuse(open: &mut OpenCall, reason: String) -> Result<(), String> {
    if open.enforces() {
        open.report().refused = true;
        return Err(reason);
    }
    open.report().not_applied = true;
    open.would_have_denied = true;
    Ok(())
}
