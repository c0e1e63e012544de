//! Which hardware is there.

use wire::{BootRefusal, Document, RefusalCode};

use super::worker::Worker;
use super::{AttestFailure, Attester, Identity, TpmPath, Unable};
use crate::config::ProviderChoice;
use crate::document::refusal;

/// The providers of this build, as the configuration names them.
const LINKED: &[ProviderChoice] = &[
    #[cfg(feature = "tpm")]
    ProviderChoice::Azure,
    #[cfg(feature = "tsm")]
    ProviderChoice::SevSnp,
    #[cfg(feature = "tsm")]
    ProviderChoice::Tdx,
    #[cfg(feature = "tpm")]
    ProviderChoice::Tpm,
];

/// Starts the thread that speaks to the hardware.
pub(super) fn open(choice: ProviderChoice, tpm: &TpmPath) -> Result<(Worker, Identity), BootRefusal> {
    if choice != ProviderChoice::Auto && !LINKED.contains(&choice) {
        return Err(not_linked(choice));
    }
    let path = tpm.clone();
    Worker::start(Box::new(move || find(choice, &path))).map_err(|unable| match unable {
        Unable::Absent => no_tee(choice, tpm),
        Unable::Failed(failure) => failed(choice, tpm, failure),
    })
}

/// The first that is there, most telling first: a paravisor hides the report interface and has a TPM, a TEE without one may
/// have a TPM too.
fn find(choice: ProviderChoice, path: &TpmPath) -> Result<Box<dyn Attester>, Unable> {
    #[cfg(not(feature = "tpm"))]
    let _ = (choice, path);
    #[cfg(feature = "tpm")]
    let mut tpm = if [ProviderChoice::Azure, ProviderChoice::Tpm].iter().any(|one| choice.admits(*one)) {
        super::tpm2::Tpm::open(path)?
    } else {
        None
    };
    #[cfg(feature = "tpm")]
    if choice.admits(ProviderChoice::Azure)
        && let Some(found) = super::azure::AzureAttester::find(&mut tpm)?
    {
        return Ok(Box::new(found));
    }
    #[cfg(feature = "tsm")]
    if let Some(found) = super::tsm::TsmAttester::find(choice)? {
        return Ok(Box::new(found));
    }
    #[cfg(feature = "tpm")]
    if choice.admits(ProviderChoice::Tpm)
        && let Some(tpm) = tpm
    {
        return Ok(Box::new(super::tpm::TpmAttester::new(tpm)?));
    }
    Err(Unable::Absent)
}

/// There is no such hardware.
pub(super) fn no_tee(choice: ProviderChoice, tpm: &TpmPath) -> BootRefusal {
    let (found, expected) = match choice {
        ProviderChoice::SoftwareOnly => (
            "software, which is for dev mode".to_owned(),
            "auto, or the name of the hardware that is there; on a laptop host --dev-enclave".to_owned(),
        ),
        ProviderChoice::Auto => (
            format!("no TEE on this machine, and no TPM at {tpm}"),
            "an AMD SEV-SNP or Intel TDX confidential VM; on a laptop use host --dev-enclave (or CMCP_DEV_MODE=1), \
             whose claims say software-only"
                .to_owned(),
        ),
        ProviderChoice::Azure => (
            format!("no TPM of an Azure confidential VM at {tpm}"),
            "a VM with --security-type ConfidentialVM; or another attestation.provider".to_owned(),
        ),
        ProviderChoice::Tpm => (
            format!("no TPM at {tpm}"),
            "a TPM 2.0, at the path of enclave --tpm; or another attestation.provider".to_owned(),
        ),
        ProviderChoice::SevSnp | ProviderChoice::Tdx => (
            format!("no {} guest device", choice.as_str()),
            "Linux 6.7 or newer with configfs at /sys/kernel/config, in such a VM; or another attestation.provider"
                .to_owned(),
        ),
    };
    refusal(RefusalCode::NoTee, &Document::Config, "attestation.provider", &found, &expected)
}

/// The host asks for dev mode, which an image for production does not have.
#[cfg(not(feature = "software"))]
pub(super) fn no_dev_mode() -> BootRefusal {
    let expected = "a build of the enclave with the Cargo feature software; or the host without --dev-enclave";
    refusal(RefusalCode::NoTee, &Document::None, "", "dev mode, which is not in this build", expected)
}

fn not_linked(choice: ProviderChoice) -> BootRefusal {
    let found = choice.as_str();
    let linked: Vec<_> = std::iter::once("auto").chain(LINKED.iter().map(|choice| choice.as_str())).collect();
    let expected =
        format!("a provider of this build ({}); {found} is a Cargo feature of the enclave", linked.join(", "));
    refusal(RefusalCode::Unsupported, &Document::Config, "attestation.provider", found, &expected)
}

/// The hardware is there and gives no evidence.
pub(crate) fn failed(choice: ProviderChoice, tpm: &TpmPath, failure: AttestFailure) -> BootRefusal {
    let found = format!("hardware that gives no evidence: {failure}");
    let expected = format!(
        "hardware that answers; {} looks for it at {tpm} and below /sys/kernel/config/tsm, and never goes on without it",
        choice.as_str()
    );
    refusal(RefusalCode::Attestation, &Document::Config, "attestation.provider", &found, &expected)
}
