//! The command line: one file per subcommand.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bundle;
mod check;
mod demo_server;
mod hash_definition;
mod policy;
mod run;
mod schema;
mod status;

const EXAMPLES: &str = "\
Examples:
  Run the quickstart, with its own tool server, and follow the commands that it prints:
    host --dev-enclave

  Run your own configuration on this machine:
    host --dev-enclave --config cmcp-config.yaml

  Validate everything that the configuration names, without serving:
    host check --config cmcp-config.yaml

  See what a running gateway does, once it shows its metrics:
    host --dev-enclave --metrics 127.0.0.1:9464
    host status

  Serve with an enclave on hardware that somebody else started:
    host --enclave unix:/run/cmcp/enclave.sock --config cmcp-config.yaml
    host --enclave vsock://3:5000 --config cmcp-config.yaml

  Try the measured image in a VM on this machine:
    host --vm target/image/metal --config cmcp-config.yaml

  The definition_hash for a catalog entry:
    host hash-definition approved_definition.json

  A Cedar schema for the tools of a catalog, and a bundle's cases:
    host schema --catalog catalog.json > policies/schema.cedarschema
    host policy test policies/ cases/

The paths in a configuration are relative to its file.

Exit code: 0 after an orderly stop, 1 if something is wrong, 2 for a command line that is not \
understood.";

/// Gateway between agents and MCP tools: starts the measured enclave, relays to it and stores its records.
///
/// Every tools/call is decided by a Cedar policy inside the enclave, recorded in a hash-chained log, and attested by a
/// signed claim per session. This program listens, dials and stores; it decides nothing and holds no key.
#[derive(Debug, Parser)]
#[command(name = "host", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    run: run::Run,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    HashDefinition(hash_definition::HashDefinition),
    Schema(schema::Schema),
    Policy(policy::Policy),
    DemoServer(demo_server::DemoServer),
    Status(status::ShowStatus),
}

type Outcome = Result<(), Box<dyn Error>>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match runtime().and_then(|runtime| runtime.block_on(execute(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "host: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(cli: Cli) -> Outcome {
    match cli.command {
        None => cli.run.execute().await,
        Some(Command::Check(check)) => check.execute().await,
        Some(Command::HashDefinition(hash)) => hash.execute().await,
        Some(Command::Schema(schema)) => schema.execute().await,
        Some(Command::Policy(policy)) => policy.execute().await,
        Some(Command::DemoServer(server)) => server.execute().await,
        Some(Command::Status(status)) => status.execute().await,
    }
}

/// One thread: there is little work per byte, and a second thread would only move it between caches.
fn runtime() -> Result<tokio::runtime::Runtime, Box<dyn Error>> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
