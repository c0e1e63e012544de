//! The one EFI program: stub, command line, initramfs and kernel (UAPI group, "Unified Kernel Image").
//!
//! Sections are appended to the stub as data; the stub measures them into PCR 11 and starts the kernel.

use crate::pe::{self, Pe, PeError, SECTION_HEADER, Section, coff, optional};

/// Of the command line.
pub const CMDLINE: &str = ".cmdline";
/// Of the initramfs.
pub const INITRD: &str = ".initrd";
/// Of the kernel.
pub const LINUX: &str = ".linux";

/// Sections of the specification that stubs act on and that this crate does not put in.
const OTHERS: [&str; 12] = [
    ".osrel", ".uname", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids", ".efifw", ".pcrsig", ".pcrpkey", ".profile",
    ".initrdx",
];
/// `IMAGE_SCN_CNT_INITIALIZED_DATA` and `IMAGE_SCN_MEM_READ`.
const READABLE_DATA: u32 = 0x4000_0040;
/// Stubs align sections to sectors or pages; what is aligned to more is a mistake.
const LARGEST_ALIGNMENT: u64 = 1 << 16;
/// Where a stub says its version.
const MAGIC_SECTION: &str = ".sdmagic";
/// What a stub says before its version.
const MAGIC: &str = "#### LoaderInfo: systemd-stub ";

/// What a stub starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The command line: printable ASCII.
    pub cmdline: &'a str,
    /// The initramfs.
    pub initrd: &'a [u8],
    /// The kernel, itself a UEFI program.
    pub linux: &'a [u8],
}

/// The program that starts `parts`.
///
/// The stub's symbols, which nothing loads and which would be a gap between sections, are left out.
///
/// # Errors
/// A stub or kernel that is no program, a stub that already has a part or no room for three more sections, a command line that
/// is empty, begins or ends with a space or is not printable ASCII, parts of more than 4 GiB.
pub fn assemble(stub: &[u8], parts: &Parts<'_>) -> Result<Vec<u8>, PeError> {
    check_command_line(parts.cmdline.as_bytes())?;
    pe::parse(parts.linux)?;
    let mut image = Image::of(stub)?;
    image.append(CMDLINE, parts.cmdline.as_bytes())?;
    image.append(INITRD, parts.initrd)?;
    image.append(LINUX, parts.linux)?;
    Ok(image.bytes)
}

/// A program that is being assembled.
struct Image<'a> {
    pe: Pe<'a>,
    bytes: Vec<u8>,
    /// Where the next section goes in memory.
    address: u64,
    /// Sections so far.
    sections: u64,
    section_alignment: u64,
    file_alignment: u64,
}

impl<'a> Image<'a> {
    fn of(stub: &'a [u8]) -> Result<Self, PeError> {
        let pe = pe::parse(stub)?;
        for name in [CMDLINE, INITRD, LINUX] {
            if pe.section(name)?.is_some() {
                return Err(PeError::Stub(format!("has a section {name}, so that it is no stub but a whole program")));
            }
        }
        if pe.certificates()?.is_some() {
            return Err(PeError::Stub("is signed; another program would be signed by nobody".to_owned()));
        }
        let alignment = |field| -> Result<u64, PeError> {
            let alignment: u64 = pe.optional::<4>(field)?;
            if alignment.is_power_of_two() && alignment <= LARGEST_ALIGNMENT {
                return Ok(alignment);
            }
            Err(PeError::Stub(format!(
                "an alignment of {alignment:#x}, expected a power of two up to {LARGEST_ALIGNMENT:#x}"
            )))
        };
        let (section_alignment, file_alignment) =
            (alignment(optional::SECTION_ALIGNMENT)?, alignment(optional::FILE_ALIGNMENT)?);
        let address = pe.sections().iter().map(Section::end).max().unwrap_or_default();
        let bytes = stub.get(..pe.tiled_end()?).unwrap_or_default().to_vec();
        let sections = pe.sections().len() as u64;
        let mut image = Self { pe, bytes, address, sections, section_alignment, file_alignment };
        for field in [image.pe.coff_at(coff::SYMBOLS), image.pe.coff_at(coff::SYMBOL_COUNT)] {
            image.put(field, &[0; 4])?;
        }
        image.put(image.pe.optional_at(optional::CHECKSUM), &[0; 4])?;
        Ok(image)
    }

    fn append(&mut self, name: &str, content: &[u8]) -> Result<(), PeError> {
        self.address = self.address.next_multiple_of(self.section_alignment);
        self.pad(self.file_alignment)?;
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(content);
        self.pad(self.file_alignment)?;
        let raw = self.bytes.len() as u64 - offset;
        self.header(name, [content.len() as u64, self.address, raw, offset])?;
        self.address += content.len() as u64;
        self.count(raw)
    }

    /// Writes a section's header: its length in memory, its address, its length in the file, its offset.
    fn header(&mut self, name: &str, fields: [u64; 4]) -> Result<(), PeError> {
        let at = offset(self.pe.section_table()? + self.sections * SECTION_HEADER as u64)?;
        let room = self.pe.headers()?.get(at..).and_then(|rest| rest.get(..SECTION_HEADER));
        if room.is_none_or(|room| room.iter().any(|byte| *byte != 0)) {
            return Err(PeError::Stub(format!("no room in its headers for section {name}")));
        }
        self.put(at, name.as_bytes())?;
        for (index, field) in fields.into_iter().enumerate() {
            self.put(at + 8 + 4 * index, &four(name, field)?)?;
        }
        self.put(at + 36, &READABLE_DATA.to_le_bytes())
    }

    /// Counts a section of `raw` bytes in the file, which ends at `self.address`.
    fn count(&mut self, raw: u64) -> Result<(), PeError> {
        self.sections += 1;
        let sections = u16::try_from(self.sections).unwrap_or(u16::MAX);
        self.put(self.pe.coff_at(coff::SECTIONS), &sections.to_le_bytes())?;
        let field = self.pe.optional_at(optional::INITIALIZED_DATA);
        let data = pe::number::<4>(&self.bytes, "the size of initialised data", field as u64)? + raw;
        self.put(field, &four("the data", data)?)?;
        let size = four("the program", self.address.next_multiple_of(self.section_alignment))?;
        self.put(self.pe.optional_at(optional::IMAGE_SIZE), &size)
    }

    fn pad(&mut self, alignment: u64) -> Result<(), PeError> {
        let length = offset((self.bytes.len() as u64).next_multiple_of(alignment))?;
        self.bytes.resize(length, 0);
        Ok(())
    }

    fn put(&mut self, at: usize, value: &[u8]) -> Result<(), PeError> {
        let length = self.bytes.len() as u64;
        let field = self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len()));
        let needed = value.len() as u64;
        let what = || "a header's field".to_owned();
        field
            .ok_or_else(|| PeError::Truncated { what: what(), offset: at as u64, needed, length })
            .map(|field| field.copy_from_slice(value))
    }
}

fn offset(number: u64) -> Result<usize, PeError> {
    usize::try_from(number).map_err(|_| too_large("the program", number))
}

fn four(what: &str, number: u64) -> Result<[u8; 4], PeError> {
    u32::try_from(number).map(u32::to_le_bytes).map_err(|_| too_large(what, number))
}

fn too_large(what: &str, found: u64) -> PeError {
    PeError::TooLarge { what: what.to_owned(), found, limit: u32::MAX.into() }
}

fn check_command_line(text: &[u8]) -> Result<&str, PeError> {
    if text.is_empty() {
        return Err(PeError::CommandLine("it is empty: anybody's would then be taken".to_owned()));
    }
    if let Some((offset, byte)) = text.iter().enumerate().find(|(_, byte)| !matches!(byte, b' '..=b'~')) {
        return Err(PeError::CommandLine(format!("byte {byte:#04x} at offset {offset}, expected printable ASCII")));
    }
    if text.trim_ascii() != text {
        return Err(PeError::CommandLine("it begins or ends with a space".to_owned()));
    }
    str::from_utf8(text).map_err(|error| PeError::CommandLine(error.to_string()))
}

/// A program that was read.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// What the stub starts.
    pub parts: Parts<'a>,
    /// The stub's version, as it says.
    pub stub: String,
    /// The stub's generations for revocation.
    pub sbat: Option<&'a [u8]>,
}

/// Reads a program that [`assemble`] made, or one of the same parts.
///
/// # Errors
/// No program, a part missing or twice, a section that stubs act on and that is no part, no stub's version.
pub fn read(program: &[u8]) -> Result<Program<'_>, PeError> {
    let pe = pe::parse(program)?;
    let content = |name| pe.section(name)?.map(Section::content).transpose();
    for name in OTHERS {
        if content(name)?.is_some() {
            return Err(PeError::Unpredicted(name.to_owned()));
        }
    }
    let part = |name| content(name)?.ok_or(PeError::Missing(name));
    let parts = Parts { cmdline: check_command_line(part(CMDLINE)?)?, initrd: part(INITRD)?, linux: part(LINUX)? };
    Ok(Program { parts, stub: version(content(MAGIC_SECTION)?.unwrap_or_default())?, sbat: content(".sbat")? })
}

fn version(magic: &[u8]) -> Result<String, PeError> {
    let text = String::from_utf8_lossy(magic);
    let version = text.strip_prefix(MAGIC).and_then(|rest| rest.split(' ').next());
    let unknown = || PeError::Stub(format!("says {text:?} in {MAGIC_SECTION}, expected \"{MAGIC}VERSION ####\""));
    version.map(str::to_owned).ok_or_else(unknown)
}
