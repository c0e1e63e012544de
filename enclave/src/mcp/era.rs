//! Which era of MCP a request speaks, and what the modern one demands of it.
//!
//! Modern is 2026-07-28: no session, everything in the body's `_meta`, headers that mirror it. Legacy is 2024-11-05 to
//! 2025-11-25: `initialize` and a session. Bare is the quickstart's: a request without either. Headers never decide
//! anything; where they differ from the body the request is refused (MCP 2026-07-28, Streamable HTTP).

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use claim::json::Json;
use hyper::header::{HeaderMap, HeaderName};

use super::envelope::{Problem, Request};
use super::members::{Members, push_string};
use super::{SESSION_HEADER, VERSION_HEADER, VERSIONS, text_of};
use crate::catalog::Tool;
use crate::error::Code;

/// The modern protocol version.
pub const MODERN: &str = "2026-07-28";
/// Prefix of the `_meta` keys that the modern era reserves.
pub const META: &str = "io.modelcontextprotocol/";
/// `_meta` key of the protocol version.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta` key of what the client can do.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta` key of who the client is.
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// Header that mirrors the method.
pub const METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");
/// Header that mirrors a tool's or prompt's name or a resource's URI.
pub const NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");
/// Prefix of the headers that mirror arguments.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// The era of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28.
    Modern,
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// No handshake, as in the quickstart.
    Bare,
}

impl Era {
    /// The era that a request claims; whether it keeps to it is another question.
    pub fn of(method: &str, meta: Option<&Members<'_>>, headers: &HeaderMap) -> Self {
        let version = headers.get(VERSION_HEADER);
        let known = version.is_some_and(|version| VERSIONS.iter().any(|known| version == known));
        if meta.is_some_and(|meta| meta.find(META_VERSION).is_some()) {
            Self::Modern
        } else if method == "initialize" || headers.contains_key(SESSION_HEADER) || known {
            Self::Legacy
        } else if version.is_some() {
            Self::Modern
        } else {
            Self::Bare
        }
    }
}

/// Checks a modern request's `_meta` and the headers that mirror its body.
///
/// # Errors
/// [`Code::InvalidParams`], [`Code::HeaderMismatch`] or [`Code::UnsupportedVersion`].
pub fn check(
    request: &Request<'_>,
    params: &Members<'_>,
    meta: Option<&Members<'_>>,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let missing = |key: &str| Problem::new(Code::InvalidParams, format!("_meta[{key:?}] is missing"));
    let meta = meta.ok_or_else(|| missing(META_VERSION))?;
    let version = text_of(meta, META_VERSION)?.ok_or_else(|| missing(META_VERSION))?;
    let capabilities = meta.find(META_CAPABILITIES).ok_or_else(|| missing(META_CAPABILITIES))?;
    if !capabilities.get().starts_with('{') {
        return Err(Problem::new(Code::InvalidParams, format!("_meta[{META_CAPABILITIES:?}] must be an object")));
    }
    mirrors(headers, &VERSION_HEADER, Some(&version))?;
    if version != MODERN {
        let mut problem = Problem::new(Code::UnsupportedVersion, format!("{version:?} is not served"));
        let mut requested = String::new();
        push_string(&mut requested, &version);
        problem.data = vec![("supported", format!("[\"{MODERN}\"]")), ("requested", requested)];
        return Err(problem);
    }
    mirrors(headers, &METHOD_HEADER, Some(&request.method))?;
    let name = match request.method.as_ref() {
        "tools/call" | "prompts/get" => text_of(params, "name")?,
        "resources/read" => text_of(params, "uri")?,
        _ => return Ok(()),
    };
    mirrors(headers, &NAME_HEADER, name.as_deref())
}

/// Checks the headers that mirror a tool's arguments (`x-mcp-header` in its input schema).
///
/// # Errors
/// [`Code::HeaderMismatch`].
pub fn check_arguments(tool: &Tool, arguments: &Json, headers: &HeaderMap) -> Result<(), Problem> {
    for mirror in &tool.definition.mirrored {
        let name = HeaderName::try_from(format!("{PARAM_PREFIX}{}", mirror.header))
            .map_err(|_| Problem::new(Code::Internal, "header of the catalog"))?;
        let value = mirror.of(arguments).and_then(mirrored);
        if value.is_none() && headers.contains_key(&name) {
            return Err(mismatch(&name, "has no such argument"));
        }
        if value.is_some() {
            mirrors(headers, &name, value.as_deref())?;
        }
    }
    Ok(())
}

/// How an argument is written in a header; objects, lists and null are not mirrored.
pub fn mirrored(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Object(_) | Json::Array(_) | Json::Null => None,
        other => Some(Cow::Owned(other.sorted_ascii())),
    }
}

fn mirrors(headers: &HeaderMap, name: &HeaderName, body: Option<&str>) -> Result<(), Problem> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(mismatch(name, "must be given once"));
    };
    let value = value.to_str().map_err(|_| mismatch(name, "is not ASCII"))?;
    let value = decode(value).ok_or_else(|| mismatch(name, "is not valid base64 of UTF-8"))?;
    if body == Some(value.as_ref()) { Ok(()) } else { Err(mismatch(name, "is not what the body says")) }
}

fn mismatch(name: &HeaderName, detail: &str) -> Problem {
    Problem::new(Code::HeaderMismatch, format!("header {name} {detail}"))
}

/// The text of a header value, which may be `=?base64?...?=`.
fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = Base64::decode_vec(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The header value of a text: itself where a header can hold it, else `=?base64?...?=`.
pub fn encode(text: &str) -> Cow<'_, str> {
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && text.trim() == text;
    if plain && !text.is_empty() && !text.starts_with("=?base64?") {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("=?base64?{}?=", Base64::encode_string(text.as_bytes())))
    }
}

/// What the client of a modern request says of itself, as raw JSON.
pub fn client_capabilities<'a>(meta: Option<&Members<'a>>) -> &'a str {
    meta.and_then(|meta| meta.find(META_CAPABILITIES)).map_or("{}", |found| found.get())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Era, check, decode, encode};
    use crate::error::Code;
    use crate::mcp::envelope::{Message, Problem, parse_message};
    use crate::mcp::members::Members;

    const GOOD: &str = r#"{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn checked(params: &str, list: &[(&'static str, &'static str)]) -> Result<(), Problem> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let Ok(Message::Request(request)) = parse_message(body.as_bytes()) else { panic!() };
        let members = Members::parse(params).unwrap();
        let meta = members.find("_meta").map(|meta| Members::parse(meta.get()).unwrap());
        check(&request, &members, meta.as_ref(), &headers(list))
    }

    #[test]
    fn the_era_is_in_the_body_before_it_is_in_the_headers() {
        let modern = Members::parse(r#"{"io.modelcontextprotocol/protocolVersion":"v9"}"#).unwrap();
        let session = headers(&[("mcp-session-id", "s")]);
        assert_eq!(Era::of("tools/list", Some(&modern), &session), Era::Modern);
        assert_eq!(Era::of("initialize", Some(&modern), &session), Era::Modern);
        assert_eq!(Era::of("tools/list", None, &session), Era::Legacy);
        assert_eq!(Era::of("initialize", None, &headers(&[("mcp-protocol-version", "2026-07-28")])), Era::Legacy);
        assert_eq!(Era::of("server/discover", None, &headers(&[("mcp-protocol-version", "2026-07-28")])), Era::Modern);
        assert_eq!(Era::of("tools/list", None, &headers(&[("mcp-protocol-version", "2025-06-18")])), Era::Legacy);
        assert_eq!(Era::of("tools/call", None, &headers(&[])), Era::Bare);
    }

    #[test]
    fn headers_must_mirror_the_body() {
        let good = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "t")];
        assert_eq!(checked(GOOD, &good), Ok(()));
        assert_eq!(checked(GOOD, &[good[0], good[1], ("mcp-name", "=?base64?dA==?=")]), Ok(()));
        let code = |result: Result<(), Problem>| result.unwrap_err().code;
        for wrong in [
            [("mcp-protocol-version", "2025-11-25"), good[1], good[2]],
            [good[0], ("mcp-method", "tools/list"), good[2]],
            [good[0], ("mcp-method", "Tools/Call"), good[2]],
            [good[0], good[1], ("mcp-name", "T")],
            [good[0], good[1], ("mcp-name", "=?base64?dA?=")],
        ] {
            assert_eq!(code(checked(GOOD, &wrong)), Code::HeaderMismatch, "{wrong:?}");
        }
        assert_eq!(code(checked(GOOD, &good[..2])), Code::HeaderMismatch);
        assert_eq!(code(checked(r#"{"name":"t"}"#, &good)), Code::InvalidParams);
        let other = GOOD.replace("2026-07-28", "v9");
        assert_eq!(code(checked(&other, &good)), Code::HeaderMismatch);
        assert_eq!(
            code(checked(&other, &[("mcp-protocol-version", "v9"), good[1], good[2]])),
            Code::UnsupportedVersion
        );
    }

    #[test]
    fn any_text_fits_into_a_header() {
        for text in ["plain", "", " edge", "é", "a\nb", "=?base64?x?="] {
            let value = encode(text);
            assert!(value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            assert_eq!(decode(&value).as_deref(), Some(text));
        }
        assert_eq!(decode("=?base64?*?="), None);
    }
}
