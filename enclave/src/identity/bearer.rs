//! Bearer tokens (RFC 6750), and the agents that the configuration gives one.
//!
//! A token is compared by its SHA-256, in constant time and with every configured one.

use std::rc::Rc;

use claim::Digest;
use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::registry::Registry;
use super::{Credential, Denied};
use crate::config::Token;

/// Lengths of a token that is nothing but a secret: what is shorter can be guessed, what is longer is none.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=1024;
const SCHEME: &str = "bearer ";

/// The configured tokens, and whose they are.
pub(super) struct Tokens(Vec<(Digest, Rc<Credential>)>);

impl Tokens {
    /// Those of the configuration, each with an identity of its own.
    pub(super) fn new(tokens: &[Token], registry: &Registry) -> Self {
        let holder = |token: &Token| {
            let identity = registry.add(&token.subject, &token.issuer);
            // Checked configurations have a hash for each; without one, nobody gets in by it.
            let hash = token.token_sha256.digest()?;
            Some((hash, Rc::new(Credential { identity, groups: token.groups.clone(), until: None })))
        };
        Self(tokens.iter().filter_map(holder).collect())
    }

    /// Whose token has this hash. Every configured one is looked at, whichever it is.
    pub(super) fn holder(&self, hash: &Digest) -> Option<Rc<Credential>> {
        let mut found = u32::MAX;
        for (number, (token, _)) in (0..).zip(&self.0) {
            found.conditional_assign(&number, same(token, hash));
        }
        let (_, credential) = self.0.get(usize::try_from(found).ok()?)?;
        Some(credential.clone())
    }
}

/// Whether two hashes are the same, in constant time.
pub(super) fn same(one: &Digest, other: &Digest) -> Choice {
    one.bytes().as_slice().ct_eq(other.bytes().as_slice())
}

/// SHA-256 of a token that is nothing but a secret.
pub(super) fn hash(token: &str) -> Result<Digest, Denied> {
    if is_secret(token) { Ok(Digest::of(token)) } else { Err(Denied::BadToken) }
}

/// Whether a token is long enough to be nothing but a secret.
pub(super) fn is_secret(token: &str) -> bool {
    SECRET_BYTES.contains(&token.len())
}

/// The one bearer token among the header fields (RFC 6750 section 2.1). One in the query is not looked at.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::NoToken)?;
    let value = value.to_str().ok().filter(|_| values.next().is_none()).ok_or(Denied::BadToken)?;
    let scheme = value.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let token = scheme.and_then(|scheme| value.get(scheme.len()..)).unwrap_or_default().trim_matches(' ');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.is_empty() && token.bytes().all(known) { Ok(token) } else { Err(Denied::BadToken) }
}
