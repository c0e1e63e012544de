//! The catalog: the tools that were approved, as they were approved.
//!
//! An entry names a tool, the server behind it and the definition that agents may see. Its `definition_hash` pins the
//! definition, the catalog hash pins all entries as written. Nothing is optional that a decision depends on: an entry
//! without sensitivity would otherwise be public by oversight.

mod command;
mod drift;
mod entry;
mod fingerprint;
mod mirror;
mod secret;
mod url;

use std::collections::BTreeMap;

use claim::entry::{EVIDENCE_HASH_ONLY, EVIDENCE_HOST_SPAWNED, EVIDENCE_TLS_PINNED};
use claim::json::Json;
use claim::{Digest, hashes};
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::{self, refusal};
use crate::labels::{Domain, Label};

pub use command::{Command, Scope};
pub use drift::{Comparison, Drift};
pub use fingerprint::{Pin, says};
pub use mirror::Mirror;
pub use secret::{Secret, Usage};
pub use url::{Endpoint, Scheme, UrlError};

/// A validated catalog.
#[derive(Clone, Debug)]
pub struct Catalog {
    tools: Vec<Tool>,
    servers: Vec<Server>,
    hash: Digest,
}

/// An approved tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Place in the catalog sorted by name, from 0.
    pub index: usize,
    /// The name that agents call: printable ASCII, 1 to 128 bytes.
    pub name: String,
    /// The server behind it.
    pub server: Server,
    /// Place of the server in the catalog's list.
    pub server_index: usize,
    /// The definition that agents see.
    pub definition: Definition,
    /// SHA-256 of the definition as written.
    pub definition_hash: Digest,
    /// The body of rules that governs it.
    pub compliance_domain: Domain,
    /// What a session holds after it was called.
    pub sensitivity: Label,
    /// Whether a business associate agreement (HIPAA) is needed to call it.
    pub requires_baa: bool,
    /// When it was approved, as written.
    pub added_at: String,
    /// Who approved it.
    pub approved_by: String,
}

/// The server behind a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in audit entries and policies.
    pub display_name: String,
    /// Where it is.
    pub place: Place,
    /// Its name in audit entries: the url as written, or `stdio:` and the display name.
    pub identity: String,
    /// How it speaks MCP.
    pub transport: Transport,
    /// SHA-256 of its TLS key or certificate, or the placeholder; unused over plain HTTP, absent over stdio.
    pub tls_fingerprint: Option<[u8; 32]>,
    /// What the fingerprint is of.
    pub rotation_mode: RotationMode,
    /// A secret that it is shown.
    pub secret: Option<Secret>,
    /// What it may do besides answering calls of its tools, in order, none twice.
    pub capabilities: Vec<Capability>,
}

impl Server {
    /// Whether the catalog approves of this.
    pub fn may(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The command, if the server is a process of the host.
    pub fn command(&self) -> Option<&Command> {
        match &self.place {
            Place::Remote(_) => None,
            Place::Process(command) => Some(command),
        }
    }

    /// Who shares the server's process, if it is one.
    pub fn scope(&self) -> Option<Scope> {
        self.command().map(|command| command.scope)
    }

    /// What it has to show in the TLS handshake, if that is pinned.
    pub fn pin(&self) -> Option<Pin> {
        match &self.place {
            Place::Remote(endpoint) if endpoint.scheme == Scheme::Https => self.written_pin(),
            _ => None,
        }
    }

    /// Whether something is pinned that plain HTTP does not show.
    pub fn has_idle_pin(&self) -> bool {
        self.pin() != self.written_pin()
    }

    fn written_pin(&self) -> Option<Pin> {
        self.tls_fingerprint.and_then(|sha256| Pin::new(self.rotation_mode, sha256))
    }

    /// What stands behind its answers besides their hashes in the chain.
    pub fn evidence_class(&self) -> &'static str {
        match self.place {
            Place::Remote(_) if self.pin().is_some() => EVIDENCE_TLS_PINNED,
            Place::Remote(_) => EVIDENCE_HASH_ONLY,
            Place::Process(_) => EVIDENCE_HOST_SPAWNED,
        }
    }

    /// Whether entries speak of the same server: a url is one, and so is the name of a process.
    fn is(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Remote(one), Place::Remote(other)) => one == other,
            (Place::Process(_), Place::Process(_)) => self.display_name == other.display_name,
            _ => false,
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Somewhere on the network.
    Remote(Endpoint),
    /// In a process that the host starts.
    Process(Command),
}

/// What a tool server may do besides tools, and may ask of agents; MCP's names of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Offer resources.
    Resources,
    /// Offer prompts.
    Prompts,
    /// Complete arguments.
    Completions,
    /// Send log messages.
    Logging,
    /// Ask the agent's model.
    Sampling,
    /// Ask the agent's user.
    Elicitation,
    /// Ask which folders the agent works in.
    Roots,
}

impl Capability {
    /// What a server offers.
    pub const OFFERED: [Self; 4] = [Self::Completions, Self::Logging, Self::Prompts, Self::Resources];
    /// What a server asks of agents.
    pub const ASKED: [Self; 3] = [Self::Sampling, Self::Elicitation, Self::Roots];

    /// MCP's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Prompts => "prompts",
            Self::Completions => "completions",
            Self::Logging => "logging",
            Self::Sampling => "sampling",
            Self::Elicitation => "elicitation",
            Self::Roots => "roots",
        }
    }
}

/// How a server speaks MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP with server-sent events, MCP 2024-11-05; answered in JSON too.
    HttpSse,
    /// Streamable HTTP, MCP 2025-03-26 and later.
    StreamableHttp,
    /// Lines on the standard input and output of a process.
    Stdio,
}

impl Transport {
    /// The name in catalogs and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpSse => "http-sse",
            Self::StreamableHttp => "streamable-http",
            Self::Stdio => "stdio",
        }
    }
}

/// What a TLS fingerprint is of, and so what a renewal may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationMode {
    /// The public key: a renewed certificate with the same key still matches.
    #[default]
    KeyPinned,
    /// The certificate: every renewal needs a new catalog.
    CertPinned,
}

/// A tool's definition in the words of MCP's `tools/list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// What it does, for the model.
    pub description: String,
    /// Name for people.
    pub title: Option<String>,
    /// JSON Schema of its arguments.
    pub input_schema: Json,
    /// JSON Schema of its structured result.
    pub output_schema: Option<Json>,
    /// Hints to clients.
    pub annotations: Option<Json>,
    /// The tool as an element of `tools/list`, in sorted ASCII.
    pub listing: String,
    /// Arguments that headers mirror.
    pub mirrored: Vec<Mirror>,
}

impl Catalog {
    /// Reads and checks `catalog.json`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its field, what was found and what was expected.
    pub fn parse(json: &[u8]) -> Result<Self, BootRefusal> {
        let tree = document::parse(json, &Document::Catalog)?;
        let Some(entries) = tree.as_array() else {
            let expected = "an array of catalog entries";
            return Err(refusal(RefusalCode::InvalidValue, &Document::Catalog, "", &document::text(&tree), expected));
        };
        let mut tools = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            let tool = entry::read(entry, &format!("[{place}]"))?;
            if let Some((earlier, _)) = tools.insert(tool.name.clone(), (place, tool)) {
                return Err(duplicate(entries, earlier, place));
            }
        }
        let tools = tools.into_values().map(|(_, tool)| tool).enumerate();
        let mut tools: Vec<Tool> = tools.map(|(index, tool)| Tool { index, ..tool }).collect();
        let servers = servers(&mut tools)?;
        Ok(Self { servers, tools, hash: hashes::catalog_hash(entries) })
    }

    /// The servers behind the tools, each once, in the order of their first tool.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The tools, by name.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The tools behind a server.
    pub fn behind(&self, server: usize) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(move |tool| tool.server_index == server)
    }

    /// The tool of this name.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        let place = self.tools.binary_search_by(|tool| tool.name.as_str().cmp(name)).ok()?;
        self.tools.get(place)
    }

    /// SHA-256 of the entries as written, sorted by name.
    pub const fn hash(&self) -> Digest {
        self.hash
    }
}

/// Entries of one server have to agree on what it may do: which of them decided would be an accident.
fn servers(tools: &mut [Tool]) -> Result<Vec<Server>, BootRefusal> {
    let mut servers: Vec<Server> = Vec::new();
    for tool in tools {
        let found = servers.iter().position(|server| server.is(&tool.server));
        tool.server_index = found.unwrap_or(servers.len());
        match servers.get(tool.server_index) {
            None => servers.push(tool.server.clone()),
            Some(server) if server.command() != tool.server.command() => return Err(other_command(tool, server)),
            Some(server) if server.pin() != tool.server.pin() => return Err(other_pin(tool, server)),
            Some(server) if server.secret != tool.server.secret => return Err(other_secret(tool, server)),
            Some(server) if server.capabilities == tool.server.capabilities => {}
            Some(server) => return Err(disagreement(tool, server)),
        }
    }
    Ok(servers)
}

fn disagreement(tool: &Tool, server: &Server) -> BootRefusal {
    let names = |server: &Server| {
        let names: Vec<&str> = server.capabilities.iter().map(|capability| capability.as_str()).collect();
        format!("[{}]", names.join(", "))
    };
    let field = format!("{}.server.capabilities", tool.name);
    let expected = format!("{}, as in the other entries of {}", names(server), server.identity);
    refusal(RefusalCode::InvalidValue, &Document::Catalog, &field, &names(&tool.server), &expected)
}

fn other_pin(tool: &Tool, server: &Server) -> BootRefusal {
    let words = |server: &Server| server.pin().map_or("no pin".to_owned(), |pin| format!("{pin} of the {}", pin.of()));
    let field = format!("{}.server.tls_fingerprint", tool.name);
    let expected = format!("{}, as in the other entries of {}", words(server), server.identity);
    refusal(RefusalCode::InvalidValue, &Document::Catalog, &field, &words(&tool.server), &expected)
}

fn other_secret(tool: &Tool, server: &Server) -> BootRefusal {
    let field = format!("{}.server.secret", tool.name);
    let found = tool.server.secret.as_ref().map_or("nothing", |secret| secret.name.as_str());
    let expected = format!("the same in all entries of {}", server.identity);
    refusal(RefusalCode::InvalidValue, &Document::Catalog, &field, found, &expected)
}

/// The name is the identity of a process in the audit chain, and one process is one command.
fn other_command(tool: &Tool, server: &Server) -> BootRefusal {
    let field = format!("{}.server.display_name", tool.name);
    let expected =
        "another name, or command, entrypoint, entrypoint_digest, env and process as in the other entries of this one";
    refusal(RefusalCode::InvalidValue, &Document::Catalog, &field, &format!("{:?}", server.display_name), expected)
}

fn duplicate(entries: &[Json], earlier: usize, place: usize) -> BootRefusal {
    let name = entries.get(place).and_then(|entry| entry.get("tool_name")).map(document::text).unwrap_or_default();
    let expected = format!("one entry per tool; entry [{earlier}] has this name already");
    refusal(RefusalCode::Duplicate, &Document::Catalog, &format!("[{place}].tool_name"), &name, &expected)
}

#[cfg(test)]
mod tests;
