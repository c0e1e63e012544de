//! Agents whose tokens an issuer signs, and which of their tokens have been checked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use claim::Digest;
use claim::time::Timestamp;
use wire::BootRefusal;

use super::jwt::Rules;
use super::registry::Registry;
use super::{Credential, Denied, Identity};
use crate::config::Jwt;

/// Checked tokens that are remembered, so that a call costs a hash and no signature; each takes some hundred bytes, and its groups.
const MAX_REMEMBERED: usize = 4096;

/// An issuer of tokens.
pub(super) struct Issuer {
    rules: Rules,
    name: String,
    /// By the token's hash.
    checked: RefCell<HashMap<Digest, Rc<Credential>>>,
}

impl Issuer {
    /// The one of the configuration.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub(super) fn new(jwt: &Jwt) -> Result<Self, BootRefusal> {
        Ok(Self { rules: Rules::of(jwt)?, name: jwt.issuer.clone(), checked: RefCell::default() })
    }

    /// Who has the token of this hash, at this time.
    pub(super) fn holder(
        &self,
        (token, hash): (&str, Digest),
        now: Timestamp,
        registry: &Registry,
    ) -> Result<Rc<Credential>, Denied> {
        let counts = |credential: &&Rc<Credential>| credential.left(now).is_some();
        if let Some(credential) = self.checked.borrow().get(&hash).filter(counts) {
            return Ok(credential.clone());
        }
        let claims = self.rules.check(token, now.seconds()).map_err(Denied::Token)?;
        let identity = self.identity(&claims.subject, registry)?;
        let until = Some(Timestamp::from_seconds(claims.until));
        let credential = Rc::new(Credential { identity, groups: claims.groups, until });
        let mut checked = self.checked.borrow_mut();
        if checked.len() >= MAX_REMEMBERED {
            checked.clear();
        }
        checked.insert(hash, credential.clone());
        Ok(credential)
    }

    /// The identity of a subject of this issuer, who may not have called yet.
    pub(super) fn identity(&self, subject: &str, registry: &Registry) -> Result<Rc<Identity>, Denied> {
        // Remembered tokens keep their identities known.
        registry.enter(subject, &self.name, || self.checked.borrow_mut().clear()).ok_or(Denied::Full)
    }
}
