//! The commands, on folders as a build leaves them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod sample;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use image::cli::{self, Exit};
use image::disk;
use image::measurements::{Built, Input, Measurements};
use sample::{CMDLINE, efi, initramfs, kernel, program};
use tempfile::TempDir;

/// An image's folder; its disks are stand-ins, which the commands only hash.
struct Folder(TempDir);

impl Folder {
    fn built(enclave: &[u8], linux: &[u8], cmdline: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let initramfs = initramfs(enclave);
        let efi = efi(cmdline, &initramfs, linux);
        let disk = [b"disk", efi.as_slice()].concat();
        let vhd = disk::vhd(disk.clone());
        let built = Built {
            enclave,
            vmlinuz: linux,
            initramfs: &initramfs,
            initrd: &initramfs,
            cmdline,
            efi: &efi,
            disk: &disk,
            vhd: &vhd,
        };
        for (name, bytes) in built.parts() {
            fs::write(folder.path(name), bytes).unwrap();
        }
        let inputs =
            vec![Input { name: "linux-source-6.12".to_owned(), version: "6.12.117-1".to_owned(), sha256: None }];
        let measurements = Measurements::of("metal", &built, inputs, "0.1.0").unwrap();
        fs::write(folder.path("measurements.json"), measurements.text()).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn image(arguments: &[&dyn AsRef<Path>]) -> (Exit, String) {
    let arguments = arguments.iter().map(|argument| argument.as_ref().as_os_str().to_owned());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = cli::run(std::iter::once(OsString::from("image")).chain(arguments), &mut out, &mut err);
    (exit, String::from_utf8([out, err].concat()).unwrap())
}

#[test]
fn the_same_image_is_the_same() {
    let (a, b) = (Folder::built(b"enclave", &kernel(), CMDLINE), Folder::built(b"enclave", &kernel(), CMDLINE));
    let (exit, text) = image(&[&"diff", &a.0, &b.0]);
    assert_eq!(exit, Exit::Done, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("same ")).count(), 8, "{text}");
    let (exit, text) = image(&[&"diff", &a.path("measurements.json"), &b.0]);
    assert_eq!(exit, Exit::Done, "{text}");
}

/// The first part that differs is the one that the others are made from.
#[test]
fn a_changed_enclave_is_named_with_its_byte() {
    let (a, b) = (Folder::built(b"enclave", &kernel(), CMDLINE), Folder::built(b"enclavf", &kernel(), CMDLINE));
    let (exit, text) = image(&[&"diff", &a.0, &b.0]);
    assert_eq!(exit, Exit::Different);
    assert!(text.ends_with("The first difference is in enclave, offset 6 (0x6): 65 against 66.\n"), "{text}");
    let differs: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("differs  ")?.split(':').next()).collect();
    assert_eq!(
        differs,
        ["enclave", "initramfs.cpio", "initramfs.cpio.xz", "enclave.efi", "disk.raw", "disk.vhd", "images"]
    );
    let (exit, text) = image(&[&"diff", &a.path("measurements.json"), &b.path("measurements.json")]);
    assert_eq!(exit, Exit::Different);
    assert!(text.ends_with("The first difference is enclave; two folders would also show where in it.\n"), "{text}");
}

#[test]
fn each_part_is_opened_up() {
    let of = |a: &Folder, b: &Folder, keep: &str| {
        for name in image::measurements::PARTS.into_iter().chain(["measurements.json"]) {
            for folder in [a, b] {
                let _ = if name == keep { Ok(()) } else { fs::remove_file(folder.path(name)) };
            }
        }
        image(&[&"diff", &a.0, &b.0]).1.lines().last().unwrap().to_owned()
    };
    let built = |enclave: &[u8], cmdline: &str| Folder::built(enclave, &kernel(), cmdline);
    let other_kernel = program(&[(".text", &[0x90; 1000]), (".data", b"dat0")]);
    for (keep, b, expected) in [
        (
            "initramfs.cpio",
            built(b"enclavE", CMDLINE),
            "initramfs.cpio, file init, offset 6 (0x6): 65 against 45; offset 362",
        ),
        ("enclave.efi", built(b"enclavE", CMDLINE), "enclave.efi, section .initrd, offset 362 (0x16a): 65 against 45;"),
        (
            "enclave.efi",
            built(b"enclave", "debug"),
            "enclave.efi, section .cmdline, offset 0 (0x0): 63 against 64 (66 bytes against 5)",
        ),
        (
            "vmlinuz",
            Folder::built(b"enclave", &other_kernel, CMDLINE),
            "vmlinuz, section .data, offset 3 (0x3): 61 against 30;",
        ),
    ] {
        let last = of(&built(b"enclave", CMDLINE), &b, keep);
        assert!(last.starts_with(&format!("The first difference is in {expected}")), "{last}");
    }
}

/// A folder whose measurements.json is somebody else's is no image.
#[test]
fn measurements_that_do_not_tell_of_their_files_are_refused() {
    let (a, b) = (Folder::built(b"enclave", &kernel(), CMDLINE), Folder::built(b"enclavf", &kernel(), CMDLINE));
    fs::copy(a.path("measurements.json"), b.path("measurements.json")).unwrap();
    let (exit, text) = image(&[&"diff", &a.0, &b.0]);
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("measurements.json: does not tell of the files beside it: enclave: sha256:"), "{text}");
}

/// Values that its own EFI program does not have are a difference, though every part is the same.
#[test]
fn pcrs_that_were_made_up_differ() {
    let (a, b) = (Folder::built(b"enclave", &kernel(), CMDLINE), Folder::built(b"enclave", &kernel(), CMDLINE));
    let text = fs::read_to_string(b.path("measurements.json")).unwrap();
    let start = text.find("\"11\": \"sha256:").unwrap() + 14;
    let mut lie = text.clone();
    lie.replace_range(start..start + 8, "00000000");
    fs::write(b.path("measurements.json"), lie).unwrap();
    let (exit, text) = image(&[&"diff", &a.0, &b.0]);
    assert_eq!(exit, Exit::Different);
    assert!(text.ends_with("The first difference is images.\n"), "{text}");
}

#[test]
fn measurements_are_read_strictly() {
    let folder = Folder::built(b"enclave", &kernel(), CMDLINE);
    let text = fs::read_to_string(folder.path("measurements.json")).unwrap();
    assert_eq!(Measurements::parse(text.as_bytes()).unwrap().text(), text);
    for (from, to, expected) in [
        ("\"version\": 1", "\"version\": 2", "version: found 2, expected 1"),
        ("\"flavour\"", "\"flavor\"", "unknown field `flavor`"),
        ("\"flavour\"", "\"version\": 1, \"flavour\"", "duplicate key"),
        ("sha256:", "sha1:", "not a digest"),
    ] {
        let error = Measurements::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// From the EFI program alone, whatever else says.
#[test]
fn predictions_are_those_of_measurements() {
    let folder = Folder::built(b"enclave", &kernel(), CMDLINE);
    let of_folder = image(&[&"predict", &folder.0]);
    assert_eq!(of_folder.0, Exit::Done);
    assert_eq!(of_folder, image(&[&"predict", &folder.path("enclave.efi")]));
    let predicted: serde_json::Value = serde_json::from_str(&of_folder.1).unwrap();
    let measured: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("measurements.json")).unwrap()).unwrap();
    assert_eq!((&predicted["images"], &predicted["boot_paths"]), (&measured["images"], &measured["boot_paths"]));
    let (exit, text) = image(&[&"predict", &folder.path("vmlinuz")]);
    assert_eq!(exit, Exit::Failed);
    assert!(
        text.ends_with("vmlinuz: section .cmdline is missing: expected a program with .cmdline, .initrd and .linux\n"),
        "{text}"
    );
}

#[test]
fn firmware_that_measures_nothing_is_named() {
    let folder = Folder::built(b"enclave", &kernel(), CMDLINE);
    fs::write(folder.path("OVMF.fd"), [0; 4096]).unwrap();
    let predict = |options: &[&str]| {
        let firmware = folder.path("OVMF.fd");
        let mut arguments: Vec<&dyn AsRef<Path>> = vec![&"predict", &folder.0, &"--ovmf", &firmware];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<Path>));
        image(&arguments)
    };
    for (options, exit, expected) in [
        (
            ["--vcpus", "1", "--vcpu-type", "EPYC-v4"],
            Exit::Failed,
            "OVMF.fd: no OVMF firmware for SEV-SNP: entry of the table of GUIDs: found 0 bytes",
        ),
        (["--vcpus", "0", "--vcpu-type", "EPYC-v4"], Exit::Failed, "virtual processors: found 0, expected 1 to 4096"),
        (["--vcpus", "1", "--vcpu-type", "i386"], Exit::Failed, "processor: found i386, expected a processor"),
        (["--vcpus", "1", "--guest-features", "x"], Exit::Usage, "found x, expected hexadecimal digits"),
        (["--vcpus", "1", "--guest-features", "20"], Exit::Usage, "--vcpu-type <TYPE>"),
    ] {
        let (found, text) = predict(&options);
        assert_eq!(found, exit, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(image(&[&"predict", &folder.0, &"--vcpus", &"1"]).0, Exit::Usage);
}

/// What makes an ELF file an executable for x86-64, with one program header of that type.
fn elf(kind: u8) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (elf[18], elf[32], elf[54], elf[56], elf[64]) = (62, 64, 56, 1, kind);
    elf
}

#[test]
fn payloads_that_could_not_start_are_refused() {
    let folder = Folder::built(b"enclave", &kernel(), CMDLINE);
    fs::create_dir(folder.path("documents")).unwrap();
    let program = fs::read(folder.path("enclave.efi")).unwrap();
    fs::write(folder.path("disk.raw"), disk::raw(&program, None).unwrap()).unwrap();
    let single = disk::raw(&program, Some(1 << 20)).unwrap();
    fs::write(folder.path("single.raw"), &single).unwrap();
    fs::write(folder.path("cut.raw"), &single[..(42 << 20) - 1]).unwrap();
    fs::write(folder.path("host"), elf(1)).unwrap();
    fs::write(folder.path("dynamic"), elf(3)).unwrap();
    fs::write(folder.path("large"), [elf(1), vec![0; 1 << 20]].concat()).unwrap();
    let payload = |disk: &str, host: &str| {
        let [disk, host, documents] = [disk, host, "documents"].map(|name| folder.path(name));
        image(&[&"payload", &"--disk", &disk, &"--host", &host, &"--documents", &documents])
    };
    let refused = |disk: &str, host: &str, expected: &str| {
        let (exit, text) = payload(disk, host);
        assert_eq!(exit, Exit::Failed, "{text}");
        assert!(text.contains(expected), "{text}");
    };
    refused("single.raw", "host", "documents: no cmcp-config.yaml in it");
    fs::write(folder.path("documents/cmcp-config.yaml"), "version: 1\n").unwrap();
    refused("disk.raw", "host", "disk.raw: found 0 payload partitions, expected one");
    refused(
        "cut.raw",
        "host",
        "cut.raw: the payload partition ends at byte 44040192, the disk has 44040191: it was cut off",
    );
    refused("enclave", "host", "enclave: no GUID partition table: found 7 bytes, expected 17408");
    refused("single.raw", "dynamic", "dynamic: the host: linked dynamically");
    refused("single.raw", "enclave", "enclave: the host: no ELF executable for x86-64");
    refused("single.raw", "large", "bytes, the payload partition has room for 1048576");
    assert_eq!(fs::read(folder.path("single.raw")).unwrap(), single, "nothing was written");
    std::os::unix::fs::symlink("/etc/passwd", folder.path("documents/link")).unwrap();
    refused("single.raw", "host", "link: neither a file nor a folder; links are not followed");
    fs::remove_file(folder.path("documents/link")).unwrap();
    let (exit, text) = payload("single.raw", "host");
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(
        text.contains(
            "host of 120 bytes and documents of 2048 bytes in the payload partition, bytes 42991616 to 44040192"
        ),
        "{text}"
    );
}
