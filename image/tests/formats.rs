//! What holds for every input. What other programs say of the same files: tests/tests/image.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod sample;

use image::measurements::Image;
use image::pe::{self, PeError};
use image::{authenticode, cpio, diff, disk, gpt, pcr, predict, snp, uki};
use proptest::collection::vec;
use proptest::prelude::*;
use sample::{CMDLINE, efi, initramfs, kernel, program, stub};

/// PCR 4, 9 and 11 on the path of a disk.
fn pcrs(efi: &[u8]) -> [String; 3] {
    let prediction = predict::pcrs(efi).unwrap();
    let Image::Pcrs { pcrs, .. } = &prediction.images[prediction.boot_paths["disk"]] else { panic!("PCRs") };
    ["4", "9", "11"].map(|number| pcrs[number].to_string())
}

fn flipped(bytes: &[u8], at: usize, mask: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= mask;
    bytes
}

#[test]
fn a_program_reads_back_as_it_was_assembled() {
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    let bytes = efi(CMDLINE, &initrd, &linux);
    assert_eq!(bytes, efi(CMDLINE, &initrd, &linux), "equal inputs, equal bytes");
    let read = uki::read(&bytes).unwrap();
    assert_eq!(read.parts, uki::Parts { cmdline: CMDLINE, initrd: &initrd, linux: &linux });
    assert_eq!(read.stub, "252.39-1~deb12u2");
    let names: Vec<_> = pe::parse(&bytes).unwrap().sections().iter().map(|section| section.name.clone()).collect();
    assert_eq!(names, [".text", ".sbat", ".sdmagic", ".cmdline", ".initrd", ".linux"]);
}

/// In memory and in the file, each at the stub's alignment (512 bytes for both), and counted in the headers.
#[test]
fn sections_follow_each_other() {
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    let bytes = efi(CMDLINE, &initrd, &linux);
    let pe = pe::parse(&bytes).unwrap();
    let mut end = (0, 0x400);
    for section in pe.sections() {
        assert!(section.address >= end.0 && section.offset == end.1, "{}", section.name);
        assert!(section.address.is_multiple_of(512) && section.offset.is_multiple_of(512), "{}", section.name);
        end = (section.address + section.memory, section.offset + section.raw.len());
    }
    assert_eq!(end.1, bytes.len());
    let number = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    let added: usize = pe.sections()[3..].iter().map(|section| section.raw.len()).sum();
    assert_eq!(number(0x60), added as u64, "initialised data");
    assert_eq!(number(0x90), end.0.next_multiple_of(512), "the length in memory");
}

#[test]
fn stubs_that_could_not_be_appended_to_are_refused() {
    let linux = kernel();
    let refused = |stub: &[u8]| {
        let parts = uki::Parts { cmdline: "quiet", initrd: b"i", linux: &linux };
        uki::assemble(stub, &parts).unwrap_err().to_string()
    };
    for (alignment, said) in [(0x3000_u32, "0x3000"), (1 << 30, "0x40000000")] {
        for field in [0x78, 0x7c] {
            let mut stub = stub("252");
            stub[field..field + 4].copy_from_slice(&alignment.to_le_bytes());
            let error = refused(&stub);
            assert!(error.contains(&format!("an alignment of {said}, expected a power of two up to")), "{error}");
        }
    }
    let error = refused(&signed(&stub("252"), 0, 8));
    assert!(error.contains("is signed"), "{error}");
    let error = refused(&flipped(&stub("252"), 0x47, 0x40));
    assert!(error.starts_with("no UEFI program: the section table is at offset 328 with 655480 bytes"), "{error}");
}

/// The program with eight bytes of certificates behind it, of which its header says that they begin earlier, and their length.
fn signed(program: &[u8], earlier: usize, length: u32) -> Vec<u8> {
    let mut signed = [program, &[0xaa; 8]].concat();
    let offset = u32::try_from(program.len() - earlier).unwrap();
    signed[0xe8..0xec].copy_from_slice(&offset.to_le_bytes());
    signed[0xec..0xf0].copy_from_slice(&length.to_le_bytes());
    signed
}

#[test]
fn certificates_are_left_out_at_the_end_alone() {
    let program = program(&[(".text", &[1; 512])]);
    let hash = authenticode::hash(&program);
    assert!(hash.is_ok());
    assert_eq!(authenticode::hash(&signed(&program, 0, 8)), hash);
    let misplaced = |found: usize, expected: usize| {
        let (found, expected) = (found as u64, expected as u64);
        Err(PeError::Unexpected { what: "the certificates' offset", found, expected })
    };
    let end = program.len();
    // Bytes behind them, which nobody would hash; over a section, which would not be hashed either.
    assert_eq!(authenticode::hash(&signed(&program, 0, 7)), misplaced(end, end + 1));
    assert_eq!(authenticode::hash(&signed(&program, 4, 12)), misplaced(end - 4, end));
    // The checksum is left out, and nothing beside it or beside the directory's entry.
    assert_eq!(authenticode::hash(&flipped(&flipped(&program, 0x98, 0xff), 0x9b, 0xff)), hash);
    for at in [0x97, 0x9c, 0xe7, 0xf0] {
        assert_ne!(authenticode::hash(&flipped(&program, at, 1)), hash, "byte {at:#x}");
    }
}

/// A stub with 18 bytes of symbols behind its sections, of which its header tells.
#[test]
fn symbols_of_a_stub_leave_no_gap() {
    let mut with_symbols = stub("252");
    let end = u32::try_from(with_symbols.len()).unwrap();
    with_symbols[0x4c..0x50].copy_from_slice(&end.to_le_bytes());
    with_symbols[0x50..0x54].copy_from_slice(&1_u32.to_le_bytes());
    with_symbols.extend_from_slice(&[0xab; 18]);
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    let parts = uki::Parts { cmdline: CMDLINE, initrd: &initrd, linux: &linux };
    assert_eq!(uki::assemble(&with_symbols, &parts), uki::assemble(&stub("252"), &parts));
}

#[test]
fn malformed_programs_are_named() {
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    let good = efi(CMDLINE, &initrd, &linux);
    let error = |bytes: &[u8]| predict::pcrs(bytes).unwrap_err().to_string();
    assert_eq!(
        error(b""),
        "no UEFI program: the offset of the PE signature is at offset 60 with 4 bytes, the file has 0"
    );
    assert_eq!(
        error(&flipped(&good, 0x44, 0xe8)),
        "no UEFI program for x86-64: the machine is 0x868c, expected 0x8664"
    );
    assert_eq!(
        error(&stub("252")),
        "section .cmdline is missing: expected a program with .cmdline, .initrd and .linux"
    );
    let last = pe::parse(&good).unwrap().sections().last().unwrap().offset;
    let cut = &good[..=last];
    assert!(error(cut).starts_with("no UEFI program: section .linux is at offset"), "{}", error(cut));
    let unknown =
        uki::assemble(&stub("260~rc1"), &uki::Parts { cmdline: CMDLINE, initrd: &initrd, linux: &linux }).unwrap();
    assert!(error(&unknown).contains("version 260~rc1: what it measures is not known here, expected 252 or 257"));
    let magic: &[u8] = b"#### LoaderInfo: systemd-stub 252 ####";
    let parts: [(&str, &[u8]); 4] =
        [(".sdmagic", magic), (".cmdline", b"quiet"), (".initrd", &initrd), (".linux", &linux)];
    assert!(predict::pcrs(&program(&parts)).is_ok());
    for (more, expected) in [
        ((".cmdline", b"quiet".as_slice()), "section .cmdline is there twice"),
        ((".osrel", b"ID=x"), "section .osrel is there: it would be measured, and nothing predicts how"),
        ((".dtb", b"x"), "section .dtb is there"),
    ] {
        let bytes = program(&[parts.as_slice(), &[more]].concat());
        assert!(error(&bytes).starts_with(expected), "{}", error(&bytes));
    }
}

#[test]
fn sections_with_a_gap_have_no_hash() {
    let bytes = program(&[(".text", &[1; 512]), (".data", &[2; 512])]);
    let offset_of_data = 0x148 + 40 + 20;
    let mut gap = bytes.clone();
    gap[offset_of_data..offset_of_data + 4].copy_from_slice(&0x800_u32.to_le_bytes());
    gap.extend_from_slice(&[3; 512]);
    let expected = PeError::Untiled { name: ".data".to_owned(), found: 0x800, expected: 0x600 };
    assert_eq!(authenticode::hash(&gap), Err(expected));
    assert!(authenticode::hash(&bytes).is_ok());
}

#[test]
fn command_lines_that_are_read_differently_are_refused() {
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    for (cmdline, expected) in [
        ("", "it is empty"),
        ("quiet\n", "byte 0x0a at offset 5, expected printable ASCII"),
        ("caf\u{e9}", "byte 0xc3 at offset 3"),
        (" quiet", "it begins or ends with a space"),
    ] {
        let error = uki::assemble(&stub("252"), &uki::Parts { cmdline, initrd: &initrd, linux: &linux }).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_stub_without_room_is_refused() {
    let many: Vec<(String, Vec<u8>)> = (0..16).map(|index| (format!(".s{index}"), vec![1])).collect();
    let sections: Vec<_> = many.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let linux = kernel();
    let error =
        uki::assemble(&program(&sections), &uki::Parts { cmdline: "quiet", initrd: b"i", linux: &linux }).unwrap_err();
    assert_eq!(error.to_string(), "stub: no room in its headers for section .initrd");
}

#[test]
fn each_part_changes_the_pcrs_that_measure_it() {
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    let [pcr4, pcr9, pcr11] = pcrs(&efi(CMDLINE, &initrd, &linux));
    let [a4, a9, a11] = pcrs(&efi(&CMDLINE.replace("quiet", "debug"), &initrd, &linux));
    assert!(a4 != pcr4 && a9 != pcr9 && a11 != pcr11, "the command line is in all");
    let [b4, b9, b11] = pcrs(&efi(CMDLINE, &initramfs(b"enclavf"), &linux));
    assert!(b4 != pcr4 && b9 != pcr9 && b11 != pcr11, "the initramfs is in all");
    let [c4, c9, c11] = pcrs(&efi(CMDLINE, &initrd, &program(&[(".text", &[0x91; 1000]), (".data", b"data")])));
    assert!(c4 != pcr4 && c9 == pcr9 && c11 != pcr11, "the kernel is in 4 and 11");
}

#[test]
fn a_kernel_that_is_loaded_first_has_another_pcr_4_and_the_same_others() {
    let prediction = predict::pcrs(&efi(CMDLINE, &initramfs(b"enclave"), &kernel())).unwrap();
    let images: Vec<_> = prediction.images.iter().map(|image| serde_json::to_value(image).unwrap()).collect();
    assert_eq!(
        prediction.boot_paths.iter().map(|(name, index)| (name.as_str(), *index)).collect::<Vec<_>>(),
        [("disk", 0), ("kernel", 1)]
    );
    assert_ne!(images[0]["pcrs"]["4"], images[1]["pcrs"]["4"]);
    assert_eq!(images[0]["pcrs"]["9"], images[1]["pcrs"]["9"]);
    assert_eq!(images[0]["boot_applications"], images[1]["boot_applications"]);
    assert_eq!(images[0]["boot_applications"].as_array().unwrap().len(), 2);
    assert_eq!(images[0]["type"], "pcrs");
}

/// Stubs of 257 measure `.sbat`, those of 252 do not.
#[test]
fn sbat_is_measured_by_the_stubs_that_do() {
    let (initrd, linux) = (initramfs(b"enclave"), kernel());
    let of = |version, sbat| {
        let parts = uki::Parts { cmdline: CMDLINE, initrd: &initrd, linux: &linux };
        pcr::sections(&uki::Program { parts, stub: String::from(version), sbat }).unwrap()
    };
    assert_eq!(of("252.39", Some(b"a".as_slice())), of("252.39", Some(b"b")));
    assert_ne!(of("257.13", Some(b"a".as_slice())), of("257.13", Some(b"b")));
    assert_eq!(of("257.13", None), of("252.39", None));
}

#[test]
fn an_archive_reads_back() {
    let archive = initramfs(b"enclave");
    assert_eq!(archive.len() % 512, 0);
    let entries = cpio::entries(&archive).unwrap();
    let seen: Vec<_> =
        entries.iter().map(|entry| (entry.name.as_str(), entry.mode, entry.device, entry.content)).collect();
    assert_eq!(
        seen,
        [
            ("dev", 0o040_755, (0, 0), b"".as_slice()),
            ("dev/console", 0o020_600, (5, 1), b""),
            ("init", 0o100_755, (0, 0), b"enclave"),
        ]
    );
    assert_eq!(
        cpio::entries(&archive[..200]).unwrap_err().to_string(),
        "no newc archive: offset 116: the archive ends inside an entry"
    );
}

#[test]
fn a_disk_has_its_partitions() {
    let program = efi(CMDLINE, &initramfs(b"enclave"), &kernel());
    let raw = disk::raw(&program, Some(disk::PAYLOAD_SIZE)).unwrap();
    assert_eq!(raw, disk::raw(&program, Some(disk::PAYLOAD_SIZE)).unwrap(), "equal inputs, equal bytes");
    assert_eq!(raw.len() % (1 << 20), 0);
    let partitions = gpt::partitions(&raw).unwrap();
    let kinds: Vec<_> =
        partitions.iter().map(|partition| (partition.name.as_str(), partition.kind, partition.bytes())).collect();
    let mib = |from: u64, to: u64| from << 20..to << 20;
    assert_eq!(kinds, [("esp", gpt::ESP, mib(1, 41)), ("payload", gpt::PAYLOAD, mib(41, 105))]);
    assert!(gpt::partitions(&raw[..33 * 512]).unwrap_err().to_string().contains("expected 17408"));
    assert!(gpt::partitions(&flipped(&raw, 1024, 1)).unwrap_err().to_string().contains("the entries' checksum"));
    assert!(gpt::partitions(&flipped(&raw, 512, 1)).unwrap_err().to_string().contains("expected \"EFI PART\""));
}

#[test]
fn a_changed_disk_is_named_with_its_partition() {
    let [a, b] =
        [b"enclave", b"enclavf"].map(|enclave| disk::raw(&efi(CMDLINE, &initramfs(enclave), &kernel()), None).unwrap());
    let place = diff::locate("disk.raw", &a, &b).unwrap();
    assert_eq!(place.within, ["disk.raw", "partition esp"]);
    assert_eq!(place.outer, place.inner + (1 << 20));
    assert_eq!(Some(place.outer), (1 << 20..a.len()).find(|at| a[*at] != b[*at]));
}

#[test]
fn identities_come_from_the_program() {
    let disks =
        [b"enclave", b"enclavf"].map(|enclave| disk::raw(&efi(CMDLINE, &initramfs(enclave), &kernel()), None).unwrap());
    let identity = |disk: &[u8]| disk[512 + 56..512 + 72].to_vec();
    assert_ne!(identity(&disks[0]), identity(&disks[1]));
    let footers = disks.map(|raw| disk::vhd(raw).split_off(42 << 20));
    assert_eq!(footers[0].len(), 512);
    assert_ne!(footers[0], footers[1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No mutant of a program is anything but read or refused; one that is hashed alike differs where nothing is hashed.
    #[test]
    fn mutants_of_programs(at in vec((any::<prop::sample::Index>(), 1_u8..), 1..4), cut in any::<Option<prop::sample::Index>>(), headers in any::<bool>()) {
        let good = efi(CMDLINE, &initramfs(b"enclave"), &kernel());
        let mut mutant = good.clone();
        for (index, mask) in at {
            let at = index.index(if headers { 0x400 } else { good.len() });
            mutant[at] ^= mask;
        }
        mutant.truncate(cut.map_or(good.len(), |index| index.index(good.len())));
        let _ = predict::pcrs(&mutant);
        let _ = uki::assemble(&mutant, &uki::Parts { cmdline: "quiet", initrd: b"i", linux: &good });
        prop_assert_eq!(diff::locate("enclave.efi", &good, &mutant).is_none(), good == mutant);
        let unhashed = [0x98..0x9c, 0xe8..0xf0];
        let hashed = |bytes: &[u8]| bytes.iter().enumerate().filter(|(at, _)| !unhashed.iter().any(|range| range.contains(at))).map(|(_, byte)| *byte).collect::<Vec<_>>();
        if let Ok(hash) = authenticode::hash(&mutant) {
            let same = hashed(&good) == hashed(&mutant);
            prop_assert!(same == (Ok(hash) == authenticode::hash(&good)) || mutant[0xe8..0xf0] != good[0xe8..0xf0]);
        }
    }

    /// A changed byte of a part is found, in its section, at its offset.
    #[test]
    fn a_changed_byte_is_named(index in any::<prop::sample::Index>(), mask in 1_u8..) {
        let enclave = vec![7; 5000];
        let at = index.index(enclave.len());
        let (initrd, other, linux) = (initramfs(&enclave), initramfs(&flipped(&enclave, at, mask)), kernel());
        let place = diff::locate("initramfs.cpio", &initrd, &other).unwrap();
        prop_assert_eq!(&place.within, &["initramfs.cpio", "file init"]);
        prop_assert_eq!(place.inner, at);
        prop_assert_eq!(initrd[place.outer] ^ other[place.outer], mask);
        let (a, b) = (efi(CMDLINE, &initrd, &linux), efi(CMDLINE, &other, &linux));
        let place = diff::locate("enclave.efi", &a, &b).unwrap();
        prop_assert_eq!(&place.within, &["enclave.efi", "section .initrd"]);
        prop_assert_eq!(a[place.outer] ^ b[place.outer], mask);
        let linux = flipped(&linux, 0x400 + at % 1000, mask);
        let place = diff::locate("enclave.efi", &a, &efi(CMDLINE, &initrd, &linux)).unwrap();
        prop_assert_eq!(&place.within, &["enclave.efi", "section .linux", "section .text"]);
        prop_assert_eq!(place.inner, at % 1000);
        prop_assert_ne!(pcrs(&a), pcrs(&b));
    }

    #[test]
    fn mutants_of_archives(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let archive = initramfs(b"enclave");
        let mut mutant = archive.clone();
        mutant[at.index(archive.len())] = byte;
        let _ = cpio::entries(&mutant);
        prop_assert_eq!(diff::locate("initramfs.cpio", &archive, &mutant).is_none(), archive == mutant);
        let _ = cpio::entries(&archive[..cut.index(archive.len())]);
    }

    #[test]
    fn firmware_is_refused_before_it_is_calculated(length in 0_usize..3, bytes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..64)) {
        let mut firmware = vec![0; length * 4096];
        for (at, byte) in bytes.into_iter().filter(|_| length > 0) {
            firmware[at.index(length * 4096)] = byte;
        }
        let linux = kernel();
        let parts = uki::Parts { cmdline: CMDLINE, initrd: b"i", linux: &linux };
        let machine = snp::Machine { vcpus: 1, cpu: "EPYC-v4", features: 1 };
        prop_assert!(snp::launch_digest(&firmware, &parts, machine).is_err());
    }
}
