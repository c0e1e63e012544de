//! The methods besides `tools/call` that reach tool servers: what each is on, and which servers can answer it.

use std::borrow::Cow;
use std::rc::Rc;

use claim::json::{self, Json};
use serde_json::value::RawValue;

use super::call::{self, Answered, Asked, Refusal, Target};
use super::envelope::Problem;
use super::era::Era;
use super::members::{Members, push_member, push_received, push_string};
use super::parked;
use super::receipt::{self, SEED_KEY};
use super::shape;
use crate::catalog::Capability;
use crate::error::Code;
use crate::gateway::Gateway;
use crate::policy::{Action, ObjectKind};

/// A method that the gateway governs and passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// MCP's name.
    pub name: &'static str,
    /// Its Cedar action.
    pub action: Action,
    /// What the catalog must approve of for a server to be asked.
    pub capability: Capability,
    /// What it is on.
    on: On,
    /// Whether the modern era has it.
    modern: bool,
}

/// What a method is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// The server, whose list this key of the result holds.
    List(&'static str),
    /// Every server.
    Servers,
    /// A resource, by `uri`.
    Uri,
    /// A prompt, by `name`.
    Prompt,
    /// What `ref` names.
    Ref,
}

const fn method(name: &'static str, action: Action, capability: Capability, on: On, modern: bool) -> Method {
    Method { name, action, capability, on, modern }
}

/// All of them.
pub const METHODS: [Method; 9] = [
    method("resources/list", Action::ListResources, Capability::Resources, On::List("resources"), true),
    method(
        "resources/templates/list",
        Action::ListResources,
        Capability::Resources,
        On::List("resourceTemplates"),
        true,
    ),
    method("resources/read", Action::ReadResource, Capability::Resources, On::Uri, true),
    method("resources/subscribe", Action::SubscribeResource, Capability::Resources, On::Uri, false),
    method("resources/unsubscribe", Action::SubscribeResource, Capability::Resources, On::Uri, false),
    method("prompts/list", Action::ListPrompts, Capability::Prompts, On::List("prompts"), true),
    method("prompts/get", Action::GetPrompt, Capability::Prompts, On::Prompt, true),
    method("completion/complete", Action::Complete, Capability::Completions, On::Ref, true),
    method("logging/setLevel", Action::SetLogLevel, Capability::Logging, On::Servers, false),
];

impl Method {
    /// The method of this name, in this era.
    pub fn find(name: &str, era: Era) -> Option<Self> {
        METHODS.into_iter().find(|method| method.name == name && (method.modern || era != Era::Modern))
    }

    /// Whether its result may carry a receipt: `logging/setLevel` answers with an empty object and nothing else.
    pub fn has_receipt(self) -> bool {
        self.on != On::Servers
    }

    /// What `request_payload_hash` is over: the parameters without what is not the request itself.
    pub fn payload(params: &Members<'_>) -> Result<Json, Problem> {
        let besides = ["_meta", SEED_KEY, "inputResponses", "requestState"];
        let text = params.without(|key| besides.contains(&key));
        json::parse(text.as_bytes()).map_err(|error| Problem::new(Code::InvalidParams, format!("params: {error}")))
    }

    /// The name or URI that headers mirror.
    pub fn mirrored<'a>(self, params: &Members<'a>) -> Option<Cow<'a, str>> {
        match self.name {
            "resources/read" => params.text("uri"),
            "prompts/get" => params.text("name"),
            _ => None,
        }
    }

    /// What the call is on; the server's name where it is on the server.
    fn object<'a>(self, params: &Members<'a>) -> Result<Option<(ObjectKind, Cow<'a, str>)>, Problem> {
        let missing = |key: &str| Problem::new(Code::InvalidParams, format!("{key} must be a string"));
        Ok(match self.on {
            On::List(_) | On::Servers => None,
            On::Uri => Some((ObjectKind::Resource, params.text("uri").ok_or_else(|| missing("uri"))?)),
            On::Prompt => Some((ObjectKind::Prompt, params.text("name").ok_or_else(|| missing("name"))?)),
            On::Ref => {
                let of = params.find("ref").map_or("null", RawValue::get);
                let of = Members::parse(of).map_err(|_| missing("ref.type"))?;
                match of.text("type").as_deref() {
                    Some("ref/prompt") => {
                        Some((ObjectKind::Prompt, of.text("name").ok_or_else(|| missing("ref.name"))?))
                    }
                    Some("ref/resource") => {
                        Some((ObjectKind::Resource, of.text("uri").ok_or_else(|| missing("ref.uri"))?))
                    }
                    _ => return Err(missing("ref.type, ref/prompt or ref/resource,")),
                }
            }
        })
    }
}

/// Servers that the catalog lets answer a method, by their place in it.
pub fn servers(gateway: &Gateway, capability: Capability) -> Vec<usize> {
    let all = gateway.catalog.servers().iter().enumerate();
    all.filter(|(_, server)| server.may(capability)).map(|(index, _)| index).collect()
}

/// Serves one call. `asked` has everything but its target.
///
/// # Errors
/// A request that cannot be understood, or that no server can answer.
pub async fn serve(
    gateway: &Rc<Gateway>,
    method: Method,
    params: &Members<'_>,
    asked: Asked<'_>,
) -> Result<Answered, Problem> {
    let mut servers = servers(gateway, method.capability);
    if servers.is_empty() {
        return Err(Problem::new(Code::MethodNotFound, format!("no tool server may offer {:?}", method.name)));
    }
    if let Some(server) = parked::server(gateway, &asked).filter(|server| servers.contains(server)) {
        servers.retain(|candidate| *candidate == server);
    }
    let object = method.object(params)?;
    if let (On::List(key), [_, _, ..]) = (method.on, servers.as_slice()) {
        return list(gateway, method, key, params, asked, &servers).await;
    }
    let mut last = Answered::Refused(Refusal::from(Code::MethodNotFound));
    for server in servers {
        let name = gateway.catalog.servers().get(server).map_or("", |server| server.display_name.as_str());
        let (kind, id) = object.as_ref().map_or((ObjectKind::Server, name), |(kind, id)| (*kind, id.as_ref()));
        let target = Target::Other { action: method.action, kind, server, id };
        let answered = call::call(gateway, &Asked { target, round: asked.round, ..asked }).await;
        // A server that does not have the object says so with an error; the next one may have it.
        match answered {
            Answered::Result(_) if method.on != On::Servers => return Ok(answered),
            Answered::Refused(Refusal { code: Code::CallCancelled, .. }) => return Ok(answered),
            _ => last = answered,
        }
    }
    Ok(last)
}

/// One page of a list that several servers have a part of: pages of the first server, then of the next. A server that is
/// down costs its own part only.
async fn list(
    gateway: &Rc<Gateway>,
    method: Method,
    key: &'static str,
    params: &Members<'_>,
    asked: Asked<'_>,
    servers: &[usize],
) -> Result<Answered, Problem> {
    let unknown = || Problem::new(Code::InvalidParams, "cursor is not one of this gateway's");
    let (mut place, mut cursor) = match params.text("cursor") {
        None => (0, None),
        Some(cursor) => {
            let (place, cursor) = cursor.split_once('~').ok_or_else(unknown)?;
            let cursor = (cursor != "^").then(|| cursor.to_owned());
            (place.parse::<usize>().map_err(|_| unknown())?, cursor)
        }
    };
    if place >= servers.len() {
        return Err(unknown());
    }
    let first = place == 0;
    loop {
        let server = servers.get(place).copied().unwrap_or_default();
        let id = gateway.catalog.servers().get(server).map_or("", |server| server.display_name.as_str());
        let target = Target::Other { action: method.action, kind: ObjectKind::Server, server, id };
        let forward = with_cursor(asked.forward, cursor.as_deref())?;
        let answered = call::call(gateway, &Asked { target, forward: &forward, ..asked }).await;
        let following = (place + 1 < servers.len()).then(|| format!("{}~^", place + 1));
        match (answered, following) {
            (Answered::Result(page), following) => {
                return Ok(Answered::Result(next_page(&page, key, place, following)));
            }
            // Earlier pages stand; an error would take them back.
            (Answered::Refused(Refusal { code, .. }), None) if !first && is_down(code) => {
                let page = next_page("{}", key, place, None);
                let empty = receipt::inspect(&page).map_err(|_| Problem::new(Code::Internal, "page"))?;
                return Ok(Answered::Result(empty.with(&shape::missing(asked.era, method.name, &empty))));
            }
            (refused @ Answered::Refused(Refusal { code: Code::CallCancelled, .. }), _) | (refused, None) => {
                return Ok(refused);
            }
            (_, Some(_)) => (place, cursor) = (place + 1, None),
        }
    }
}

/// Whether a server gave no valid answer.
fn is_down(code: Code) -> bool {
    matches!(
        code,
        Code::UpstreamUnavailable
            | Code::UpstreamTls
            | Code::SecretNotProvisioned
            | Code::UpstreamTimeout
            | Code::UpstreamInvalid
    )
}

fn with_cursor(params: &str, cursor: Option<&str>) -> Result<String, Problem> {
    let members = Members::parse(params).map_err(|_| Problem::new(Code::Internal, "parameters"))?;
    let mut text = members.without(|key| key == "cursor");
    if let Some(cursor) = cursor {
        text.pop();
        let mut value = String::new();
        push_string(&mut value, cursor);
        push_member(&mut text, "cursor", &value);
        text.push('}');
    }
    Ok(text)
}

/// The page with the cursor of the next one, which is the server's own behind the server's place, or the next server.
fn next_page(page: &str, key: &str, place: usize, following: Option<String>) -> String {
    let Ok(members) = Members::parse(page) else { return page.to_owned() };
    let own = members.text("nextCursor").map(|cursor| format!("{place}~{cursor}"));
    let mut page = members.without(|key| key == "nextCursor");
    page.pop();
    if members.find(key).is_none() {
        push_received(&mut page, key, "[]");
    }
    if let Some(cursor) = own.or(following) {
        let mut value = String::new();
        push_string(&mut value, &cursor);
        push_member(&mut page, "nextCursor", &value);
    }
    page.push('}');
    page
}

#[cfg(test)]
mod tests {
    use super::{next_page, with_cursor};

    #[test]
    fn cursors_name_the_server() {
        assert_eq!(with_cursor(r#"{"cursor":"x","a":1}"#, Some("y\"")).ok().unwrap(), r#"{"a":1,"cursor":"y\""}"#);
        assert_eq!(with_cursor(r#"{"cursor":"x"}"#, None).ok().unwrap(), "{}");
        assert_eq!(
            next_page(r#"{"resources":[],"nextCursor":"c"}"#, "resources", 1, Some("2~^".to_owned())),
            r#"{"resources":[],"nextCursor":"1~c"}"#
        );
        assert_eq!(next_page("{}", "prompts", 0, Some("1~^".to_owned())), r#"{"prompts":[],"nextCursor":"1~^"}"#);
        assert_eq!(next_page(r#"{"prompts":[1]}"#, "prompts", 1, None), r#"{"prompts":[1]}"#);
    }
}
