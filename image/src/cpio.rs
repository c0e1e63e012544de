//! The initramfs: a cpio archive in the `newc` format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Owner and group are 0, times are 0, and inodes count from 1 in the order of the entries.

/// Begins every entry.
const MAGIC: &[u8] = b"070701";
/// The entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// Magic and 13 numbers of eight hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;
/// Names and contents begin at multiples of this.
const ALIGNMENT: usize = 4;
/// What programs that read tapes expect an archive's length to be a multiple of.
const BLOCK: usize = 512;

const DIRECTORY: u32 = 0o040_755;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;

/// An archive that is being written.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

/// What an entry's header says besides its name and length.
#[derive(Clone, Copy, Default)]
struct Attributes {
    inode: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
}

impl Archive {
    /// An archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder, `rwxr-xr-x`.
    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(name, Attributes { mode: DIRECTORY, links: 2, ..Attributes::default() }, &[])
    }

    /// A character device with the given permissions and numbers.
    #[must_use]
    pub fn node(self, name: &str, permissions: u32, major: u32, minor: u32) -> Self {
        let mode = CHARACTER_DEVICE | permissions;
        self.entry(name, Attributes { mode, links: 1, device: (major, minor), ..Attributes::default() }, &[])
    }

    /// A file of less than 4 GiB, which is the format's limit.
    #[must_use]
    pub fn file(self, name: &str, permissions: u32, content: impl AsRef<[u8]>) -> Self {
        let mode = REGULAR | permissions;
        self.entry(name, Attributes { mode, links: 1, ..Attributes::default() }, content.as_ref())
    }

    /// The archive's bytes, a multiple of 512.
    pub fn finish(mut self) -> Vec<u8> {
        self.append(TRAILER, Attributes { links: 1, ..Attributes::default() }, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self.bytes
    }

    fn entry(mut self, name: &str, attributes: Attributes, content: &[u8]) -> Self {
        self.inode = self.inode.saturating_add(1);
        self.append(name, Attributes { inode: self.inode, ..attributes }, content);
        self
    }

    fn append(&mut self, name: &str, attributes: Attributes, content: &[u8]) {
        let Attributes { inode, mode, links, device: (major, minor) } = attributes;
        self.bytes.extend_from_slice(MAGIC);
        for number in [inode, mode, 0, 0, links, 0] {
            self.number(number as usize);
        }
        self.number(content.len());
        for number in [0, 0, major, minor] {
            self.number(number as usize);
        }
        self.number(name.len().saturating_add(1));
        self.number(0);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn number(&mut self, number: usize) {
        self.bytes.extend_from_slice(format!("{number:08X}").as_bytes());
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// An entry of an archive that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path, without a slash in front.
    pub name: String,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Major and minor number, of a device.
    pub device: (u32, u32),
    /// Where the content begins in the archive.
    pub offset: usize,
    /// The file's bytes.
    pub content: &'a [u8],
}

/// Bytes that are no archive as this module writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no newc archive: offset {offset}: {why}")]
pub struct CpioError {
    /// Where.
    pub offset: usize,
    /// What was found, or what was expected.
    pub why: String,
}

/// The entries of an archive, without the one that ends it.
///
/// # Errors
/// Another format, a number that is none, an entry that the archive is too short for, no end.
pub fn entries(archive: &[u8]) -> Result<Vec<Entry<'_>>, CpioError> {
    let mut entries = Vec::new();
    let mut offset = 0;
    loop {
        let (entry, next) = entry_at(archive, offset)?;
        if entry.name == TRAILER {
            return Ok(entries);
        }
        entries.push(entry);
        offset = next;
    }
}

fn entry_at(archive: &[u8], offset: usize) -> Result<(Entry<'_>, usize), CpioError> {
    let fail = |why: &str| CpioError { offset, why: why.to_owned() };
    let bytes = |at: usize, length: usize| {
        let slice = at.checked_add(length).and_then(|end| archive.get(at..end));
        slice.ok_or_else(|| fail("the archive ends inside an entry"))
    };
    let header = bytes(offset, HEADER)?;
    let Some(digits) = header.strip_prefix(MAGIC) else { return Err(fail("expected 070701")) };
    let number = |index: usize| {
        let text = digits.chunks(8).nth(index).and_then(|digits| str::from_utf8(digits).ok());
        text.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or_else(|| fail("a number that is not hexadecimal"))
    };
    let (size, name_size) = (number(6)? as usize, number(11)? as usize);
    let name_at = offset + HEADER;
    let name = bytes(name_at, name_size)?.strip_suffix(&[0]).ok_or_else(|| fail("a name without an end"))?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| fail("a name that is not UTF-8"))?;
    let at = (name_at + name_size).next_multiple_of(ALIGNMENT);
    let entry =
        Entry { name, mode: number(1)?, device: (number(9)?, number(10)?), offset: at, content: bytes(at, size)? };
    Ok((entry, (at + size).next_multiple_of(ALIGNMENT)))
}
