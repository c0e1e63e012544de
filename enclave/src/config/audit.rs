//! `audit`: where records go, what has to be on disk when, and who may read them.

use claim::sealing::AuditorKey;
use serde::Deserialize;
use wire::{BootRefusal, Document, RefusalCode};

use super::{check_text, invalid};
use crate::audit::Sealer;
use crate::document::refusal;
use crate::evidence::DevMode;

/// Where the setting is.
const AUDITOR_KEY: &str = "audit.auditor_key";
/// How to make one.
const MAKE_ONE: &str =
    "the public key that cmcp-verify auditor new-key --out FILE prints, run where the auditor's key is to stay";

/// The record store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Folder of the store; resolved against the configuration file by the host.
    pub store_path: String,
    /// What has to be on disk before a call goes out and before an answer leaves.
    pub durability: Durability,
    /// X25519 public key, base64url, of whoever may read the records beside the enclave that wrote them; made by `cmcp-verify
    /// auditor new-key`. With it, records leave the enclave sealed. Required outside dev mode.
    pub auditor_key: Option<String>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { store_path: "./audit-store".to_owned(), durability: Durability::Strict, auditor_key: None }
    }
}

impl Audit {
    /// Whom records are sealed to.
    ///
    /// # Errors
    /// Not a key.
    pub fn auditor(&self) -> Result<Option<AuditorKey>, BootRefusal> {
        let Some(text) = &self.auditor_key else { return Ok(None) };
        let wrong = |why: &str| invalid(AUDITOR_KEY, text, &format!("{MAKE_ONE}; this one is {why}"));
        let key = AuditorKey::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !Sealer::accepts(&key) {
            return Err(wrong("of low order: anybody could open what is sealed to it"));
        }
        Ok(Some(key))
    }

    /// Without the permission for dev mode, the host is not to read what it stores.
    ///
    /// # Errors
    /// No auditor, and no dev mode.
    pub fn require_auditor(&self, dev: Option<&DevMode>) -> Result<(), BootRefusal> {
        if dev.is_some() || self.auditor_key.is_some() {
            return Ok(());
        }
        Err(refusal(RefusalCode::Missing, &Document::Config, AUDITOR_KEY, "nothing", MAKE_ONE))
    }

    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        check_text("audit.store_path", &self.store_path)?;
        self.auditor().map(drop)
    }
}

/// `audit.durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The intent before an allowed call is forwarded, its outcome before the answer leaves.
    #[default]
    Strict,
    /// The outcome before the answer leaves.
    Answer,
    /// Written by the host process; survives its death, not power loss.
    Process,
}

impl Durability {
    /// The name in the configuration and in the first audit entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Answer => "answer",
            Self::Process => "process",
        }
    }
}
