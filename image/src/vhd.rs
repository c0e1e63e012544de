//! The footer that makes a raw disk a fixed VHD (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, "Hard Disk Footer Format").

use claim::Digest;

use crate::gpt::guid;

/// Length of the footer, and of a sector.
pub const FOOTER: usize = 512;
/// Where the checksum is in the footer.
const CHECKSUM: usize = 64;
const FIXED: u32 = 2;
/// Programs that make disks by size instead of geometry, which would be rounded, say so with their name and the largest geometry:
/// this is what `qemu-img convert -o subformat=fixed,force_size=on` writes, which is what Azure's documentation asks for.
const CREATOR: &[u8; 4] = b"qem2";
const CREATOR_VERSION: u32 = 0x0005_0003;
const CREATOR_OS: &[u8; 4] = b"Wi2k";
/// 65535 cylinders, 16 heads, 255 sectors per track.
const GEOMETRY: [u8; 4] = [0xff, 0xff, 16, 255];

/// The footer of a raw disk of `length` bytes, a multiple of 1 MiB (which Azure asks for), with `content` as its hash. Time
/// stamp 0, the identity from the hash.
pub fn footer(length: u64, content: Digest) -> [u8; FOOTER] {
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
    fields.extend_from_slice(&GEOMETRY);
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
