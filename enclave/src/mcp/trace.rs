//! The trace that a request is part of (W3C Trace Context, level 1): two header fields of the agent's request, passed on with
//! its call. They decide nothing and are recorded nowhere.

use std::collections::BTreeSet;

use hyper::header::{HeaderMap, HeaderName};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// Bytes of `tracestate` that are passed on: what the specification asks of everybody to carry.
const MAX_STATE: usize = 512;
/// Entries of `tracestate`.
const MAX_ENTRIES: usize = 32;

/// A trace, with its fields as received.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// What the headers say. Without exactly one well-formed `traceparent` nothing, and a malformed `tracestate` is dropped.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(PARENT).iter();
        let parent = parents.next()?.to_str().ok().filter(|parent| is_parent(parent))?.to_owned();
        parents.next().is_none().then(|| Self { parent, state: state(headers) })
    }

    /// The header fields for a tool server.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = self.state.as_deref().map(|state| (STATE, state));
        [(PARENT, self.parent.as_str())].into_iter().chain(state)
    }
}

/// `version-trace_id-parent_id-flags` in lower-case hex. What later versions may add to it is malformed here.
fn is_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |length: usize, forbidden: u8| {
        parts.next().is_some_and(|part| {
            let hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            hex && part.len() == length && part.bytes().any(|byte| byte != forbidden)
        })
    };
    part(2, b'f') && part(32, b'0') && part(16, b'0') && part(2, b' ') && parts.next().is_none()
}

/// All lines of the list as one; nothing if it is malformed or too long.
fn state(headers: &HeaderMap) -> Option<String> {
    let mut whole = String::new();
    for line in headers.get_all(HeaderName::from_static(STATE)) {
        let line = line.to_str().ok()?;
        if whole.len() + line.len() > MAX_STATE {
            return None;
        }
        if !whole.is_empty() {
            whole.push(',');
        }
        whole.push_str(line);
    }
    is_state(&whole).then_some(whole)
}

fn is_state(text: &str) -> bool {
    let entries = text.split(',').map(|entry| entry.trim_matches([' ', '\t'])).filter(|entry| !entry.is_empty());
    let Some(keys) = entries.map(entry_key).collect::<Option<Vec<_>>>() else { return false };
    let unique: BTreeSet<_> = keys.iter().collect();
    text.len() <= MAX_STATE && (1..=MAX_ENTRIES).contains(&keys.len()) && unique.len() == keys.len()
}

/// The key of `key=value`, if both are well formed.
fn entry_key(entry: &str) -> Option<&str> {
    let (key, value) = entry.split_once('=')?;
    let is_value =
        (1..=256).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    let is_key = match key.split_once('@') {
        None => is_name(key, 256, false),
        Some((tenant, system)) => is_name(tenant, 241, true) && is_name(system, 14, false),
    };
    (is_key && is_value).then_some(key)
}

fn is_name(name: &str, longest: usize, digit_first: bool) -> bool {
    let first =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || (digit_first && byte.is_ascii_digit()));
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    first && name.len() <= longest && name.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::Trace;

    /// The specification's example.
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn fields(received: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in received {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let trace = Trace::of(&headers);
        trace.iter().flat_map(Trace::fields).map(|(name, value)| (name, value.to_owned())).collect()
    }

    #[test]
    fn a_well_formed_parent_passes_once() {
        assert_eq!(fields(&[("traceparent", PARENT)]), [("traceparent", PARENT.to_owned())]);
        assert_eq!(fields(&[("traceparent", PARENT), ("traceparent", PARENT)]), []);
        assert_eq!(fields(&[("tracestate", "a=1")]), []);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        ] {
            assert_eq!(fields(&[("traceparent", bad), ("tracestate", "a=1")]), [], "{bad}");
        }
    }

    #[test]
    fn a_well_formed_state_passes_as_one_line() {
        let with = |lines: &[&str]| {
            let lines = lines.iter().map(|line| ("tracestate", *line));
            fields(&[("traceparent", PARENT)].into_iter().chain(lines).collect::<Vec<_>>())
                .get(1)
                .map(|(_, state)| state.clone())
        };
        let longest = format!("a={},b={}", "x".repeat(254), "y".repeat(252));
        assert_eq!(longest.len(), 511);
        for good in ["congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7, congo=t61 rcW ,,x/*_-9=~", "1a@sys=v", &longest] {
            assert_eq!(with(&[good]), Some(good.to_owned()), "{good}");
        }
        assert_eq!(with(&["a=1", "b=2"]), Some("a=1,b=2".to_owned()));
        let many: Vec<String> = (0..33).map(|number| format!("k{number}=v")).collect();
        let too_long = format!("{longest},c");
        for bad in [
            "",
            ",",
            "a",
            "=1",
            "A=1",
            "1a=1",
            "a=",
            "a=1=2",
            "a=1,a=2",
            "a@=1",
            "@a=1",
            "a@b@c=1",
            &many.join(","),
            &too_long,
        ] {
            assert_eq!(with(&[bad]), None, "{bad}");
        }
        assert_eq!(with(&[&longest, "c=3"]), None);
        assert_eq!(with(&["a=1", "a=2"]), None);
    }
}
