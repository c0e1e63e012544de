//! What an executable needs to be started where there is no file system: nothing but itself.
//!
//! System V ABI, "ELF Header" and "Program Header", 64 bits, little-endian.

/// x86-64, in `e_machine`.
const X86_64: u64 = 62;
/// A program header that names a dynamic linker.
const PT_INTERP: u64 = 3;

/// Why a file would not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Something else.
    #[error("no ELF executable for x86-64")]
    NotElf,
    /// Its program headers are not all there.
    #[error("an ELF executable that is cut off")]
    Cut,
    /// It names a dynamic linker.
    #[error(
        "linked dynamically, and there are no libraries where it runs: build it with RUSTFLAGS='-C target-feature=+crt-static' and \
         --target x86_64-unknown-linux-gnu"
    )]
    Dynamic,
}

/// That this is an executable for x86-64 which no dynamic linker has to start.
///
/// # Errors
/// It is none.
pub fn check_static(elf: &[u8]) -> Result<(), ElfError> {
    if !elf.starts_with(b"\x7fELF\x02\x01") || field::<2>(elf, 18) != Some(X86_64) {
        return Err(ElfError::NotElf);
    }
    if kinds(elf).ok_or(ElfError::Cut)?.contains(&PT_INTERP) { Err(ElfError::Dynamic) } else { Ok(()) }
}

/// The type of each program header.
fn kinds(elf: &[u8]) -> Option<Vec<u64>> {
    let (start, size, count) = (field::<8>(elf, 32)?, field::<2>(elf, 54)?, field::<2>(elf, 56)?);
    (0..count).map(|index| field::<4>(elf, start.checked_add(index * size)?)).collect()
}

fn field<const N: usize>(bytes: &[u8], at: u64) -> Option<u64> {
    let field: &[u8; N] = bytes.get(usize::try_from(at).ok()?..)?.first_chunk()?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An executable with its program headers at byte 320.
    fn elf(kinds: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; 320 + 56 * kinds.len()];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[18], elf[32], elf[33], elf[54], elf[56]) = (62, 0x40, 1, 56, u8::try_from(kinds.len()).unwrap());
        for (header, kind) in elf[320..].chunks_exact_mut(56).zip(kinds) {
            header[0] = *kind;
        }
        elf
    }

    #[test]
    fn only_what_starts_by_itself_is_accepted() {
        assert_eq!(check_static(&elf(&[6, 1, 1])), Ok(()));
        assert_eq!(check_static(&elf(&[6, 1, 3])), Err(ElfError::Dynamic));
        assert_eq!(check_static(&std::fs::read("/usr/bin/env").unwrap()), Err(ElfError::Dynamic));
        assert_eq!(check_static(b"#!/bin/sh"), Err(ElfError::NotElf));
        let mut other = elf(&[1]);
        other[18] = 183;
        assert_eq!(check_static(&other), Err(ElfError::NotElf));
        let whole = elf(&[6, 1]);
        assert_eq!(check_static(&whole[..320 + 56 + 3]), Err(ElfError::Cut));
        for length in 0..whole.len() - 56 {
            assert!(check_static(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn numbers_have_all_their_bytes() {
        assert_eq!(field::<4>(&[0xff, 0x78, 0x56, 0x34, 0x12], 1), Some(0x1234_5678));
        assert_eq!(field::<8>(&[0; 8], u64::MAX), None);
    }
}
