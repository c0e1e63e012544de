//! The image is the same whoever builds it wherever, another as soon as a byte of the enclave is another, and `verify` tells them apart.

use std::path::Path;
use std::process::Output;

use image::binary::DEV_MODE;
use image::pins::Pins;
use serde_json::Value;
use tests::bin;
use tests::vm::Image;

use crate::elsewhere::{Elsewhere, root, succeeded, tool};

/// Where a pin was withdrawn, images are built and compared all the same; `verify` refuses them.
fn unpinned() -> bool {
    Image::of("metal").unpinned()
}

fn measurements(images: &Path) -> Value {
    Image::in_folder(&images.join("metal")).measurements()
}

fn parts(measurements: &Value) -> Vec<(String, Value)> {
    let parts = measurements["parts"].as_object().expect("parts");
    parts.iter().map(|(name, digest)| (name.clone(), digest.clone())).collect()
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].concat().escape_ascii().to_string().replace("\\n", "\n")
}

#[test]
fn another_folder_home_and_user_build_the_same_bytes_and_another_source_byte_does_not() {
    let here = measurements(&root().join("target/image"));
    let elsewhere = Elsewhere::workshop(&root());
    succeeded(elsewhere.build(unpinned()));
    let there = measurements(&elsewhere.images());
    assert_eq!(there, here);
    for (name, digest) in parts(&here) {
        let bytes = std::fs::read(elsewhere.images().join("metal").join(&name)).expect("a part");
        let other = std::fs::read(root().join("target/image/metal").join(&name)).expect("a part");
        assert!(bytes == other, "{name} is the same");
        assert_eq!(Value::from(claim::Digest::of(&bytes).to_string()), digest, "{name}");
    }

    // In the same folder: paths are among the compilers' options, and in another one every crate is compiled anew.
    elsewhere.change(
        "enclave/src/options.rs",
        "The measured part of the gateway.",
        "The measured Part of the gateway.",
    );
    let changed = if unpinned() {
        succeeded(elsewhere.build(true));
        measurements(&elsewhere.images())
    } else {
        let verdict = elsewhere.verify(&root().join("target/image/metal/measurements.json"));
        assert_eq!(verdict.status.code(), Some(1), "{}", said(&verdict));
        assert!(said(&verdict).contains("DIFFERENT: the first part that differs is enclave."), "{}", said(&verdict));
        measurements(&elsewhere.rebuilt())
    };
    let differs = |pointer: &str| changed.pointer(pointer).expect(pointer) != here.pointer(pointer).expect(pointer);
    for part in ["enclave", "initramfs.cpio", "initramfs.cpio.xz", "enclave.efi", "disk.raw", "disk.vhd"] {
        assert!(differs(&format!("/parts/{part}")), "{part} is another");
    }
    assert!(!differs("/parts/vmlinuz") && !differs("/parts/cmdline"));
    for pcr in ["4", "9", "11"] {
        assert!(differs(&format!("/images/0/pcrs/{pcr}")) && differs(&format!("/images/1/pcrs/{pcr}")), "PCR {pcr}");
    }
}

#[test]
fn what_was_built_here_verifies_here() {
    let verdict = tool(&root()).arg("verify").arg(Image::of("metal").measured()).output().expect("image starts");
    let (code, words) = if unpinned() { (2, "not the pinned ones") } else { (0, "SAME: ") };
    assert_eq!(verdict.status.code(), Some(code), "{}", said(&verdict));
    assert!(said(&verdict).contains(words), "{}", said(&verdict));
}

#[test]
fn a_pin_that_is_withdrawn_and_one_with_other_bytes_end_the_build() {
    let elsewhere = Elsewhere::copy_of(&root());
    let pins = std::fs::read_to_string(root().join("image/pins.toml")).expect("pins");
    let entry = pins.split("[[data]]").find(|entry| entry.contains("\"systemd-boot-efi\"")).expect("the stub's pin");
    let member =
        |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)?.split('"').nth(1)).expect("a member");
    let (version, hash) = (member("version"), member("sha256"));

    elsewhere.change("image/pins.toml", hash, &"5".repeat(64));
    let refused = said(&elsewhere.build(false));
    assert!(
        refused.contains(&format!("PIN DIFFERS systemd-boot-efi {version}: ")) && refused.contains(hash),
        "{refused}"
    );

    elsewhere.change("image/pins.toml", &format!("\"{version}\""), "\"0.1\"");
    let refused = said(&elsewhere.build(false));
    assert!(refused.contains("PIN WITHDRAWN systemd-boot-efi 0.1: the archive has "), "{refused}");
    assert!(refused.contains("image/build pins update"), "{refused}");
    assert!(!elsewhere.images().join("metal").exists(), "nothing was written");
}

#[test]
fn the_kernel_must_be_the_recorded_one_and_what_its_configuration_and_the_policy_say() {
    let elsewhere = Elsewhere::copy_of(&root());
    let pins = Pins::read(&root().join("image/pins.toml")).expect("pins");
    let recorded = pins.kernels.iter().find(|kernel| kernel.name == "metal").expect("it is recorded").sha256.hex();
    if !unpinned() {
        let another = "5".repeat(64);
        elsewhere.change("image/pins.toml", &recorded, &another);
        let refused = said(&elsewhere.build(false));
        let words = format!("KERNEL DIFFERS: metal has sha256 {recorded}, the one in image/pins.toml has {another}");
        assert!(refused.contains(&words), "{refused}");
        elsewhere.change("image/pins.toml", &another, &recorded);
    }
    elsewhere.change(
        "image/kernel/policy",
        "both  MODULES                                n",
        "both  MODULES                                y",
    );
    let refused = said(&elsewhere.build(unpinned()));
    assert!(
        refused.contains("KERNEL CONFIG of metal:\n  policy: MODULES must be y, the configuration has n: "),
        "{refused}"
    );
}

#[test]
fn the_search_for_dev_mode_finds_it_where_it_is() {
    let has = |path: &Path| {
        let bytes = std::fs::read(path).expect("an enclave");
        bytes.windows(DEV_MODE.len()).any(|window| window == DEV_MODE.as_bytes())
    };
    assert!(has(&bin::path("enclave")) && !has(&root().join("target/image/metal/enclave")));
}
