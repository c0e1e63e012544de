//! One entry of the catalog.

use claim::json::Json;
use claim::time::Timestamp;
use claim::{Digest, hashes, names};
use serde::Deserialize;
use wire::{BootRefusal, Document, RefusalCode};

use super::command::Scope;
use super::mirror::{self, Mirror};
use super::secret::SecretEntry;
use super::url::Endpoint;
use super::{Capability, Definition, RotationMode, Server, Tool, Transport, fingerprint};
use crate::document::{self, join, one_of, refusal};
use crate::labels::{Domain, Label};

/// Longest name of a server or approver in bytes.
const LONGEST_NAME: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tool_name: String,
    server: ServerEntry,
    approved_definition: DefinitionEntry,
    definition_hash: String,
    compliance_domain: String,
    #[serde(default)]
    requires_baa: bool,
    sensitivity_level: String,
    added_at: String,
    approved_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerEntry {
    display_name: String,
    pub(super) url: Option<String>,
    pub(super) tls_fingerprint: Option<String>,
    pub(super) transport: Transport,
    pub(super) rotation_mode: Option<RotationMode>,
    pub(super) command: Option<Vec<String>>,
    pub(super) entrypoint: Option<String>,
    pub(super) entrypoint_digest: Option<String>,
    pub(super) env: Option<Vec<String>>,
    pub(super) process: Option<Scope>,
    pub(super) secret: Option<SecretEntry>,
    #[serde(default)]
    capabilities: Vec<Capability>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefinitionEntry {
    description: String,
    title: Option<String>,
    input_schema: Json,
    output_schema: Option<Json>,
    annotations: Option<Json>,
}

/// Reads the entry at `at`.
pub(super) fn read(value: &Json, at: &str) -> Result<Tool, BootRefusal> {
    let entry: Entry = document::read(value, &Document::Catalog, at)?;
    let check = Check { at };
    check.tool_name(&entry.tool_name)?;
    check.name("approved_by", &entry.approved_by)?;
    Timestamp::parse(&entry.added_at)
        .map_err(|_| check.invalid("added_at", &entry.added_at, "a time in UTC such as 2026-06-05T00:00:00Z"))?;
    Ok(Tool {
        index: 0,
        server_index: 0,
        definition_hash: check.definition_hash(value, &entry.definition_hash)?,
        compliance_domain: check.domain(&entry.compliance_domain)?,
        sensitivity: check.sensitivity(&entry.sensitivity_level)?,
        server: check.server(entry.server)?,
        definition: check.definition(&entry.tool_name, entry.approved_definition)?,
        name: entry.tool_name,
        requires_baa: entry.requires_baa,
        added_at: entry.added_at,
        approved_by: entry.approved_by,
    })
}

/// Where the entry is, for refusals.
pub(super) struct Check<'a> {
    at: &'a str,
}

impl Check<'_> {
    pub(super) fn refuse(&self, code: RefusalCode, field: &str, found: &str, expected: &str) -> BootRefusal {
        refusal(code, &Document::Catalog, &join(self.at, field), found, expected)
    }

    pub(super) fn invalid(&self, field: &str, found: &str, expected: &str) -> BootRefusal {
        self.refuse(RefusalCode::InvalidValue, field, &format!("{found:?}"), expected)
    }

    fn tool_name(&self, name: &str) -> Result<(), BootRefusal> {
        names::check_tool(name).map_err(|_| self.invalid("tool_name", name, "1 to 128 characters of printable ASCII"))
    }

    /// Names reach the audit chain and claims, which hold printable ASCII only.
    fn name(&self, field: &str, name: &str) -> Result<(), BootRefusal> {
        let printable = name.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if printable && (1..=LONGEST_NAME).contains(&name.len()) {
            return Ok(());
        }
        Err(self.invalid(field, name, &format!("1 to {LONGEST_NAME} characters of printable ASCII")))
    }

    fn definition_hash(&self, entry: &Json, written: &str) -> Result<Digest, BootRefusal> {
        let computed = hashes::definition_hash(entry.get("approved_definition").unwrap_or(&Json::Null));
        if written == computed.prefixed() {
            return Ok(computed);
        }
        let expected = format!("{computed}, the SHA-256 of approved_definition as written");
        Err(self.refuse(RefusalCode::HashMismatch, "definition_hash", written, &expected))
    }

    fn domain(&self, name: &str) -> Result<Domain, BootRefusal> {
        let names = Domain::ALL.map(Domain::as_str);
        Domain::parse(name).ok_or_else(|| self.invalid("compliance_domain", name, &one_of(&names)))
    }

    fn sensitivity(&self, name: &str) -> Result<Label, BootRefusal> {
        let names = Label::ALL.map(Label::as_str);
        Label::parse(name).ok_or_else(|| self.invalid("sensitivity_level", name, &one_of(&names)))
    }

    fn server(&self, entry: ServerEntry) -> Result<Server, BootRefusal> {
        self.name("server.display_name", &entry.display_name)?;
        let place = self.place(&entry)?;
        let secret = self.secret(&entry, &place)?;
        let mut capabilities = entry.capabilities;
        capabilities.sort_unstable();
        capabilities.dedup();
        let tls_fingerprint = entry.tls_fingerprint.as_deref().map(|text| self.fingerprint(text)).transpose()?;
        Ok(Server {
            identity: entry.url.unwrap_or_else(|| format!("stdio:{}", entry.display_name)),
            display_name: entry.display_name,
            place,
            transport: entry.transport,
            tls_fingerprint,
            rotation_mode: entry.rotation_mode.unwrap_or_default(),
            secret,
            capabilities,
        })
    }

    pub(super) fn endpoint(&self, url: &str) -> Result<Endpoint, BootRefusal> {
        Endpoint::parse(url).map_err(|error| self.invalid("server.url", url, &error.to_string()))
    }

    fn fingerprint(&self, text: &str) -> Result<[u8; 32], BootRefusal> {
        let expected = "SHA256: and the base64 of 32 bytes: the SHA-256 of the key or certificate (docs/operate.md)";
        fingerprint::parse(text).ok_or_else(|| self.invalid("server.tls_fingerprint", text, expected))
    }

    fn definition(&self, name: &str, entry: DefinitionEntry) -> Result<Definition, BootRefusal> {
        let parts = [
            ("input_schema", Some(&entry.input_schema)),
            ("output_schema", entry.output_schema.as_ref()),
            ("annotations", entry.annotations.as_ref()),
        ];
        for (key, part) in parts {
            if let Some(part) = part.filter(|part| part.as_object().is_none()) {
                let field = format!("approved_definition.{key}");
                let found = document::text(part);
                return Err(self.refuse(RefusalCode::InvalidValue, &field, &found, "an object"));
            }
        }
        Ok(Definition {
            listing: listing(name, &entry),
            mirrored: self.mirrored(&entry.input_schema)?,
            description: entry.description,
            title: entry.title,
            input_schema: entry.input_schema,
            output_schema: entry.output_schema,
            annotations: entry.annotations,
        })
    }

    fn mirrored(&self, schema: &Json) -> Result<Vec<Mirror>, BootRefusal> {
        mirror::mirrors(schema).map_err(|invalid| {
            let field = format!("approved_definition.input_schema.{}", invalid.at);
            self.refuse(RefusalCode::InvalidValue, &field, &document::text(&invalid.found), invalid.expected)
        })
    }
}

/// `Tool` of MCP's `tools/list`; absent members are omitted.
fn listing(name: &str, entry: &DefinitionEntry) -> String {
    let members = [
        ("name", Some(Json::from(name))),
        ("title", entry.title.as_deref().map(Json::from)),
        ("description", Some(Json::from(entry.description.as_str()))),
        ("inputSchema", Some(entry.input_schema.clone())),
        ("outputSchema", entry.output_schema.clone()),
        ("annotations", entry.annotations.clone()),
    ];
    let present = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Json::Object(present.collect()).sorted_ascii()
}
