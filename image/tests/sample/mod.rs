//! Programs for tests: as small as the format allows, laid out by hand from the specification.

use image::{cpio, uki};

/// Length of the headers, and alignment of everything.
const ALIGNMENT: usize = 0x200;
const HEADERS: usize = 0x400;

/// A PE32+ program with these sections.
pub(crate) fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; HEADERS];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x78, &512_u32.to_le_bytes());
    put(0x7c, &512_u32.to_le_bytes());
    put(0x94, &u32::try_from(HEADERS).unwrap().to_le_bytes());
    put(0xc4, &16_u32.to_le_bytes());
    let mut raw = Vec::new();
    for (index, (name, content)) in sections.iter().enumerate() {
        let padded = content.len().next_multiple_of(ALIGNMENT);
        let at = 0x148 + 40 * index;
        let offset = HEADERS + raw.len();
        put(at, name.as_bytes());
        for (field, value) in [content.len(), 0x1000 + offset, padded, offset].into_iter().enumerate() {
            put(at + 8 + 4 * field, &u32::try_from(value).unwrap().to_le_bytes());
        }
        raw.extend_from_slice(content);
        raw.resize(raw.len().next_multiple_of(ALIGNMENT), 0);
    }
    [bytes, raw].concat()
}

/// A stub that calls itself systemd's of that version.
pub(crate) fn stub(version: &str) -> Vec<u8> {
    let magic = format!("#### LoaderInfo: systemd-stub {version} ####\0");
    program(&[(".text", &[0xc3; 700]), (".sbat", b"sbat,1\n"), (".sdmagic", magic.as_bytes())])
}

pub(crate) fn kernel() -> Vec<u8> {
    program(&[(".text", &[0x90; 1000]), (".data", b"data")])
}

pub(crate) fn initramfs(enclave: &[u8]) -> Vec<u8> {
    cpio::Archive::new().directory("dev").node("dev/console", 0o600, 5, 1).file("init", 0o755, enclave).finish()
}

pub(crate) const CMDLINE: &str = "console=ttyS0 quiet panic=-1 -- --listen vsock:5000 --isolation vm";

/// A whole program.
pub(crate) fn efi(cmdline: &str, initrd: &[u8], linux: &[u8]) -> Vec<u8> {
    uki::assemble(&stub("252.39-1~deb12u2"), &uki::Parts { cmdline, initrd, linux }).unwrap()
}
