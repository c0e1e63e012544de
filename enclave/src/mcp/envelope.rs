//! JSON-RPC 2.0 envelopes, read without touching what they carry.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::members::{Members, push_member, push_text, string};
use crate::error::Code;

/// A problem with a request, for the JSON-RPC error.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which rule.
    pub code: Code,
    /// What exactly, for the caller; never policy text.
    pub detail: String,
}

impl Problem {
    /// A problem with a detail.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// A request or notification.
#[derive(Debug)]
pub struct Request<'a> {
    /// The id as received (a string or an integer), absent for a notification.
    pub id: Option<&'a RawValue>,
    /// The method's name.
    pub method: Cow<'a, str>,
    /// Parameters as received.
    pub params: Option<&'a RawValue>,
}

/// Reads a request.
///
/// # Errors
/// [`Code::ParseError`] or [`Code::InvalidRequest`], with the id where there is one.
pub fn parse_request(body: &[u8]) -> Result<Request<'_>, (Problem, Option<&RawValue>)> {
    let text = std::str::from_utf8(body)
        .map_err(|error| (Problem::new(Code::ParseError, format!("not UTF-8: {error}")), None))?;
    if text.trim_start().starts_with('[') {
        return Err((Problem::new(Code::InvalidRequest, "batches are not accepted; send one request"), None));
    }
    let members = Members::parse(text).map_err(|error| (Problem::new(Code::ParseError, error.to_string()), None))?;
    let id = members.find("id");
    let invalid = |detail: &str| (Problem::new(Code::InvalidRequest, detail), id.filter(|id| is_id(id.get())));
    if members.find("jsonrpc").map(RawValue::get) != Some("\"2.0\"") {
        return Err(invalid("member \"jsonrpc\" must be \"2.0\""));
    }
    if id.is_some_and(|id| !is_id(id.get())) {
        return Err(invalid("member \"id\" must be a string or an integer"));
    }
    let method =
        members.find("method").and_then(string).ok_or_else(|| invalid("member \"method\" must be a string"))?;
    Ok(Request { id, method, params: members.find("params") })
}

/// A string or an integer; null and fractions are not ids in MCP.
fn is_id(text: &str) -> bool {
    text.starts_with('"')
        || (!text.is_empty() && text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit()))
}

/// What a tool server answered.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The `result`, as received.
    Result(&'a RawValue),
    /// The `error`, as received.
    Error(&'a RawValue),
}

/// Reads a tool server's answer to the request with this id. `None` if the message is something else, such as a
/// notification or an answer to another request.
///
/// # Errors
/// What is wrong, as text for the audit entry.
pub fn parse_answer<'a>(body: &'a [u8], id: &RawValue) -> Result<Option<Answer<'a>>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "answer is not UTF-8")?;
    let members = Members::parse(text).map_err(|_| "answer is not a JSON object, or has a key twice")?;
    if members.find("jsonrpc").map(RawValue::get) != Some("\"2.0\"") {
        return Err("answer is not JSON-RPC 2.0");
    }
    if members.find("method").is_some() {
        return Ok(None);
    }
    if !same_id(members.find("id").map(RawValue::get), id.get()) {
        return Err("answer carries another id");
    }
    match (members.find("result"), members.find("error")) {
        (Some(result), None) => Ok(Some(Answer::Result(result))),
        (None, Some(error)) => Ok(Some(Answer::Error(error))),
        _ => Err("answer must carry either a result or an error"),
    }
}

/// Ids are equal as values: a server may escape a string differently.
fn same_id(found: Option<&str>, sent: &str) -> bool {
    let Some(found) = found else { return false };
    found == sent
        || match (serde_json::from_str::<String>(found), serde_json::from_str::<String>(sent)) {
            (Ok(found), Ok(sent)) => found == sent,
            _ => false,
        }
}

/// A request to a tool server.
pub fn request(id: &str, method: &str, params: &str) -> String {
    let mut text = String::with_capacity(64 + id.len() + params.len());
    text.push('{');
    push_member(&mut text, "jsonrpc", "\"2.0\"");
    push_member(&mut text, "id", id);
    push_text(&mut text, "method", method);
    push_member(&mut text, "params", params);
    text.push('}');
    text
}

/// A JSON-RPC answer with a result, both as raw text.
pub fn success(id: &str, result: &str) -> String {
    let mut text = String::with_capacity(64 + id.len() + result.len());
    text.push('{');
    push_member(&mut text, "jsonrpc", "\"2.0\"");
    push_member(&mut text, "id", id);
    push_member(&mut text, "result", result);
    text.push('}');
    text
}

/// A JSON-RPC answer with an error object as raw text; an unknown id is null.
pub fn failure(id: Option<&RawValue>, error: &str) -> String {
    let mut text = String::with_capacity(64 + error.len());
    text.push('{');
    push_member(&mut text, "jsonrpc", "\"2.0\"");
    push_member(&mut text, "error", error);
    push_member(&mut text, "id", id.map_or("null", RawValue::get));
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{Answer, parse_answer, parse_request};
    use crate::error::Code;

    fn refused(body: &[u8]) -> Code {
        parse_request(body).unwrap_err().0.code
    }

    #[test]
    fn requests_are_read_as_they_are() {
        let request =
            parse_request(br#" {"jsonrpc":"2.0","id":"\u0061","method":"tools/call","params":{"x": 1 }} "#).unwrap();
        assert_eq!(request.id.unwrap().get(), r#""\u0061""#);
        assert_eq!(request.method, "tools/call");
        assert_eq!(request.params.unwrap().get(), r#"{"x": 1 }"#);
        assert!(parse_request(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap().id.is_none());
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        assert_eq!(refused(b"[]"), Code::InvalidRequest);
        assert_eq!(refused(b"{}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}"), Code::ParseError);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":NaN}"), Code::ParseError);
        assert_eq!(refused(b"\xff\xfe"), Code::ParseError);
        assert_eq!(refused(b""), Code::ParseError);
    }

    #[test]
    fn answers_belong_to_their_request() {
        let id: Box<RawValue> = serde_json::from_str("\"a\"").unwrap();
        let read = |body: &'static str| parse_answer(body.as_bytes(), &id);
        assert!(matches!(read(r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#), Ok(Some(Answer::Result(_)))));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","id":"a","error":{}}"#), Ok(Some(Answer::Error(_)))));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#), Ok(None)));
        for wrong in [
            r#"{"jsonrpc":"2.0","id":"b","result":{}}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"a"}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{},"result":{}}"#,
            r#"{"id":"a","result":{}}"#,
            "null",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
