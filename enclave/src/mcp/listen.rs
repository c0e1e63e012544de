//! `subscriptions/listen` (MCP 2026-07-28): one stream of the notifications that an agent wants, from every server that may
//! send them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use claim::hashes::sorted_ascii_hash;
use claim::json::{self, Json};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout_at};

use super::about::About;
use super::envelope::{self, Message, Problem, parse_incoming};
use super::era::Era;
use super::inspected;
use super::members::{Members, push_received};
use super::open::{End, OpenCall};
use super::outbox::Outbox;
use super::wait::may_say;
use crate::catalog::{Capability, Scope};
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::limits;
use crate::policy::{Action, ObjectKind};
use crate::session::{Outcome, Session};
use crate::upstream::{Client, Dialect, Fault, NOTHING, Outgoing, askable};

const METHOD: &str = "subscriptions/listen";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The lists whose changes can be heard of: the filter's key, and what catalog and policy must approve of.
const LISTS: [(&str, Option<(Capability, Action)>); 3] = [
    ("toolsListChanged", None),
    ("promptsListChanged", Some((Capability::Prompts, Action::ListPrompts))),
    ("resourcesListChanged", Some((Capability::Resources, Action::ListResources))),
];
const RESOURCES: &str = "resourceSubscriptions";

/// A subscription as the agent asked for it.
pub(super) struct Listening<'a> {
    pub(super) gateway: &'a Rc<Gateway>,
    pub(super) id: &'a RawValue,
    /// Parameters to forward.
    pub(super) forward: &'a str,
    pub(super) capabilities: &'a str,
    pub(super) session: &'a SessionRef,
    pub(super) workflow_id: &'a str,
    pub(super) outbox: &'a Rc<Outbox>,
}

/// What comes from the servers.
enum Heard {
    /// What a server agreed to.
    Agreed(Json),
    /// A notification, as received.
    Message(Bytes),
}

/// Serves the subscription until the agent or every server has had enough; its result.
///
/// # Errors
/// A request that cannot be understood, or an agent that reads no event streams.
pub(super) async fn serve(listening: &Listening<'_>, params: &Members<'_>) -> Result<String, Problem> {
    if !listening.outbox.streams() {
        return Err(Problem::new(Code::NotAcceptable, "the subscription is an event stream"));
    }
    let invalid = |detail: &str| Problem::new(Code::InvalidParams, detail);
    let wanted = params.find("notifications").ok_or_else(|| invalid("notifications is missing"))?;
    let wanted = json::parse(wanted.get().as_bytes()).map_err(|error| invalid(&format!("notifications: {error}")))?;
    if wanted.as_object().is_none() {
        return Err(invalid("notifications must be an object"));
    }
    let (sender, mut heard) = mpsc::channel(1);
    let mut asked = 0_usize;
    for (server, entry) in listening.gateway.catalog.servers().iter().enumerate() {
        let filter = granted(listening, server, &wanted).await?;
        if !filter.is_empty() {
            asked += 1;
            let session = if entry.scope() == Some(Scope::Session) { Some(session(listening)?) } else { None };
            let forward = with_filter(listening.forward, &Json::Object(filter))?;
            spawn_local(hear(
                listening.gateway.clone(),
                (server, session),
                (listening.id.get().to_owned(), forward, listening.capabilities.to_owned()),
                listening.outbox.clone(),
                sender.clone(),
            ));
        }
    }
    drop(sender);
    acknowledge(listening, &mut heard, asked).await;
    relay(listening, &mut heard).await;
    let mut meta = String::from("{");
    push_received(&mut meta, SUBSCRIPTION, listening.id.get());
    Ok(format!("{{\"resultType\":\"complete\",\"_meta\":{meta}}}}}"))
}

/// What of the wanted a server may be asked for. Each resource is decided and recorded for itself.
async fn granted(listening: &Listening<'_>, server: usize, wanted: &Json) -> Result<BTreeMap<String, Json>, Problem> {
    let gateway = listening.gateway;
    let Some(entry) = gateway.catalog.servers().get(server) else { return Ok(BTreeMap::new()) };
    let policy = gateway.session(listening.session).map(|session| session.policy.clone());
    let policy = policy.map_err(|code| Problem::new(code, "session could not be opened"))?;
    let mut filter = BTreeMap::new();
    for (key, needs) in LISTS {
        let approved = needs.is_none_or(|(capability, action)| {
            entry.may(capability) && (policy.may_allow_action(action) || !gateway.enforces())
        });
        if approved && wanted.get(key) == Some(&Json::Bool(true)) {
            filter.insert(key.to_owned(), Json::Bool(true));
        }
    }
    let mut resources = Vec::new();
    for uri in wanted.get(RESOURCES).and_then(Json::as_array).into_iter().flatten().take(limits::MAX_SUBSCRIPTIONS) {
        let Some(uri) = uri.as_str().filter(|_| entry.may(Capability::Resources)) else { continue };
        if subscribe(listening, server, uri).await? {
            resources.push(Json::from(uri));
        }
    }
    if !resources.is_empty() {
        filter.insert(RESOURCES.to_owned(), Json::Array(resources));
    }
    Ok(filter)
}

/// Whether a resource may be subscribed to, on record.
async fn subscribe(listening: &Listening<'_>, server: usize, uri: &str) -> Result<bool, Problem> {
    let refused = |code: Code| Problem::new(code, "subscription could not be recorded");
    let hash = sorted_ascii_hash(&Json::from([("uri", Json::from(uri))]));
    let now = std::time::Instant::now();
    let open = OpenCall::admit(listening.gateway, listening.session, listening.workflow_id, hash, now);
    let mut open = open.map_err(|refusal| refused(refusal.code))?;
    let (action, kind) = (Action::SubscribeResource, ObjectKind::Resource);
    let about = About::Other { method: METHOD, action, kind, server, id: uri.to_owned() };
    open.vouched(|| about.clone()).await.map_err(|refusal| refused(refusal.code))?;
    if let Err(denied) = open.decide(about, None) {
        open.denied(denied).await;
        return Ok(false);
    }
    open.intend().await.map_err(|refusal| refused(refusal.code))?;
    open.forwarded = true;
    let outcome = if open.would_have_denied { Outcome::AdvisoryDenied } else { Outcome::Allowed };
    open.conclude(outcome, &End::default()).await.map_err(|refusal| refused(refusal.code))?;
    Ok(true)
}

/// The session whose process is listened to.
fn session(listening: &Listening<'_>) -> Result<Rc<Session>, Problem> {
    let gateway = listening.gateway;
    let opened = gateway.audit.admit().and_then(|()| gateway.session(listening.session));
    opened.map_err(|code| Problem::new(code, "session could not be opened"))
}

fn with_filter(params: &str, filter: &Json) -> Result<String, Problem> {
    let members = Members::parse(params).map_err(|_| Problem::new(Code::Internal, "parameters"))?;
    let mut text = members.without(|key| key == "notifications");
    text.pop();
    push_received(&mut text, "notifications", &filter.sorted_ascii());
    text.push('}');
    Ok(text)
}

/// Waits for what the servers agree to, and tells the agent in one message, before any other.
async fn acknowledge(listening: &Listening<'_>, heard: &mut mpsc::Receiver<Heard>, asked: usize) {
    let limit = Duration::from_millis(listening.gateway.config.limits.upstream_timeout_ms);
    let deadline = Instant::now() + limit;
    let mut agreed = BTreeMap::new();
    let mut first = Vec::new();
    let mut answered = 0;
    while answered < asked {
        match timeout_at(deadline, heard.recv()).await {
            Ok(Some(Heard::Agreed(filter))) => {
                answered += 1;
                join(&mut agreed, &filter);
            }
            // One server is done and speaks before another has agreed; few do.
            Ok(Some(Heard::Message(message))) if first.len() < limits::MAX_ASKED => first.push(message),
            _ => break,
        }
    }
    let mut meta = String::from("{");
    push_received(&mut meta, SUBSCRIPTION, listening.id.get());
    let params = format!("{{\"_meta\":{meta}}},\"notifications\":{}}}", Json::Object(agreed).sorted_ascii());
    let message = envelope::request(None, ACKNOWLEDGED, Some(&params));
    let _ = listening.outbox.send(message.as_bytes()).await;
    for message in first.into_iter().filter(|message| may_pass(listening, message)) {
        let _ = listening.outbox.send(&message).await;
    }
}

fn may_pass(listening: &Listening<'_>, message: &[u8]) -> bool {
    let session = listening.session;
    inspected::may_pass(listening.gateway, &session.credential.identity, &session.id, message)
}

fn join(all: &mut BTreeMap<String, Json>, filter: &Json) {
    for (key, value) in filter.as_object().into_iter().flatten() {
        match (all.get_mut(key), value) {
            (Some(Json::Array(all)), Json::Array(more)) => all.extend(more.iter().cloned()),
            (Some(Json::Bool(true)), _) => {}
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
}

async fn relay(listening: &Listening<'_>, heard: &mut mpsc::Receiver<Heard>) {
    let outbox = listening.outbox;
    let mut servers = true;
    while !listening.gateway.stopping.get() {
        let Some(left) = listening.session.credential.left(listening.gateway.clock.now()) else { return };
        let sent = tokio::select! {
            () = outbox.gone() => return,
            next = heard.recv(), if servers => match next {
                Some(Heard::Message(message)) if may_pass(listening, &message) => outbox.send(&message).await,
                Some(Heard::Message(_) | Heard::Agreed(_)) => Ok(()),
                None => {
                    servers = false;
                    Ok(())
                }
            },
            () = sleep(limits::KEEP_ALIVE.min(left)) => outbox.keep_alive().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Listens to one server. It has agreed to nothing if it cannot be reached or does not know the method.
async fn hear(
    gateway: Rc<Gateway>,
    server: (usize, Option<Rc<Session>>),
    request: (String, String, String),
    outbox: Rc<Outbox>,
    sender: mpsc::Sender<Heard>,
) {
    let listened = tokio::select! {
        () = outbox.gone() => return,
        listened = listen(&gateway, &server, &request, &sender) => listened,
    };
    if listened.is_err() {
        let _ = sender.send(Heard::Agreed(Json::Object(BTreeMap::new()))).await;
    }
}

async fn listen(
    gateway: &Rc<Gateway>,
    (server, session): &(usize, Option<Rc<Session>>),
    (id, forward, capabilities): &(String, String, String),
    sender: &mpsc::Sender<Heard>,
) -> Result<(), Fault> {
    let invalid = || Fault::new(Code::UpstreamInvalid, "server does not listen");
    let told = gateway.catalog.servers().get(*server).map_or(NOTHING.into(), |entry| askable(entry, capabilities));
    let link = match session {
        Some(session) => session.link(gateway, *server, &told).await?,
        None => gateway.upstreams.shared(*server, NOTHING).await?,
    };
    if link.dialect != Dialect::Modern {
        return Err(invalid());
    }
    let outgoing = Outgoing {
        id: Some(id),
        method: METHOD,
        params: Some(forward),
        name: None,
        tool: None,
        client: Client { era: Era::Modern, capabilities },
        trace: None,
    };
    let mut exchange = gateway.upstreams.subscribe(&link, &outgoing).await?;
    let entry = gateway.catalog.servers().get(*server).ok_or_else(invalid)?;
    let mut agreed = false;
    while let Some(bytes) = exchange.next().await? {
        exchange.forget_read();
        let Ok(Message::Request(request)) = parse_incoming(&bytes, id) else { break };
        gateway.upstreams.heard(*server, &request.method);
        let heard = if request.method == ACKNOWLEDGED {
            agreed = true;
            Heard::Agreed(agreement(&request).ok_or_else(invalid)?)
        } else if agreed && request.id.is_none() && may_say(entry, &request.method) {
            Heard::Message(bytes.clone())
        } else {
            continue;
        };
        if sender.send(heard).await.is_err() {
            return Ok(());
        }
    }
    if agreed { Ok(()) } else { Err(invalid()) }
}

fn agreement(request: &envelope::Request<'_>) -> Option<Json> {
    let params = Members::parse(request.params?.get()).ok()?;
    json::parse(params.find("notifications")?.get().as_bytes()).ok()
}
