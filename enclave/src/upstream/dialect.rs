//! How a request is written for a tool server: its headers, and its `_meta` where the agent speaks another era.

use std::borrow::Cow;

use claim::json::Json;

use super::Fault;
use crate::catalog::{Capability, Server, Tool};
use crate::error::Code;
use crate::mcp::era::{self, Era, MODERN};
use crate::mcp::members::{Members, push_member, push_received, push_text};
use crate::mcp::trace::Trace;

/// How requests are written for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// 2026-07-28: each request for itself.
    Modern,
    /// After `initialize`.
    Legacy {
        /// `Mcp-Session-Id`, if it gave one.
        session: Option<String>,
        /// The version it chose.
        version: String,
    },
    /// No handshake.
    Bare,
}

/// Who the requests are for.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The agent's era.
    pub era: Era,
    /// What the server may ask of the agent, as JSON.
    pub capabilities: &'a str,
}

/// Nothing can be asked.
pub const NOTHING: &str = "{}";
/// What no agent stands behind.
pub const NOBODY: Client<'static> = Client { era: Era::Bare, capabilities: NOTHING };

/// A request or notification for a tool server.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The id as JSON; none for a notification.
    pub id: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// Parameters as JSON.
    pub params: Option<&'a str>,
    /// The name or URI in the parameters, which headers mirror.
    pub name: Option<&'a str>,
    /// The tool and its arguments, some of which headers may mirror.
    pub tool: Option<(&'a Tool, &'a Json)>,
    /// Whose request it is.
    pub client: Client<'a>,
    /// The trace that the request is part of.
    pub trace: Option<&'a Trace>,
}

/// Who the gateway is.
pub fn client_info() -> String {
    format!("{{\"name\":\"cmcp-gateway\",\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION"))
}

/// The server as the catalog has it says nothing of its era, so headers follow what it answered.
pub(super) fn headers<'a>(
    dialect: &'a Dialect,
    method: &'a str,
    name: Option<&'a str>,
    tool: Option<(&'a Tool, &'a Json)>,
) -> Vec<(Cow<'static, str>, Cow<'a, str>)> {
    let mut headers: Vec<(Cow<'static, str>, Cow<'a, str>)> = Vec::new();
    match dialect {
        Dialect::Bare => {}
        Dialect::Legacy { session, version } => {
            headers.push(("mcp-protocol-version".into(), version.into()));
            headers.extend(session.as_deref().map(|session| ("mcp-session-id".into(), session.into())));
        }
        Dialect::Modern => {
            headers.push(("mcp-protocol-version".into(), MODERN.into()));
            headers.push(("mcp-method".into(), method.into()));
            headers.extend(name.map(|name| ("mcp-name".into(), era::encode(name))));
            for mirror in tool.iter().flat_map(|(tool, _)| &tool.definition.mirrored) {
                let value = tool.and_then(|(_, arguments)| mirror.of(arguments)).and_then(era::mirrored);
                let value = value.map(|value| Cow::Owned(era::encode(&value).into_owned()));
                headers.extend(value.map(|value| (format!("{}{}", era::PARAM_PREFIX, mirror.header).into(), value)));
            }
        }
    }
    headers
}

/// Parameters for a server that speaks otherwise than the agent: only `_meta` differs.
pub(super) fn translate<'a>(dialect: &Dialect, params: &'a str, client: &Client<'_>) -> Result<Cow<'a, str>, Fault> {
    let reserved = |key: &str| key.starts_with(era::META);
    let add = match (dialect, client.era) {
        (Dialect::Modern, Era::Legacy | Era::Bare) => true,
        (Dialect::Legacy { .. } | Dialect::Bare, Era::Modern) => false,
        _ => return Ok(Cow::Borrowed(params)),
    };
    let unreadable = |_| Fault::new(Code::Internal, "parameters cannot be read again");
    let members = Members::parse(params).map_err(unreadable)?;
    let mut meta = String::from("{");
    if let Some(received) = members.find("_meta") {
        let received = Members::parse(received.get()).map_err(unreadable)?;
        for (key, value) in received.iter().filter(|(key, _)| !reserved(key)) {
            push_received(&mut meta, key, value.get());
        }
    }
    if add {
        push_received(&mut meta, era::META_VERSION, &format!("\"{MODERN}\""));
        push_received(&mut meta, era::META_CLIENT, &client_info());
        push_received(&mut meta, era::META_CAPABILITIES, client.capabilities);
    }
    let empty = meta == "{";
    meta.push('}');
    let mut text = String::with_capacity(params.len() + meta.len());
    text.push('{');
    for (key, value) in members.iter().filter(|(key, _)| *key != "_meta") {
        push_received(&mut text, key, value.get());
    }
    if !empty {
        push_member(&mut text, "_meta", &meta);
    }
    text.push('}');
    Ok(Cow::Owned(text))
}

/// Parameters with a trace in their `_meta`, for a server that gets no headers; nothing if they name a trace themselves.
pub(super) fn traced(params: &str, trace: &Trace) -> Option<String> {
    let members = Members::parse(params).ok()?;
    let meta = members.find("_meta").map_or("{}", |meta| meta.get());
    let received = Members::parse(meta).ok()?;
    if received.iter().any(|(key, _)| trace.fields().any(|(name, _)| name == key)) {
        return None;
    }
    let mut meta = received.without(|_| false);
    meta.pop();
    trace.fields().for_each(|(name, value)| push_text(&mut meta, name, value));
    meta.push('}');
    let mut text = members.without(|key| key == "_meta");
    text.pop();
    push_member(&mut text, "_meta", &meta);
    text.push('}');
    Some(text)
}

/// What of the agent's capabilities a server may use: those that the catalog approves of.
pub fn approved(server: &Server, capabilities: &str) -> String {
    let Ok(members) = Members::parse(capabilities) else { return "{}".to_owned() };
    members.without(|key| {
        let known = Capability::ASKED.iter().find(|capability| capability.as_str() == key);
        !known.is_some_and(|capability| server.may(*capability))
    })
}

/// What can be asked, and how.
const ASKABLE: [(Capability, &[&str]); 3] = [
    (Capability::Sampling, &["tools", "context"]),
    (Capability::Elicitation, &["form", "url"]),
    (Capability::Roots, &[]),
];

/// What of a modern agent's capabilities a legacy server may use, in one of few spellings: agents that can be asked the same
/// share a link.
pub fn askable<'a>(server: &Server, capabilities: &str) -> Cow<'a, str> {
    if !ASKABLE.iter().any(|(capability, _)| server.may(*capability)) {
        return Cow::Borrowed(NOTHING);
    }
    let Ok(members) = Members::parse(capabilities) else { return Cow::Borrowed(NOTHING) };
    let mut text = String::from("{");
    for (capability, ways) in ASKABLE.into_iter().filter(|(capability, _)| server.may(*capability)) {
        let Some(found) = members.find(capability.as_str()) else { continue };
        let found = Members::parse(found.get()).unwrap_or_default();
        let mut known = String::from("{");
        for way in ways.iter().filter(|way| found.find(way).is_some()) {
            push_member(&mut known, way, NOTHING);
        }
        known.push('}');
        push_member(&mut text, capability.as_str(), &known);
    }
    text.push('}');
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Client, Dialect, traced, translate};
    use crate::mcp::era::Era;
    use crate::mcp::trace::Trace;

    #[test]
    fn a_trace_goes_into_meta_where_there_are_no_headers() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers: HeaderMap =
            [(HeaderName::from_static("traceparent"), HeaderValue::from_static(parent))].into_iter().collect();
        let trace = Trace::of(&headers).unwrap();
        let expected = format!(r#"{{"a":1.0,"_meta":{{"x":[ ],"traceparent":"{parent}"}}}}"#);
        assert_eq!(traced(r#"{"_meta":{"x":[ ]},"a":1.0}"#, &trace).unwrap(), expected);
        assert_eq!(traced("{}", &trace).unwrap(), format!(r#"{{"_meta":{{"traceparent":"{parent}"}}}}"#));
        assert_eq!(traced(r#"{"_meta":{"traceparent":"own"}}"#, &trace), None);
    }

    #[test]
    fn only_meta_is_translated() {
        let client = |era| Client { era, capabilities: "{\"roots\":{}}" };
        let params = r#"{"name":"t","arguments":{ "x" : 1.0 },"_meta":{"progressToken": 7}}"#;
        let modern = translate(&Dialect::Modern, params, &client(Era::Legacy)).unwrap();
        assert!(modern.starts_with(r#"{"name":"t","arguments":{ "x" : 1.0 },"_meta":{"progressToken":7,"#), "{modern}");
        assert!(modern.contains(r#""io.modelcontextprotocol/clientCapabilities":{"roots":{}}"#), "{modern}");
        let back = translate(&Dialect::Bare, &modern, &client(Era::Modern)).unwrap();
        assert_eq!(back, r#"{"name":"t","arguments":{ "x" : 1.0 },"_meta":{"progressToken":7}}"#);
        assert_eq!(translate(&Dialect::Bare, "{ }", &client(Era::Bare)).unwrap(), "{ }");
        assert_eq!(translate(&Dialect::Modern, &modern, &client(Era::Modern)).unwrap(), modern);
    }
}
