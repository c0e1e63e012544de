//! PE32+ files for x86-64, as far as UEFI programs need them (Microsoft, "PE Format").

/// Where the offset of the PE signature is ("MS-DOS Stub").
const SIGNATURE_OFFSET: usize = 0x3c;
const SIGNATURE: u64 = 0x4550;
const X86_64: u64 = 0x8664;
const PE32_PLUS: u64 = 0x20b;
/// Length of the COFF file header.
const COFF_HEADER: usize = 20;
/// Length of a section's header.
pub(crate) const SECTION_HEADER: usize = 40;
/// Number of the data directory that says where certificates are.
const CERTIFICATES: usize = 4;

/// Offsets in the COFF file header.
pub(crate) mod coff {
    pub(crate) const MACHINE: usize = 0;
    pub(crate) const SECTIONS: usize = 2;
    pub(crate) const SYMBOLS: usize = 8;
    pub(crate) const SYMBOL_COUNT: usize = 12;
    pub(crate) const OPTIONAL_HEADER: usize = 16;
}

/// Offsets in the optional header.
pub(crate) mod optional {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const INITIALIZED_DATA: usize = 8;
    pub(crate) const SECTION_ALIGNMENT: usize = 32;
    pub(crate) const FILE_ALIGNMENT: usize = 36;
    pub(crate) const IMAGE_SIZE: usize = 56;
    pub(crate) const HEADERS_SIZE: usize = 60;
    pub(crate) const CHECKSUM: usize = 64;
    pub(crate) const DIRECTORY_COUNT: usize = 108;
    pub(crate) const DIRECTORIES: usize = 112;
}

/// Why bytes are not a program that this crate reads, or not one that it can make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The file is too short for what it says it has.
    #[error("no UEFI program: {what} is at offset {offset} with {needed} bytes, the file has {length}")]
    Truncated {
        /// What is outside.
        what: String,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        needed: u64,
        /// The file's length.
        length: u64,
    },
    /// A number that this crate does not read.
    #[error("no UEFI program for x86-64: {what} is {found:#x}, expected {expected:#x}")]
    Unexpected {
        /// Which.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The value that is read.
        expected: u64,
    },
    /// Bytes between or in two sections: firmware and tools hash such files differently.
    #[error("section {name} begins at offset {found} of the file, expected {expected}, where the one before it ends")]
    Untiled {
        /// The section.
        name: String,
        /// Its offset.
        found: u64,
        /// The end of the headers or of the section before it.
        expected: u64,
    },
    /// A section whose memory is larger than its bytes, where the bytes are measured.
    #[error("section {name} has {found} bytes in the file, expected the {expected} that it has in memory")]
    Short {
        /// The section.
        name: String,
        /// Bytes in the file.
        found: u64,
        /// Bytes in memory.
        expected: u64,
    },
    /// A section that a program with kernel and initramfs must have.
    #[error("section {0} is missing: expected a program with .cmdline, .initrd and .linux")]
    Missing(&'static str),
    /// A section that must be there once.
    #[error("section {0} is there twice")]
    Twice(String),
    /// A section whose measurement is not predicted.
    #[error(
        "section {0} is there: it would be measured, and nothing predicts how; expected .cmdline, .initrd and .linux"
    )]
    Unpredicted(String),
    /// A stub without the sections' room, or of another version.
    #[error("stub: {0}")]
    Stub(String),
    /// A command line that firmware, stub and kernel would not all read alike.
    #[error("command line: {0}")]
    CommandLine(String),
    /// More than the format can say.
    #[error("{what}: {found} bytes, the format's limit is {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its length.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

/// A program that was read.
#[derive(Clone, Debug)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    /// Where the COFF file header is.
    coff: usize,
    /// In the order of their headers.
    sections: Vec<Section<'a>>,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Up to eight bytes; others than printable ASCII as U+FFFD.
    pub name: String,
    /// Where it is in memory.
    pub address: u64,
    /// Its length in memory.
    pub memory: u64,
    /// Where it is in the file.
    pub offset: usize,
    /// Its bytes in the file, with what pads them.
    pub raw: &'a [u8],
}

impl<'a> Section<'a> {
    /// The bytes that are in memory and in the file, which is what stubs measure.
    ///
    /// # Errors
    /// The file has fewer than the memory.
    pub fn content(&self) -> Result<&'a [u8], PeError> {
        let length = usize::try_from(self.memory).ok();
        length.and_then(|length| self.raw.get(..length)).ok_or_else(|| PeError::Short {
            name: self.name.clone(),
            found: self.raw.len() as u64,
            expected: self.memory,
        })
    }

    /// Where it ends in memory.
    pub(crate) fn end(&self) -> u64 {
        self.address + self.memory
    }
}

/// Reads a program's headers and sections.
///
/// # Errors
/// Another format or machine, a header or a section outside the file.
pub fn parse(bytes: &[u8]) -> Result<Pe<'_>, PeError> {
    let signature = number::<4>(bytes, "the offset of the PE signature", SIGNATURE_OFFSET as u64)?;
    expect("the PE signature", number::<4>(bytes, "the PE signature", signature)?, SIGNATURE)?;
    let coff = slice(bytes, "the COFF header", signature + 4, COFF_HEADER as u64)?.0;
    let mut pe = Pe { bytes, coff, sections: Vec::new() };
    expect("the machine", pe.coff::<2>(coff::MACHINE)?, X86_64)?;
    expect("the optional header's magic", pe.optional::<2>(optional::MAGIC)?, PE32_PLUS)?;
    let directories = pe.optional::<4>(optional::DIRECTORY_COUNT)?;
    if directories <= CERTIFICATES as u64 {
        return Err(PeError::Unexpected { what: "the number of data directories", found: directories, expected: 16 });
    }
    let headers = pe.headers()?;
    let count = pe.coff::<2>(coff::SECTIONS)?;
    let table = pe.section_table()?;
    slice(headers, "the section table", table, count * SECTION_HEADER as u64)?;
    pe.sections =
        (0..count).map(|index| section(bytes, table + index * SECTION_HEADER as u64)).collect::<Result<_, _>>()?;
    Ok(pe)
}

impl<'a> Pe<'a> {
    /// Its sections, in the order of their headers.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The section of that name.
    ///
    /// # Errors
    /// More than one has it.
    pub fn section(&self, name: &str) -> Result<Option<&Section<'a>>, PeError> {
        let mut named = self.sections.iter().filter(|section| section.name == name);
        let found = named.next();
        if named.next().is_some() { Err(PeError::Twice(name.to_owned())) } else { Ok(found) }
    }

    /// The bytes before the sections.
    pub fn headers(&self) -> Result<&'a [u8], PeError> {
        let size = self.optional::<4>(optional::HEADERS_SIZE)?;
        Ok(slice(self.bytes, "the headers", 0, size)?.1)
    }

    /// Where sections, which must follow each other without a gap, end in the file.
    pub(crate) fn tiled_end(&self) -> Result<usize, PeError> {
        let mut sections: Vec<_> = self.sections.iter().filter(|section| !section.raw.is_empty()).collect();
        sections.sort_by_key(|section| section.offset);
        sections.iter().try_fold(self.headers()?.len(), |expected, section| {
            if section.offset == expected {
                return Ok(expected + section.raw.len());
            }
            Err(PeError::Untiled {
                name: section.name.clone(),
                found: section.offset as u64,
                expected: expected as u64,
            })
        })
    }

    /// Where the certificates are in the file, if there are any.
    pub(crate) fn certificates(&self) -> Result<Option<(usize, usize)>, PeError> {
        let directory = self.certificate_directory()?;
        let offset = number::<4>(self.bytes, "the certificates' offset", directory as u64)?;
        let size = number::<4>(self.bytes, "the certificates' size", directory as u64 + 4)?;
        if size == 0 {
            return Ok(None);
        }
        let (start, table) = slice(self.bytes, "the certificate table", offset, size)?;
        Ok(Some((start, table.len())))
    }

    /// Offset of the data directory of certificates.
    pub(crate) fn certificate_directory(&self) -> Result<usize, PeError> {
        let at = self.optional_at(optional::DIRECTORIES + 8 * CERTIFICATES);
        Ok(slice(self.bytes, "the directory of certificates", at as u64, 8)?.0)
    }

    /// Offset in the file of a field of the COFF file header.
    pub(crate) const fn coff_at(&self, field: usize) -> usize {
        self.coff + field
    }

    /// Offset in the file of a field of the optional header.
    pub(crate) const fn optional_at(&self, field: usize) -> usize {
        self.coff + COFF_HEADER + field
    }

    /// Offset of the first section's header.
    pub(crate) fn section_table(&self) -> Result<u64, PeError> {
        Ok(self.optional_at(0) as u64 + self.coff::<2>(coff::OPTIONAL_HEADER)?)
    }

    fn coff<const N: usize>(&self, field: usize) -> Result<u64, PeError> {
        number::<N>(self.bytes, "the COFF header", self.coff_at(field) as u64)
    }

    pub(crate) fn optional<const N: usize>(&self, field: usize) -> Result<u64, PeError> {
        number::<N>(self.bytes, "the optional header", self.optional_at(field) as u64)
    }
}

fn section(bytes: &[u8], header: u64) -> Result<Section<'_>, PeError> {
    let field = |at: u64| number::<4>(bytes, "a section's header", header + at);
    let name = slice(bytes, "a section's name", header, 8)?.1;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name: String =
        name.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '\u{fffd}' }).collect();
    let (offset, raw) = slice(bytes, &format!("section {name}"), field(20)?, field(16)?)?;
    Ok(Section { name, address: field(12)?, memory: field(8)?, offset, raw })
}

fn expect(what: &'static str, found: u64, expected: u64) -> Result<(), PeError> {
    if found == expected { Ok(()) } else { Err(PeError::Unexpected { what, found, expected }) }
}

/// A little-endian number of `N` bytes, at most eight.
pub(crate) fn number<const N: usize>(bytes: &[u8], what: &str, offset: u64) -> Result<u64, PeError> {
    let (_, field) = slice(bytes, what, offset, N as u64)?;
    Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn slice<'a>(bytes: &'a [u8], what: &str, offset: u64, needed: u64) -> Result<(usize, &'a [u8]), PeError> {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(needed).ok()?)?;
        Some((start, bytes.get(start..end)?))
    };
    range().ok_or_else(|| PeError::Truncated { what: what.to_owned(), offset, needed, length: bytes.len() as u64 })
}
