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
    /// Further members of `error.data`, as raw text.
    pub data: Vec<(&'static str, String)>,
}

impl Problem {
    /// A problem with a detail.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), data: Vec::new() }
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

/// What an agent or a tool server sends.
#[derive(Debug)]
pub enum Message<'a> {
    /// A request or notification.
    Request(Request<'a>),
    /// An answer to a request of ours.
    Response(Response<'a>),
}

/// An answer, as received.
#[derive(Debug)]
pub struct Response<'a> {
    /// The request's id; absent if the other side could not read it.
    pub id: Option<&'a RawValue>,
    /// The outcome.
    pub answer: Answer<'a>,
}

/// Reads what an agent posts.
///
/// # Errors
/// [`Code::ParseError`] or [`Code::InvalidRequest`], with the id where there is one.
pub fn parse_message(body: &[u8]) -> Result<Message<'_>, (Problem, Option<&RawValue>)> {
    let text = std::str::from_utf8(body)
        .map_err(|error| (Problem::new(Code::ParseError, format!("not UTF-8: {error}")), None))?;
    if text.trim_start().starts_with('[') {
        return Err((Problem::new(Code::InvalidRequest, "batches are not accepted; send one request"), None));
    }
    let members = Members::parse(text).map_err(|error| (Problem::new(Code::ParseError, error.to_string()), None))?;
    let id = members.find("id").filter(|id| is_id(id.get()));
    message(&members).map_err(|detail| (Problem::new(Code::InvalidRequest, detail), id))
}

fn message<'a>(members: &Members<'a>) -> Result<Message<'a>, &'static str> {
    let id = members.find("id");
    if members.find("jsonrpc").map(RawValue::get) != Some("\"2.0\"") {
        return Err("member \"jsonrpc\" must be \"2.0\"");
    }
    let answer = match (members.find("method"), members.find("result"), members.find("error")) {
        (None, Some(result), None) => Answer::Result(result),
        (None, None, Some(error)) => Answer::Error(error),
        (Some(method), None, None) => {
            if id.is_some_and(|id| !is_id(id.get())) {
                return Err("member \"id\" must be a string or an integer");
            }
            let method = string(method).ok_or("member \"method\" must be a string")?;
            return Ok(Message::Request(Request { id, method, params: members.find("params") }));
        }
        (None, None, None) => return Err("member \"method\" must be a string"),
        _ => return Err("a message has either a method, a result or an error"),
    };
    Ok(Message::Response(Response { id: id.filter(|id| id.get() != "null"), answer }))
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

/// Reads a message of a tool server. An answer must be one to the request with this id.
///
/// # Errors
/// What is wrong, as text for the audit entry.
pub fn parse_incoming<'a>(body: &'a [u8], id: &str) -> Result<Message<'a>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "answer is not UTF-8")?;
    let members = Members::parse(text).map_err(|_| "answer is not a JSON object, or has a key twice")?;
    let message = message(&members)?;
    match &message {
        Message::Response(response) if !same_id(response.id.map(RawValue::get), id) => Err("answer carries another id"),
        _ => Ok(message),
    }
}

/// Reads one message of a process, to whichever request.
///
/// # Errors
/// What is wrong, as text for the audit entry.
pub fn parse_line(line: &[u8]) -> Result<Message<'_>, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "line is not UTF-8")?;
    let members = Members::parse(text).map_err(|_| "line is not a JSON object, or has a key twice")?;
    message(&members)
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

/// A request, or without an id a notification; parameters as raw text.
pub fn request(id: Option<&str>, method: &str, params: Option<&str>) -> String {
    let mut text = String::with_capacity(64 + id.map_or(0, str::len) + method.len() + params.map_or(0, str::len));
    text.push('{');
    push_member(&mut text, "jsonrpc", "\"2.0\"");
    if let Some(id) = id {
        push_member(&mut text, "id", id);
    }
    push_text(&mut text, "method", method);
    if let Some(params) = params {
        push_member(&mut text, "params", params);
    }
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
    use super::{Answer, Message, Request, parse_incoming, parse_message};
    use crate::error::Code;

    fn refused(body: &[u8]) -> Code {
        parse_message(body).unwrap_err().0.code
    }

    fn request(body: &[u8]) -> Request<'_> {
        match parse_message(body) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_read_as_they_are() {
        let found = request(br#" {"jsonrpc":"2.0","id":"\u0061","method":"tools/call","params":{"x": 1 }} "#);
        assert_eq!(found.id.unwrap().get(), r#""\u0061""#);
        assert_eq!(found.method, "tools/call");
        assert_eq!(found.params.unwrap().get(), r#"{"x": 1 }"#);
        assert!(request(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).id.is_none());
    }

    #[test]
    fn answers_of_agents_are_read_as_they_are() {
        let Ok(Message::Response(found)) = parse_message(br#"{"jsonrpc":"2.0","id":7,"result":{ }}"#) else { panic!() };
        assert_eq!(found.id.unwrap().get(), "7");
        assert!(matches!(found.answer, Answer::Result(result) if result.get() == "{ }"));
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        assert_eq!(refused(b"[]"), Code::InvalidRequest);
        assert_eq!(refused(b"{}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"result\":{}}"), Code::InvalidRequest);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}"), Code::ParseError);
        assert_eq!(refused(b"{\"jsonrpc\":\"2.0\",\"id\":NaN}"), Code::ParseError);
        assert_eq!(refused(b"\xff\xfe"), Code::ParseError);
        assert_eq!(refused(b""), Code::ParseError);
    }

    #[test]
    fn answers_belong_to_their_request() {
        let read = |body: &'static str| parse_incoming(body.as_bytes(), "\"a\"");
        let Ok(Message::Response(found)) = read(r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#) else { panic!() };
        assert!(matches!(found.answer, Answer::Result(_)));
        let Ok(Message::Response(found)) = read(r#"{"jsonrpc":"2.0","id":"a","error":{}}"#) else { panic!() };
        assert!(matches!(found.answer, Answer::Error(_)));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#), Ok(Message::Request(_))));
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
