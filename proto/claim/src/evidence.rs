//! What a boot shows of itself to a caller before the caller's first byte: evidence over a binding, and the document in
//! the gateway's own TLS certificate.
//!
//! The certificate has one extension `id-pe-cmw` (RFC 9999), which holds a CMW record in JSON: the media type, the document
//! in base64url, and that it is evidence. [`BootEvidence::extension`] writes it; reading is for verifiers.

mod hardware;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::b64u;
use crate::binding::{BootBinding, nonce_text};
use crate::der;
use crate::digest::Digest;
use crate::json::{Json, JsonError, to_json};
use crate::key::{Key, PublicKey, SignatureError, read_signature};

pub use self::hardware::{
    AzureEvidence, PCRS, Pcrs, SETTINGS_PCR, Settings, SignedAttest, SnpEvidence, TdxEvidence, TpmEvidence, TpmQuote,
};

/// id-pe-cmw, the X.509 extension of RFC 9999: 1.3.6.1.5.5.7.1.35.
pub const CMW_EXTENSION: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 35];
/// Media type of [`BootEvidence`].
pub const MEDIA_TYPE: &str = "application/vnd.cmcp.boot-evidence+json";
/// The CMW indicator for evidence: bit 2.
pub const CMW_EVIDENCE: u64 = 4;
/// Longest value of the extension, in bytes.
pub const MAX_EXTENSION: usize = 32 << 10;

const SOFTWARE_LABEL: &[u8] = b"cmcp-software-evidence-v1|";
/// DER's tag of a UTF8String.
const UTF8_STRING: u8 = 0x0c;

/// Evidence over one binding, by the name of its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Evidence {
    /// No hardware.
    Software(SoftwareEvidence),
    /// A confidential VM of Azure.
    Azure(AzureEvidence),
    /// A TPM 2.0.
    Tpm(TpmEvidence),
    /// AMD SEV-SNP.
    SevSnp(SnpEvidence),
    /// Intel TDX.
    Tdx(TdxEvidence),
}

impl Evidence {
    /// The PCRs that it quotes, where there are any.
    pub const fn pcrs(&self) -> Option<&Pcrs> {
        match self {
            Self::Azure(evidence) => Some(&evidence.quote.pcrs),
            Self::Tpm(evidence) => Some(&evidence.quote.pcrs),
            Self::Software(_) | Self::SevSnp(_) | Self::Tdx(_) => None,
        }
    }
}

/// What a process says of itself: that its key is in use and which file it claims to run. Nothing but the process vouches
/// for either; another program with a key of its own can say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftwareEvidence {
    /// SHA-256 of the enclave's executable, as the process read it. Not signed here: the TLS key vouches for it, whose hash
    /// is in the boot's binding.
    pub artifact: Digest,
    /// The binding: 86 characters ([`nonce_text`]).
    pub binding: String,
    /// By the enclave's key: [`Key::sign_software_evidence`].
    pub signature: String,
}

impl SoftwareEvidence {
    /// Signed now, over a binding.
    pub fn new(key: &Key, artifact: Digest, binding: &[u8; 64]) -> Self {
        Self { artifact, binding: nonce_text(binding), signature: key.sign_software_evidence(binding) }
    }
}

/// The document in the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootEvidence {
    /// What this boot runs.
    pub boot: BootBinding,
    /// The enclave's Ed25519 key: [`PublicKey::x`].
    pub public_key: String,
    /// Over the boot's binding.
    pub evidence: Evidence,
}

/// A document that no certificate can carry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtensionError {
    /// Not a document.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Longer than verifiers read.
    #[error("the boot evidence makes an extension of {0} bytes, and at most {MAX_EXTENSION} are allowed")]
    TooLong(usize),
}

impl BootEvidence {
    /// SA of the document.
    ///
    /// # Errors
    /// A document that has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        Ok(to_json(self)?.sorted_ascii().into_bytes())
    }

    /// Value of the certificate's extension: DER UTF8String of SA([media type, document, 4]).
    ///
    /// # Errors
    /// See [`ExtensionError`].
    pub fn extension(&self) -> Result<Vec<u8>, ExtensionError> {
        let indicator = Json::from(CMW_EVIDENCE);
        let record = Json::Array(vec![MEDIA_TYPE.into(), b64u::encode(&self.bytes()?).into(), indicator]);
        let value = der::encode(UTF8_STRING, record.sorted_ascii().as_bytes());
        if value.len() > MAX_EXTENSION { Err(ExtensionError::TooLong(value.len())) } else { Ok(value) }
    }
}

impl Key {
    /// Signs software evidence over a binding: the text of its `signature`.
    pub fn sign_software_evidence(&self, binding: &[u8; 64]) -> String {
        b64u::encode(&self.sign(&software_message(binding)))
    }
}

impl PublicKey {
    /// Verifies the signature of software evidence over a binding. It shows that whoever has the key made it for this
    /// binding, and nothing of what runs there.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify_software_evidence(&self, binding: &[u8; 64], signature: &str) -> Result<(), SignatureError> {
        self.verify(&software_message(binding), &read_signature(signature)?)
    }
}

fn software_message(binding: &[u8; 64]) -> Vec<u8> {
    [SOFTWARE_LABEL, binding].concat()
}
