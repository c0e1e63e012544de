//! The footer that makes a raw disk a fixed VHD (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, "Hard Disk Footer Format").

use claim::Digest;

use crate::gpt::guid;

/// Length of the footer, and of a sector.
pub const FOOTER: usize = 512;
/// Where the checksum is in the footer.
const CHECKSUM: usize = 64;
const FIXED: u32 = 2;
/// Programs that name themselves "win " mean the size, others the geometry, which is rounded.
const CREATOR: &[u8; 4] = b"win ";
const CREATOR_OS: &[u8; 4] = b"Wi2k";
const CREATOR_VERSION: u32 = 0x000a_0000;

/// The footer of a raw disk of `length` bytes, a multiple of 1 MiB (which Azure asks for), with `content` as its hash. Time
/// stamp 0, the identity from the hash.
pub fn footer(length: u64, content: Digest) -> [u8; FOOTER] {
    let (cylinders, heads, sectors) = geometry(length / FOOTER as u64);
    let mut fields = Vec::with_capacity(FOOTER);
    fields.extend_from_slice(b"conectix");
    fields.extend_from_slice(&2_u32.to_be_bytes());
    fields.extend_from_slice(&0x0001_0000_u32.to_be_bytes());
    fields.extend_from_slice(&u64::MAX.to_be_bytes());
    fields.extend_from_slice(&0_u32.to_be_bytes());
    fields.extend_from_slice(CREATOR);
    fields.extend_from_slice(&CREATOR_VERSION.to_be_bytes());
    fields.extend_from_slice(CREATOR_OS);
    fields.extend_from_slice(&length.to_be_bytes());
    fields.extend_from_slice(&length.to_be_bytes());
    fields.extend_from_slice(&cylinders.to_be_bytes());
    fields.extend_from_slice(&[heads, sectors]);
    fields.extend_from_slice(&FIXED.to_be_bytes());
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let identity = guid(content, "vhd");
    let checksum = !(sum(&fields) + sum(&identity));
    debug_assert_eq!(fields.len(), CHECKSUM, "the specification's table");
    fields.extend_from_slice(&checksum.to_be_bytes());
    fields.extend_from_slice(&identity);
    fields.resize(FOOTER, 0);
    fields.try_into().unwrap_or([0; FOOTER])
}

/// Cylinders, heads and sectors per track of a disk of that many sectors (the specification's appendix, "CHS Calculation").
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let total = u32::try_from(sectors).unwrap_or(u32::MAX).min(65_535 * 16 * 255);
    if total >= 65_535 * 16 * 63 {
        return chs(total, 16, 255);
    }
    let cylinders_by_heads = total / 17;
    let heads = cylinders_by_heads.div_ceil(1024).max(4);
    if heads <= 16 && cylinders_by_heads < heads * 1024 {
        return chs(total, heads, 17);
    }
    if total / 31 < 16 * 1024 { chs(total, 16, 31) } else { chs(total, 16, 63) }
}

fn chs(total: u32, heads: u32, sectors: u32) -> (u16, u8, u8) {
    let cylinders = total / sectors / heads;
    (
        u16::try_from(cylinders).unwrap_or(u16::MAX),
        u8::try_from(heads).unwrap_or(16),
        u8::try_from(sectors).unwrap_or(255),
    )
}
