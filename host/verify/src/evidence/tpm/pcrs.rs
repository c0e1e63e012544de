//! Policy about PCRs: which of them say what runs, and what they must be.
//!
//! | PCR | holds | must be |
//! |---|---|---|
//! | 4 | EFI programs that the firmware started | the image's, or through the event log |
//! | 9, 11 | command line and initramfs, sections of the EFI program | the image's |
//! | 12, 13, 14 | overrides of the command line, extensions, keys of a boot loader's owner | never extended |
//! | 15 | settings of the gateway, by the gateway | replay of the settings, which is asked of all evidence of a boot together |
//!
//! The others say nothing of the image, and whoever runs a machine can reset 16 and 23.

use std::collections::BTreeMap;

use claim::Digest;
use claim::evidence::{PCRS, SETTINGS_PCR};
use claim::hex;

use crate::evidence::event_log::{BootPathError, EventLog, boot_applications};
use crate::evidence::{Check, Mismatch, Report};
use crate::references::Image;

const BOOT: usize = 4;
/// PCRs that name the image.
const IMAGE: [usize; 3] = [BOOT, 9, 11];
/// PCRs that the boot extends only with what would change the image.
const UNUSED: [usize; 3] = [12, 13, 14];
/// PCRs that the log cannot know the end of: IMA's, the gateway's own, those that can be reset.
pub(crate) const AFTER_BOOT: [usize; 4] = [10, SETTINGS_PCR, 16, 23];
const NEVER_EXTENDED: [u8; 32] = [0; 32];

/// Values of PCR 0 to 23 of the SHA-256 bank.
pub type Values = [[u8; 32]; PCRS];

/// What the PCRs are held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct PcrPolicy<'a> {
    /// Approved images, if any are known; those of other types than PCRs say nothing here.
    pub images: Option<&'a [Image]>,
    /// The firmware's log, if there is one.
    pub event_log: Option<&'a [u8]>,
}

/// Judges PCRs that a quote covers.
pub fn appraise(pcrs: &Values, policy: &PcrPolicy<'_>, report: &mut Report) {
    image(pcrs, policy, report);
    report.check(Check::PcrUnused, unused(pcrs));
}

/// An approved image: PCRs by number, and the EFI programs that boot it.
#[derive(Clone, Copy)]
struct Approved<'a> {
    pcrs: &'a BTreeMap<String, Digest>,
    applications: &'a [Digest],
}

impl Approved<'_> {
    /// Whether every PCR that it names, but for those in `but`, has its value.
    fn fits(&self, pcrs: &Values, but: &[usize]) -> bool {
        self.pcrs.iter().all(|(number, digest)| {
            let index = number.parse().unwrap_or(usize::MAX);
            but.contains(&index) || pcrs.get(index) == Some(digest.bytes())
        })
    }

    fn shown(&self) -> String {
        let text = |(number, digest): (&String, &Digest)| format!("PCR {number} = {}", digest.hex());
        self.pcrs.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

fn image(pcrs: &Values, policy: &PcrPolicy<'_>, report: &mut Report) {
    let Some(images) = policy.images else {
        report.open(Check::PcrImage, "approved values of PCR 4, 9 and 11: give reference values");
        return;
    };
    let approved: Vec<_> = images.iter().filter_map(of_pcrs).collect();
    if approved.iter().any(|image| image.fits(pcrs, &[])) {
        report.check(Check::PcrImage, Ok(shown(pcrs, &IMAGE)));
        return;
    }
    // Everything but PCR 4 is right: the log may say why PCR 4 is another.
    let started = |image: &&Approved<'_>| !image.applications.is_empty() && image.fits(pcrs, &[BOOT]);
    let candidates: Vec<_> = approved.iter().copied().filter(|image| started(&image)).collect();
    match (candidates.is_empty(), policy.event_log) {
        (true, _) => drop(report.check(Check::PcrImage, not_approved(pcrs, &approved))),
        (false, Some(log)) => through_log(pcrs, log, &candidates, report),
        (false, None) => {
            report.open(Check::PcrImage, "the event log: PCR 4 is not the usual one, and only the log can say why");
        }
    }
}

fn of_pcrs(image: &Image) -> Option<Approved<'_>> {
    match image {
        Image::Pcrs { pcrs, boot_applications } => Some(Approved { pcrs, applications: boot_applications }),
        _ => None,
    }
}

fn not_approved(pcrs: &Values, approved: &[Approved<'_>]) -> Result<String, Mismatch> {
    let texts: Vec<_> = approved.iter().map(Approved::shown).collect();
    let expected = if texts.is_empty() { "an approved image of type pcrs".to_owned() } else { texts.join("; or ") };
    Err(Mismatch::new(expected, shown(pcrs, &IMAGE)))
}

/// PCR 4 by the programs that the log names. The log counts because its replay is the PCRs.
fn through_log(pcrs: &Values, log: &[u8], candidates: &[Approved<'_>], report: &mut Report) {
    let Some(log) = report.read(Check::LogFormat, "a crypto-agile event log", EventLog::parse(log)) else { return };
    report.check(Check::LogFormat, Ok(format!("{} events", log.events.len())));
    if !report.check(Check::LogReplay, replays(pcrs, &log)) {
        return;
    }
    let expected = "EV_EFI_BOOT_SERVICES_APPLICATION, and fixed texts of the profile, in PCR 4";
    let Some(started) = report.read::<_, BootPathError>(Check::LogBootEvents, expected, boot_applications(&log)) else {
        return;
    };
    report.check(Check::LogBootEvents, Ok(format!("{} EFI programs", started.len())));
    let mismatch = || {
        let lists: Vec<_> = candidates.iter().map(|image| list(image.applications)).collect();
        Mismatch::new(lists.join("; or "), list(&started))
    };
    let approved = candidates.iter().any(|image| image.applications == started);
    let result = approved.then(|| list(&started)).ok_or_else(mismatch);
    if report.check(Check::LogApplications, result) {
        let [_, rest @ ..] = IMAGE;
        report.check(Check::PcrImage, Ok(format!("PCR 4 by the event log, {}", shown(pcrs, &rest))));
    }
}

/// That the log's registers are those of the quote, for every PCR that ends with the boot. A log without PCR 4 is no log of
/// this boot.
fn replays(pcrs: &Values, log: &EventLog<'_>) -> Result<String, Mismatch> {
    let replay = log.replay().sha256;
    let registers = replay.iter().filter_map(|(index, value)| Some((usize::try_from(*index).ok()?, value)));
    let compared: Vec<_> = registers.filter(|(index, _)| !AFTER_BOOT.contains(index)).collect();
    if !compared.iter().any(|(index, _)| *index == BOOT) {
        return Err(Mismatch::new("SHA-256 digests in PCR 4", "none"));
    }
    if let Some((index, value)) = compared.iter().find(|(index, value)| pcrs.get(*index) != Some(value)) {
        return Err(Mismatch::new(shown(pcrs, &[*index]), format!("PCR {index} = {}", hex::encode(*value))));
    }
    let indices: Vec<_> = compared.iter().map(|(index, _)| index.to_string()).collect();
    Ok(format!("PCR {} of the quote", indices.join(", ")))
}

fn unused(pcrs: &Values) -> Result<String, Mismatch> {
    match UNUSED.iter().find(|index| pcrs.get(**index) != Some(&NEVER_EXTENDED)) {
        None => Ok("PCR 12, 13, 14 never extended".to_owned()),
        Some(index) => Err(Mismatch::new("PCR 12, 13, 14 never extended", shown(pcrs, &[*index]))),
    }
}

fn shown(pcrs: &Values, indices: &[usize]) -> String {
    let text = |index: &usize| Some(format!("PCR {index} = {}", hex::encode(pcrs.get(*index)?)));
    indices.iter().filter_map(text).collect::<Vec<_>>().join(", ")
}

fn list(digests: &[Digest]) -> String {
    if digests.is_empty() {
        return "no EFI program".to_owned();
    }
    digests.iter().map(Digest::hex).collect::<Vec<_>>().join(", ")
}
