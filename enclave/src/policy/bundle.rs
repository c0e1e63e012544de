//! The files of a policy bundle, and their hash.

use std::collections::BTreeMap;

use claim::{Digest, hashes};
use wire::{BootRefusal, Document, PolicyFile, RefusalCode, Text};

use super::manifest::Manifest;
use crate::document::{self, refusal};

/// The schema's file.
pub(super) const SCHEMA: &str = "schema.cedarschema";

pub(super) const MANIFEST: &str = "manifest.json";

/// Longest path in bytes; paths are part of policy ids, which reach the audit chain.
const LONGEST_PATH: usize = 100;

/// A bundle whose files are there and hashed, not yet understood.
pub(super) struct Bundle {
    pub(super) manifest: Manifest,
    /// Policy files by path, line ends as LF: what is hashed is what is parsed.
    pub(super) policies: BTreeMap<String, String>,
    pub(super) schema: String,
    pub(super) hash: Digest,
    pub(super) warnings: Vec<String>,
}

/// Where a bundle is from, before its policies are understood.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// SHA-256 of the bundle.
    pub hash: Digest,
    /// Its manifest's version: printable ASCII.
    pub version: &'a str,
    /// Its manifest's signature, as it is.
    pub signature: Option<&'a str>,
}

impl Bundle {
    /// Where it is from.
    pub(super) fn provenance(&self) -> Provenance<'_> {
        let Manifest { version, signature, .. } = &self.manifest;
        Provenance { hash: self.hash, version, signature: signature.as_deref() }
    }

    pub(super) fn read(files: &[PolicyFile]) -> Result<Self, BootRefusal> {
        let files = by_path(files)?;
        let tree = document::parse(required(&files, MANIFEST)?, &document_of(MANIFEST))?;
        let manifest = Manifest::read(&tree, &document_of(MANIFEST))?;
        let schema = text(SCHEMA, required(&files, SCHEMA)?)?;
        let policies = files.iter().filter(|(path, _)| is_policy(path));
        let policies = policies.map(|(path, bytes)| Ok(((*path).to_owned(), text(path, bytes)?)));
        let policies: BTreeMap<_, _> = policies.collect::<Result<_, BootRefusal>>()?;
        if policies.is_empty() {
            let expected = "at least one file that ends in .cedar";
            return Err(refusal(RefusalCode::Missing, &document_of("*.cedar"), "", "nothing", expected));
        }
        let texts = policies.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        let hash = hashes::bundle_hash(&tree, texts, &schema).map_err(|error| {
            let expected = "strings and whole numbers up to 2^53-1: the manifest is hashed as RFC 8785";
            refusal(RefusalCode::InvalidValue, &document_of(MANIFEST), "", &error.to_string(), expected)
        })?;
        let warnings = warnings(&files);
        Ok(Self { manifest, policies, schema, hash, warnings })
    }
}

/// The refusal's name of a file.
pub(super) fn document_of(path: &str) -> Document {
    Document::Policy(path.into())
}

fn is_policy(path: &str) -> bool {
    path.as_bytes().ends_with(b".cedar")
}

fn by_path(files: &[PolicyFile]) -> Result<BTreeMap<&str, &[u8]>, BootRefusal> {
    let mut found = BTreeMap::new();
    for PolicyFile { path: Text(path), bytes } in files {
        if !is_relative(path) {
            let expected =
                format!("a relative path of at most {LONGEST_PATH} printable ASCII characters, without . or ..");
            return Err(refusal(RefusalCode::InvalidValue, &document_of(path), "", path, &expected));
        }
        if found.insert(path.as_str(), bytes.0.as_slice()).is_some() {
            return Err(refusal(RefusalCode::Duplicate, &document_of(path), "", path, "each file once"));
        }
    }
    Ok(found)
}

fn is_relative(path: &str) -> bool {
    path.len() <= LONGEST_PATH
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && path.split('/').all(|step| !matches!(step, "" | "." | ".."))
}

fn required<'a>(files: &BTreeMap<&str, &'a [u8]>, path: &str) -> Result<&'a [u8], BootRefusal> {
    let expected = "a file of this name in the policy bundle";
    let missing = || refusal(RefusalCode::Missing, &document_of(path), "", "nothing", expected);
    files.get(path).copied().ok_or_else(missing)
}

fn text(path: &str, bytes: &[u8]) -> Result<String, BootRefusal> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        refusal(RefusalCode::Malformed, &document_of(path), "", &error.to_string(), "text in UTF-8")
    })?;
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

fn warnings(files: &BTreeMap<&str, &[u8]>) -> Vec<String> {
    let surplus = files.keys().filter(|path| !is_policy(path) && ![MANIFEST, SCHEMA].contains(path));
    surplus.map(|path| format!("{path} is neither hashed nor read: it is not part of the bundle")).collect()
}
