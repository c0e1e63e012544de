//! What can be the name of an agent.

use super::ANONYMOUS;

/// Longest subject in bytes.
pub const LONGEST: usize = 256;
/// Characters of a subject beside letters and digits: none that logs, URLs or policies would have to escape twice.
pub const MARKS: &str = "._:@/+~|-";

/// Whether this can be a subject; `anonymous` is whoever has none.
pub fn is_subject(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || MARKS.as_bytes().contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(plain) && text != ANONYMOUS
}
