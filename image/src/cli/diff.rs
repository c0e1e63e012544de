//! `image diff`.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::Digest;

use super::{CliError, Exit, in_file, read};
use crate::diff::{Difference, Facts, differences, locate, parts, sayings};
use crate::measurements::{FILE, Measurements, PARTS};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An image's folder, or its measurements.json
    a: PathBuf,
    /// The other one's
    b: PathBuf,
}

/// One of the two.
struct Side {
    /// Where its parts are, if it is a folder.
    folder: Option<PathBuf>,
    parts: Facts,
    /// What its measurements.json says, if it has one.
    said: Option<Facts>,
}

/// Prints each part, whether it is the same, and where the first one that is not begins to differ.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let (a, b) = (Side::load(&args.a)?, Side::load(&args.b)?);
    let different = different(&a, &b);
    let is_different = |what: &str| different.iter().any(|difference| difference.what == what);
    for (what, digest) in a.parts.iter().filter(|(what, _)| !is_different(what)) {
        writeln!(out, "same     {what}: {digest}")?;
    }
    for difference in &different {
        writeln!(out, "differs  {difference}")?;
    }
    let Some(first) = different.first() else { return Ok(Exit::Done) };
    writeln!(out, "The first difference is {}.", explain(first, &a, &b)?)?;
    Ok(Exit::Different)
}

fn different(a: &Side, b: &Side) -> Vec<Difference> {
    let mut different = differences(&a.parts, &b.parts);
    if let (Some(a), Some(b)) = (&a.said, &b.said) {
        different.extend(differences(a, b));
    }
    different
}

/// Where it begins, if both have the bytes.
fn explain(first: &Difference, a: &Side, b: &Side) -> Result<String, CliError> {
    let what = &first.what;
    let is_part = first.a.is_some() && first.b.is_some() && PARTS.contains(&what.as_str());
    match (&a.folder, &b.folder) {
        (Some(a), Some(b)) if is_part => {
            let place = locate(what, &read(&a.join(what))?, &read(&b.join(what))?);
            Ok(place.map_or_else(|| what.clone(), |place| format!("in {place}")))
        }
        (None, _) | (_, None) if is_part => Ok(format!("{what}; two folders would also show where in it")),
        _ => Ok(what.clone()),
    }
}

impl Side {
    fn load(path: &Path) -> Result<Self, CliError> {
        if !path.is_dir() {
            let measurements = measurements(path)?;
            return Ok(Self { folder: None, parts: parts(&measurements), said: Some(sayings(&measurements)) });
        }
        let found = files(path)?;
        let file = path.join(FILE);
        let said = if file.exists() { Some(measurements(&file)?) } else { None };
        if found.is_empty() {
            return Err(in_file(path)(&format!("no part of an image in it, expected {}", PARTS.join(", "))));
        }
        if let Some(lie) = said.as_ref().and_then(|said| differences(&parts(said), &found).into_iter().next()) {
            return Err(in_file(&file)(&format!("does not tell of the files beside it: {lie}")));
        }
        Ok(Self { folder: Some(path.to_owned()), parts: found, said: said.as_ref().map(sayings) })
    }
}

/// The parts that are in a folder.
fn files(folder: &Path) -> Result<Facts, CliError> {
    let there = PARTS.iter().filter(|part| folder.join(part).exists());
    there.map(|part| Ok(((*part).to_owned(), Digest::of(read(&folder.join(part))?).to_string()))).collect()
}

fn measurements(path: &Path) -> Result<Measurements, CliError> {
    Measurements::parse(&read(path)?).map_err(|error| in_file(path)(&error))
}
