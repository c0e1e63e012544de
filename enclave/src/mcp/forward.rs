//! A call on its way to its tool server and back: the link, the request, what comes before the answer, and further rounds.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;

use tokio::task::spawn_local;

use super::ask::Whom;
use super::call::{Asked, tool_of};
use super::confirm;
use super::era::Era;
use super::open::OpenCall;
use super::parked;
use super::rounds;
use super::wait::{self, Heard, Reply};
use crate::error::Code;
use crate::gateway::Gateway;
use crate::limits;
use crate::upstream::{Client, Dialect, Fault, Link, NOTHING, Outgoing, approved, askable};

/// What came of a request to a tool server.
pub(super) enum Reached {
    /// Its answer.
    Reply(Reply),
    /// What it asks of the agent first.
    Question(Box<parked::Call>),
}

/// Sends the request and passes on what comes before the answer, round by round; or goes on with the call that waits for it.
pub(super) async fn forward(open: &mut OpenCall, asked: &Asked<'_>, server: usize) -> Result<Reached, Fault> {
    if let Some((call, answer)) = parked::take(open, asked, server)? {
        return Box::pin(parked::go_on(open, asked, call, answer)).await;
    }
    let gateway = &open.gateway.clone();
    let tool = tool_of(gateway, asked).map(|tool| (tool, asked.payload));
    let mut patience = wait::Patience::new(gateway, asked);
    let mut params = Cow::Borrowed(asked.forward);
    let (mut again, mut rounds) = (true, 0);
    loop {
        let link = patience.bear(pin!(link(open, asked, server))).await.map_err(Fault::before_the_call)?;
        if asked.round.is_some() && link.dialect != Dialect::Modern {
            return Err(parked::refused("no call waits for this input; the tool server knows no rounds"));
        }
        let confirmed = if rounds == 0 { confirm::last(open, asked, &link, &mut patience).await } else { Ok(()) };
        // An agent's ids are its own; on a link that agents share they would collide, and a round has no id yet.
        let shared = asked.agent.is_none() && matches!(link.dialect, Dialect::Legacy { .. });
        let fresh = (shared || rounds > 0).then(|| link.fresh_id());
        let id = fresh.as_deref().unwrap_or(asked.id.get());
        let client = Client { era: asked.era, capabilities: &capabilities(gateway, asked, &link) };
        let (params_now, method, name, trace) = (Some(params.as_ref()), asked.method, asked.name, asked.trace);
        let outgoing = Outgoing { id: Some(id), method, params: params_now, name, tool, client, trace };
        let heard = match confirmed {
            Ok(()) => send(open, asked, &link, &outgoing, id, &mut patience).await?,
            Err(fault) if fault.code == Code::SessionUnknown => Heard::Forgotten,
            Err(fault) => return Err(fault),
        };
        let reply = match heard {
            Heard::Reply(reply) => reply,
            Heard::Question(stopped) => {
                return Ok(Reached::Question(parked::Call::new(stopped, link, id.to_owned(), patience)));
            }
            Heard::Forgotten => {
                if !std::mem::take(&mut again) {
                    return Err(Fault::new(Code::UpstreamInvalid, "tool server forgets its sessions at once"));
                }
                asked.forget(gateway, &link);
                continue;
            }
        };
        let Some(agent) = asked.agent.filter(|_| link.dialect == Dialect::Modern) else {
            return Ok(Reached::Reply(reply));
        };
        let asking = wait::asking(open, asked, Whom::Session(agent, asked.outbox), &patience);
        let next = Box::pin(rounds::next(&asking, server, &params, &reply, &mut patience)).await?;
        let Some(next) = next else { return Ok(Reached::Reply(reply)) };
        rounds += 1;
        if rounds > limits::MAX_ROUNDS {
            return Err(Fault::new(Code::UpstreamInvalid, "tool server wants input without end"));
        }
        params = Cow::Owned(next);
    }
}

/// Sends one request and reads up to its answer, or a question.
async fn send(
    open: &OpenCall,
    asked: &Asked<'_>,
    link: &Rc<Link>,
    outgoing: &Outgoing<'_>,
    id: &str,
    patience: &mut wait::Patience,
) -> Result<Heard, Fault> {
    let sent = patience.bear(pin!(open.gateway.upstreams.request(link, outgoing))).await;
    let reply = match sent {
        Ok(exchange) => wait::answer(open, asked, link, exchange, id, patience).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = &reply {
        give_notice(&open.gateway, link, id, fault.code);
    }
    reply
}

/// Nobody waits for the answer any more. A modern server knows by the end of the connection, a legacy one has to be told, and
/// a process is told of every exchange that ends early.
pub(super) fn give_notice(gateway: &Rc<Gateway>, link: &Rc<Link>, id: &str, code: Code) {
    let over = matches!(code, Code::CallCancelled | Code::UpstreamTimeout);
    if over && matches!(link.dialect, Dialect::Legacy { .. }) && !link.is_process() {
        let (gateway, link) = (gateway.clone(), link.clone());
        let params = format!("{{\"requestId\":{id}}}");
        spawn_local(async move { gateway.upstreams.notify(&link, "notifications/cancelled", Some(&params)).await });
    }
}

pub(super) async fn link(open: &OpenCall, asked: &Asked<'_>, server: usize) -> Result<Rc<Link>, Fault> {
    match asked.agent {
        Some(agent) => agent.link(&open.gateway, server).await,
        None => open.session.link(&open.gateway, server, &told(&open.gateway, asked, server)).await,
    }
}

/// What a legacy server is told of a caller without a session there.
pub(super) fn told<'a>(gateway: &Gateway, asked: &Asked<'a>, server: usize) -> Cow<'a, str> {
    match (asked.era, gateway.catalog.servers().get(server)) {
        (Era::Modern, Some(entry)) => askable(entry, asked.capabilities),
        _ => Cow::Borrowed(NOTHING),
    }
}

/// What the server may ask of the agent, where each request says so.
fn capabilities<'a>(gateway: &Gateway, asked: &Asked<'a>, link: &Link) -> Cow<'a, str> {
    let agent = asked.agent.filter(|_| link.dialect == Dialect::Modern);
    match (agent, gateway.catalog.servers().get(link.server)) {
        (Some(agent), Some(server)) => Cow::Owned(approved(server, &agent.capabilities)),
        _ => Cow::Borrowed(asked.capabilities),
    }
}
