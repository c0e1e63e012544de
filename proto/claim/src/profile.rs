//! What claims and trust records have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::{Digest, DigestError};
use crate::hex;
use crate::json::Json;
use crate::key::{PublicKey, SignatureError};
use crate::terms::terms;

/// Earliest `iat`, in seconds since the Unix epoch: no record is older than the standard.
pub const EARLIEST_IAT: u64 = 1_700_000_000;

/// `firmware_version` in dev mode.
pub const SOFTWARE_FIRMWARE: &str = "software-only-dev-mode";

terms! {
    /// Which edition of the TRACE profile a document follows. A verifier accepts one of them, never both.
    Profile {
        /// Current.
        TraceV02 = "tag:agentrust-io.com,2026:trace-v0.2",
        /// Superseded; the shape of the first published example.
        TraceV01 = "tag:agentrust.io,2026:trace-v0.1",
    }
}

terms! {
    /// Root of trust of the runtime.
    Platform {
        /// Intel TDX.
        IntelTdx = "intel-tdx",
        /// AMD SEV-SNP.
        AmdSevSnp = "amd-sev-snp",
        /// AMD SEV-SNP behind Azure's paravisor; bound through its vTPM.
        AzureCvmSevSnp = "azure-cvm-sev-snp",
        /// NVIDIA Hopper.
        NvidiaH100 = "nvidia-h100",
        /// NVIDIA Blackwell.
        NvidiaBlackwell = "nvidia-blackwell",
        /// AWS Nitro Enclaves.
        AwsNitro = "aws-nitro",
        /// Arm CCA.
        ArmCca = "arm-cca",
        /// Google Confidential Space.
        GoogleConfidentialSpace = "google-confidential-space",
        /// A TPM 2.0.
        Tpm2 = "tpm2",
        /// None.
        SoftwareOnly = "software-only",
    }
}

terms! {
    /// What happened to calls that policy denied.
    EnforcementMode {
        /// Not forwarded.
        Enforce = "enforce",
        /// Forwarded and marked.
        Advisory = "advisory",
        /// Like advisory, without log lines.
        Silent = "silent",
        /// Nothing evaluated the policy; never from this gateway.
        Declared = "declared",
    }
}

/// A digest that names its algorithm: `sha256:` or `sha384:` and lower-case digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaggedDigest {
    /// SHA-256.
    Sha256(Digest),
    /// SHA-384.
    Sha384([u8; 48]),
}

impl TaggedDigest {
    /// 64 zeros: the measurement of a platform that measures nothing.
    pub const ZERO: Self = Self::Sha256(Digest::from_bytes([0; 32]));

    /// Reads either algorithm.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        match text.strip_prefix("sha384:") {
            Some(digits) => hex::decode(digits).map(Self::Sha384).ok_or_else(|| DigestError::new(text)),
            None => Digest::parse_prefixed(text).map(Self::Sha256),
        }
    }
}

impl From<Digest> for TaggedDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl fmt::Display for TaggedDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(formatter),
            Self::Sha384(bytes) => write!(formatter, "sha384:{}", hex::encode(bytes)),
        }
    }
}

impl Serialize for TaggedDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaggedDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Where the code ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Root of trust.
    pub platform: Platform,
    /// Measurement of what was started.
    pub measurement: TaggedDigest,
    /// In a claim the session's binding, in a trust record the caller's challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Firmware that the measurement includes; [`SOFTWARE_FIRMWARE`] in dev mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
    /// Where reference values for the measurement are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rim_uri: Option<String>,
}

impl Runtime {
    /// Dev mode: no hardware.
    pub fn software_only(nonce: Option<String>) -> Self {
        Self {
            platform: Platform::SoftwareOnly,
            measurement: TaggedDigest::ZERO,
            nonce,
            firmware_version: Some(SOFTWARE_FIRMWARE.to_owned()),
            rim_uri: None,
        }
    }
}

/// Which policy decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInfo {
    /// [`crate::hashes::bundle_hash`].
    pub bundle_hash: TaggedDigest,
    /// What happened to denied calls.
    pub enforcement_mode: EnforcementMode,
    /// `version` of the bundle's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the bundle is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
}

/// The key that signs the document (RFC 8747).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// As a JWK.
    pub jwk: Jwk,
}

/// An Ed25519 public key as a JWK (RFC 8037). Unknown members are kept, private ones refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    kty: String,
    crv: String,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip)]
    key: PublicKey,
    #[serde(flatten)]
    others: BTreeMap<String, Extra>,
}

/// A member of a JWK that we do not interpret; compared by its canonical form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Extra(Json);

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.0.sorted_ascii() == other.0.sorted_ascii()
    }
}

impl Eq for Extra {}

/// Members that only a private or symmetric key has (RFC 7518, section 6; RFC 8037, section 2).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

impl Jwk {
    /// The key, with our `kid`.
    pub fn new(key: &PublicKey) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: key.x(),
            kid: Some(key.kid()),
            key: *key,
            others: BTreeMap::new(),
        }
    }

    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What its owner calls it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

impl Confirmation {
    /// The key, with our `kid`.
    pub fn new(key: &PublicKey) -> Self {
        Self { jwk: Jwk::new(key) }
    }
}

#[derive(Deserialize)]
struct JwkMembers {
    kty: String,
    crv: String,
    x: String,
    kid: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Extra>,
}

impl<'de> Deserialize<'de> for Jwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let JwkMembers { kty, crv, x, kid, others } = JwkMembers::deserialize(deserializer)?;
        if kty != "OKP" || crv != "Ed25519" {
            return Err(de::Error::custom("the key is not an Ed25519 key"));
        }
        if let Some(member) = PRIVATE_MEMBERS.iter().find(|member| others.contains_key(**member)) {
            return Err(de::Error::custom(format!("private key member {member}")));
        }
        let key = PublicKey::from_x(&x).map_err(|error: SignatureError| de::Error::custom(error))?;
        Ok(Self { kty, crv, x, kid, key, others })
    }
}
