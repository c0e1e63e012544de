//! The EFI system partition: FAT32 with one file at the path that firmware starts without being told (UEFI Specification 2.10, 3.5.1.1).

use std::io::{self, Cursor, Write};

use claim::Digest;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// Where the EFI program is.
pub const PATH: &str = "EFI/BOOT/BOOTX64.EFI";

const MIB: u64 = 1 << 20;
/// FAT32 has at least 65525 clusters: 40 MiB has more of 512 bytes, with room for the tables.
const SMALLEST: u64 = 40 * MIB;
/// Room for the tables and folders beside the program.
const OVERHEAD: u64 = 8 * MIB;

/// Bytes of the partition for a program of that length: whole MiB.
pub fn length(program: usize) -> u64 {
    (program as u64 + OVERHEAD).next_multiple_of(MIB).max(SMALLEST)
}

/// The file system with the program in it. Times are 0, the volume's identity comes from the program.
///
/// # Errors
/// None that the arguments can bring about: the partition has room.
pub fn file_system(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length(program.len())).map_err(io::Error::other)?];
    let [a, b, c, d, ..] = *Digest::of(program).bytes();
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(u32::from_le_bytes([a, b, c, d]))
        .volume_label(*b"ESP        ");
    fatfs::format_volume(Cursor::new(&mut bytes), options)?;
    write(&mut bytes, program)?;
    correct_parent(&mut bytes).ok_or_else(|| io::Error::other("FAT32: no folder where the first one is expected"))?;
    Ok(bytes)
}

fn write(bytes: &mut [u8], program: &[u8]) -> io::Result<()> {
    let file_system = FileSystem::new(Cursor::new(bytes), FsOptions::new())?;
    let root = file_system.root_dir();
    root.create_dir("EFI")?;
    root.create_dir("EFI/BOOT")?;
    let mut file = root.create_file(PATH)?;
    file.write_all(program)?;
    file.flush()?;
    drop(file);
    drop(root);
    // Counts free clusters, which are then written with the rest.
    file_system.stats()?;
    file_system.unmount()
}

/// The library gives `..` of a folder in the root the root's cluster, where 0 is right (Microsoft, "FAT32 File System Specification",
/// 6.5 "Directory creation"); `fsck.fat` says so. The first folder, EFI, is the cluster behind the root's.
fn correct_parent(bytes: &mut [u8]) -> Option<()> {
    let number = |at: usize, length: usize| {
        let field = bytes.get(at..at + length)?;
        Some(field.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    let (reserved, tables, sectors) = (number(14, 2)?, number(16, 1)?, number(36, 4)?);
    let folder = (reserved + tables * sectors + 1) * 512;
    let entry = bytes.get_mut(folder..)?.get_mut(32..64).filter(|entry| entry.starts_with(b"..         "))?;
    for half in [20..22, 26..28] {
        entry.get_mut(half)?.fill(0);
    }
    Some(())
}
