//! What belongs to a claim and is not in it: the evidence that its bindings name, and what judging it offline needs.
//!
//! The enclave makes it, unsigned: everything in it either is bound by evidence or proves itself. [`Collateral`] comes from
//! the host and is believed for nothing.

use serde::{Deserialize, Serialize};

use crate::b64u::Octets;
use crate::evidence::{BootEvidence, Evidence, Settings};
use crate::json::{Json, JsonError, read, to_json};

/// `version` of the format.
pub const VERSION: u32 = 1;
/// Longest collateral that a gateway keeps, in bytes of JSON.
pub const MAX_COLLATERAL: usize = 256 << 10;

/// The answer of `GET /session/{id}/evidence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// [`VERSION`].
    pub version: u32,
    /// What the boot shows of itself.
    pub boot: BootEvidence,
    /// What PCR 15 was extended with, in order.
    pub settings: Vec<Settings>,
    /// The first entry of the session, whose hash is the chain's root; absent where there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_start: Option<Json>,
    /// Over the session's binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Evidence>,
    /// The firmware's event log as the kernel shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Octets>,
    /// From the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<Collateral>,
}

/// Certificates, lists of revoked ones and vendors' statements. All of it is signed by somebody whom verifiers know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collateral {
    /// DER, in any order: VCEK or VLEK, ASK, ARK, attestation key, intermediates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Octets>,
    /// DER of certificate revocation lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crls: Vec<Octets>,
    /// The quote of an Azure VM's TDREPORT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub td_quote: Option<Octets>,
    /// Intel's collateral for a quote, as an object of the members of DCAP's `QuoteCollateralV3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tdx: Option<Json>,
}

impl Attachment {
    /// SA of the document.
    ///
    /// # Errors
    /// A document that has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        Ok(to_json(self)?.sorted_ascii().into_bytes())
    }

    /// Reads it strictly.
    ///
    /// # Errors
    /// Not JSON, another version, a member too many or too few.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let attachment: Self = read(bytes)?;
        if attachment.version == VERSION {
            return Ok(attachment);
        }
        Err(JsonError::Shape(format!("version: found {}, expected {VERSION}", attachment.version)))
    }
}
