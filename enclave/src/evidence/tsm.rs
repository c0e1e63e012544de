//! AMD SEV-SNP and Intel TDX without a paravisor, by the kernel's report interface in configfs (Linux 6.7 or newer).
//!
//! `configfs-tsm` reads and writes its files. Only such hardware can show that it does; no test here can.

use std::fs::File;
use std::io::Read;

use aws_lc_rs::digest::{SHA384, digest};
use claim::b64u::Octets;
use claim::evidence::{Evidence, SnpEvidence, TdxEvidence};
use claim::profile::{Platform, TaggedDigest};
use configfs_tsm::{OpenQuote, QuoteGenerationError};
use wire::Provider;

use super::{AttestFailure, Attester, Identity};
use crate::config::ProviderChoice;
use crate::limits;

/// Our folder below /sys/kernel/config/tsm/report.
const NAME: &str = "cmcp";
/// The table of certificates that the host gave the kernel for an SNP report.
const CERTIFICATES: &str = "/sys/kernel/config/tsm/report/cmcp/auxblob";
/// Of an SNP report: MEASUREMENT.
const MEASUREMENT: usize = 0x90;
/// Of a quote: MRTD, by version.
const MRTD: [(u16, usize); 2] = [(4, 184), (5, 190)];
/// ENXIO: the interface without hardware behind it.
const NO_HARDWARE: i32 = 6;

/// The two kinds of hardware: the choice, the kernel's name, the provider.
const KINDS: [(ProviderChoice, &str, Provider, Platform); 2] = [
    (ProviderChoice::SevSnp, "sev_guest", Provider::SevSnp, Platform::AmdSevSnp),
    (ProviderChoice::Tdx, "tdx_guest", Provider::Tdx, Platform::IntelTdx),
];

/// A folder of the interface.
pub(super) struct TsmAttester {
    folder: OpenQuote,
    identity: Identity,
}

impl TsmAttester {
    /// The hardware, if it is one that the configuration admits.
    pub(super) fn find(choice: ProviderChoice) -> Result<Option<Self>, AttestFailure> {
        if !KINDS.iter().any(|(kind, ..)| choice.admits(*kind)) {
            return Ok(None);
        }
        let mut folder = match OpenQuote::new(NAME) {
            Ok(folder) => folder,
            Err(QuoteGenerationError::CannotFindTsmDir) => return Ok(None),
            Err(QuoteGenerationError::IO(error)) if error.raw_os_error() == Some(NO_HARDWARE) => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        for (kind, name, provider, platform) in KINDS {
            match folder.check_provider(vec![name]) {
                Ok(()) if choice.admits(kind) => {
                    let measured = measured(provider, &report(&mut folder, &[0; 64])?).ok_or(AttestFailure::Report)?;
                    return Ok(Some(Self { folder, identity: (provider, platform, measured) }));
                }
                Ok(()) | Err(QuoteGenerationError::BadProvider(_)) => {}
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(None)
    }
}

impl Attester for TsmAttester {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn over(&mut self, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let report = Octets(report(&mut self.folder, binding)?);
        Ok(match self.identity.0 {
            Provider::SevSnp => Evidence::SevSnp(SnpEvidence { report, certificates: certificates() }),
            _ => Evidence::Tdx(TdxEvidence { quote: report }),
        })
    }
}

fn report(folder: &mut OpenQuote, binding: &[u8; 64]) -> Result<Vec<u8>, AttestFailure> {
    folder.write_input(*binding).map_err(failure)?;
    let report = folder.read_output().map_err(failure)?;
    if report.len() <= limits::MAX_HARDWARE_REPORT { Ok(report) } else { Err(AttestFailure::Report) }
}

/// What the hardware measured at launch, hashed.
fn measured(provider: Provider, report: &[u8]) -> Option<TaggedDigest> {
    let place = if provider == Provider::SevSnp {
        MEASUREMENT
    } else {
        let version = u16::from_le_bytes(*report.first_chunk()?);
        MRTD.iter().find(|(known, _)| *known == version)?.1
    };
    let measured = report.get(place..)?.first_chunk::<48>()?;
    Some(TaggedDigest::Sha384(digest(&SHA384, measured).as_ref().try_into().ok()?))
}

/// The host's certificates, if there are any and they fit the boot's own certificate.
fn certificates() -> Option<Octets> {
    let mut bytes = Vec::new();
    let room = u64::try_from(limits::MAX_HARDWARE_REPORT).ok()?;
    File::open(CERTIFICATES).ok()?.take(room.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    (1..=limits::MAX_HARDWARE_REPORT).contains(&bytes.len()).then_some(Octets(bytes))
}

fn failure(error: QuoteGenerationError) -> AttestFailure {
    match error {
        QuoteGenerationError::IO(error) => error.into(),
        // Somebody else used the folder meanwhile.
        QuoteGenerationError::Generation(..) => AttestFailure::Unsteady,
        QuoteGenerationError::CannotFindTsmDir => AttestFailure::Closed,
        QuoteGenerationError::ParseInt | QuoteGenerationError::BadProvider(_) | QuoteGenerationError::EmptyQuote => {
            AttestFailure::Report
        }
    }
}
