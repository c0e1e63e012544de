//! Signing and reading claims.

use thiserror::Error;

use crate::b64u;
use crate::digest::Digest;
use crate::json::{Json, JsonError, from_json, parse, to_json};
use crate::key::{Key, PublicKey, SignatureError, read_signature};

use super::{ClaimFault, GatewayClaim};

/// Why a claim cannot be signed or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// Not JSON of the kind that is signed.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Something that no claim of its profile says.
    #[error(transparent)]
    Fault(#[from] ClaimFault),
    /// `cnf` names another key than the one that is to sign.
    #[error("cnf names another key")]
    OtherKey,
    /// There is no `signature`, or it is no text.
    #[error("the claim is not signed")]
    Unsigned,
}

/// A claim with its signature. The document is kept as it was read: the signature covers its members, not our types.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedClaim {
    document: Json,
    claim: GatewayClaim,
}

impl SignedClaim {
    /// Reads a claim; does not verify its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimError> {
        Self::from_json(parse(bytes)?)
    }

    /// The same from JSON. Floats, nulls and unsafe integers are refused first, then the shape.
    pub fn from_json(document: Json) -> Result<Self, ClaimError> {
        document.require_signable()?;
        if document.get("signature").and_then(Json::as_str).is_none() {
            return Err(ClaimError::Unsigned);
        }
        let claim: GatewayClaim = from_json(&document.without("signature"))?;
        claim.check()?;
        Ok(Self { document, claim })
    }

    /// What it says.
    pub const fn claim(&self) -> &GatewayClaim {
        &self.claim
    }

    /// The whole document, `signature` included.
    pub const fn document(&self) -> &Json {
        &self.document
    }

    /// Sorted ASCII of the whole document: what is stored and served.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        self.document.write_sorted_ascii(&mut out);
        out
    }

    /// SHA-256 of [`Self::bytes`]: `prev_claim_hash` of the next claim, and the digest by which a trust record names it.
    pub fn hash(&self) -> Digest {
        Digest::of(self.bytes())
    }

    /// Verifies the signature under the key that the claim itself names. Whether that key is to be believed is another
    /// question.
    pub fn verify_self(&self) -> Result<(), SignatureError> {
        self.claim.trace.cnf.jwk.key().verify_claim(&self.document)
    }
}

impl Key {
    /// Signs a claim. Refuses what a verifier would not read, and strings on which the canonical forms disagree.
    pub fn sign_claim(&self, claim: &GatewayClaim) -> Result<SignedClaim, ClaimError> {
        claim.check()?;
        if claim.trace.cnf.jwk.key() != &self.public() {
            return Err(ClaimError::OtherKey);
        }
        let document = to_json(claim)?;
        document.require_signable()?;
        document.require_printable()?;
        let message = document.sorted_ascii();
        if document.jcs()? != message {
            return Err(JsonError::NotPrintable(String::new()).into());
        }
        let signature = b64u::encode(&self.sign(message.as_bytes()));
        Ok(SignedClaim { document: document.with("signature", signature.into()), claim: claim.clone() })
    }
}

impl PublicKey {
    /// Verifies the `signature` of a claim.
    pub fn verify_claim(&self, document: &Json) -> Result<(), SignatureError> {
        let is_claim = ["trace", "gateway"].iter().all(|key| document.get(key).is_some());
        let signature = document.get("signature").and_then(Json::as_str).filter(|_| is_claim);
        let signature = read_signature(signature.ok_or(SignatureError::Kind)?)?;
        self.verify(document.without("signature").sorted_ascii().as_bytes(), &signature)
    }
}
