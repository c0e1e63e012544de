//! What the gateway says it can do: `initialize`, `server/discover`, `tools/list`.
//!
//! Exactly what the catalog approves of, the policy could allow, and the tool servers really offer. A server that cannot be
//! reached offers nothing until the next time it is asked.

use std::rc::Rc;

use claim::json::Json;
use serde_json::value::RawValue;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::agent::Agent;
use super::envelope::Problem;
use super::era::{Era, MODERN};
use super::members::{Members, push_member, push_received, push_text};
use super::methods::METHODS;
use super::{VERSIONS, text_of};
use crate::catalog::Capability;
use crate::error::Code;
use crate::gateway::{Gateway, SessionRef};
use crate::identity::Credential;
use crate::policy::Policy;
use crate::random;
use crate::session::Source;
use crate::upstream::{Dialect, Link, NOTHING, client_info};

/// How long a client may keep what the gateway says of itself, in milliseconds: the catalog lasts as long as the boot, the
/// policy as long as the session.
const TTL_MS: &str = "60000";

/// Opens an MCP session: the result of `initialize`, and the session's id.
///
/// # Errors
/// Parameters that are not `initialize`'s, or no room for a session.
pub async fn initialize(
    gateway: &Rc<Gateway>,
    credential: &Rc<Credential>,
    params: &Members<'_>,
) -> Result<(String, String), Problem> {
    let asked = text_of(params, "protocolVersion")?
        .ok_or_else(|| Problem::new(Code::InvalidParams, "protocolVersion is missing"))?;
    let [newest, ..] = VERSIONS;
    let version = VERSIONS.into_iter().find(|version| *version == asked).unwrap_or(newest);
    let capabilities = params.find("capabilities").map(RawValue::get).filter(|text| text.starts_with('{'));
    let internal = |code: Code| Problem::new(code, "session could not be opened");
    let id = random::uuid().map_err(|_| internal(Code::Internal))?;
    gateway.audit.admit().map_err(internal)?;
    let (credential, source) = (credential.clone(), Source::McpSession);
    let wanted = SessionRef { credential: credential.clone(), id: id.clone(), source, challenge: None };
    let session = gateway.session(&wanted).map_err(internal)?;
    let agent = Agent::new(&session, credential, capabilities.unwrap_or("{}").to_owned());
    let agent = session.agent.get_or_init(|| agent).clone();
    let links = links(gateway, Some(&agent)).await;
    let mut result = String::from("{");
    push_text(&mut result, "protocolVersion", version);
    push_member(&mut result, "capabilities", &offered(gateway, &session.policy, &links, Era::Legacy));
    push_member(&mut result, "serverInfo", &client_info());
    result.push('}');
    Ok((result, id))
}

/// The result of `server/discover`.
pub async fn discover(gateway: &Rc<Gateway>) -> String {
    let links = links(gateway, None).await;
    let mut meta = String::from("{");
    push_received(&mut meta, "io.modelcontextprotocol/serverInfo", &client_info());
    meta.push('}');
    let mut result = String::from("{");
    push_member(&mut result, "supportedVersions", &format!("[\"{MODERN}\"]"));
    push_member(&mut result, "capabilities", &offered(gateway, &gateway.policy(), &links, Era::Modern));
    keepable(&mut result);
    push_member(&mut result, "_meta", &meta);
    result.push('}');
    result
}

/// The result of `tools/list`: the approved definitions of the tools that the policy could allow, in the order of their
/// names, on one page.
///
/// # Errors
/// A cursor: there is no further page.
pub fn tools(gateway: &Gateway, policy: &Policy, params: &Members<'_>, era: Era) -> Result<String, Problem> {
    if params.find("cursor").is_some() {
        return Err(Problem::new(Code::InvalidParams, "cursor is not one of this gateway's"));
    }
    let listed = gateway.catalog.tools().iter().filter(|tool| policy.may_allow(tool) || !gateway.enforces());
    let listed: Vec<&str> = listed.map(|tool| tool.definition.listing.as_str()).collect();
    let mut result = String::from("{");
    push_member(&mut result, "tools", &format!("[{}]", listed.join(",")));
    if era == Era::Modern {
        keepable(&mut result);
    }
    result.push('}');
    Ok(result)
}

fn keepable(result: &mut String) {
    push_text(result, "resultType", "complete");
    push_member(result, "ttlMs", TTL_MS);
    push_text(result, "cacheScope", "private");
}

/// Links to the servers that offer more than tools, opened all at once.
async fn links(gateway: &Rc<Gateway>, agent: Option<&Rc<Agent>>) -> Vec<Rc<Link>> {
    let servers = gateway.catalog.servers().iter().enumerate();
    let servers = servers.filter(|(_, server)| Capability::OFFERED.iter().any(|offered| server.may(*offered)));
    let opening: Vec<_> = servers
        .map(|(index, _)| {
            let (gateway, agent) = (gateway.clone(), agent.cloned());
            spawn_local(async move {
                let limit = std::time::Duration::from_millis(gateway.config.limits.upstream_timeout_ms);
                let link = async {
                    match &agent {
                        Some(agent) => agent.link(&gateway, index).await,
                        None => gateway.upstreams.shared(index, NOTHING).await,
                    }
                };
                timeout(limit, link).await
            })
        })
        .collect();
    let mut links = Vec::new();
    for opening in opening {
        if let Ok(Ok(Ok(link))) = opening.await {
            links.push(link);
        }
    }
    links
}

/// The `capabilities` of the gateway.
fn offered(gateway: &Gateway, policy: &Policy, links: &[Rc<Link>], era: Era) -> String {
    let mut capabilities = String::from("{");
    push_member(&mut capabilities, "tools", &merged(links.iter().filter_map(|link| of_link(link, "tools", era))));
    for capability in Capability::OFFERED {
        let methods = METHODS.iter().filter(|method| method.capability == capability);
        if !methods.clone().any(|method| policy.may_allow_action(method.action)) && gateway.enforces() {
            continue;
        }
        let approved =
            |link: &&Rc<Link>| gateway.catalog.servers().get(link.server).is_some_and(|server| server.may(capability));
        let found: Vec<Json> =
            links.iter().filter(approved).filter_map(|link| of_link(link, capability.as_str(), era)).collect();
        if !found.is_empty() {
            push_member(&mut capabilities, capability.as_str(), &merged(found.into_iter()));
        }
    }
    capabilities.push('}');
    capabilities
}

/// A capability as a server states it. What a server of another era says of notifications would not reach the agent.
fn of_link(link: &Link, name: &str, era: Era) -> Option<Json> {
    let stated = claim::json::parse(link.capability(name)?.as_bytes()).ok()?;
    let hears = match era {
        Era::Modern => link.dialect == Dialect::Modern,
        Era::Legacy | Era::Bare => matches!(link.dialect, Dialect::Legacy { .. }),
    };
    Some(if hears { stated } else { stated.without("listChanged").without("subscribe") })
}

/// What any of several servers states: their members together, `true` before `false`.
fn merged(stated: impl Iterator<Item = Json>) -> String {
    let mut all = std::collections::BTreeMap::new();
    for (key, value) in stated.filter_map(|stated| stated.as_object().cloned()).flatten() {
        if all.get(&key) != Some(&Json::Bool(true)) {
            all.insert(key, value);
        }
    }
    Json::Object(all).sorted_ascii()
}
