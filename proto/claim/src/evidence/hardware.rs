//! What hardware says, as bytes of its vendor's formats. Nothing here reads them: that is for verifiers.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::b64u::Octets;
use crate::digest::Digest;
use crate::hex;
use crate::json::to_json;

const SETTINGS_LABEL: &[u8] = b"cmcp-settings-v1|";

/// PCRs of a TPM's SHA-256 bank: 0 to 23.
pub const PCRS: usize = 24;
/// The PCR that holds the settings of a boot.
pub const SETTINGS_PCR: usize = 15;

/// A confidential VM of Azure: the vTPM of its paravisor, and the hardware's report of the paravisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureEvidence {
    /// NV index 0x01400001 as read: an SNP report or a TDREPORT, and the runtime claims that it names. Their `user-data` is
    /// the boot's binding, whatever binding the quote is over.
    pub hcl_report: Octets,
    /// By the attestation key of the runtime claims.
    pub quote: TpmQuote,
    /// NV index 0x01C101D0: DER of the attestation key's certificate, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak_certificate: Option<Octets>,
}

/// A TPM 2.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmEvidence {
    /// TPMT_PUBLIC of the attestation key, made at this boot.
    pub ak_public: Octets,
    /// By that key.
    pub quote: TpmQuote,
    /// By the same key, in the layout of deployed verifiers: PCR 0 to 7, qualifyingData T alone.
    pub key_quote: SignedAttest,
    /// DER of the key's certificate, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak_certificate: Option<Octets>,
}

/// A quote over all PCRs of the SHA-256 bank; qualifyingData is SHA-256 of the binding's 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmQuote {
    /// TPMS_ATTEST.
    pub message: Octets,
    /// TPMT_SIGNATURE over it.
    pub signature: Octets,
    /// The values behind its pcrDigest.
    pub pcrs: Pcrs,
}

/// What a TPM signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAttest {
    /// TPMS_ATTEST.
    pub message: Octets,
    /// TPMT_SIGNATURE over it.
    pub signature: Octets,
}

/// Values of PCR 0 to 23; in JSON 24 texts of 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcrs(pub [[u8; 32]; PCRS]);

impl Serialize for Pcrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| hex::encode(value)))
    }
}

impl<'de> Deserialize<'de> for Pcrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = <[String; PCRS]>::deserialize(deserializer)?;
        let mut values = [[0; 32]; PCRS];
        for (value, text) in values.iter_mut().zip(&texts) {
            *value = hex::decode(text).ok_or_else(|| de::Error::custom("a PCR is 64 lower-case hexadecimal digits"))?;
        }
        Ok(Self(values))
    }
}

/// AMD SEV-SNP without a paravisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpEvidence {
    /// ATTESTATION_REPORT; REPORT_DATA is the binding.
    pub report: Octets,
    /// The kernel's `auxblob`: a table of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Octets>,
}

/// Intel TDX without a paravisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxEvidence {
    /// A DCAP quote; REPORTDATA is the binding.
    pub quote: Octets,
}

/// What a gateway decides by: PCR 15 is extended with its digest at boot and at each reload of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Policy bundle.
    pub bundle_hash: Digest,
    /// Catalog.
    pub catalog_hash: Digest,
    /// Configuration.
    pub config_hash: Digest,
    /// Operator controls.
    pub controls_hash: Digest,
}

impl Settings {
    /// SHA256(`cmcp-settings-v1|` + SA(settings)).
    pub fn digest(&self) -> Digest {
        let mut message = SETTINGS_LABEL.to_vec();
        // Four digests always have a canonical form.
        if let Ok(value) = to_json(self) {
            value.write_sorted_ascii(&mut message);
        }
        Digest::of(message)
    }

    /// What a PCR of this value holds once it is extended with the digest: SHA256(value + digest).
    pub fn extend(&self, value: [u8; 32]) -> [u8; 32] {
        *Digest::of([value, *self.digest().bytes()].concat()).bytes()
    }
}
