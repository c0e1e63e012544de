//! What a call is on, and what follows from it for policy, labels and the audit entry.

use claim::Digest;
use claim::json::Json;

use crate::catalog::{Catalog, Server, Tool};
use crate::labels::{Domain, Labels};
use crate::policy::{Action, ObjectKind};

/// Longest object id that an entry holds in full; of a longer one it holds the hash.
const LONGEST_OBJECT: usize = 1024;

/// What a call is on.
#[derive(Clone, Debug)]
pub(super) enum About {
    /// Nothing that the catalog has.
    Unknown,
    /// A tool, by its place in the catalog.
    Tool(usize),
    /// Anything else of a tool server.
    Other {
        /// The MCP method.
        method: &'static str,
        /// Its Cedar action.
        action: Action,
        /// What `id` names.
        kind: ObjectKind,
        /// The server's place in the catalog.
        server: usize,
        /// The Cedar id.
        id: String,
    },
}

impl About {
    pub(super) fn tool<'a>(&self, catalog: &'a Catalog) -> Option<&'a Tool> {
        match self {
            Self::Tool(index) => catalog.tools().get(*index),
            Self::Unknown | Self::Other { .. } => None,
        }
    }

    /// The tool as the host knows it: its place in the catalog.
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Tool(index) => u32::try_from(*index).unwrap_or(u32::MAX),
            Self::Unknown | Self::Other { .. } => u32::MAX,
        }
    }

    pub(super) fn server<'a>(&self, catalog: &'a Catalog) -> Option<&'a Server> {
        match self {
            Self::Unknown => None,
            Self::Tool(_) => self.tool(catalog).map(|tool| &tool.server),
            Self::Other { server, .. } => catalog.servers().get(*server),
        }
    }

    /// What a session holds after the call, beyond what it held: what a tool returns, or what any tool of the server does.
    pub(super) fn labels(&self, catalog: &Catalog) -> Labels {
        match self {
            Self::Tool(_) => self.tool(catalog).map_or(Labels::PUBLIC, |tool| Labels::of(tool.sensitivity)),
            Self::Other { action: Action::ReadResource | Action::GetPrompt | Action::Complete, server, .. } => {
                catalog.behind(*server).map(|tool| tool.sensitivity).collect()
            }
            Self::Unknown | Self::Other { .. } => Labels::PUBLIC,
        }
    }

    /// The domain that a call touches, if there is one and only one.
    pub(super) fn domain(&self, catalog: &Catalog) -> Option<Domain> {
        match self {
            Self::Unknown => None,
            Self::Tool(_) => self.tool(catalog).map(|tool| tool.compliance_domain),
            Self::Other { server, .. } => {
                let mut domains = catalog.behind(*server).map(|tool| tool.compliance_domain);
                let first = domains.next()?;
                domains.all(|domain| domain == first).then_some(first)
            }
        }
    }

    /// What a crossing of domains names.
    pub(super) fn name<'a>(&'a self, catalog: &'a Catalog) -> &'a str {
        match self {
            Self::Unknown => "",
            Self::Tool(_) => self.tool(catalog).map_or("", |tool| tool.name.as_str()),
            Self::Other { method, .. } => method,
        }
    }

    /// What is known of the process that was used, if it was one.
    pub(super) fn process(&self, catalog: &Catalog) -> Vec<(&'static str, Json)> {
        let Some(command) = self.server(catalog).and_then(Server::command) else { return Vec::new() };
        vec![
            ("entrypoint", Json::from("host-reported, unverified")),
            ("entrypoint_digest", Json::String(command.entrypoint_digest.prefixed())),
        ]
    }

    pub(super) fn detail(&self) -> Vec<(&'static str, Json)> {
        let Self::Other { method, action, id, .. } = self else { return Vec::new() };
        let object = if id.len() <= LONGEST_OBJECT {
            ("object", Json::String(id.clone()))
        } else {
            ("object_sha256", Json::String(Digest::of(id).hex()))
        };
        vec![("method", Json::from(*method)), ("action", Json::from(action.as_str())), object]
    }
}
