//! The receipt of a call, spliced into the tool server's own bytes.

use claim::Digest;
use serde_json::value::RawValue;

use super::members::{Members, push_member, push_received, push_string, push_text};

/// Key of the receipt in the seed's shape.
pub const SEED_KEY: &str = "_cmcp";
/// Key of the receipt inside `_meta`, for MCP clients.
pub const META_KEY: &str = "io.cmcp/receipt";
/// Prefix of the `_meta` keys that are ours.
pub const META_PREFIX: &str = "io.cmcp/";

/// Proof that a call was recorded, for the caller to keep: `cmcp-verify store verify --head` takes it.
#[derive(Debug)]
pub struct Receipt<'a> {
    /// The call.
    pub call_id: &'a str,
    /// Hash of the call's entry in the session chain.
    pub entry: Digest,
    /// Which boot of the enclave.
    pub boot_id: &'a str,
    /// The batch of the boot log that holds the entry.
    pub batch: u64,
    /// Whether the policy would have denied the call.
    pub would_have_denied: bool,
    /// From the request's arrival to the tool server's answer, in microseconds.
    pub latency_us: u64,
    /// The session.
    pub session_id: &'a str,
    /// The workflow.
    pub workflow_id: &'a str,
    /// Annotations of the deciding policies.
    pub advice: &'a [(String, String)],
}

impl Receipt<'_> {
    /// The receipt's JSON.
    pub fn json(&self) -> String {
        let mut text = String::with_capacity(384);
        text.push('{');
        push_text(&mut text, "call_id", self.call_id);
        push_text(&mut text, "audit_entry_hash", &self.entry.hex());
        push_text(&mut text, "boot_id", self.boot_id);
        push_member(&mut text, "batch", &self.batch.to_string());
        push_member(&mut text, "would_have_denied", if self.would_have_denied { "true" } else { "false" });
        push_member(&mut text, "latency_us", &self.latency_us.to_string());
        push_text(&mut text, "session_id", self.session_id);
        push_text(&mut text, "workflow_id", self.workflow_id);
        if !self.advice.is_empty() {
            push_member(&mut text, "advice", &advice(self.advice));
        }
        text.push('}');
        text
    }
}

/// Advice as an object; a key that several policies give becomes one string per policy, in order.
pub fn advice(advice: &[(String, String)]) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in advice.iter().enumerate() {
        if advice.iter().take(index).any(|(earlier, _)| earlier == key) {
            continue;
        }
        let mut same = advice.iter().filter(|(other, _)| other == key).map(|(_, value)| value).peekable();
        let first = same.next().unwrap_or(value);
        if same.peek().is_none() {
            push_received(&mut text, key, "");
            push_string(&mut text, first);
            continue;
        }
        let mut list = String::from("[");
        for value in std::iter::once(first).chain(same) {
            if list.len() > 1 {
                list.push(',');
            }
            push_string(&mut list, value);
        }
        list.push(']');
        push_received(&mut text, key, &list);
    }
    text.push('}');
    text
}

/// Where a receipt goes in a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As `_cmcp`, beside the tool server's members.
    Seed,
    /// In `_meta`, under [`META_KEY`].
    Meta,
}

/// A tool server's result that carries no key of ours.
#[derive(Debug)]
pub struct Clean<'a> {
    text: &'a str,
    members: Members<'a>,
    /// Byte offset just before the closing brace of an existing `_meta` object, and whether it is empty.
    meta: Option<(usize, bool)>,
    empty: bool,
}

/// Why a result is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclean {
    /// Not an object.
    NotAnObject,
    /// `_meta` is not an object.
    MetaNotAnObject,
    /// A key of ours, in any spelling, or a key twice.
    Forged,
}

/// Checks a tool server's result before a receipt may be spliced into it.
///
/// # Errors
/// See [`Unclean`].
pub fn inspect(result: &str) -> Result<Clean<'_>, Unclean> {
    let text = result.trim();
    if !text.starts_with('{') {
        return Err(Unclean::NotAnObject);
    }
    let members = Members::parse(text).map_err(|_| Unclean::Forged)?;
    if members.iter().any(|(key, _)| is_ours(key)) {
        return Err(Unclean::Forged);
    }
    let meta = match members.find("_meta") {
        None => None,
        Some(meta) if meta.get().starts_with('{') => {
            let inner = Members::parse(meta.get()).map_err(|_| Unclean::Forged)?;
            if inner.iter().any(|(key, _)| is_ours(key)) {
                return Err(Unclean::Forged);
            }
            let start = meta.get().as_ptr() as usize - text.as_ptr() as usize;
            Some((start + meta.get().len() - 1, inner.iter().next().is_none()))
        }
        Some(_) => return Err(Unclean::MetaNotAnObject),
    };
    let empty = members.iter().next().is_none();
    Ok(Clean { text, members, meta, empty })
}

/// `_cmcp` or `io.cmcp/...` in any case, with any white space around it.
fn is_ours(key: &str) -> bool {
    let key = key.trim();
    let prefix = key.get(..META_PREFIX.len()).unwrap_or_default();
    key.eq_ignore_ascii_case(SEED_KEY) || prefix.eq_ignore_ascii_case(META_PREFIX)
}

impl<'a> Clean<'a> {
    /// The value of a member.
    pub fn find(&self, name: &str) -> Option<&'a RawValue> {
        self.members.find(name)
    }

    /// Whether there is such a member.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The tool server's bytes with these members added.
    pub fn with(&self, members: &[(&'static str, &'static str)]) -> String {
        let mut text = self.text.to_owned();
        append(&mut text, self.empty, members);
        text
    }

    /// The tool server's bytes with the receipt in its place and these members added; every other byte is the tool server's.
    pub fn splice(&self, place: Place, receipt: &str, members: &[(&'static str, &'static str)]) -> String {
        let end = self.text.len() - 1;
        let (at, empty, open, key, close) = match (place, self.meta) {
            (Place::Seed, _) => (end, self.empty, "", SEED_KEY, ""),
            (Place::Meta, Some((at, empty))) => (at, empty, "", META_KEY, ""),
            (Place::Meta, None) => (end, self.empty, "\"_meta\":{", META_KEY, "}"),
        };
        let (before, after) = self.text.split_at(at);
        let comma = if empty { "" } else { "," };
        let mut text = [before, comma, open, "\"", key, "\":", receipt, close, after].concat();
        append(&mut text, false, members);
        text
    }
}

/// Appends members to the text of an object.
fn append(object: &mut String, empty: bool, members: &[(&'static str, &'static str)]) {
    if members.is_empty() {
        return;
    }
    object.pop();
    if !empty {
        object.push(',');
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    object.push_str(&members.join(","));
    object.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Place, Unclean, advice, inspect};

    #[test]
    fn the_receipt_goes_beside_or_into_meta() {
        let splice = |result: &str, place| inspect(result).unwrap().splice(place, "R", &[]);
        assert_eq!(splice("{}", Place::Seed), r#"{"_cmcp":R}"#);
        assert_eq!(splice(r#"{"a": 1 }"#, Place::Seed), r#"{"a": 1 ,"_cmcp":R}"#);
        assert_eq!(splice(r#"{"a":1}"#, Place::Meta), r#"{"a":1,"_meta":{"io.cmcp/receipt":R}}"#);
        assert_eq!(splice(r#"{"_meta":{ },"a":1}"#, Place::Meta), r#"{"_meta":{ "io.cmcp/receipt":R},"a":1}"#);
        assert_eq!(splice(r#"{"_meta":{"x":1},"a":1}"#, Place::Meta), r#"{"_meta":{"x":1,"io.cmcp/receipt":R},"a":1}"#);
    }

    #[test]
    fn members_are_added_at_the_end() {
        let add = [("resultType", "\"complete\""), ("ttlMs", "0")];
        assert_eq!(inspect("{ }").unwrap().with(&add), r#"{ "resultType":"complete","ttlMs":0}"#);
        assert_eq!(
            inspect(r#"{"a":1}"#).unwrap().splice(Place::Meta, "R", &add),
            r#"{"a":1,"_meta":{"io.cmcp/receipt":R},"resultType":"complete","ttlMs":0}"#
        );
    }

    #[test]
    fn a_receipt_is_never_taken_from_a_tool_server() {
        for forged in [
            r#"{"_cmcp":{}}"#,
            r#"{"\u005fcmcp":{}}"#,
            r#"{"_CMCP":{}}"#,
            r#"{" _cmcp":1}"#,
            r#"{"io.cmcp/receipt":1}"#,
            r#"{"_meta":{"io.cmcp/receipt":1}}"#,
            r#"{"_meta":{"IO.cmcp\/other":1}}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"_meta":{"a":1,"a":2}}"#,
            r#"{"_meta":{},"\u005fmeta":{}}"#,
        ] {
            assert_eq!(inspect(forged).unwrap_err(), Unclean::Forged, "{forged}");
        }
        assert_eq!(inspect("[]").unwrap_err(), Unclean::NotAnObject);
        assert_eq!(inspect(r#"{"_meta":1}"#).unwrap_err(), Unclean::MetaNotAnObject);
    }

    #[test]
    fn advice_keeps_every_policy_s_word() {
        let pairs =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        assert_eq!(
            advice(&pairs(&[("advice", "ask"), ("redact", "a"), ("redact", "b")])),
            r#"{"advice":"ask","redact":["a","b"]}"#
        );
    }

    proptest! {
        #[test]
        fn splicing_adds_one_member_and_changes_nothing(members in proptest::collection::btree_map("[a-z]{1,6}", "[a-z\"\\\\é]{0,8}", 0..6), meta in any::<bool>()) {
            let mut value = serde_json::to_value(&members).unwrap();
            if meta { value["_meta"] = serde_json::json!({"k": 1}); }
            let text = value.to_string();
            for place in [Place::Seed, Place::Meta] {
                let spliced = inspect(&text).unwrap().splice(place, "{\"call_id\":\"c\"}", &[]);
                let mut after: serde_json::Value = serde_json::from_str(&spliced).unwrap();
                let object = after.as_object_mut().unwrap();
                match place {
                    Place::Seed => { prop_assert!(object.remove("_cmcp").is_some()); }
                    Place::Meta => {
                        let inner = object.get_mut("_meta").unwrap().as_object_mut().unwrap();
                        prop_assert!(inner.remove("io.cmcp/receipt").is_some());
                        if !meta { object.remove("_meta"); }
                    }
                }
                prop_assert_eq!(&after, &value);
            }
        }
    }
}
