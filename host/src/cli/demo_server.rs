//! `host demo-server`

use std::io::Write;
use std::net::SocketAddr;

use clap::Args;

use super::Outcome;
use crate::demo;
use crate::quickstart;

const EXAMPLES: &str = "\
Example:
  host demo-server --listen 127.0.0.1:9001
  curl -s http://127.0.0.1:9001/mcp -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}'";

/// Serve the quickstart's tool server: MCP over streamable HTTP with salesforce.contacts and echo
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoServer {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = quickstart::DEMO_SERVER)]
    listen: SocketAddr,
}

impl DemoServer {
    pub(super) async fn execute(self) -> Outcome {
        let server = demo::DemoServer::bind(self.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", self.listen))?;
        let _ = writeln!(std::io::stdout(), "demo server listening on http://{}/mcp", server.address()?);
        tokio::select! {
            () = server.serve() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(())
    }
}
