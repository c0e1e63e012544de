//! What the host needs to know of the catalog: where it may dial, and what to call a tool in a log line.
//! Read leniently, because the enclave is the one who judges it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::Uri;
use serde_json::Value;

/// A tool server's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Host name or address, in lower case and without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Server {
    /// The one spelling that addresses are compared in.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { host: host.to_ascii_lowercase(), port }
    }

    fn of_url(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let port = match (uri.port_u16(), uri.scheme_str()) {
            (Some(port), _) => port,
            (None, Some("https")) => 443,
            (None, _) => 80,
        };
        Some(Self::new(uri.host()?, port))
    }
}

/// A tool, for messages to the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// `tool_name`.
    pub name: String,
    /// `approved_definition.input_schema`, as it is.
    pub input_schema: Value,
    /// How its server is started, if it is a process.
    pub launch: Option<Arc<Launch>>,
}

/// How a tool server is started, as its entry has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// `server.display_name`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Names of the environment variables that are passed on.
    pub env: Vec<String>,
    /// The file that is the entrypoint, if it is another one than the program.
    pub entrypoint: Option<String>,
    /// SHA-256 of the entrypoint, as written.
    pub entrypoint_digest: String,
    /// Place of the entry in the file.
    pub place: usize,
}

impl Launch {
    /// Whether this is what the enclave asks for.
    pub fn is(&self, wanted: &Self) -> bool {
        self.command == wanted.command && self.env == wanted.env && self.entrypoint == wanted.entrypoint
    }

    fn of_entry(entry: &Value, place: usize) -> Option<Self> {
        let server = entry.get("server").filter(|server| server["transport"] == "stdio")?;
        let text = |key: &str| server.get(key).and_then(Value::as_str).map(str::to_owned);
        let texts = |key: &str| {
            let texts = server.get(key).and_then(Value::as_array).into_iter().flatten();
            texts.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        Some(Self {
            name: text("display_name").unwrap_or_default(),
            command: texts("command"),
            env: texts("env"),
            entrypoint: text("entrypoint"),
            entrypoint_digest: text("entrypoint_digest").unwrap_or_default(),
            place,
        })
    }
}

/// What the host needs to know of the catalog.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Sorted by name: log events speak of tools by their place here.
    pub tools: Vec<Tool>,
    /// The only places that are ever dialled.
    pub servers: BTreeSet<Server>,
}

impl Catalog {
    /// Whatever can be understood; nothing, if the document is no JSON list.
    pub fn lenient(json: &[u8]) -> Self {
        let entries = serde_json::from_slice::<Vec<Value>>(json).unwrap_or_default();
        let mut tools: Vec<_> = entries.iter().enumerate().filter_map(|(place, entry)| tool(entry, place)).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let servers =
            entries.iter().filter_map(|entry| Server::of_url(entry.pointer("/server/url")?.as_str()?)).collect();
        Self { tools, servers }
    }

    /// How the server of the tool at this place of the sorted catalog is started.
    pub fn launch(&self, index: u32) -> Option<&Arc<Launch>> {
        self.tools.get(usize::try_from(index).ok()?)?.launch.as_ref()
    }

    /// Every server that is started, once.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        let mut names = BTreeSet::new();
        let all = self.tools.iter().filter_map(|tool| tool.launch.as_deref());
        all.filter(move |launch| names.insert(launch.name.clone()))
    }

    /// Name of the tool at this place of the sorted catalog; other requests have no place in it.
    pub fn tool_name(&self, index: u32) -> &str {
        let tool = usize::try_from(index).ok().and_then(|index| self.tools.get(index));
        tool.map_or("a request that is no tool call", |tool| tool.name.as_str())
    }
}

fn tool(entry: &Value, place: usize) -> Option<Tool> {
    let input_schema = entry.pointer("/approved_definition/input_schema").cloned().unwrap_or_default();
    let launch = Launch::of_entry(entry, place).map(Arc::new);
    Some(Tool { name: entry.get("tool_name")?.as_str()?.to_owned(), input_schema, launch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_names() {
        let catalog = Catalog::lenient(
            br#"[{"tool_name":"z","server":{"url":"https://Tools.Example/mcp"}},
                 {"tool_name":"a","server":{"url":"http://[::1]:9001/mcp"}},
                 {"tool_name":"m","server":{"url":"http://10.0.0.1/"}}, {"odd":1}, 7]"#,
        );
        assert_eq!(["a", "m", "z"], [catalog.tool_name(0), catalog.tool_name(1), catalog.tool_name(2)]);
        assert_eq!(catalog.tool_name(u32::MAX), "a request that is no tool call");
        let expected = [Server::new("10.0.0.1", 80), Server::new("[::1]", 9001), Server::new("tools.example", 443)];
        assert!(catalog.servers.iter().eq(&expected), "{:?}", catalog.servers);
    }

    #[test]
    fn what_is_started_is_found_by_the_place_of_a_tool() {
        let catalog = Catalog::lenient(
            br#"[{"tool_name":"z","server":{"transport":"stdio","display_name":"S","command":["a","b"],"env":["HOME"]}},
                 {"tool_name":"y","server":{"transport":"stdio","display_name":"S","command":["a","b"],"env":["HOME"]}},
                 {"tool_name":"a","server":{"url":"http://[::1]:9001/mcp"}}]"#,
        );
        let launch = catalog.launch(2).unwrap();
        assert_eq!((launch.place, launch.name.as_str()), (0, "S"));
        let wanted = Launch { command: vec!["a".into(), "b".into()], env: vec!["HOME".into()], ..Launch::default() };
        assert!(launch.is(&wanted) && !launch.is(&Launch { env: vec![], ..wanted.clone() }));
        assert!(!launch.is(&Launch { entrypoint: Some("/x".into()), ..wanted }));
        assert!(catalog.launch(0).is_none() && catalog.launch(u32::MAX).is_none());
        assert_eq!(catalog.launches().count(), 1);
    }

    #[test]
    fn rubbish_is_empty() {
        assert!(Catalog::lenient(b"{").servers.is_empty());
    }
}
