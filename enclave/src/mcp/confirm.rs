//! Whether a tool is still what was approved: its server is asked before the first call over a link, after it said that its
//! tools have changed, and after `catalog.recheck_seconds`. In between a call costs a look at what it said.
//!
//! What is compared is told by the link that the call will use: a server may define its tools otherwise for another agent, and
//! one agent's sight of them decides nothing for another.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use claim::entry::{Draft, EntryType};
use claim::json::Json;
use wire::{Enforcement, LogEvent};

use super::about::About;
use super::call::Asked;
use super::era::Era;
use super::forward::{link, told};
use super::open::OpenCall;
use super::wait::Patience;
use crate::catalog::{Capability, Drift};
use crate::config::Severity;
use crate::error::Code;
use crate::gateway::{Gateway, event};
use crate::limits;
use crate::upstream::{Client, Fault, Keep, Link, NOBODY, Said, approved};

/// Finds out what stands against a call before it is decided. A call that the policy denies in any case asks nobody.
///
/// # Errors
/// The server cannot be reached, or the agent did not wait.
pub(super) async fn first(open: &mut OpenCall, asked: &Asked<'_>, server: usize, about: &About) -> Result<(), Fault> {
    let About::Tool(tool) = *about else { return Ok(()) };
    let opened = match asked.agent {
        Some(agent) => agent.link_if_open(&open.gateway, server),
        None => open.session.link_if_open(&open.gateway, server, &told(&open.gateway, asked, server)),
    };
    let said = opened.and_then(|link| open.gateway.upstreams.said(&link));
    if said.as_ref().is_some_and(|said| said.vouches_for(tool)) || !open.would_go(about, asked.payload) {
        return Ok(());
    }
    let said = match said {
        Some(said) => said,
        None => Box::pin(reach(open, asked, server)).await?,
    };
    judge(open, tool, &said)
}

/// The same over the link that the call goes by, at the last moment: it may be another one, or have heard something new.
///
/// # Errors
/// As [`first`], and what stands against the call; [`Code::SessionUnknown`] if the link's session has ended.
pub(super) async fn last(
    open: &mut OpenCall,
    asked: &Asked<'_>,
    link: &Rc<Link>,
    patience: &mut Patience,
) -> Result<(), Fault> {
    let Some(tool) = open.tool() else { return Ok(()) };
    let said = open.gateway.upstreams.said(link);
    if said.as_ref().is_some_and(|said| said.vouches_for(tool)) || open.would_have_denied {
        return Ok(());
    }
    let said = match said {
        Some(said) => said,
        None => Box::pin(ask(open, asked, link, patience)).await?,
    };
    judge(open, tool, &said)?;
    open.overrule()
}

/// Opens the link and asks; once more, if its server has forgotten it.
async fn reach(open: &mut OpenCall, asked: &Asked<'_>, server: usize) -> Result<Rc<Said>, Fault> {
    let gateway = open.gateway.clone();
    let mut patience = Patience::new(&gateway, asked);
    let mut again = true;
    loop {
        let link = patience.bear(pin!(link(open, asked, server))).await.map_err(Fault::before_the_call)?;
        let said = ask(open, asked, &link, &mut patience).await;
        open.has_waited();
        match said {
            Err(fault) if fault.code == Code::SessionUnknown => {
                if !std::mem::take(&mut again) {
                    let fault = Fault::new(Code::UpstreamInvalid, "tool server forgets its sessions at once");
                    return Err(fault.before_the_call());
                }
                asked.forget(&gateway, &link);
            }
            said => return said,
        }
    }
}

async fn ask(open: &OpenCall, asked: &Asked<'_>, link: &Rc<Link>, patience: &mut Patience) -> Result<Rc<Said>, Fault> {
    let gateway = &open.gateway;
    let capabilities = capabilities(gateway, asked, link.server);
    let client = match asked.agent {
        Some(_) => Client { era: Era::Legacy, capabilities: &capabilities },
        None => Client { capabilities: &capabilities, ..NOBODY },
    };
    let keep = keep(gateway);
    let asking = async { Ok(gateway.upstreams.ask(link, &client, &gateway.catalog, keep).await) };
    let said = match patience.bear(pin!(asking)).await {
        Err(fault) if fault.code == Code::UpstreamTimeout => gateway.upstreams.say(link, Err(fault), keep),
        said => said.map_err(Fault::before_the_call)?,
    };
    // What follows has its own time.
    patience.heard();
    match &said.tools {
        Err(fault) if fault.sent => log(open, Code::CatalogUnconfirmed),
        Err(fault) => return Err(fault.clone()),
        Ok(_) => {}
    }
    Ok(said)
}

/// A silent server is asked again by the next call where calls are refused meanwhile; where they go on, it would delay each.
fn keep(gateway: &Gateway) -> Keep {
    let rules = &gateway.config.catalog;
    let list = Duration::from_secs(rules.recheck_seconds);
    let refuses = rules.unanswered_list == Severity::FailClosed && gateway.enforces();
    Keep { list, silence: if refuses { Duration::ZERO } else { list } }
}

/// What the agent can be asked, or on a shared link any agent could: some servers list a tool only to whom it can serve.
fn capabilities(gateway: &Gateway, asked: &Asked<'_>, server: usize) -> String {
    let Some(server) = gateway.catalog.servers().get(server) else { return "{}".to_owned() };
    let any = Json::from(Capability::ASKED.map(|asked| (asked.as_str(), Json::from([])))).sorted_ascii();
    approved(server, asked.agent.map_or(&any, |agent| &agent.capabilities))
}

/// What the server said, as an objection to the call.
fn judge(open: &mut OpenCall, tool: usize, said: &Said) -> Result<(), Fault> {
    let rules = open.gateway.config.catalog.clone();
    match &said.tools {
        Ok(drifts) => {
            let Some(drift) = drifts.get(&tool) else { return Ok(()) };
            record(open, tool, drift)?;
            open.object(Code::CatalogDrift, drift.reason(), rules.drift_policy);
        }
        Err(fault) => {
            let reason = format!("tool server did not list its tools: {}", fault.detail);
            open.object(Code::CatalogUnconfirmed, reason, rules.unanswered_list);
        }
    }
    Ok(())
}

/// The session's chain says once what a tool has become.
fn record(open: &OpenCall, tool: usize, drift: &Drift) -> Result<(), Fault> {
    let (gateway, session) = (&open.gateway, &open.session);
    let Some(approved) = gateway.catalog.tools().get(tool) else { return Ok(()) };
    let mut state = session.state.borrow_mut();
    if state.drifts.len() >= limits::MAX_DRIFTS || !state.drifts.insert((tool, drift.found)) {
        return Ok(());
    }
    drop(state);
    let label = session.labels().max().as_str();
    log(open, Code::CatalogDrift);
    let detail = Json::from([
        ("tool", Json::from(approved.name.as_str())),
        ("reason", Json::from(drift.reason())),
        ("differs", Json::Array(drift.differs.iter().map(|name| Json::from(*name)).collect())),
        ("approved", Json::from(drift.approved.prefixed())),
        ("found", drift.found.map_or(Json::Null, |found| Json::from(found.prefixed()))),
    ]);
    let entry = Draft {
        call_id: Some(&open.call_id),
        server_identity: Some(&approved.server.identity),
        workflow_id: Some(&open.workflow_id),
        ..event(EntryType::CatalogDrift, label, &detail)
    };
    let unrecorded = |code| Fault::new(code, "drift could not be recorded").before_the_call();
    gateway.record(session, &entry).map(drop).map_err(unrecorded)
}

fn log(open: &OpenCall, code: Code) {
    if open.mode() != Enforcement::Silent {
        let (session, tool) = (open.session.number, open.number());
        open.gateway.events.log(LogEvent::Unapproved { session, tool, code: code.number() });
    }
}

impl Said {
    /// Whether the tool was listed as it was approved.
    fn vouches_for(&self, tool: usize) -> bool {
        self.tools.as_ref().is_ok_and(|drifts| !drifts.contains_key(&tool))
    }
}
