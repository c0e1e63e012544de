//! Who calls, in which session and workflow, and what of the parameters is forwarded.

use std::borrow::Cow;

use claim::names::check_id;
use hyper::header::{HeaderMap, HeaderName};

use super::envelope::Problem;
use super::era::Era;
use super::members::{Members, push_received};
use super::receipt::{META_PREFIX, Place, SEED_KEY};
use super::{Post, SESSION_HEADER, text_of};
use crate::error::Code;
use crate::gateway::SessionRef;
use crate::random;
use crate::session::Source;

const CMCP_SESSION: HeaderName = HeaderName::from_static("x-cmcp-session");
const CMCP_WORKFLOW: HeaderName = HeaderName::from_static("x-cmcp-workflow");

/// A caller, as far as it says who it is.
pub(super) struct Caller {
    pub(super) session: SessionRef,
    pub(super) workflow_id: String,
    pub(super) place: Place,
    /// Parameters to forward: as received, without what is ours.
    pub(super) forward: String,
}

impl Caller {
    /// Ids are taken from `_meta`, then headers, then the seed's `_cmcp`, then the MCP session, then the connection.
    pub(super) fn identify(
        params: &Members<'_>,
        meta: Option<&Members<'_>>,
        post: &Post<'_>,
        era: Era,
    ) -> Result<Self, Problem> {
        let seed = inner(params, SEED_KEY)?;
        let session = session(meta, seed.as_ref(), post, era)?;
        check_id(&session.id).map_err(|error| Problem::new(Code::InvalidParams, format!("session_id: {error}")))?;
        let workflow_id = workflow(meta, seed.as_ref(), post.headers)?;
        if !workflow_id.is_empty() {
            check_id(&workflow_id)
                .map_err(|error| Problem::new(Code::InvalidParams, format!("workflow_id: {error}")))?;
        }
        let place = if era != Era::Bare && seed.is_none() { Place::Meta } else { Place::Seed };
        Ok(Self { session, workflow_id, place, forward: forward(params, meta) })
    }
}

fn session(
    meta: Option<&Members<'_>>,
    seed: Option<&Members<'_>>,
    post: &Post<'_>,
    era: Era,
) -> Result<SessionRef, Problem> {
    let Post { headers, connection, .. } = *post;
    let challenge = match (member(meta, "io.cmcp/challenge")?, member(seed, "challenge")?) {
        (Some(challenge), _) | (None, Some(challenge)) => {
            check_id(&challenge).map_err(|error| Problem::new(Code::InvalidParams, format!("challenge: {error}")))?;
            Some(challenge)
        }
        (None, None) => None,
    };
    let credential = post.credential.clone();
    let named = |id: String, source: Source| Ok(SessionRef { credential, id, source, challenge });
    if let Some(id) = member(meta, "io.cmcp/session_id")? {
        return named(id, Source::Meta);
    }
    if let Some(id) = header(headers, &CMCP_SESSION)? {
        return named(id, Source::Header);
    }
    if let Some(id) = member(seed, "session_id")? {
        return named(id, Source::Seed);
    }
    if let Some(id) = header(headers, &SESSION_HEADER)?.filter(|_| era != Era::Modern) {
        return named(id, Source::McpSession);
    }
    if connection.get().is_none() {
        let id = random::uuid().map_err(|_| Problem::new(Code::Internal, "no random bytes"))?;
        let _ = connection.set(id);
    }
    named(connection.get().cloned().unwrap_or_default(), Source::Connection)
}

fn workflow(meta: Option<&Members<'_>>, seed: Option<&Members<'_>>, headers: &HeaderMap) -> Result<String, Problem> {
    if let Some(id) = member(meta, "io.cmcp/workflow_id")? {
        return Ok(id);
    }
    if let Some(id) = header(headers, &CMCP_WORKFLOW)? {
        return Ok(id);
    }
    Ok(member(seed, "workflow_id")?.unwrap_or_default())
}

/// The members of an object among the parameters.
pub(super) fn inner<'a>(params: &Members<'a>, key: &str) -> Result<Option<Members<'a>>, Problem> {
    let Some(value) = params.find(key) else { return Ok(None) };
    Members::parse(value.get())
        .map(Some)
        .map_err(|error| Problem::new(Code::InvalidParams, format!("{key} must be an object: {error}")))
}

fn member(members: Option<&Members<'_>>, key: &str) -> Result<Option<String>, Problem> {
    let text = members.map_or(Ok(None), |members| text_of(members, key))?;
    Ok(text.map(Cow::into_owned))
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.to_owned())),
        _ => Err(Problem::new(Code::InvalidParams, format!("header {name} must be given once, in ASCII"))),
    }
}

/// The parameters without `_cmcp`, and `_meta` without keys of ours.
fn forward(params: &Members<'_>, meta: Option<&Members<'_>>) -> String {
    let ours = |key: &str| key.starts_with(META_PREFIX);
    let mut text = String::with_capacity(params.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum());
    text.push('{');
    for (key, value) in params.iter().filter(|(key, _)| *key != SEED_KEY) {
        match meta.filter(|meta| key == "_meta" && meta.iter().any(|(key, _)| ours(key))) {
            None => push_received(&mut text, key, value.get()),
            Some(meta) if meta.iter().all(|(key, _)| ours(key)) => {}
            Some(meta) => push_received(&mut text, key, &meta.without(ours)),
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;

    use bytes::Bytes;
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Caller, Post, inner};
    use crate::identity::tests::{access, config};
    use crate::mcp::envelope::Problem;
    use crate::mcp::era::Era;
    use crate::mcp::members::Members;
    use crate::mcp::outbox::Outbox;
    use crate::mcp::receipt::Place;
    use crate::session::Source;

    fn identify(params: &str, headers: &[(&'static str, &'static str)]) -> Caller {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let params = Members::parse(params).unwrap();
        let meta = inner(&params, "_meta").ok().unwrap();
        let era = Era::of("tools/call", meta.as_ref(), &map);
        post(&map, |post| Caller::identify(&params, meta.as_ref(), post, era)).ok().unwrap()
    }

    fn post<T>(headers: &HeaderMap, with: impl FnOnce(&Post<'_>) -> Result<T, Problem>) -> Result<T, Problem> {
        let credential = &access(&config("{}")).agent(headers).unwrap();
        let (body, connection, outbox) = (&Bytes::new(), &OnceCell::new(), &Outbox::new(false));
        with(&Post { credential, headers, body, arrived: std::time::Instant::now(), connection, outbox })
    }

    #[test]
    fn the_order_of_ids_is_fixed() {
        let all = r#"{"_meta":{"io.cmcp/session_id":"m"},"_cmcp":{"session_id":"s","workflow_id":"w"}}"#;
        let caller = identify(all, &[("x-cmcp-session", "h"), ("mcp-session-id", "l")]);
        assert_eq!((caller.session.id.as_str(), caller.session.source), ("m", Source::Meta));
        assert_eq!(caller.workflow_id, "w");
        let seed = r#"{"_cmcp":{"session_id":"s"}}"#;
        assert_eq!(identify(seed, &[("x-cmcp-session", "h")]).session.id, "h");
        assert_eq!(identify(seed, &[("mcp-session-id", "l")]).session.id, "s");
        assert_eq!(identify("{}", &[("mcp-session-id", "l")]).session.id, "l");
        assert_eq!(identify("{}", &[]).session.source, Source::Connection);
        assert_eq!(identify("{}", &[("mcp-session-id", "l")]).place, Place::Meta);
        assert_eq!(identify(seed, &[("mcp-session-id", "l")]).place, Place::Seed);
    }

    #[test]
    fn what_is_ours_is_not_forwarded_and_the_rest_is_untouched() {
        let params = r#"{"name":"t","_cmcp":{},"arguments":{ "x" : 1.0 },"_meta":{"io.cmcp/session_id":"s","progressToken": 7}}"#;
        assert_eq!(
            identify(params, &[]).forward,
            r#"{"name":"t","arguments":{ "x" : 1.0 },"_meta":{"progressToken":7}}"#
        );
        assert_eq!(identify(r#"{"_meta":{"io.cmcp/session_id":"s"}}"#, &[]).forward, "{}");
        assert_eq!(identify(r#"{"_meta":{ "a":1 }}"#, &[]).forward, r#"{"_meta":{ "a":1 }}"#);
    }

    #[test]
    fn malformed_ids_are_refused() {
        for params in [
            r#"{"_cmcp":{"session_id":"a b"}}"#,
            r#"{"_cmcp":{"session_id":""}}"#,
            r#"{"_cmcp":{"session_id":7}}"#,
            r#"{"_cmcp":[]}"#,
            r#"{"_cmcp":{"workflow_id":"é"}}"#,
        ] {
            let params = Members::parse(params).unwrap();
            let caller = post(&HeaderMap::new(), |post| Caller::identify(&params, None, post, Era::Bare));
            assert!(caller.is_err(), "{params:?}");
        }
    }
}
