//! `operator`: whose word changes what is in force, and who may do what agents may not.

use claim::key::PublicKey;
use serde::Deserialize;
use wire::{BootRefusal, Document, RefusalCode};

use super::auth::TokenHash;
use super::invalid;
use crate::document::refusal;

/// Whose word changes what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Operator {
    /// SHA-256 of the token with which the operator calls this gateway, which is no agent's: `sha256:` and 64 lower-case digits. Without
    /// it nobody does.
    pub token_sha256: Option<TokenHash>,
    /// Ed25519 public key, base64url, that signs the controls and may sign policy bundles; made by `cmcp-verify operator
    /// new-key`. With it, no unsigned policy bundle is loaded.
    pub public_key: Option<String>,
    /// Further keys that may sign policy bundles, such as those of policy authors.
    pub policy_keys: Vec<String>,
}

impl Operator {
    /// The key that signs the controls.
    ///
    /// # Errors
    /// Not a key.
    pub fn public_key(&self) -> Result<Option<PublicKey>, BootRefusal> {
        self.public_key.as_deref().map(|text| read("operator.public_key", text)).transpose()
    }

    /// All keys that may sign policy bundles; none if bundles need no signature.
    ///
    /// # Errors
    /// Not keys, or [`Operator::policy_keys`] alone.
    pub fn signers(&self) -> Result<Vec<PublicKey>, BootRefusal> {
        let Some(first) = self.public_key()? else {
            let Some(lone) = self.policy_keys.first() else { return Ok(Vec::new()) };
            let expected = "operator.public_key beside it: the key whose controls can revoke these";
            return Err(refusal(RefusalCode::Missing, &Document::Config, "operator.policy_keys", lone, expected));
        };
        let keys = self.policy_keys.iter().enumerate();
        let others = keys.map(|(index, text)| read(&format!("operator.policy_keys[{index}]"), text));
        std::iter::once(Ok(first)).chain(others).collect()
    }
}

fn read(field: &str, text: &str) -> Result<PublicKey, BootRefusal> {
    PublicKey::from_x(text).map_err(|_| {
        let expected = "32 bytes in base64url without padding, as cmcp-verify operator new-key prints them";
        invalid(field, text, expected)
    })
}
