//! What vouches for this enclave: evidence is made here and judged nowhere here.
//!
//! One provider a file; Cargo features choose which are linked. Which one it is is settled at boot, for the boot's life: the
//! hardware that is there, and never software without dev mode. Hardware that is there and fails is an error, not a reason to
//! try the next.
//!
//! Whatever a device answers is a stranger's word (`docs/boundary.md`): read in bounds, within a time, and never a reason to
//! panic. It blocks, so a thread of its own speaks to it ([`worker`]).

#[cfg(feature = "tpm")]
mod azure;
mod failure;
pub(crate) mod hcl;
mod probe;
#[cfg(feature = "tpm")]
mod tpm;
#[cfg(feature = "tpm")]
mod tpm2;
#[cfg(feature = "tsm")]
mod tsm;
mod worker;

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use claim::Digest;
use claim::evidence::{Evidence, SETTINGS_PCR, Settings, SoftwareEvidence};
use claim::key::Key;
use claim::profile::{Platform, TaggedDigest};
use wire::{BootRefusal, Document, Provider, RefusalCode};

use self::worker::Worker;
use crate::config::ProviderChoice;
use crate::document::refusal;
use crate::limits;

pub use self::failure::{AttestFailure, Command};
pub(crate) use self::probe::failed;

/// Where the kernel shows the firmware's event log.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// Where the TPM is, from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmPath {
    /// A character device, which the kernel shares between its users.
    Device(PathBuf),
    /// The Unix socket of a TPM in software, for tests.
    Socket(PathBuf),
}

impl Default for TpmPath {
    fn default() -> Self {
        Self::Device("/dev/tpmrm0".into())
    }
}

impl TpmPath {
    /// Reads `unix:PATH` or the path of a device.
    ///
    /// # Errors
    /// What is accepted, as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Socket(path.into())),
            None if text.starts_with('/') => Ok(Self::Device(text.into())),
            _ => Err(format!("TPM {text:?} is neither the absolute path of a device nor unix:PATH")),
        }
    }
}

impl fmt::Display for TpmPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(out, "{}", path.display()),
            Self::Socket(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Permission for everything that only dev mode may do: plain HTTP, no authentication, the zero measurement. Only builds with
/// the provider `software` can make one.
#[derive(Clone, Copy, Debug)]
pub struct DevMode(());

/// What all evidence of a boot has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Which provider.
    pub provider: Provider,
    /// `trace.runtime.platform`.
    pub platform: Platform,
    /// `trace.runtime.measurement`.
    pub measurement: TaggedDigest,
    /// `trace.runtime.firmware_version`.
    pub firmware_version: Option<String>,
    /// SHA-256 of the program that runs, for a trust record's build provenance.
    pub artifact: Digest,
}

/// What hardware says that it is.
type Identity = (Provider, Platform, TaggedDigest);
/// Finds the hardware, and finds it again.
type Opener = Box<dyn Fn() -> Result<Box<dyn Attester>, Unable> + Send>;

/// Why there is no hardware to speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unable {
    /// None is there.
    Absent,
    /// It is there and fails.
    Failed(AttestFailure),
}

impl From<AttestFailure> for Unable {
    fn from(failure: AttestFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unable> for AttestFailure {
    fn from(unable: Unable) -> Self {
        match unable {
            Unable::Absent => Self::Changed,
            Unable::Failed(failure) => failure,
        }
    }
}

/// A platform, as the thread that speaks to it has it.
trait Attester: Send {
    /// Constant for the life of a boot.
    fn identity(&self) -> Identity;

    /// Evidence over the boot's binding.
    fn boot(&mut self, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        self.over(binding)
    }

    /// Evidence over any other binding; after [`Attester::boot`].
    fn over(&mut self, binding: &[u8; 64]) -> Result<Evidence, AttestFailure>;

    /// Extends PCR 15, where there is one.
    fn extend(&mut self, _settings: &Digest) -> Result<(), AttestFailure> {
        Ok(())
    }
}

/// Makes evidence. The provider is chosen at boot, for the boot's life.
pub struct Attestor {
    about: About,
    /// Nothing for software.
    hardware: Option<Worker>,
    /// PCR 15 may hold what nobody has written down.
    unsure: Cell<bool>,
    challenges: Cell<usize>,
}

impl Attestor {
    /// The provider that is there and that the configuration admits, and the permission for dev mode if that is asked for and
    /// this build has it. In dev mode `auto` is software: the same on every machine.
    ///
    /// # Errors
    /// No such hardware, hardware that fails, a provider that is not in this build, software without dev mode.
    pub fn open(choice: ProviderChoice, dev: bool, tpm: &TpmPath) -> Result<(Self, Option<DevMode>), BootRefusal> {
        let dev = if dev { Some(permission()?) } else { None };
        let artifact = artifact()?;
        match (choice, dev) {
            (ProviderChoice::Auto | ProviderChoice::SoftwareOnly, Some(dev)) => {
                Ok((Self::new(about_software(artifact, dev), None), Some(dev)))
            }
            (ProviderChoice::SoftwareOnly, None) => Err(probe::no_tee(choice, tpm)),
            (choice, dev) => {
                let (worker, (provider, platform, measurement)) = probe::open(choice, tpm)?;
                let about = About { provider, platform, measurement, firmware_version: None, artifact };
                Ok((Self::new(about, Some(worker)), dev))
            }
        }
    }

    fn new(about: About, hardware: Option<Worker>) -> Self {
        Self { about, hardware, unsure: Cell::new(false), challenges: Cell::new(0) }
    }

    /// What all its evidence has in common.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Extends PCR 15 before there is evidence. Blocks: for the boot alone.
    ///
    /// # Errors
    /// See [`AttestFailure`].
    pub fn extend_at_boot(&self, settings: &Digest) -> Result<(), AttestFailure> {
        let settings = *settings;
        self.hardware.as_ref().map_or(Ok(()), |worker| worker.block(move |attester| attester.extend(&settings)))
    }

    /// Evidence over the boot's binding. Blocks: for the boot alone.
    ///
    /// # Errors
    /// See [`AttestFailure`].
    pub fn boot(&self, key: &Key, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let of_boot = *binding;
        match &self.hardware {
            None => Ok(self.software(key, binding)),
            Some(worker) => worker.block(move |attester| attester.boot(&of_boot)),
        }
    }

    /// The boot's evidence again, made now.
    ///
    /// # Errors
    /// See [`AttestFailure`].
    pub async fn refresh(&self, key: &Key, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let of_boot = *binding;
        match self.sure()? {
            None => Ok(self.software(key, binding)),
            Some(worker) => worker.run(move |attester| attester.boot(&of_boot)).await,
        }
    }

    /// Evidence over a session's binding.
    ///
    /// # Errors
    /// See [`AttestFailure`].
    pub async fn over(&self, key: &Key, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let bound = *binding;
        match self.sure()? {
            None => Ok(self.software(key, binding)),
            Some(worker) => worker.run(move |attester| attester.over(&bound)).await,
        }
    }

    /// Evidence over a stranger's challenge: few at once, so that sessions do not wait for strangers.
    ///
    /// # Errors
    /// See [`AttestFailure`].
    pub async fn challenged(&self, key: &Key, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let _place = Place::of(&self.challenges).ok_or(AttestFailure::Busy)?;
        self.over(key, binding).await
    }

    /// Extends PCR 15 with settings that come into force. Without a TPM there is nothing to do. After a failure that leaves it
    /// open whether the TPM did it, no evidence is made any more: what PCR 15 holds would be nobody's to say.
    ///
    /// # Errors
    /// See [`AttestFailure`].
    pub async fn extend(&self, settings: &Digest) -> Result<(), AttestFailure> {
        let settings = *settings;
        let Some(worker) = self.sure()? else { return Ok(()) };
        let mut doubt = Doubt { unsure: &self.unsure, settled: false };
        let extended = worker.run(move |attester| attester.extend(&settings)).await;
        doubt.settled = !extended.is_err_and(AttestFailure::leaves_open);
        extended
    }

    /// The firmware's event log as the kernel shows it, if there is one and it is not too long. Nothing here reads it.
    pub fn event_log(&self) -> Option<Vec<u8>> {
        self.hardware.as_ref()?;
        let mut log = Vec::new();
        let file = File::open(EVENT_LOG).ok()?;
        file.take(limits::MAX_EVENT_LOG.saturating_add(1)).read_to_end(&mut log).ok()?;
        let fits = u64::try_from(log.len()).is_ok_and(|length| (1..=limits::MAX_EVENT_LOG).contains(&length));
        fits.then_some(log)
    }

    fn sure(&self) -> Result<Option<&Worker>, AttestFailure> {
        if self.unsure.get() { Err(AttestFailure::Unsure) } else { Ok(self.hardware.as_ref()) }
    }

    fn software(&self, key: &Key, binding: &[u8; 64]) -> Evidence {
        Evidence::Software(SoftwareEvidence::new(key, self.about.artifact, binding))
    }
}

/// What an operator should know of a boot's evidence: settings that PCR 15 held before cannot be replayed.
pub fn warning(evidence: &Evidence, settings: &Settings) -> Option<&'static str> {
    let pcrs = evidence.pcrs()?;
    (pcrs.0.get(SETTINGS_PCR) != Some(&settings.extend([0; 32]))).then_some(
        "hardware: PCR 15 was extended before this boot, so no verifier can say what is in it: start the machine anew, and \
         let nothing but the enclave extend it",
    )
}

/// An extension of PCR 15 whose end is not known yet, and never is when nobody waits for it any more.
struct Doubt<'a> {
    unsure: &'a Cell<bool>,
    settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.unsure.set(true);
        }
    }
}

/// One of the places for challenges, until it is dropped.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn of(taken: &'a Cell<usize>) -> Option<Self> {
        if taken.get() >= limits::MAX_CHALLENGES {
            return None;
        }
        taken.set(taken.get().saturating_add(1));
        Some(Self(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Is in every binary that has dev mode, and in no other: who looks through an image need not trust its build.
#[cfg(feature = "software")]
const DEV_SENTINEL: &str = "cmcp-enclave-dev-mode-is-linked";

/// Permission for dev mode.
#[cfg(feature = "software")]
#[expect(clippy::unnecessary_wraps, reason = "builds without dev mode have none to give")]
fn permission() -> Result<DevMode, BootRefusal> {
    std::hint::black_box(DEV_SENTINEL);
    Ok(DevMode(()))
}

/// Not in this build.
#[cfg(not(feature = "software"))]
fn permission() -> Result<DevMode, BootRefusal> {
    Err(probe::no_dev_mode())
}

/// Software's word; with the permission alone.
fn about_software(artifact: Digest, _dev: DevMode) -> About {
    About {
        provider: Provider::SoftwareOnly,
        platform: Platform::SoftwareOnly,
        measurement: TaggedDigest::ZERO,
        firmware_version: Some(claim::profile::SOFTWARE_FIRMWARE.to_owned()),
        artifact,
    }
}

fn artifact() -> Result<Digest, BootRefusal> {
    std::fs::read("/proc/self/exe").map(Digest::of).map_err(|error| {
        let expected = "a readable /proc/self/exe";
        refusal(RefusalCode::State, &Document::None, "", &error.to_string(), expected)
    })
}

#[cfg(test)]
pub(crate) fn dev_mode() -> DevMode {
    DevMode(())
}
