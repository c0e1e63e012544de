//! Settings: of this boot, in PCR 15, and approved.

use claim::Digest;
use claim::evidence::Settings;
use claim::hex;

use super::piece::{NO_REFERENCES, Seen};
use super::{Standard, Subject, settings_of};
use crate::evidence::{Check, Mismatch, Report};

/// That the list of settings is this boot's, as far as anything signed tells.
pub(super) fn settings(subject: &Subject<'_>, seen: &[Seen], report: &mut Report) {
    let boot = subject.boot;
    let of_boot = settings_of(boot);
    let finding = match subject.settings.first() {
        Some(first) if *first == of_boot => Ok(format!("{} in force since the boot", subject.settings.len())),
        Some(first) => Err(Mismatch::new(shown(&of_boot), shown(first))),
        None => Err(Mismatch::new(shown(&of_boot), "no settings")),
    };
    report.check(Check::BootSettings, finding);
    let measured: Vec<_> = seen.iter().filter_map(|seen| seen.settings_pcr).collect();
    if !measured.is_empty() {
        report.check(Check::SettingsMeasured, replayed(subject.settings, &measured));
    }
}

/// That each value of PCR 15 is what the settings up to some entry make of it.
fn replayed(settings: &[Settings], measured: &[[u8; 32]]) -> Result<String, Mismatch> {
    let states = settings.iter().scan([0; 32], |pcr: &mut [u8; 32], settings| {
        *pcr = settings.extend(*pcr);
        Some(*pcr)
    });
    let states: Vec<_> = states.collect();
    match measured.iter().find(|value| !states.contains(value)) {
        None => Ok(measured.last().map(|value| hex::encode(value)).unwrap_or_default()),
        Some(value) => {
            let expected: Vec<_> = states.iter().map(|state| hex::encode(state)).collect();
            Err(Mismatch::new(format!("PCR 15 {}", expected.join(" or ")), hex::encode(value)))
        }
    }
}

/// That everything that the boot runs is approved. Of images each piece of evidence speaks for itself.
pub(super) fn all(subject: &Subject<'_>, standard: &Standard<'_>, report: &mut Report) {
    let boot = subject.boot;
    match (boot.dev, standard.software) {
        (false, _) => drop(report.check(Check::BootDev, Ok("no"))),
        (true, true) => report.open(Check::BootDev, "dev mode: run the gateway on hardware for more"),
        (true, false) => {
            report.check(Check::BootDev, Err::<String, _>(Mismatch::new("a boot outside dev mode", "dev mode")));
        }
    }
    let Some(references) = standard.references else {
        for check in [Check::ApprovedConfig, Check::ApprovedBundle, Check::ApprovedCatalog, Check::ApprovedIsolation] {
            report.open(check, NO_REFERENCES);
        }
        return;
    };
    let since_boot = |of_boot: Digest, of: fn(&Settings) -> Digest| {
        subject.settings.iter().map(of).chain([of_boot]).collect::<Vec<_>>()
    };
    let configs = since_boot(boot.config_hash, |settings| settings.config_hash);
    let bundles = since_boot(boot.bundle_hash, |settings| settings.bundle_hash);
    let catalogs = since_boot(boot.catalog_hash, |settings| settings.catalog_hash);
    report.check(Check::ApprovedConfig, approved(&references.config_hashes, &configs));
    report.check(Check::ApprovedBundle, approved(&references.bundle_hashes, &bundles));
    report.check(Check::ApprovedCatalog, approved(&references.catalog_hashes, &catalogs));
    if !boot.dev {
        report.check(Check::ApprovedIsolation, approved(&references.isolation, &[boot.isolation]));
    }
}

fn approved<T: PartialEq + ToString>(approved: &[T], found: &[T]) -> Result<String, Mismatch> {
    match found.iter().find(|found| !approved.contains(found)) {
        None => Ok(found.last().map(ToString::to_string).unwrap_or_default()),
        Some(strange) => {
            let expected: Vec<_> = approved.iter().map(ToString::to_string).collect();
            Err(Mismatch::new(expected.join(" or "), strange.to_string()))
        }
    }
}

fn shown(settings: &Settings) -> String {
    let Settings { bundle_hash, catalog_hash, config_hash, controls_hash } = settings;
    format!("bundle {bundle_hash}, catalog {catalog_hash}, configuration {config_hash}, controls {controls_hash}")
}
