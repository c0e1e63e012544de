//! Event logs of real firmware: their replay against values that another program computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use claim::json::Json;
use verify::evidence::event_log::{LogError, Replay, replay};

use crate::support::{fixture, read};

/// Logs of the collection that are none here, and why.
const REFUSED: [(&str, Refused); 10] = [
    // SHA-1 alone, in the format of TPM 1.2.
    ("tpm/gotpm-debian-10.bin", Refused::NotAgile),
    ("tpm/tpm2tools-event-uefi-sha1-log.bin", Refused::NotAgile),
    ("malformed/goeventlog-ebs_event_missing_eventlog", Refused::NotAgile),
    ("malformed/goeventlog-option_rom_eventlog", Refused::NotAgile),
    ("malformed/goeventlog-short_no_action_eventlog", Refused::NotAgile),
    // Machines' descriptions around a log, not logs.
    ("malformed/goeventlog-linux_tpm12.json", Refused::NotAgile),
    ("malformed/goeventlog-windows_gcp_shielded_vm.json", Refused::NotAgile),
    // The ACPI table that points to a log.
    ("ccel/goeventlog-CCEL.bin", Refused::NotAgile),
    ("ccel/goeventlog-cos-113-intel-tdx.table.bin", Refused::NotAgile),
    // Vendor data of which the header's event says nothing.
    ("tpm/tpm2tools-specid-vendordata.bin", Refused::Truncated),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NotAgile,
    Truncated,
}

fn logs() -> Vec<PathBuf> {
    let Some(folder) = fixture("eventlog") else { return Vec::new() };
    let folders = ["tpm", "ccel", "malformed"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let files = folders.into_iter().flatten().map(|file| file.unwrap().path());
    let is_log = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name != "SOURCE" && !name.ends_with("rs.json") && !name.ends_with("_out.json")
    };
    files.filter(is_log).collect()
}

fn refused(path: &Path) -> Option<Refused> {
    REFUSED.iter().find(|(name, _)| path.ends_with(name)).map(|(_, why)| *why)
}

/// Values that were computed when the collection was made: by bank and register.
fn expected(path: &Path) -> Option<BTreeMap<String, Json>> {
    let with = |ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
    let json = |path: PathBuf| path.is_file().then(|| claim::json::parse(&read(path)).unwrap());
    if let Some(values) = json(path.with_extension("pcrs.json")) {
        return values.as_object().cloned();
    }
    let values = json(with(".mrs.json")).or_else(|| json(path.with_extension("mrs.json")))?;
    Some([("sha384".to_owned(), values)].into())
}

fn banks(replay: &Replay) -> [(&'static str, BTreeMap<String, String>); 2] {
    let text = |index: &u32, value: &[u8]| (index.to_string(), claim::hex::encode(value));
    [
        ("sha256", replay.sha256.iter().map(|(index, value)| text(index, value)).collect()),
        ("sha384", replay.sha384.iter().map(|(index, value)| text(index, value)).collect()),
    ]
}

#[test]
fn every_recorded_log_is_replayed_to_the_recorded_values_or_refused() {
    let (mut compared, logs) = (0, logs());
    for path in &logs {
        match (replay(&read(path)), refused(path)) {
            (Err(LogError::NotAgile), Some(Refused::NotAgile)) => {}
            (Err(LogError::Truncated(_)), Some(Refused::Truncated)) => {}
            (Ok(replay), None) => {
                let Some(expected) = expected(path) else { continue };
                for (bank, values) in banks(&replay) {
                    let Some(expected) = expected.get(bank) else { continue };
                    let expected: BTreeMap<_, _> = expected
                        .as_object()
                        .unwrap()
                        .iter()
                        .map(|(index, value)| (index.clone(), value.as_str().unwrap().to_owned()))
                        .collect();
                    assert_eq!(values, expected, "{} {bank}", path.display());
                    compared += 1;
                }
            }
            (found, expected) => panic!("{}: {found:?}, expected {expected:?}", path.display()),
        }
    }
    assert!(logs.is_empty() || compared > 50, "{compared} banks");
}

#[test]
fn registers_of_a_quote_are_the_replay_of_its_log() {
    for folder in ["tpm/own-qemu-ovmf-swtpm-uki", "tpm/own-qemu-ovmf-swtpm-uki-noisyboot"] {
        let Some(folder) = fixture(folder) else { continue };
        let pcrs = crate::support::pcrs(&read(folder.join("pcrs_sha256.json")));
        let replay = replay(&read(folder.join("eventlog.bin"))).unwrap();
        assert_eq!(replay.sha256.len(), 10);
        for (index, value) in replay.sha256 {
            assert_eq!(value, pcrs[usize::try_from(index).unwrap()], "PCR {index}");
        }
    }
}

/// tpm2_eventlog 5.4 extends EV_NO_ACTION events and forgets the locality: PCR 0 of such logs is not what the TPM has.
const WRONG_PCR_0: [&str; 6] =
    ["dstack", "confidential-gke-debug", "eventlogwithsp800155", "openpcc", "gdc-host", "glinux"];

#[test]
fn the_tpm2_tools_replay_the_same() {
    let mut compared = 0;
    for path in logs().iter().filter(|path| refused(path).is_none() && path.parent().unwrap().ends_with("tpm")) {
        let Ok(output) = Command::new("tpm2_eventlog").arg(path).output() else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((_, values)) = text.split_once("\npcrs:\n") else { continue };
        let ours = banks(&replay(&read(path)).unwrap());
        let mut bank = "";
        for line in values.lines() {
            let Some((name, value)) = line.trim().split_once(':') else { continue };
            let (name, value) = (name.trim(), value.trim());
            if value.is_empty() {
                bank = name;
                continue;
            }
            let wrong = name == "0" && WRONG_PCR_0.iter().any(|log| path.display().to_string().contains(log));
            let Some((_, found)) = ours.iter().find(|(of, _)| *of == bank).filter(|_| !wrong) else { continue };
            assert_eq!(
                found.get(name).map(|value| format!("0x{value}")),
                Some(value.to_owned()),
                "{} {bank} {name}",
                path.display()
            );
            compared += 1;
        }
    }
    assert!(logs().is_empty() || compared == 0 || compared > 200, "{compared} registers");
}
