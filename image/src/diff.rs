//! How two images differ: which part, which section of a program, which file of an initramfs, which byte.

use std::fmt;

use serde::Serialize;

use crate::measurements::{Measurements, PARTS};
use crate::{cpio, gpt, pe, uki};

/// Something that two images do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What: a part by its file's name, or a member of `measurements.json`.
    pub what: String,
    /// In the first, if it is there.
    pub a: Option<String>,
    /// In the second, if it is there.
    pub b: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = |side: &Option<String>| side.clone().unwrap_or_else(|| "absent".to_owned());
        write!(formatter, "{}: {} against {}", self.what, absent(&self.a), absent(&self.b))
    }
}

/// Every difference: parts first, each after those that it is made from, then what is said of them, then what they were built from.
pub fn compare(a: &Measurements, b: &Measurements) -> Vec<Difference> {
    differences(&[parts(a), sayings(a)].concat(), &[parts(b), sayings(b)].concat())
}

/// What is said, in order: a name and a value each.
pub type Facts = Vec<(String, String)>;

/// The parts, in the order of [`PARTS`], then unknown ones.
pub fn parts(measurements: &Measurements) -> Facts {
    let known = |name: &str| PARTS.iter().position(|part| *part == name).unwrap_or(PARTS.len());
    let mut parts: Vec<_> = measurements.parts.iter().collect();
    parts.sort_by_key(|(name, _)| known(name));
    parts.into_iter().map(|(name, digest)| (name.clone(), digest.to_string())).collect()
}

/// Everything else in the file.
pub fn sayings(measurements: &Measurements) -> Facts {
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut facts = vec![
        fact("flavour", &measurements.flavour),
        fact("gateway_version", &measurements.gateway_version),
        fact("cmdline in measurements.json", &measurements.cmdline),
        fact("images", &json(&measurements.images)),
        fact("boot_paths", &json(&measurements.boot_paths)),
        fact("sizes", &json(&measurements.sizes)),
        fact("unreleasable", &json(&measurements.unreleasable)),
    ];
    facts.extend(measurements.inputs.iter().map(|input| {
        let digest = input.sha256.map(|digest| format!(" {digest}")).unwrap_or_default();
        (format!("input {}", input.name), format!("{}{digest}", input.version))
    }));
    facts
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The facts that two lists do not have alike, in their order.
pub fn differences(a: &[(String, String)], b: &[(String, String)]) -> Vec<Difference> {
    let value = |facts: &[(String, String)], what: &str| {
        facts.iter().find(|(own, _)| own == what).map(|(_, value)| value.clone())
    };
    let only_b = b.iter().filter(|(what, _)| value(a, what).is_none());
    a.iter()
        .chain(only_b)
        .map(|(what, _)| Difference { what: what.clone(), a: value(a, what), b: value(b, what) })
        .filter(|difference| difference.a != difference.b)
        .collect()
}

/// Where two parts begin to differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the part inwards: sections, files.
    pub within: Vec<String>,
    /// Bytes from the innermost one's beginning.
    pub inner: usize,
    /// Bytes from the first part's beginning.
    pub outer: usize,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { within, inner, outer, found } = self;
        write!(formatter, "{}, offset {inner} ({inner:#x}): {found}", within.join(", "))?;
        if within.len() > 1 {
            let part = within.first().map_or("", String::as_str);
            write!(formatter, "; offset {outer} ({outer:#x}) of {part}")?;
        }
        Ok(())
    }
}

/// Where the bytes of a part, by its file's name, begin to differ. None if they do not.
pub fn locate(part: &str, a: &[u8], b: &[u8]) -> Option<Place> {
    if a == b {
        return None;
    }
    let inside = match part {
        "enclave.efi" | "vmlinuz" | "section .linux" => program(a, b),
        "initramfs.cpio" => archive(a, b),
        "disk.raw" | "disk.vhd" => disk(a, b),
        _ => None,
    };
    let mut place = inside.or_else(|| first_byte(a, b))?;
    place.within.insert(0, part.to_owned());
    Some(place)
}

/// A named range that both have: where it is in the first, and its bytes.
struct Range<'a> {
    name: String,
    start: usize,
    a: Option<&'a [u8]>,
    b: Option<&'a [u8]>,
}

/// The first of the ranges that differs.
fn first_range<'a>(ranges: impl IntoIterator<Item = Range<'a>>) -> Option<Place> {
    ranges.into_iter().find_map(|Range { name, start, a, b }| match (a, b) {
        (Some(a), Some(b)) => {
            let place = locate(&name, a, b)?;
            Some(Place { outer: place.outer + start, ..place })
        }
        (None, None) => None,
        (a, _) => {
            let found = if a.is_some() { "only the first has it" } else { "only the second has it" };
            Some(Place { within: vec![name], inner: 0, outer: start, found: found.to_owned() })
        }
    })
}

fn first_byte(a: &[u8], b: &[u8]) -> Option<Place> {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    let byte = |side: &[u8]| side.get(at).map_or_else(|| "the end".to_owned(), |byte| format!("{byte:02x}"));
    let lengths = if a.len() == b.len() { String::new() } else { format!(" ({} bytes against {})", a.len(), b.len()) };
    let found = format!("{} against {}{lengths}", byte(a), byte(b));
    (a != b).then(|| Place { within: Vec::new(), inner: at, outer: at, found })
}

/// The first section that differs: what the stub starts first, for any difference there changes the headers too.
fn program(a: &[u8], b: &[u8]) -> Option<Place> {
    let (a, b) = (pe::parse(a).ok()?, pe::parse(b).ok()?);
    let mut names: Vec<&str> = vec![uki::CMDLINE, uki::INITRD, uki::LINUX];
    names.extend(a.sections().iter().chain(b.sections()).map(|section| section.name.as_str()));
    first_range(names.into_iter().map(|name| {
        let (own, other) = (range(&a, name), range(&b, name));
        let start = own.or(other).map_or(0, |(start, _)| start);
        Range {
            name: format!("section {name}"),
            start,
            a: own.map(|(_, bytes)| bytes),
            b: other.map(|(_, bytes)| bytes),
        }
    }))
}

/// Where the section of that name is, and its bytes without padding.
fn range<'a>(pe: &pe::Pe<'a>, name: &str) -> Option<(usize, &'a [u8])> {
    let section = pe.sections().iter().find(|section| section.name == name)?;
    Some((section.offset, section.content().unwrap_or(section.raw)))
}

/// The first file that differs.
fn archive(a: &[u8], b: &[u8]) -> Option<Place> {
    let (a, b) = (cpio::entries(a).ok()?, cpio::entries(b).ok()?);
    let place = |entry: &cpio::Entry<'_>, found: String| {
        Some(Place { within: vec![format!("file {}", entry.name)], inner: 0, outer: entry.offset, found })
    };
    for (own, other) in a.iter().zip(&b) {
        if own.name != other.name {
            return place(own, format!("{} is there instead", other.name));
        }
        if (own.mode, own.device) != (other.mode, other.device) {
            let (found, other) = ((own.mode, own.device), (other.mode, other.device));
            return place(
                own,
                format!("mode {:o}, device {:?} against {:o}, {:?}", found.0, found.1, other.0, other.1),
            );
        }
        let name = format!("file {}", own.name);
        let differs = first_range([Range { name, start: own.offset, a: Some(own.content), b: Some(other.content) }]);
        if differs.is_some() {
            return differs;
        }
    }
    match (a.get(b.len()), b.get(a.len())) {
        (Some(own), _) => place(own, "only the first has it".to_owned()),
        (_, Some(other)) => place(other, "only the second has it".to_owned()),
        _ => None,
    }
}

/// The first partition that differs; what is around them is the table, whose identities follow from the EFI program.
fn disk(a: &[u8], b: &[u8]) -> Option<Place> {
    let partitions = gpt::partitions(a).ok()?;
    first_range(partitions.iter().filter_map(|partition| {
        let bytes = partition.bytes();
        let range = usize::try_from(bytes.start).ok()?..usize::try_from(bytes.end).ok()?;
        let name = format!("partition {}", partition.name);
        Some(Range { name, start: range.start, a: a.get(range.clone()), b: b.get(range) })
    }))
}
