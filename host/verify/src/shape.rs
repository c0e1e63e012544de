//! Closed shapes: what members an object may have, and what each may hold. An object that fits its shape can be read
//! by path without surprises; one that does not is refused with the path, what was expected and what was found.

use std::collections::BTreeMap;

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};

use claim::b64u;
use claim::json::{Json, JsonError, MAX_SAFE_INTEGER};

/// Members of a JWK that hold secrets (RFC 7518, section 6).
const PRIVATE_JWK_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"];

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Exactly these members.
    Object(&'static [Member]),
    /// An Ed25519 public key as a JWK (RFC 8037): further members may be there, private ones not.
    Jwk,
    /// Any number of one shape.
    List(&'static Shape),
    /// Any string.
    Text,
    /// A string that is not empty.
    Name,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A string that starts with this and goes on.
    Starts(&'static str),
    /// `spiffe://trust-domain/path` or `did:method:id`.
    Identity,
    /// `sha256:` or `sha384:` and lower-case hexadecimal.
    Digest,
    /// `sha256:` and lower-case hexadecimal.
    Sha256,
    /// 64 lower-case hexadecimal digits.
    Hex64,
    /// As [`Shape::Hex64`] or [`Shape::Sha256`].
    Hex64OrSha256,
    /// An integer of at least this.
    Int(i64),
    /// An integer between these, both included.
    Range(i64, i64),
    /// `true` or `false`.
    Bool,
    /// Base64url without padding, in its one canonical spelling, of this many bytes.
    Bytes(usize),
    /// Base64url without padding, in its one canonical spelling.
    AnyBytes,
    /// Base64 in either alphabet, with or without padding, without stray bits.
    Evidence,
    /// An object whose members are all strings.
    Texts,
    /// An object of any shape.
    Record,
}

/// One member of a closed object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    name: &'static str,
    shape: Shape,
    required: bool,
}

/// A member that must be there.
pub(crate) const fn must(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, required: true }
}

/// A member that may be absent.
pub(crate) const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, required: false }
}

/// What is wrong with a document's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON, not UTF-8, nested too deeply, or followed by something.
    Syntax,
    /// One key twice in one object.
    DuplicateKey,
    /// A required member is absent.
    Missing,
    /// A member that the closed object does not have.
    UnknownKey,
    /// Another type than expected.
    Type,
    /// The right type, but not an allowed value.
    Value,
    /// A number with a fraction or an exponent.
    Float,
    /// An integer beyond 2^53-1, which JSON readers disagree on.
    IntegerRange,
    /// `null` where a member should be left out.
    Null,
    /// A second spelling of base64.
    Base64,
    /// A JWK that carries a private member.
    PrivateKey,
    /// Another profile than the one asked for.
    Profile,
}

/// Where a document does not fit, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct Misfit {
    /// What kind of fault.
    pub fault: Fault,
    /// Path of the value, such as `trace.cnf.jwk.x`; empty for the whole document.
    pub path: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Parses strictly.
pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Json, Misfit> {
    claim::json::parse(bytes).map_err(|error| Misfit {
        fault: match error {
            JsonError::DuplicateKey(_) => Fault::DuplicateKey,
            JsonError::Number(_) => Fault::IntegerRange,
            _ => Fault::Syntax,
        },
        path: what.to_owned(),
        expected: "strict JSON".into(),
        found: error.to_string(),
    })
}

/// Holds the whole document to the rules of signed JSON (integers only, in range, no nulls), then to the shape.
pub(crate) fn fit(value: &Json, shape: Shape, what: &str) -> Result<(), Misfit> {
    numbers(value, &mut Path::new(what), false)?;
    check(value, shape, &mut Path::new(what))
}

/// Holds every number in a document to the rules of signed JSON; nulls are allowed.
pub(crate) fn integers(value: &Json, what: &str) -> Result<(), Misfit> {
    numbers(value, &mut Path::new(what), true)
}

/// Floats, integers out of range and, unless allowed, nulls anywhere.
fn numbers(value: &Json, path: &mut Path, nulls: bool) -> Result<(), Misfit> {
    match value {
        Json::Float(number) => Err(path.misfit(Fault::Float, "an integer", number)),
        Json::UInt(number) => Err(path.misfit(Fault::IntegerRange, "an integer within 2^53-1", number)),
        Json::Int(number) if !(-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(number) => {
            Err(path.misfit(Fault::IntegerRange, "an integer within 2^53-1", number))
        }
        Json::Null if !nulls => Err(path.misfit(Fault::Null, "a value, or no member", "null")),
        Json::Array(items) => {
            items.iter().enumerate().try_for_each(|(i, item)| path.item(i, |path| numbers(item, path, nulls)))
        }
        Json::Object(members) => {
            members.iter().try_for_each(|(key, member)| path.member(key, |path| numbers(member, path, nulls)))
        }
        _ => Ok(()),
    }
}

fn check(value: &Json, shape: Shape, path: &mut Path) -> Result<(), Misfit> {
    match shape {
        Shape::Object(members) => closed(value, members, path),
        Shape::Jwk => jwk(value, path),
        Shape::List(item) => list(value, *item, path),
        Shape::Texts => texts(value, path),
        Shape::Record => object(value, path).map(|_| ()),
        Shape::Bool => match value {
            Json::Bool(_) => Ok(()),
            other => Err(path.type_misfit("true or false", other)),
        },
        Shape::Int(least) => int(value, least, i64::MAX, path),
        Shape::Range(least, most) => int(value, least, most, path),
        _ => text(value, shape, path),
    }
}

fn closed(value: &Json, members: &'static [Member], path: &mut Path) -> Result<(), Misfit> {
    let object = object(value, path)?;
    for member in members {
        match object.get(member.name) {
            Some(inner) => path.member(member.name, |path| check(inner, member.shape, path))?,
            None if member.required => {
                return path.member(member.name, |path| Err(path.misfit(Fault::Missing, "a value", "nothing")));
            }
            None => {}
        }
    }
    match object.keys().find(|key| members.iter().all(|member| member.name != key.as_str())) {
        Some(key) => path.member(key, |path| Err(path.misfit(Fault::UnknownKey, "no such member", "one"))),
        None => Ok(()),
    }
}

fn jwk(value: &Json, path: &mut Path) -> Result<(), Misfit> {
    let object = object(value, path)?;
    if let Some(key) = object.keys().find(|key| PRIVATE_JWK_MEMBERS.contains(&key.as_str())) {
        return path.member(key, |path| Err(path.misfit(Fault::PrivateKey, "a public key", "a private member")));
    }
    for (name, shape) in [("kty", Shape::OneOf(&["OKP"])), ("crv", Shape::OneOf(&["Ed25519"])), ("x", Shape::Bytes(32))]
    {
        path.member(name, |path| match object.get(name) {
            Some(inner) => check(inner, shape, path),
            None => Err(path.misfit(Fault::Missing, "a value", "nothing")),
        })?;
    }
    match object.get("kid") {
        Some(kid) => path.member("kid", |path| check(kid, Shape::Text, path)),
        None => Ok(()),
    }
}

fn list(value: &Json, item: Shape, path: &mut Path) -> Result<(), Misfit> {
    match value {
        Json::Array(items) => {
            items.iter().enumerate().try_for_each(|(i, inner)| path.item(i, |path| check(inner, item, path)))
        }
        other => Err(path.type_misfit("an array", other)),
    }
}

fn texts(value: &Json, path: &mut Path) -> Result<(), Misfit> {
    object(value, path)?.iter().try_for_each(|(key, inner)| path.member(key, |path| check(inner, Shape::Text, path)))
}

fn object<'a>(value: &'a Json, path: &Path) -> Result<&'a BTreeMap<String, Json>, Misfit> {
    match value {
        Json::Object(members) => Ok(members),
        other => Err(path.type_misfit("an object", other)),
    }
}

fn int(value: &Json, least: i64, most: i64, path: &Path) -> Result<(), Misfit> {
    match value {
        Json::Int(number) if (least..=most).contains(number) => Ok(()),
        Json::Int(number) if most == i64::MAX => Err(path.misfit(Fault::Value, &format!("at least {least}"), number)),
        Json::Int(number) => Err(path.misfit(Fault::Value, &format!("{least} to {most}"), number)),
        other => Err(path.type_misfit("an integer", other)),
    }
}

fn text(value: &Json, shape: Shape, path: &Path) -> Result<(), Misfit> {
    let Json::String(text) = value else { return Err(path.type_misfit("a string", value)) };
    let (fault, ok, expected) = match shape {
        Shape::Name => (Fault::Value, !text.is_empty(), "a string that is not empty".to_owned()),
        Shape::OneOf(allowed) => {
            (Fault::Value, allowed.contains(&text.as_str()), format!("one of {}", allowed.join(", ")))
        }
        Shape::Starts(prefix) => (Fault::Value, text.starts_with(prefix), format!("{prefix}...")),
        Shape::Identity => (Fault::Value, is_identity(text), "spiffe://domain/path or did:method:id".to_owned()),
        Shape::Digest => (Fault::Value, is_digest(text), "sha256: or sha384: and lower-case hexadecimal".to_owned()),
        Shape::Sha256 => (Fault::Value, is_sha256(text), "sha256: and 64 lower-case hexadecimal digits".to_owned()),
        Shape::Hex64 => (Fault::Value, is_hex(text, 64), "64 lower-case hexadecimal digits".to_owned()),
        Shape::Hex64OrSha256 => {
            (Fault::Value, is_hex(text, 64) || is_sha256(text), "64 lower-case hexadecimal digits".to_owned())
        }
        Shape::Bytes(length) => (
            Fault::Base64,
            b64u::decode(text).is_some_and(|bytes| bytes.len() == length),
            format!("{length} bytes as canonical base64url without padding"),
        ),
        Shape::AnyBytes => {
            (Fault::Base64, b64u::decode(text).is_some(), "canonical base64url without padding".to_owned())
        }
        Shape::Evidence => (Fault::Base64, evidence_bytes(text).is_some(), "canonical base64".to_owned()),
        _ => (Fault::Value, true, String::new()),
    };
    if ok { Ok(()) } else { Err(path.misfit(fault, &expected, &quoted(text))) }
}

/// Evidence in base64 of either alphabet, with padding or without.
pub(crate) fn evidence_bytes(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text)
        .or_else(|_| Base64Unpadded::decode_vec(text))
        .or_else(|_| Base64Url::decode_vec(text))
        .or_else(|_| Base64::decode_vec(text))
        .ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
}

fn is_digest(text: &str) -> bool {
    is_sha256(text) || text.strip_prefix("sha384:").is_some_and(|hex| is_hex(hex, 96))
}

fn is_identity(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix("spiffe://") {
        return rest.split_once('/').is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty());
    }
    text.strip_prefix("did:").and_then(|rest| rest.split_once(':')).is_some_and(|(method, id)| {
        !id.is_empty()
            && !method.is_empty()
            && method.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// A peer's string for a message: quoted, control characters escaped, cut to a readable length.
pub(crate) fn quoted(text: &str) -> String {
    /// Characters shown; long enough for a digest with its prefix.
    const SHOWN: usize = 100;
    let shown: String = text.chars().take(SHOWN).collect();
    let dots = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    format!("{shown:?}{dots}")
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Int(_) | Json::UInt(_) => "an integer",
        Json::Float(_) => "a float",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Where the check stands, for messages.
struct Path {
    text: String,
}

impl Path {
    fn new(root: &str) -> Self {
        Self { text: root.to_owned() }
    }

    fn member<T>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.text.len();
        if length > 0 {
            self.text.push('.');
        }
        self.text.extend(name.chars().take(64).map(|c| if c.is_control() { '?' } else { c }));
        let result = run(self);
        self.text.truncate(length);
        result
    }

    fn item<T>(&mut self, index: usize, run: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.text.len();
        self.text.extend(["[", &index.to_string(), "]"]);
        let result = run(self);
        self.text.truncate(length);
        result
    }

    fn misfit(&self, fault: Fault, expected: &str, found: &(impl ToString + ?Sized)) -> Misfit {
        Misfit { fault, path: self.text.clone(), expected: expected.to_owned(), found: found.to_string() }
    }

    fn type_misfit(&self, expected: &str, found: &Json) -> Misfit {
        self.misfit(Fault::Type, expected, kind(found))
    }
}
