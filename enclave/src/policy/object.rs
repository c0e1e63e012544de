//! What an action is on: the resource of a Cedar request.

use std::collections::BTreeMap;

use super::action::Action;
use crate::catalog::{Catalog, Server, Tool};
use crate::labels::{Domain, Label, Labels};

/// What an action is on.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// A tool of the catalog that the policy was loaded with, to be called.
    Tool(&'a Tool),
    /// Anything else of a tool server.
    Other {
        /// Which action; never [`Action::CallTool`], which is denied here.
        action: Action,
        /// What `id` names.
        kind: ObjectKind,
        /// A server of the catalog that the policy was loaded with.
        server: &'a Server,
        /// The Cedar id: a resource's URI, a prompt's name, or the server's `display_name`. Any text; it is compared, never
        /// parsed.
        id: &'a str,
    },
}

/// What an object is, other than a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A resource, by its URI.
    Resource,
    /// A prompt, by its name.
    Prompt,
    /// The tool server as a whole.
    Server,
}

impl ObjectKind {
    /// `resource.kind` in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Server => "server",
        }
    }
}

impl<'a> Object<'a> {
    /// A resource: [`Action::ReadResource`], [`Action::SubscribeResource`], [`Action::Complete`] for its template.
    pub const fn resource(action: Action, server: &'a Server, uri: &'a str) -> Self {
        Self::Other { action, kind: ObjectKind::Resource, server, id: uri }
    }

    /// A prompt: [`Action::GetPrompt`], [`Action::Complete`] for its arguments.
    pub const fn prompt(action: Action, server: &'a Server, name: &'a str) -> Self {
        Self::Other { action, kind: ObjectKind::Prompt, server, id: name }
    }

    /// The server as a whole: the lists, [`Action::SetLogLevel`], and what a server asks of the agent.
    pub const fn server(action: Action, server: &'a Server) -> Self {
        Self::Other { action, kind: ObjectKind::Server, server, id: server.display_name.as_str() }
    }

    /// What is asked.
    pub const fn action(&self) -> Action {
        match self {
            Self::Tool(_) => Action::CallTool,
            Self::Other { action, .. } => *action,
        }
    }

    /// The Cedar id.
    pub fn id(&self) -> &'a str {
        match self {
            Self::Tool(tool) => &tool.name,
            Self::Other { id, .. } => id,
        }
    }
}

/// What policies may know of an object.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) kind: &'static str,
    pub(super) id: &'a str,
    /// Empty unless it is a tool.
    pub(super) tool_name: &'a str,
    pub(super) server: &'a Server,
    /// Empty if tools of several domains are behind the server.
    pub(super) compliance_domain: &'static str,
    pub(super) sensitivity: Label,
}

impl<'a> Facts<'a> {
    pub(super) fn of_tool(tool: &'a Tool) -> Self {
        Self {
            kind: "tool",
            id: &tool.name,
            tool_name: &tool.name,
            server: &tool.server,
            compliance_domain: tool.compliance_domain.as_str(),
            sensitivity: tool.sensitivity,
        }
    }
}

/// The servers of a catalog, by identity: what their tools have in common.
pub(super) struct Servers(BTreeMap<String, Common>);

struct Common {
    labels: Labels,
    /// Nothing if the tools are of several domains.
    domain: Option<Domain>,
}

impl Servers {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut servers: BTreeMap<String, Common> = BTreeMap::new();
        for tool in catalog.tools() {
            let (labels, domain) = (Labels::of(tool.sensitivity), Some(tool.compliance_domain));
            let common = servers.entry(tool.server.identity.clone()).or_insert(Common { labels, domain });
            common.labels = common.labels.join(labels);
            common.domain = common.domain.filter(|shared| Some(*shared) == domain);
        }
        Self(servers)
    }

    /// What is known of something behind a server; nothing if no tool of the catalog is behind it.
    pub(super) fn facts<'a>(&self, kind: ObjectKind, server: &'a Server, id: &'a str) -> Option<Facts<'a>> {
        let common = self.0.get(&server.identity)?;
        Some(Facts {
            kind: kind.as_str(),
            id,
            tool_name: "",
            server,
            compliance_domain: common.domain.map_or("", Domain::as_str),
            sensitivity: common.labels.max(),
        })
    }
}
