//! What a gateway shows of itself, in the forms in which it does.

use claim::attachment::{Attachment, VERSION};
use claim::binding::BootBinding;
use claim::evidence::{BootEvidence, Evidence, Settings};
use claim::json::{Json, JsonError, from_json, parse};
use thiserror::Error;

/// Evidence of a boot, and of a session or of an answer to a challenge.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The boot, and the session if there is one.
    pub attachment: Attachment,
    /// The answer to a challenge.
    pub challenge: Option<Challenge>,
}

/// An answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The bytes that were sent.
    pub nonce: Vec<u8>,
    /// Evidence over them.
    pub evidence: Evidence,
}

/// Bytes that show nothing of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShownError {
    /// None of the forms, or not as it should be.
    #[error("no attachment of a claim, boot document or answer to a challenge: {0}")]
    Json(#[from] JsonError),
    /// An answer to a challenge, and nobody says to which.
    #[error("this is an answer to a challenge: --nonce must name the challenge that you sent")]
    NonceMissing,
    /// A challenge, and what is shown is no answer to one.
    #[error("this is no answer to a challenge, so no --nonce can be in it")]
    NonceUnused,
}

impl Shown {
    /// Reads an attachment, a boot's document, or an answer to the challenge `nonce`.
    ///
    /// # Errors
    /// See [`ShownError`].
    pub fn read(bytes: &[u8], nonce: Option<&[u8]>) -> Result<Self, ShownError> {
        let json = parse(bytes)?;
        match (json.get("challenge_evidence"), nonce) {
            (Some(evidence), Some(nonce)) => {
                let challenge = Challenge { nonce: nonce.to_vec(), evidence: from_json(evidence)? };
                Ok(Self { attachment: answer(&json)?, challenge: Some(challenge) })
            }
            (Some(_), None) => Err(ShownError::NonceMissing),
            (None, Some(_)) => Err(ShownError::NonceUnused),
            (None, None) if json.get("evidence").is_some() => {
                Ok(Self { attachment: of_boot(from_json(&json)?), challenge: None })
            }
            (None, None) => Ok(Self { attachment: Attachment::parse(bytes)?, challenge: None }),
        }
    }
}

/// What the answer of `GET /attestation` says of the boot. Its other members are for people.
fn answer(json: &Json) -> Result<Attachment, JsonError> {
    let member = |name: &str| json.get(name).ok_or_else(|| JsonError::Shape(format!("no member {name}")));
    let public_key = member("public_key")?.as_str().ok_or_else(|| JsonError::Shape("public_key: no text".into()))?;
    let boot: BootBinding = from_json(member("boot")?)?;
    let evidence = from_json(member("boot_evidence")?)?;
    let mut attachment = of_boot(BootEvidence { boot, public_key: public_key.to_owned(), evidence });
    if let Some(settings) = json.get("settings") {
        attachment.settings = from_json(settings)?;
    }
    Ok(attachment)
}

/// A boot without a session, of whose reloads nothing is known.
fn of_boot(boot: BootEvidence) -> Attachment {
    let settings = vec![settings_of(&boot.boot)];
    let (session_start, session, event_log, collateral) = (None, None, None, None);
    Attachment { version: VERSION, boot, settings, session_start, session, event_log, collateral }
}

/// What a boot decides by until its first reload.
pub(crate) const fn settings_of(boot: &BootBinding) -> Settings {
    let BootBinding { bundle_hash, catalog_hash, config_hash, controls_hash, .. } = *boot;
    Settings { bundle_hash, catalog_hash, config_hash, controls_hash }
}
