//! Hashes of what a claim names: definitions, catalogs, policy bundles, payloads, entries.

use std::collections::BTreeMap;

use crate::digest::{Digest, Hasher};
use crate::json::{Json, JsonError};

/// SHA256(SA(value)).
pub fn sorted_ascii_hash(value: &Json) -> Digest {
    let mut bytes = Vec::with_capacity(512);
    value.write_sorted_ascii(&mut bytes);
    Digest::of(bytes)
}

/// `definition_hash` of a catalog entry's `approved_definition`, as written.
pub fn definition_hash(approved_definition: &Json) -> Digest {
    sorted_ascii_hash(approved_definition)
}

/// Hash of a catalog: its entries as written, sorted by `tool_name`. Entries without one sort first; the loader refuses
/// them.
pub fn catalog_hash(entries: &[Json]) -> Digest {
    let mut sorted: Vec<&Json> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.get("tool_name").and_then(Json::as_str));
    let mut hash = EntriesHasher::new();
    for entry in sorted {
        let mut bytes = Vec::with_capacity(1024);
        entry.write_sorted_ascii(&mut bytes);
        hash.push(&bytes);
    }
    hash.finish()
}

/// Digest of what must not drift in a tool, an element of MCP's `tools/list`: SA({description, input_schema, output_schema}),
/// with `title` and `annotations` where it has them. A missing input schema is `{}`, a missing description or output schema
/// null.
pub fn drift_digest(tool: &Json) -> Digest {
    let given = |name: &str| tool.get(name).filter(|value| !value.is_null()).cloned();
    let mut digested = Json::from([
        ("description", given("description").unwrap_or_default()),
        ("input_schema", given("inputSchema").unwrap_or_else(|| Json::from([]))),
        ("output_schema", given("outputSchema").unwrap_or_default()),
    ]);
    for name in ["title", "annotations"] {
        if let Some(value) = given(name) {
            digested = digested.with(name, value);
        }
    }
    sorted_ascii_hash(&digested)
}

/// Hash of a call's arguments.
pub fn request_payload_hash(arguments: &Json) -> Digest {
    sorted_ascii_hash(arguments)
}

/// Hash of a policy bundle: SHA256(JCS({manifest, policy_files, schema_hash})). `manifest` may still have its
/// `signature`; `policy_files` are the `*.cedar` files by POSIX path; `schema` is the text of `schema.cedarschema`.
pub fn bundle_hash<'a>(
    manifest: &Json,
    policy_files: impl IntoIterator<Item = (&'a str, &'a str)>,
    schema: &str,
) -> Result<Digest, JsonError> {
    let files: BTreeMap<String, Json> =
        policy_files.into_iter().map(|(path, text)| (path.to_owned(), text_hash(text).hex().into())).collect();
    let bundle = Json::from([
        ("manifest", manifest.without("signature")),
        ("policy_files", Json::Object(files)),
        ("schema_hash", text_hash(schema).hex().into()),
    ]);
    bundle.jcs().map(Digest::of)
}

/// SHA-256 of a text with CRLF and CR read as LF.
fn text_hash(text: &str) -> Digest {
    if text.contains('\r') { Digest::of(text.replace("\r\n", "\n").replace('\r', "\n")) } else { Digest::of(text) }
}

/// SHA256(SA([...])) over entries that are already sorted ASCII, one at a time: an export needs no more memory than
/// one entry. [`crate::key::Key::sign_bundle_digest`] signs the result.
#[derive(Clone, Default)]
pub struct EntriesHasher {
    hasher: Hasher,
    started: bool,
}

impl EntriesHasher {
    /// No entries yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next entry.
    pub fn push(&mut self, sorted_ascii: &[u8]) {
        self.hasher.update(if self.started { b"," } else { b"[" });
        self.hasher.update(sorted_ascii);
        self.started = true;
    }

    /// The digest of the array.
    pub fn finish(mut self) -> Digest {
        self.hasher.update(if self.started { &b"]"[..] } else { b"[]" });
        self.hasher.finish()
    }
}
