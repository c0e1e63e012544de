//! Firmware of which a byte is wrong is refused or measured, and never ends the program that others wrote.

use cargo_metadata::MetadataCommand;
use image::{snp, uki};
use proptest::prelude::*;

/// The end of an AmdSev build of OVMF, which the crate `sev` brings for its tests.
fn firmware() -> Vec<u8> {
    let metadata = MetadataCommand::new().current_dir(env!("CARGO_MANIFEST_DIR")).exec().expect("cargo metadata");
    let sev = metadata.packages.iter().find(|package| package.name.as_str() == "sev").expect("sev is linked");
    let folder = sev.manifest_path.parent().expect("a folder");
    std::fs::read(folder.join("tests/measurement/ovmf_AmdSev_suffix.bin")).expect("sev's fixture")
}

fn digest(firmware: &[u8]) -> Result<String, snp::SnpError> {
    // The calculator hashes the kernel and does not look into it.
    let parts = uki::Parts { cmdline: "quiet", initrd: b"initrd", linux: b"linux" };
    let machine = snp::Machine { vcpus: 1, cpu: "EPYC-v4", features: 1 };
    snp::launch_digest(firmware, &parts, machine).map(|digest| digest.to_string())
}

#[test]
fn mutants_are_refused_or_measured() {
    let good = firmware();
    let measured = digest(&good).expect("an AmdSev build measures kernels");
    // Tables, metadata and what they point with are at the end.
    let places = good.len() - 1400..good.len();
    proptest!(ProptestConfig::with_cases(200), |(at in places, mask in 1_u8..)| {
        let mut mutant = good.clone();
        mutant[at] ^= mask;
        if let Ok(digest) = digest(&mutant) {
            prop_assert_ne!(&digest, &measured, "every byte is measured");
        }
    });
}

/// Without the section that the hashes are written to, the digest would say nothing of the image.
#[test]
fn firmware_without_room_for_hashes_is_named() {
    let mut firmware = firmware();
    let table = [0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b];
    let at = firmware.windows(8).position(|window| window == table).expect("the hash table's GUID");
    firmware[at] ^= 1;
    let error = digest(&firmware).unwrap_err().to_string();
    assert!(
        error.starts_with("the firmware has no SEV hash table: its launch digest would cover the firmware alone"),
        "{error}"
    );
}
