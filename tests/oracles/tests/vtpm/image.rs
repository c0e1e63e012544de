//! The PCRs of an image that was booted twice: as usual, and after another boot option failed.

use claim::Digest;
use verify::evidence::event_log::{EventLog, boot_applications};
use verify::evidence::tpm::pcrs::{self, PcrPolicy, Values};
use verify::evidence::{Answer, Question, Report};
use verify::references::Image;

use crate::support::{fixture, read};

struct Boot {
    pcrs: Values,
    log: Vec<u8>,
}

fn boot(name: &str) -> Option<Boot> {
    let folder = fixture(name)?;
    let pcrs = crate::support::pcrs(&read(folder.join("pcrs_sha256.json")));
    Some(Boot { pcrs, log: read(folder.join("eventlog.bin")) })
}

fn judge(pcrs: &Values, image: Image, log: Option<&[u8]>) -> Report {
    let mut report = Report::default();
    pcrs::appraise(pcrs, &PcrPolicy { images: Some(&[image]), event_log: log }, &mut report);
    report
}

/// Authenticode hashes of the UKI and of the kernel in it, as its prediction has them (the collection keeps the first digits).
fn programs(log: &[u8]) -> Vec<Digest> {
    let found = boot_applications(&EventLog::parse(log).unwrap()).unwrap();
    assert!(found[0].hex().starts_with("2eac626efc604e05") && found.len() == 2);
    found
}

fn image(boot: &Boot, boot_applications: Vec<Digest>) -> Image {
    let value = |index: usize| (index.to_string(), Digest::from_bytes(boot.pcrs[index]));
    Image::Pcrs { pcrs: [4, 9, 11].map(value).into(), boot_applications }
}

#[test]
fn a_boot_with_more_actions_fails_the_raw_value_and_passes_by_its_log() {
    let (Some(clean), Some(noisy)) =
        (boot("tpm/own-qemu-ovmf-swtpm-uki"), boot("tpm/own-qemu-ovmf-swtpm-uki-noisyboot"))
    else {
        return;
    };
    let by_value = || image(&clean, Vec::new());
    let by_log = || image(&clean, programs(&clean.log));
    assert_eq!(judge(&clean.pcrs, by_value(), None).answer(Question::Ours), Answer::Yes);
    assert_eq!(judge(&noisy.pcrs, by_value(), Some(&noisy.log)).reason(), Some("PCR_IMAGE_NOT_APPROVED"));
    let report = judge(&noisy.pcrs, by_log(), Some(&noisy.log));
    assert_eq!(report.answer(Question::Ours), Answer::Yes, "{:#?}", report.lines());
    assert_eq!(judge(&noisy.pcrs, by_log(), None).answer(Question::Ours), Answer::Open);
    assert_eq!(judge(&noisy.pcrs, by_log(), Some(&clean.log)).reason(), Some("LOG_REPLAY_MISMATCH"));
    let swapped = programs(&clean.log).into_iter().rev().collect();
    let report = judge(&noisy.pcrs, image(&clean, swapped), Some(&noisy.log));
    assert_eq!(report.reason(), Some("LOG_APPLICATIONS_NOT_APPROVED"));
}

#[test]
fn no_change_of_the_log_passes() {
    let (Some(clean), Some(noisy)) =
        (boot("tpm/own-qemu-ovmf-swtpm-uki"), boot("tpm/own-qemu-ovmf-swtpm-uki-noisyboot"))
    else {
        return;
    };
    let image = image(&clean, programs(&clean.log));
    let mut seeded = crate::support::Seeded(7);
    for _ in 0..3_000 {
        let changed = seeded.mutate(&noisy.log);
        let Ok(log) = EventLog::parse(&changed) else { continue };
        let report = judge(&noisy.pcrs, image.clone(), Some(&changed));
        // What is covered by nothing may change: data of events whose digests are the same, and SHA-384 digests.
        let same = log.replay().sha256 == EventLog::parse(&noisy.log).unwrap().replay().sha256;
        assert!(report.reason().is_some() || same, "{:#?}", report.lines());
    }
}

#[test]
fn images_of_strangers_on_azure_extend_what_must_stay_zero() {
    // A usual distribution with shim and GRUB: 12 and 14 are in use. Nothing that boots so is our image.
    for folder in ["azure-snp/trustee-v2", "azure-snp/trustee-genoa", "azure-tdx/trustee-v1"] {
        let Some(path) = fixture(folder) else { continue };
        let values = crate::support::pcrs(&read(path.join("pcrs_sha256.json")));
        let approved = image(&Boot { pcrs: values, log: Vec::new() }, Vec::new());
        assert_eq!(judge(&values, approved, None).reason(), Some("PCR_NOT_ZERO"), "{folder}");
    }
}
