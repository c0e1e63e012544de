//! Each format beside a program of somebody else's that reads it or computes the same. The programs are Debian's: `tests/run image`
//! installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::measurements::Image;
use image::{authenticode, disk, initramfs, payload, predict, tar, uki};
use tempfile::TempDir;

/// Debian's systemd-boot-efi: a stub, and a program that stands in for a kernel.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const KERNEL: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const CMDLINE: &str = "console=ttyS0 quiet panic=-1 -- --listen vsock:5000 --isolation vm";

/// What a program prints, which must succeed.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `tests/run image` installs it"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn debian(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}; `tests/run image` installs systemd-boot-efi"))
}

/// A kernel that was built here, or the stand-in.
fn kernel() -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/image/metal/vmlinuz");
    std::fs::read(built).unwrap_or_else(|_| debian(KERNEL))
}

fn archive() -> Vec<u8> {
    initramfs::archive(&vec![0x5a; 123_457])
}

fn initramfs() -> Vec<u8> {
    initramfs::pack(&archive()).unwrap()
}

fn program(kernel: &[u8]) -> Vec<u8> {
    uki::assemble(&debian(STUB), &uki::Parts { cmdline: CMDLINE, initrd: &initramfs(), linux: kernel }).unwrap()
}

/// A folder with files in it.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn authenticode_is_what_pesign_computes() {
    let files = Files::new();
    for (name, bytes) in
        [("stub", debian(STUB)), ("boot", debian(KERNEL)), ("kernel", kernel()), ("program", program(&kernel()))]
    {
        let path = files.write(name, &bytes);
        let theirs = said("pesign", &["--hash", "--digest_type=sha256", "--in", &path]);
        assert_eq!(theirs.trim(), format!("hash: {}", authenticode::hash(&bytes).unwrap().hex()), "{name}");
    }
}

/// A signature changes nothing, and a signed stub is no stub.
#[test]
fn authenticode_leaves_signatures_out() {
    let files = Files::new();
    let unsigned = program(&kernel());
    let (path, signed) = (files.write("unsigned", &unsigned), files.path("signed"));
    let (key, certificate) = (files.path("key.pem"), files.path("certificate.pem"));
    let paths = [&key, &certificate, &signed].map(|path| path.to_str().unwrap());
    let new =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", paths[0], "-out", paths[1]];
    said("openssl", &new);
    said("sbsign", &["--key", paths[0], "--cert", paths[1], "--output", paths[2], &path]);
    said("sbverify", &["--cert", paths[1], paths[2]]);
    let signed = std::fs::read(signed).unwrap();
    assert!(signed.len() > unsigned.len());
    assert_eq!(authenticode::hash(&signed), authenticode::hash(&unsigned));
    let parts = uki::Parts { cmdline: "quiet", initrd: b"i", linux: &unsigned };
    assert!(uki::assemble(&signed, &parts).unwrap_err().to_string().starts_with("stub: has a section .cmdline"));
}

#[test]
fn pcr_11_is_what_systemd_measure_computes() {
    let files = Files::new();
    let kernel = kernel();
    let prediction = predict::pcrs(&program(&kernel)).unwrap();
    let option = |name: &str, bytes: &[u8]| format!("--{name}={}", files.write(name, bytes));
    let options = [option("linux", &kernel), option("initrd", &initramfs()), option("cmdline", CMDLINE.as_bytes())];
    let [linux, initrd, cmdline] = &options;
    let theirs =
        said("/lib/systemd/systemd-measure", &["calculate", linux, initrd, cmdline, "--bank=sha256", "--phase=:"]);
    for image in &prediction.images {
        let Image::Pcrs { pcrs, .. } = image else { panic!("PCRs") };
        assert!(theirs.contains(&format!("11:sha256={}", pcrs["11"].hex())), "{theirs}");
    }
}

#[test]
fn sections_are_what_objcopy_takes_out() {
    let files = Files::new();
    let (kernel, initramfs) = (kernel(), initramfs());
    let path = files.write("program", &program(&kernel));
    for (name, expected) in [(".linux", kernel.as_slice()), (".initrd", &initramfs), (".cmdline", CMDLINE.as_bytes())] {
        let out = files.path("section");
        let dump = format!("{name}={}", out.display());
        said("objcopy", &["--dump-section", &dump, &path, files.path("copy").to_str().unwrap()]);
        let theirs = std::fs::read(out).unwrap();
        // It pads up to the file's alignment.
        assert!(theirs.starts_with(expected) && theirs[expected.len()..].iter().all(|byte| *byte == 0), "{name}");
    }
}

#[test]
fn initramfs_is_what_xz_cpio_and_bsdtar_list() {
    let files = Files::new();
    let path = files.write("initramfs.cpio.xz", &initramfs());
    let listed = said("xz", &["--list", "-vv", "--robot", &path]);
    let block = listed.lines().find(|line| line.starts_with("block\t")).expect("a block");
    assert!(block.contains("\tCRC32\t") && block.ends_with("\t--x86 --lzma2=dict=16MiB"), "{listed}");
    said("xz", &["--decompress", &path]);
    let path = files.path("initramfs.cpio");
    assert_eq!(std::fs::read(&path).unwrap(), archive());
    let path = path.to_str().unwrap();
    let listed = said("cpio", &["--extract", "--list", "--verbose", "--numeric-uid-gid", "--quiet", "--file", path]);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let seen: Vec<_> = lines.iter().map(|fields| (fields[0], fields[2], fields[3], *fields.last().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("drwxr-xr-x", "0", "0", "dev"),
            ("drwxr-xr-x", "0", "0", "proc"),
            ("drwxr-xr-x", "0", "0", "sys"),
            ("crw-------", "0", "0", "dev/console"),
            ("-rwxr-xr-x", "0", "0", "init"),
        ]
    );
    assert!(lines[3].join(" ").contains("5, 1"), "{listed}");
    assert!(lines.iter().all(|fields| fields.contains(&"1970")), "{listed}");
    assert_eq!(
        said("bsdtar", &["-tf", path]).lines().collect::<Vec<_>>(),
        ["dev", "proc", "sys", "dev/console", "init"]
    );
    let out = files.path("out");
    std::fs::create_dir(&out).unwrap();
    said("bsdtar", &["-xf", path, "-C", out.to_str().unwrap(), "init"]);
    assert_eq!(std::fs::read(out.join("init")).unwrap(), vec![0x5a; 123_457]);
}

#[test]
fn disk_is_what_sgdisk_and_mtools_read() {
    let files = Files::new();
    let program = program(&kernel());
    for payload in [None, Some(disk::PAYLOAD_SIZE)] {
        let path = files.write("disk.raw", &disk::raw(&program, payload).unwrap());
        let verdict = said("sgdisk", &["--verify", &path]);
        assert!(verdict.contains("No problems found"), "{verdict}");
        let table = said("sgdisk", &["--print", &path]);
        assert!(
            table.lines().any(|line| line.contains("40.0 MiB") && line.contains("EF00") && line.ends_with("esp")),
            "{table}"
        );
        let listed = table.lines().any(|line| line.contains("64.0 MiB") && line.ends_with("payload"));
        assert_eq!(listed, payload.is_some(), "{table}");
        let esp = format!("{path}@@1M");
        said("mdir", &["-i", &esp, "::/EFI/BOOT"]);
        let copy = files.path("copy.efi");
        said("mcopy", &["-n", "-i", &esp, "::/EFI/BOOT/BOOTX64.EFI", copy.to_str().unwrap()]);
        assert_eq!(std::fs::read(&copy).unwrap(), program);
        std::fs::remove_file(copy).unwrap();
        let raw = std::fs::read(files.path("disk.raw")).unwrap();
        let esp = files.write("esp", &raw[1 << 20..41 << 20]);
        said("fsck.fat", &["-n", &esp]);
        assert!(said("minfo", &["-i", &esp, "::"]).contains("disk type=\"FAT32   \""));
    }
}

#[test]
fn payload_partition_has_the_type_that_the_documentation_names() {
    let files = Files::new();
    let path = files.write("disk.raw", &disk::raw(&program(&kernel()), Some(disk::PAYLOAD_SIZE)).unwrap());
    let partition = said("sgdisk", &["--info=2", &path]);
    assert!(partition.contains("8F2A6C3E-51D7-4B09-9E4D-3C7A0B6F1D25"), "{partition}");
}

#[test]
fn vhd_is_what_qemu_img_reads() {
    let files = Files::new();
    let raw = disk::raw(&program(&kernel()), None).unwrap();
    let (raw_path, vhd) = (files.write("disk.raw", &raw), files.write("disk.vhd", &disk::vhd(raw.clone())));
    let same = said("qemu-img", &["compare", "-f", "raw", "-F", "vpc", &raw_path, &vhd]);
    assert!(same.contains("Images are identical"), "{same}");
    let info: serde_json::Value =
        serde_json::from_str(&said("qemu-img", &["info", "-f", "vpc", "--output=json", &vhd])).unwrap();
    assert_eq!(info["virtual-size"], raw.len());
    let theirs = files.path("theirs.vhd");
    let convert = ["convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", &raw_path];
    said("qemu-img", &[convert.as_slice(), &[theirs.to_str().unwrap()]].concat());
    footers_differ_only_in_what_is_theirs(&std::fs::read(theirs).unwrap(), &std::fs::read(vhd).unwrap());
}

/// Time stamp, checksum and identity.
fn footers_differ_only_in_what_is_theirs(theirs: &[u8], ours: &[u8]) {
    assert_eq!(theirs.len(), ours.len());
    let footer = |disk: &[u8]| disk[disk.len() - 512..].to_vec();
    let (theirs, ours) = (footer(theirs), footer(ours));
    let own = [24..28, 64..84];
    let differs: Vec<_> =
        (0..512).filter(|at| theirs[*at] != ours[*at] && !own.iter().any(|range| range.contains(at))).collect();
    assert_eq!(differs, Vec::<usize>::new(), "offsets in the footer");
}

#[test]
fn documents_are_what_tar_extracts() {
    let files = Files::new();
    std::fs::create_dir_all(files.path("documents/policies")).unwrap();
    files.write("documents/cmcp-config.yaml", b"version: 1\n");
    files.write("documents/policies/base.cedar", b"permit (principal, action, resource);\n");
    files.write("documents/empty", b"");
    let archive = files.write("documents.tar", &tar::of(&files.path("documents")).unwrap());
    let listed = said("tar", &["--list", "--verbose", "--numeric-owner", "--utc", "-f", &archive]);
    let seen: Vec<_> = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        seen,
        [
            "-rw-r--r-- 0/0 11 1970-01-01 00:00 cmcp-config.yaml",
            "-rw-r--r-- 0/0 0 1970-01-01 00:00 empty",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00 policies/",
            "-rw-r--r-- 0/0 38 1970-01-01 00:00 policies/base.cedar",
        ]
    );
    let content = said("tar", &["-x", "-O", "-f", &archive, "policies/base.cedar"]);
    assert_eq!(content, "permit (principal, action, resource);\n");
}

/// What PID 1 reads, from a VHD that is still one.
#[test]
fn payload_is_in_its_partition() {
    let files = Files::new();
    let raw = disk::raw(&program(&kernel()), Some(disk::PAYLOAD_SIZE)).unwrap();
    let (before, length) = (raw.clone(), raw.len());
    let vhd = files.write("disk.vhd", &disk::vhd(raw));
    // As good a static executable as any: its headers are read, nothing else.
    let mut host = vec![0; 5000];
    host[..6].copy_from_slice(b"\x7fELF\x02\x01");
    host[18] = 62;
    for (host, documents) in [(host.clone(), vec![1; 70_000]), (host, vec![2; 512])] {
        let partition = payload::write(Path::new(&vhd), &host, &documents).unwrap();
        assert_eq!(partition, 41 << 20..105 << 20);
        let disk = std::fs::read(&vhd).unwrap();
        let mut expected = b"CMCPHOST".to_vec();
        expected.extend_from_slice(&5000_u64.to_le_bytes());
        expected.extend_from_slice(&(documents.len() as u64).to_le_bytes());
        expected.extend_from_slice(&[host, documents].concat());
        expected.resize(64 << 20, 0);
        assert!(disk[41 << 20..105 << 20] == expected, "the payload, then zeros");
        assert!(
            disk[..41 << 20] == before[..41 << 20] && disk[105 << 20..length] == before[105 << 20..],
            "nothing else"
        );
    }
    said("qemu-img", &["info", "-f", "vpc", &vhd]);
}
