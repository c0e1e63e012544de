//! What whoever runs the machine can do to an image before it boots. Each attempt is refused by the verifier, or without effect and
//! every register as predicted, or does not boot.

use std::path::{Path, PathBuf};
use std::process::Command;

use claim::b64u;
use image::build::put_together;
use image::flavour::Flavour;
use image::initramfs::Initramfs;
use image::measurements::FILE;
use image::{disk, gpt, predict, uki};
use serde_json::Value;
use tempfile::TempDir;
use tests::gateway::Gateway;
use tests::setup::CONTACTS;
use tests::store::Auditor;
use tests::upstream::Upstream;
use tests::vm::{Image, Machine, TpmState, Vm, turn};

use crate::desk::Desk;
use crate::packages::{Stub, stub};
use crate::{claimed, production, quoted};

/// What an override adds to the command line: something that the enclave takes, so that it boots and can be asked.
const ADDED: [&str; 2] = ["--tpm", "/dev/tpmrm0"];
const SMBIOS: &str = "io.systemd.stub.kernel-cmdline-extra";
const ZERO: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A claim of the enclave in this machine, with its evidence, and the desk of who approves this image. Stops both in order.
fn shown(mut vm: Vm, image: &Image) -> (Value, Value, Desk) {
    let (auditor, tool) = (Auditor::new(), Upstream::plain());
    let gateway = Gateway::start_measured(&production(&tool.url(), &auditor), &["--enclave", &vm.address()]);
    assert_eq!(gateway.caller("alice").call("s", CONTACTS).status(), 200);
    let (claim, evidence) = claimed(&gateway, "s");
    let desk = Desk::approving(image, gateway.folder());
    assert!(gateway.stop().0.success());
    assert!(vm.off().success(), "it switches itself off: {}", vm.console());
    (claim, evidence, desk)
}

fn differ(evidence: &Value, predicted: &Value) -> Vec<u8> {
    let changed = |number: &u8| quoted(evidence, usize::from(*number)) != predicted[number.to_string()];
    [4, 9, 11].into_iter().filter(changed).collect()
}

/// A disk with an addon for the program that it starts.
fn with_addon(folder: &TempDir, disk: &[u8], words: &str) -> PathBuf {
    let (path, addon) = (folder.path().join("addon.raw"), addon(folder.path(), words));
    std::fs::write(&path, disk).expect("a disk");
    let start = gpt::partitions(disk).expect("a table")[0].bytes().start;
    let esp = format!("{}@@{start}", path.display());
    let place = "::/EFI/BOOT/BOOTX64.EFI.extra.d";
    mtools("mmd", &["-i", &esp, place]);
    mtools("mcopy", &["-i", &esp, &addon.to_string_lossy(), place]);
    path
}

fn mtools(program: &str, words: &[&str]) {
    let done =
        Command::new(program).args(words).env("MTOOLS_SKIP_CHECK", "1").output().expect("the Debian package mtools");
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An addon: a program without code, whose section `.cmdline` stubs of version 254 and newer append. It goes behind the sections of the
/// pinned one.
fn addon(folder: &Path, words: &str) -> PathBuf {
    let file = |name: &str| folder.join(name);
    std::fs::write(file("words"), words).expect("a file");
    std::fs::write(file("stub"), stub(Stub::Addon257)).expect("a file");
    let section = format!(".cmdline={}", file("words").display());
    let done = Command::new("objcopy")
        .args(["--add-section", &section, "--set-section-flags", ".cmdline=data,readonly"])
        .args(["--change-section-vma", ".cmdline=0x1dd513000"])
        .args([file("stub"), file("evil.addon.efi")])
        .output()
        .expect("objcopy, of the Debian package binutils");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    file("evil.addon.efi")
}

/// Three boots. Overrides that the image's own stub ignores: `crash`.
#[test]
fn what_the_image_is_not_is_not_approved() {
    let _turn = turn();
    let image = Image::of("metal");
    other_command_line(&image);
    another_initramfs(&image);
    one_byte(&image);
    another_kernel(&image);
    honoured_overrides(&image);
}

/// The machine of this disk, with an addon beside the program and a text of SMBIOS, both for its command line. The stub of the images
/// looks at neither.
pub(crate) fn overridden(folder: &TempDir, disk: &[u8]) -> Machine {
    let smbios = format!("type=11,value={SMBIOS}={}", ADDED[1]);
    Machine::from_disk(&with_addon(folder, disk, ADDED[0])).with(&["-smbios", &smbios])
}

/// Every register is as predicted for a disk, or unused.
pub(crate) fn unaffected(evidence: &Value, image: &Image) {
    assert_eq!(differ(evidence, &image.predicted("disk")), [] as [u8; 0]);
    for number in [12, 13, 14] {
        assert_eq!(quoted(evidence, number), ZERO, "PCR {number}");
    }
}

/// The stub takes a command line that firmware was told; nothing but registers 9 and 12 has it.
fn other_command_line(image: &Image) {
    let line = format!("{} {}", image.measurements()["cmdline"].as_str().expect("text").trim_end(), ADDED.join(" "));
    let vm = Machine::from_program(&image.path("enclave.efi")).with(&["-append", &line]).start(&TpmState::new());
    let (claim, evidence, desk) = shown(vm, image);
    assert_eq!(differ(&evidence, &image.predicted("kernel")), [9]);
    assert_ne!(quoted(&evidence, 12), ZERO);
    desk.refuses(&claim, &evidence, "pcr.image");
}

/// QEMU does not start the program with one of its own.
fn another_initramfs(image: &Image) {
    let other = image.path("initramfs.cpio.xz");
    let words = ["-initrd", other.to_str().expect("a path")];
    let mut vm = Machine::from_program(&image.path("enclave.efi")).with(&words).start(&TpmState::new());
    assert!(!vm.off().success(), "it was booted: {}", vm.console());
    assert!(vm.console().is_empty(), "{}", vm.console());
}

/// One byte of the enclave, in a text that it shows on request, is another one.
fn one_byte(image: &Image) {
    let mut enclave = image.bytes("enclave");
    let text = b"usage: enclave --listen ADDRESS";
    let at = enclave.windows(text.len()).position(|window| window == text).expect("the text");
    enclave[at] ^= 0x20;
    let initramfs = Initramfs::of(enclave).expect("xz");
    let program = program(&initramfs.packed, &image.bytes("vmlinuz"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.raw");
    std::fs::write(&path, disk::raw(&program, None).expect("a disk")).expect("a file");
    let (claim, evidence, desk) = shown(Machine::from_disk(&path).start(&TpmState::new()), image);
    assert_eq!(differ(&evidence, &image.predicted("disk")), [4, 9, 11]);
    desk.refuses(&claim, &evidence, "pcr.image");
    // As an image that was approved once: for whoever approved it, and since then approves another.
    let prediction = predict::pcrs(&program).expect("a program");
    let now = desk.json("approved.json");
    let mut then = now.clone();
    then["images"] = serde_json::to_value(&prediction.images).expect("JSON");
    desk.save("approved.json", then.to_string().as_bytes());
    desk.finds_ours(&claim, &evidence);
    desk.save("approved.json", now.to_string().as_bytes());
    desk.refuses(&claim, &evidence, "pcr.image");
}

/// The flavour's program with another initramfs or kernel in it.
fn program(initrd: &[u8], linux: &[u8]) -> Vec<u8> {
    let parts = uki::Parts { cmdline: Flavour::Metal.cmdline(), initrd, linux };
    uki::assemble(&stub(Stub::Program252), &parts).expect("a program")
}

/// By its prediction, which the machines above have confirmed.
fn another_kernel(image: &Image) {
    let mut kernel = image.bytes("vmlinuz");
    // The date in the header of the program.
    let header = usize::try_from(u32::from_le_bytes(kernel[0x3c..0x40].try_into().expect("4 bytes"))).expect("a place");
    kernel[header + 8] ^= 1;
    let program = program(&image.bytes("initramfs.cpio.xz"), &kernel);
    let other = serde_json::to_value(&predict::pcrs(&program).expect("a program").images[0]).expect("JSON");
    let predicted = image.predicted("disk");
    let same = |number: &str| other["pcrs"][number] == predicted[number];
    assert_eq!(["4", "9", "11"].map(same), [false, true, false]);
}

/// With a newer stub both overrides work. The registers have them.
fn honoured_overrides(image: &Image) {
    let initramfs = Initramfs {
        enclave: image.bytes("enclave"),
        archive: image.bytes("initramfs.cpio"),
        packed: image.bytes("initramfs.cpio.xz"),
    };
    let (stub, vmlinuz) = (stub(Stub::Program257), image.bytes("vmlinuz"));
    let folder = tempfile::tempdir().expect("a folder");
    let measurements = put_together(Flavour::Metal, &stub, &vmlinuz, &initramfs, Vec::new(), folder.path());
    std::fs::write(folder.path().join(FILE), measurements.expect("an image").text()).expect("a file");
    let newer = Image::in_folder(folder.path());

    let vm = overridden(&folder, &newer.bytes("disk.raw")).start(&TpmState::new());
    let (claim, evidence, desk) = shown(vm, &newer);
    assert_eq!(differ(&evidence, &newer.predicted("disk")), [4, 9], "the addon is a program that was loaded");
    assert_ne!(quoted(&evidence, 12), ZERO);
    let log = b64u::decode(evidence["event_log"].as_str().expect("a log")).expect("base64url");
    for words in ADDED {
        let wide: Vec<u8> = words.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(log.windows(wide.len()).any(|window| window == wide), "{words} is on the command line");
    }
    desk.refuses(&claim, &evidence, "pcr.image");
}
