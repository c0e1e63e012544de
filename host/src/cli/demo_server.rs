//! `host demo-server`

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use crate::demo;
use crate::quickstart;

const EXAMPLES: &str = "\
Example:
  host demo-server --listen 127.0.0.1:9001
  curl -s http://127.0.0.1:9001/mcp -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}'
  host demo-server --catalog policies/bfsi/catalog.json --answers policies/bfsi/answers.json

  As a process, a message a line, which is what a catalog entry with transport \"stdio\" starts:
  echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}' | host demo-server --stdio

Answers are a JSON array of {\"tool\": NAME, \"arguments\": {what a call must have, if anything}, \"structured\": \
RESULT}; the first that fits a call is its structuredContent, and its text.";

/// Serve the quickstart's tool server, or that of another catalog: MCP over streamable HTTP, or over stdio
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoServer {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = quickstart::DEMO_SERVER)]
    listen: SocketAddr,
    /// Serve standard input and output instead, until the input ends
    #[arg(long, conflicts_with = "listen")]
    stdio: bool,
    /// Serve the tools of this catalog instead of salesforce.contacts and echo
    #[arg(long, value_name = "FILE", requires = "answers")]
    catalog: Option<PathBuf>,
    /// What they answer
    #[arg(long, value_name = "FILE", requires = "catalog")]
    answers: Option<PathBuf>,
}

impl DemoServer {
    pub(super) async fn execute(self) -> Outcome {
        let script = self.script()?;
        if self.stdio {
            return Ok(demo::serve_stdio(script)?);
        }
        let mut server = demo::DemoServer::bind(self.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", self.listen))?;
        if let Some(script) = script {
            server = server.scripted(script);
        }
        let _ = writeln!(std::io::stdout(), "demo server listening on http://{}/mcp", server.address()?);
        tokio::select! {
            () = server.serve() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(())
    }

    fn script(&self) -> Result<Option<demo::Script>, String> {
        let (Some(catalog), Some(answers)) = (&self.catalog, &self.answers) else { return Ok(None) };
        demo::Script::parse(text(catalog)?, &text(answers)?)
            .map(Some)
            .map_err(|error| format!("{} with {}: {error}", catalog.display(), answers.display()))
    }
}

fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}
