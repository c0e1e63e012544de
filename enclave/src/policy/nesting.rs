//! A bound on how deep a Cedar text can nest.
//!
//! Cedar's parser, validator and syntax tree recurse, and a stack that overflows ends the enclave. Before Cedar sees a text,
//! one pass over its tokens bounds the depth of the tree that it can become: brackets nest, and operators that no comma
//! separates may nest in each other (`a && b && c` is a tree of depth two).

use wire::{BootRefusal, Document, RefusalCode};

use super::bundle::document_of;
use crate::document::refusal;

/// Deepest tree, in brackets and operators: several times what people write.
const DEEPEST: usize = 500;

/// Stack in bytes of the thread that reads a bundle: twice what [`DEEPEST`] brackets take in a build without
/// optimisation, where Cedar's parser needs about 50 KiB for each. Only touched pages cost memory.
const STACK: usize = 64 << 20;

/// Runs `read` where [`DEEPEST`] fits. A panic in it is a refusal, since it is Cedar's about the bundle.
pub(super) fn on_deep_stack<T: Send>(read: impl FnOnce() -> Result<T, BootRefusal> + Send) -> Result<T, BootRefusal> {
    let refuse = |found: &str, expected: &str| Err(refusal(RefusalCode::Cedar, &Document::None, "", found, expected));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policy-load".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, read).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => refuse("a policy bundle that Cedar panics on", "another way to write its policies"),
            Err(error) => refuse(&error.to_string(), "memory for a thread that reads the policy bundle"),
        }
    })
}

/// Refuses a text that nests too deep.
pub(super) fn check(path: &str, text: &str) -> Result<(), BootRefusal> {
    let Some(line) = too_deep(text) else { return Ok(()) };
    let field = format!("line {line}");
    let expected = format!(
        "at most {DEEPEST} brackets and operators in each other; a set with .contains() takes the place of a long chain"
    );
    Err(refusal(RefusalCode::Unsupported, &document_of(path), &field, "an expression that nests too deep", &expected))
}

/// The line where the text gets too deep.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = Depth::default();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'"' => after_string(tail),
            b'/' if tail.first() == Some(&b'/') => skip(tail, |byte| byte != b'\n'),
            byte if is_word(*byte) => {
                let after = skip(rest, is_word);
                depth.word(rest.get(..rest.len() - after.len()).unwrap_or_default());
                after
            }
            byte if is_operator(*byte) => {
                let after = skip(rest, is_operator);
                depth.operator(rest.get(..rest.len() - after.len()).unwrap_or_default());
                after
            }
            other => {
                depth.punctuation(*other);
                tail
            }
        };
        if depth.total > DEEPEST {
            let read = text.len() - rest.len();
            return Some(1 + text.bytes().take(read).filter(|byte| *byte == b'\n').count());
        }
    }
    None
}

/// Operators since the last comma, at this bracket level and at those around it.
#[derive(Default)]
struct Depth {
    total: usize,
    here: usize,
    around: Vec<usize>,
}

impl Depth {
    fn one_more(&mut self) {
        self.here += 1;
        self.total += 1;
    }

    fn word(&mut self, word: &[u8]) {
        if [&b"if"[..], b"in", b"is", b"has", b"like"].contains(&word) {
            self.one_more();
        }
    }

    fn operator(&mut self, operator: &[u8]) {
        if operator != b"::" {
            self.one_more();
        }
    }

    fn punctuation(&mut self, byte: u8) {
        match byte {
            b'(' | b'[' | b'{' => {
                self.one_more();
                self.around.push(std::mem::take(&mut self.here));
            }
            b')' | b']' | b'}' => {
                self.siblings();
                self.here = self.around.pop().unwrap_or_default();
            }
            b',' | b';' => self.siblings(),
            _ => {}
        }
    }

    /// What follows does not nest in what was.
    fn siblings(&mut self) {
        self.total -= std::mem::take(&mut self.here);
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_operator(byte: u8) -> bool {
    matches!(byte, b'&' | b'|' | b'=' | b'!' | b'<' | b'>' | b'+' | b'-' | b'*' | b'%' | b'/' | b'.' | b':' | b'?')
}

fn skip(bytes: &[u8], while_it_is: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().position(|byte| !while_it_is(*byte)).unwrap_or(bytes.len());
    bytes.get(end..).unwrap_or_default()
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = skip(rest, |byte| !matches!(byte, b'"' | b'\\'));
        match rest {
            [b'\\', _, tail @ ..] => rest = tail,
            [b'"', tail @ ..] => return tail,
            _ => return &[],
        }
    }
}
