//! JSON-RPC messages, as far as a bridge has to look into them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What tells requests, notifications and answers apart.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    /// As received; absent or null in a notification.
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    /// Absent in an answer.
    #[serde(borrow)]
    pub(super) method: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    /// Reads one JSON object.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        // A struct would be read from an array too.
        message.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(message).ok())?
    }

    /// Whether this is a request or notification of that method.
    pub(super) fn is(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// Whether this is the answer to the request with that id.
    pub(super) fn answers(&self, id: &RawValue) -> bool {
        self.method.is_none() && self.id.is_some_and(|found| found.get() == id.get())
    }
}

/// The message on one line: JSON has no line breaks but between its tokens.
pub(super) fn one_line(mut message: Vec<u8>) -> Vec<u8> {
    for byte in &mut message {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    message
}

/// An error that the bridge itself answers with.
pub(super) fn error(id: Option<&RawValue>, code: i32, text: &str) -> Vec<u8> {
    let error = serde_json::json!({"code": code, "message": text});
    let id = id.map_or("null", RawValue::get);
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Head, error, one_line};

    #[test]
    fn messages_are_told_apart() {
        let request = br#"{"jsonrpc":"2.0","id":"\u0061","method":"ping"}"#;
        let head = Head::parse(request).unwrap();
        assert!(head.is("ping") && head.id.unwrap().get() == r#""\u0061""#);
        assert!(Head::parse(br#"{"id":"\u0061","result":{}}"#).unwrap().answers(head.id.unwrap()));
        assert!(!Head::parse(br#"{"id":1,"result":{}}"#).unwrap().answers(head.id.unwrap()));
        assert!(Head::parse(br#"{"method":"notifications/initialized"}"#).unwrap().id.is_none());
        for broken in [&b"[1,2]"[..], b"", b"{", b"{} {}", b"\xff", b"7"] {
            assert!(Head::parse(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn lines_stay_lines_and_errors_are_json() {
        assert_eq!(one_line(b"{\r\n \"a\": \"\\n\"\n}".to_vec()), b"{   \"a\": \"\\n\" }");
        let value: serde_json::Value = serde_json::from_slice(&error(None, -32000, "a \"b\"\n")).unwrap();
        assert_eq!(value["error"]["message"], "a \"b\"\n");
    }
}
