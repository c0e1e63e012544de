//! `attestation`: where the evidence comes from, how long it counts, and what a denied call means.

use std::ops::RangeInclusive;

use claim::profile::TaggedDigest;
use serde::Deserialize;
use wire::{BootRefusal, Enforcement};

use super::catalog::Severity;
use super::invalid;

/// Where the expected measurement is set.
pub(crate) const EXPECTED_MEASUREMENT: &str = "attestation.expected_measurement";
/// How long evidence may count.
const VALIDITY_SECONDS: RangeInclusive<u64> = 60..=2_592_000;
/// What others call the providers, and what they are called here.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("amd-sev-snp", "sev-snp"),
    ("intel-tdx", "tdx"),
    ("azure-cvm-sev-snp", "azure"),
    ("azure-cvm-tdx", "azure"),
    ("tpm2", "tpm"),
];

/// Where the evidence comes from, how long it counts, and what a denied call means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Attestation {
    /// Evidence provider.
    pub provider: ProviderChoice,
    /// What a denied call means.
    pub enforcement_mode: EnforcementMode,
    /// The only `measurement` that the gateway starts with, as claims have it: `sha256:` or `sha384:` and lower-case digits.
    #[cfg_attr(test, schemars(regex(pattern = "^sha(256:[0-9a-f]{64}|384:[0-9a-f]{96})$")))]
    pub expected_measurement: Option<String>,
    /// Seconds that evidence counts as fresh.
    #[cfg_attr(test, schemars(range(min = 60, max = 2_592_000)))]
    pub validity_seconds: u64,
    /// What evidence means that is older and could not be made again.
    pub staleness_policy: Severity,
}

impl Default for Attestation {
    fn default() -> Self {
        Self {
            provider: ProviderChoice::Auto,
            enforcement_mode: EnforcementMode::Enforcing,
            expected_measurement: None,
            validity_seconds: 86_400,
            staleness_policy: Severity::FailClosed,
        }
    }
}

impl Attestation {
    /// The measurement that the gateway has to have.
    pub fn expected(&self) -> Option<TaggedDigest> {
        self.expected_measurement.as_deref().and_then(|text| TaggedDigest::parse(text).ok())
    }

    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        if let Some(text) = self.expected_measurement.as_deref().filter(|_| self.expected().is_none()) {
            let expected = "sha256: and 64 or sha384: and 96 lower-case hexadecimal digits, as trace.runtime.measurement of a claim";
            return Err(invalid(EXPECTED_MEASUREMENT, &format!("{text:?}"), expected));
        }
        if VALIDITY_SECONDS.contains(&self.validity_seconds) {
            return Ok(());
        }
        let expected = "60 to 2592000: at least a minute, at most 30 days";
        Err(invalid("attestation.validity_seconds", &self.validity_seconds.to_string(), expected))
    }
}

/// `attestation.provider`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProviderChoice {
    /// The hardware that is there; in dev mode software.
    #[default]
    Auto,
    /// A confidential VM of Azure, SEV-SNP or TDX: its vTPM.
    Azure,
    /// A TPM 2.0. It vouches for what was started, and keeps nobody from reading the enclave's memory.
    Tpm,
    /// AMD SEV-SNP without a paravisor.
    SevSnp,
    /// Intel TDX without a paravisor.
    Tdx,
    /// No hardware; dev mode only.
    SoftwareOnly,
}

impl ProviderChoice {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Azure => "azure",
            Self::Tpm => "tpm",
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
            Self::SoftwareOnly => "software-only",
        }
    }

    /// Whether that one may be used.
    pub fn admits(self, other: Self) -> bool {
        self == Self::Auto || self == other
    }
}

/// `attestation.enforcement_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EnforcementMode {
    /// A denied call is not forwarded.
    #[default]
    Enforcing,
    /// A denied call is forwarded, marked and logged.
    Advisory,
    /// Like advisory, without log lines.
    Silent,
}

impl From<EnforcementMode> for Enforcement {
    fn from(mode: EnforcementMode) -> Self {
        match mode {
            EnforcementMode::Enforcing => Self::Enforcing,
            EnforcementMode::Advisory => Self::Advisory,
            EnforcementMode::Silent => Self::Silent,
        }
    }
}

/// Says what a provider is called here that others call otherwise.
pub(super) fn name_other(refused: BootRefusal) -> BootRefusal {
    let found = refused.found.0.trim_matches('"');
    if refused.field.0 != "attestation.provider" {
        return refused;
    }
    let Some((_, name)) = OTHER_NAMES.iter().find(|(other, _)| *other == found) else { return refused };
    let expected = format!("{name}, which is what {found} is called here; or auto");
    BootRefusal { expected: expected.as_str().into(), ..refused }
}
