//! Regular expressions of JSON Schema (ECMA-262), matched in linear time.

use regex::{Regex, RegexBuilder};

use crate::limits;

/// Compiles a `pattern`. Look-around and back-references, which linear time does not have, are errors.
pub(super) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&translated(pattern))
        .size_limit(limits::MAX_SCHEMA_PATTERN_BYTES)
        .dfa_size_limit(limits::MAX_SCHEMA_PATTERN_BYTES)
        .nest_limit(limits::MAX_PATTERN_NESTING)
        .build()
}

/// The pattern in the syntax of the crate `regex`, where it differs: classes are ASCII's, and inside brackets `[`, `&` and
/// `~` are themselves.
fn translated(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    let mut inside = false;
    while let Some(character) = chars.next() {
        match (character, inside) {
            ('\\', _) => push_escape(&mut text, chars.next(), inside),
            ('[', false) => {
                inside = true;
                text.push('[');
            }
            (']', true) => {
                inside = false;
                text.push(']');
            }
            ('[' | '&' | '~', true) => text.extend(['\\', character]),
            _ => text.push(character),
        }
    }
    text
}

fn push_escape(text: &mut String, escaped: Option<char>, inside: bool) {
    match escaped {
        Some('d') => text.push_str("[0-9]"),
        Some('D') => text.push_str("[^0-9]"),
        Some('w') => text.push_str("[A-Za-z0-9_]"),
        Some('W') => text.push_str("[^A-Za-z0-9_]"),
        Some('b') if inside => text.push_str(r"\x08"),
        Some('b') => text.push_str(r"(?-u:\b)"),
        Some(other) => text.extend(['\\', other]),
        None => text.push('\\'),
    }
}
