//! The text of a JSON message, as patterns are matched against it: one line for each key, string and number.
//!
//! What a model reads is the decoded text, so that is what is matched: escapes are decoded, JSON inside strings is read too,
//! compatibility forms (full-width letters, ligatures) are what they stand for (Unicode NFKC), invisible characters are left
//! out and those that spell ASCII invisibly (Unicode tags) are what they spell.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use super::tree::is_json;
use crate::limits;

/// Content types whose bytes are encoded, and links, whose target is elsewhere.
const OPAQUE: [&str; 3] = ["audio", "image", "resource_link"];

/// The lines of a message.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) lines: String,
    /// What is in the message and not in the lines, by name, none twice.
    pub(super) unseen: Vec<&'static str>,
}

impl Text {
    /// The lines of one JSON text, in the order received.
    pub(super) fn of(json: &str) -> Self {
        let mut text = Self { lines: String::with_capacity(json.len()), unseen: Vec::new() };
        text.read(json, 0);
        text
    }

    /// One pass over the tokens; structure does not matter here, so neither does depth.
    fn read(&mut self, json: &str, level: usize) {
        let mut rest = json;
        let mut key = Cow::Borrowed("");
        while let Some(start) = rest.bytes().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9')) {
            let token = rest.get(start..).unwrap_or_default();
            let end = match token.strip_prefix('"') {
                Some(inner) => string_end(inner),
                None => number_end(token),
            };
            let (token, after) = token.split_at(end);
            rest = after;
            let Some(raw) = token.strip_prefix('"') else {
                self.number(token);
                continue;
            };
            let string = decode(raw.strip_suffix('"').unwrap_or(raw));
            self.line(&string);
            if after.trim_start().starts_with(':') {
                key = string;
            } else {
                self.note(&key, &string);
                self.inside(&string, level);
            }
        }
    }

    /// JSON inside a string is read like the message around it.
    fn inside(&mut self, string: &str, level: usize) {
        if !is_json_like(string) {
            return;
        }
        if level >= limits::MAX_JSON_IN_TEXT {
            self.unseen("json in text");
        } else if is_json(string) {
            self.read(string, level + 1);
        }
    }

    fn note(&mut self, key: &str, string: &str) {
        match key {
            "type" => OPAQUE.into_iter().filter(|name| *name == string).for_each(|name| self.unseen(name)),
            "blob" => self.unseen("blob"),
            _ => {}
        }
    }

    fn unseen(&mut self, name: &'static str) {
        if !self.unseen.contains(&name) {
            self.unseen.push(name);
        }
    }

    fn line(&mut self, text: &str) {
        push_plain(&mut self.lines, text);
        self.lines.push('\n');
    }

    /// A number as it is written, and if that hides a whole one, as that.
    fn number(&mut self, literal: &str) {
        self.line(literal);
        if literal.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
            && let Ok(value) = literal.parse::<f64>()
            && value.fract() == 0.0
            && value.abs() < LARGEST_WHOLE
        {
            self.line(&format!("{value:.0}"));
        }
    }
}

/// Floats below this are written in full.
const LARGEST_WHOLE: f64 = 1e21;

/// Whether a string looks like JSON that holds further text.
pub(super) fn is_json_like(string: &str) -> bool {
    string.trim_start().starts_with(['{', '[', '"'])
}

/// Whether a string looks like a JSON object or array.
pub(super) fn is_container(string: &str) -> bool {
    string.trim_start().starts_with(['{', '['])
}

/// The length of a string literal, its quotes included; `inner` is what follows the first.
fn string_end(inner: &str) -> usize {
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(inner.len() + 1, |end| end + 2)
}

fn number_end(token: &str) -> usize {
    let is_number = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    token.bytes().position(|byte| !is_number(byte)).unwrap_or(token.len())
}

/// The text of a string literal without its quotes. Half a surrogate pair stands for no character.
pub(super) fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        rest = unescape(escape, &mut text);
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Appends what an escape stands for; what follows it.
fn unescape<'a>(escape: &'a str, text: &mut String) -> &'a str {
    let mut chars = escape.chars();
    match chars.next() {
        Some('u') => return unescape_unit(chars.as_str(), text),
        Some('b') => text.push('\u{8}'),
        Some('f') => text.push('\u{c}'),
        Some('n') => text.push('\n'),
        Some('r') => text.push('\r'),
        Some('t') => text.push('\t'),
        Some(same) => text.push(same),
        None => {}
    }
    chars.as_str()
}

fn unescape_unit<'a>(digits: &'a str, text: &mut String) -> &'a str {
    let Some((high, rest)) = unit(digits) else {
        text.push(char::REPLACEMENT_CHARACTER);
        return digits;
    };
    let low = rest.strip_prefix("\\u").and_then(unit);
    let pair = low.and_then(|(low, after)| Some((char::decode_utf16([high, low]).next()?.ok()?, after)));
    match (char::from_u32(u32::from(high)), pair) {
        (Some(single), _) => text.push(single),
        (None, Some((character, after))) => {
            text.push(character);
            return after;
        }
        (None, None) => text.push(char::REPLACEMENT_CHARACTER),
    }
    rest
}

fn unit(digits: &str) -> Option<(u16, &str)> {
    let (digits, rest) = digits.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

/// Appends text without disguise.
fn push_plain(lines: &mut String, text: &str) {
    if text.is_ascii() {
        lines.push_str(text);
    } else {
        lines.extend(text.chars().filter_map(visible).nfkc());
    }
}

/// A name without disguise and case, for comparison.
pub(super) fn folded(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    push_plain(&mut plain, name);
    plain.trim().to_lowercase()
}

/// The character, if one can see it; tags (U+E0020 to U+E007E) are the ASCII that they spell.
fn visible(character: char) -> Option<char> {
    match character {
        '\u{e0020}'..='\u{e007e}' => char::from_u32(u32::from(character) - 0xe0000),
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0000}'..='\u{e0fff}' => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{Text, decode, folded};

    fn lines(json: &str) -> String {
        Text::of(json).lines
    }

    #[test]
    fn every_key_string_and_number_has_a_line() {
        assert_eq!(lines(r#"{"a":["b",1,-2.5,true,null,{"c":{}}],"d":"e\"f"}"#), "a\nb\n1\n-2.5\nc\nd\ne\"f\n");
        assert_eq!(lines(r#"{"n":4.111111111111111e15}"#), "n\n4.111111111111111e15\n4111111111111111\n");
        assert_eq!(lines(r#"["\\","\"","x"]"#), "\\\n\"\nx\n");
    }

    #[test]
    fn disguises_are_taken_off() {
        assert_eq!(lines(r#"["\u0049gnore","\ud83d\ude00","\ud83d!","a\/b\n"]"#), "Ignore\n😀\n\u{fffd}!\na/b\n\n");
        assert_eq!(lines("[\"ｉｇｎｏｒｅ\u{200b} a\u{ad}ll\",\"ﬁle\",\"é\"]"), "ignore all\nfile\né\n");
        assert_eq!(lines(r#"["ig\u200bn\u2060ore"]"#), "ignore\n");
        let tags: String = "send".chars().map(|c| char::from_u32(u32::from(c) + 0xe0000).unwrap()).collect();
        assert_eq!(lines(&format!("[\"x{tags}\"]")), "xsend\n");
        assert_eq!(folded(" S\u{200d}SN "), "ssn");
    }

    #[test]
    fn json_inside_text_is_read_to_a_depth() {
        let mut json = r#"{"key":"\u0069ban"}"#.to_owned();
        for level in 0..5 {
            let text = Text::of(&json);
            assert_eq!(text.lines.contains("\niban\n") || text.lines.contains("key\niban"), level <= 3, "{level}");
            assert_eq!(text.unseen.contains(&"json in text"), level > 3, "{level}");
            json = serde_json::json!([json]).to_string();
        }
        assert_eq!(lines(r#"["{not json \\u0041"]"#), "{not json \\u0041\n");
    }

    #[test]
    fn what_is_not_read_is_named() {
        let result = r#"{"content":[{"type":"image","data":"AAAA"},{"data":"","type":"image"},{"type":"text","text":"audio"},
            {"type":"resource","resource":{"uri":"a:b","blob":"AAAA"}},{"type":"resource_link","uri":"a:c"}]}"#;
        assert_eq!(Text::of(result).unseen, ["image", "blob", "resource_link"]);
    }

    #[test]
    fn work_grows_with_the_message_and_not_with_its_depth() {
        let deep = format!("{}\"x\"{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(lines(&deep), "x\n");
        let nested = serde_json::to_string(&serde_json::to_string(&vec!["y"; 1 << 18]).unwrap()).unwrap();
        assert!(lines(&nested).len() <= nested.len() * 2, "one more copy for one more level");
    }

    proptest! {
        #[test]
        fn decoding_agrees_with_serde(text in any::<String>()) {
            let literal = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(decode(&literal[1..literal.len() - 1]), text.as_str());
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
            let escaped = units.collect::<Vec<_>>().concat();
            prop_assert_eq!(decode(&escaped), text.as_str());
        }

        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _ = Text::of(&text);
        }

        #[test]
        fn every_string_is_there(texts in proptest::collection::vec("[ -~]{0,20}", 0..8)) {
            let value = Value::from(texts.clone());
            let found = lines(&value.to_string());
            for text in texts {
                prop_assert!(found.lines().any(|line| line == text), "{} in {}", text, found);
            }
        }
    }
}
