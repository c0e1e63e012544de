//! What the operator's signature decides: the controls of this boot, and which policy bundles may be in force.

use claim::Digest;
use claim::json::Json;
use claim::key::{PublicKey, SignatureError};
use claim::operator::{Controls, Version};
use wire::{Blob, BootRefusal, Document, RefusalCode};

use crate::config::Config;
use crate::document::{self, refusal};
use crate::policy::Provenance;

const MANIFEST: &str = "manifest.json";

/// The controls of this boot, as they were signed.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What they say.
    pub controls: Controls,
    /// SHA-256 of the file.
    pub hash: Digest,
}

/// Who may put a policy bundle in force, and which versions.
#[derive(Clone, Debug)]
pub struct Authority {
    signers: Vec<PublicKey>,
    revoked: Vec<Digest>,
    floor: Option<Version>,
    /// Whether bundles must be signed.
    signed: bool,
}

/// Reads the controls and checks who signed them.
///
/// # Errors
/// What is wrong with them, or with the configuration that names them.
pub fn controls(bytes: Option<&Blob>, config: &Config) -> Result<Option<InForce>, BootRefusal> {
    let key = config.operator.public_key()?;
    match (&config.controls_path, key, bytes) {
        (None, _, None) => Ok(None),
        (None, _, Some(_)) => {
            Err(wrong_config("controls_path", "operator controls", "the path of the controls, if there are any"))
        }
        (Some(_), None, _) => {
            let expected = "the key that signed the file of controls_path; see cmcp-verify operator --help";
            Err(wrong_config("operator.public_key", "nothing", expected))
        }
        // Halted: `kill_switch` says so of itself.
        (Some(_), Some(_), None) if config.kill_switch.enabled => Ok(None),
        (Some(path), Some(_), None) => {
            let expected = "a file that can be read: operator controls, signed with cmcp-verify operator sign-controls";
            Err(wrong_config("controls_path", path, expected))
        }
        (Some(_), Some(key), Some(Blob(bytes))) => read(bytes, &key).map(Some),
    }
}

fn wrong_config(field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::Missing, &Document::Config, field, found, expected)
}

fn read(bytes: &[u8], key: &PublicKey) -> Result<InForce, BootRefusal> {
    let tree = document::parse(bytes, &Document::Controls)?;
    check_signature(&tree, key)?;
    let controls: Controls = document::read(&tree, &Document::Controls, "")?;
    if controls.epoch == 0 {
        let expected = "1 or more, higher with each version of the controls";
        return Err(refusal(RefusalCode::InvalidValue, &Document::Controls, "epoch", "0", expected));
    }
    Ok(InForce { controls, hash: Digest::of(bytes) })
}

fn check_signature(controls: &Json, key: &PublicKey) -> Result<(), BootRefusal> {
    key.verify_controls(controls).map_err(|error| {
        let found = match error {
            SignatureError::Kind => "nothing".to_owned(),
            other => other.to_string(),
        };
        let expected = "a signature by operator.public_key: cmcp-verify operator sign-controls FILE --key FILE";
        refusal(RefusalCode::Signature, &Document::Controls, "signature", &found, expected)
    })
}

impl Authority {
    /// As the configuration and the controls say.
    ///
    /// # Errors
    /// Keys in the configuration that are none.
    pub fn of(config: &Config, controls: Option<&InForce>) -> Result<Self, BootRefusal> {
        let signers = config.operator.signers()?;
        let controls = controls.map(|in_force| &in_force.controls);
        Ok(Self {
            signed: !signers.is_empty(),
            signers,
            revoked: controls.map(|controls| controls.revoked_keys.clone()).unwrap_or_default(),
            floor: controls.and_then(|controls| controls.min_policy_version.clone()),
        })
    }

    /// Whether this bundle may be in force: the id of the key that signed it, if signatures are asked for.
    ///
    /// # Errors
    /// Its signature or version is missing or not accepted.
    pub fn admit(&self, bundle: &Provenance<'_>) -> Result<Option<Digest>, BootRefusal> {
        let signer = if self.signed { Some(self.signer(bundle)?) } else { None };
        if let Some(floor) = &self.floor {
            let expected = format!("{floor} or higher: min_policy_version of the operator controls");
            if version(bundle)? < *floor {
                return Err(refused(RefusalCode::Version, "version", bundle.version, &expected));
            }
        }
        Ok(signer)
    }

    /// Whether this bundle may take the place of one of version `current`.
    ///
    /// # Errors
    /// As [`Authority::admit`]; bundles are not signed in this configuration; the version is not higher.
    pub fn succeed(&self, bundle: &Provenance<'_>, current: &str) -> Result<Option<Digest>, BootRefusal> {
        if !self.signed {
            let expected = "a key, so that nobody but its owner can change the policy of a running gateway";
            return Err(wrong_config("operator.public_key", "nothing: reload needs operator.public_key", expected));
        }
        let signer = self.admit(bundle)?;
        let higher = match Version::parse(current) {
            Some(current) => version(bundle)? > current,
            None => false,
        };
        if higher {
            return Ok(signer);
        }
        let expected = format!("a version higher than {current}, which is in force; both as numbers with dots");
        Err(refused(RefusalCode::Version, "version", bundle.version, &expected))
    }

    fn signer(&self, bundle: &Provenance<'_>) -> Result<Digest, BootRefusal> {
        let expected = "a signature by operator.public_key or one of operator.policy_keys: cmcp-verify operator \
                        sign-policy FOLDER --key FILE";
        let refuse = |found: &str| Err(refused(RefusalCode::Signature, "signature", found, expected));
        let Some(signature) = bundle.signature else { return refuse("nothing") };
        let mut keys = self.signers.iter();
        let Some(key) = keys.find(|key| key.verify_policy(bundle.hash, signature).is_ok()) else {
            return refuse("a signature that no key of the configuration has made over this bundle");
        };
        let id = key.key_id();
        if self.revoked.contains(&id) {
            return refuse(&format!("a signature by the key {id}, which the operator controls revoke"));
        }
        Ok(id)
    }
}

fn version(bundle: &Provenance<'_>) -> Result<Version, BootRefusal> {
    let expected = "numbers with dots between them, such as 1.10.0, since versions are compared";
    Version::parse(bundle.version).ok_or_else(|| refused(RefusalCode::Version, "version", bundle.version, expected))
}

fn refused(code: RefusalCode, field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(code, &Document::Policy(MANIFEST.into()), field, found, expected)
}
