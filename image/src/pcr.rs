//! PCRs of the SHA-256 bank that an image leaves (TCG, "PC Client Platform Firmware Profile", 3.3.4; systemd-stub(7)).

use claim::Digest;
use sha2::{Digest as _, Sha256};

use crate::pe::PeError;
use crate::uki::{CMDLINE, INITRD, LINUX, Program};

/// What firmware measures before the first boot option (Firmware Profile, 10.4.4 "EV_EFI_ACTION").
const BOOT_OPTION: &[u8] = b"Calling EFI Application from Boot Option";
/// `EV_SEPARATOR`: firmware hands over (Firmware Profile, 3.3.4.2).
const SEPARATOR: [u8; 4] = [0; 4];

/// How firmware comes to the EFI program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootPath {
    /// A boot option: the program is on the disk's EFI system partition.
    Disk,
    /// QEMU's `-kernel`: firmware loads the program before it calls the boot option.
    Kernel,
}

impl BootPath {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Disk, Self::Kernel];

    /// As in `boot_paths` of `measurements.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Kernel => "kernel",
        }
    }
}

/// PCR 4: what firmware starts. Takes the Authenticode hashes of the EFI program and of the kernel in it.
pub fn boot_applications(path: BootPath, [program, kernel]: [Digest; 2]) -> Digest {
    let (action, separator) = (Digest::of(BOOT_OPTION), Digest::of(SEPARATOR));
    match path {
        BootPath::Disk => extended([action, separator, program, kernel]),
        BootPath::Kernel => extended([program, action, separator, kernel]),
    }
}

/// PCR 9: what the kernel's EFI stub is given, its command line as UTF-16 and its initramfs.
pub fn kernel_inputs(cmdline: &str, initrd: &[u8]) -> Digest {
    let mut utf16: Vec<u8> = cmdline.encode_utf16().flat_map(u16::to_le_bytes).collect();
    utf16.extend_from_slice(&[0; 2]);
    extended([Digest::of(utf16), Digest::of(initrd)])
}

/// PCR 11: the program's sections, each by name and content, in the order of systemd's list.
///
/// # Errors
/// A stub of a version whose list is not known here.
pub fn sections(program: &Program<'_>) -> Result<Digest, PeError> {
    let parts = &program.parts;
    let mut sections = vec![(LINUX, parts.linux), (CMDLINE, parts.cmdline.as_bytes()), (INITRD, parts.initrd)];
    if measures_sbat(&program.stub)? {
        sections.extend(program.sbat.map(|sbat| (".sbat", sbat)));
    }
    Ok(extended(
        sections
            .into_iter()
            .flat_map(|(name, content)| [Digest::of([name.as_bytes(), &[0]].concat()), Digest::of(content)]),
    ))
}

/// Stubs of systemd 252 leave `.sbat` alone, those of 257 measure it.
fn measures_sbat(version: &str) -> Result<bool, PeError> {
    match version.split(['.', '-', '~']).next() {
        Some("252") => Ok(false),
        Some("257") => Ok(true),
        _ => Err(PeError::Stub(format!("version {version}: what it measures is not known here, expected 252 or 257"))),
    }
}

/// A PCR that begins with zeros and is extended by `digests`.
fn extended(digests: impl IntoIterator<Item = Digest>) -> Digest {
    digests.into_iter().fold(Digest::from_bytes([0; 32]), |value, digest| {
        let extended = Sha256::new().chain_update(value.bytes()).chain_update(digest.bytes()).finalize();
        Digest::from_bytes(extended.into())
    })
}
