//! `cmcp-verify provision`.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::Digest;
use claim::operator::ProvisionOrder;

use super::attest::{self, Approval};
use super::operator::key;
use super::{CliError, Exit, input};
use crate::attestation::Boot;
use crate::connect::{Attested, Provision};

const HELP: &str = "\
Verifies the gateway as `connect` does, against what you approved, and only then sends anything: over a TLS \
connection that ends in the enclave, so that the host which relays it sees ciphertext. --token-file is the \
operator's own token.

A secret is for one tool server: your key signs that this boot may take it and use it for this URL with this \
pin, whatever the catalog says. It is gone when the gateway restarts; provision again. One line end at the end \
of the file is left off.

A certificate for the gateway's public name (tls.public_name), for MCP clients that trust a CA and cannot verify \
evidence: take the request out with --csr, have a CA sign it, bring the chain in with --chain. The key never \
leaves the enclave.

Exit code: 0 done, 1 the gateway is refused (nothing was sent), 2 it refused or was not reached, 64 wrong usage.

Examples:
  cmcp-verify provision https://gateway.example:8443 --reference approved.json \\
      --token-file operator.token --operator-key operator.key \\
      --secret crm-token=@crm.token --server https://crm.example/mcp --pin SHA256:...
  cmcp-verify provision https://gateway.example:8443 --reference approved.json \\
      --token-file operator.token --csr gateway.csr
  cmcp-verify provision https://gateway.example:8443 --reference approved.json \\
      --token-file operator.token --chain chain.pem";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct Args {
    /// Where the gateway listens, such as https://gateway.example:8443
    url: String,
    #[command(flatten)]
    approval: Approval,
    /// File with the operator's bearer token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// A tool's secret: its name in the catalog, and the file that holds it
    #[arg(long, value_name = "NAME=@FILE", value_parser = secret, group = "what")]
    #[arg(requires = "operator_key", requires = "server", requires = "pin")]
    secret: Option<Secret>,
    /// The operator's key, from `cmcp-verify operator new-key`
    #[arg(long, value_name = "FILE", requires = "secret")]
    operator_key: Option<PathBuf>,
    /// URL of the tool server that the secret is for, as in the catalog
    #[arg(long, value_name = "URL", requires = "secret")]
    server: Option<String>,
    /// Pin of that server, as in the catalog; none if it has none
    #[arg(long, value_name = "SHA256:...|none", value_parser = pin, requires = "secret")]
    pin: Option<String>,
    /// Write the certificate request for the gateway's public name to this file
    #[arg(long, value_name = "OUT.pem", group = "what")]
    csr: Option<PathBuf>,
    /// Bring the certificate chain for the public name: PEM, the gateway's own certificate first
    #[arg(long, value_name = "CHAIN.pem", group = "what")]
    chain: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Secret {
    name: String,
    file: PathBuf,
}

fn secret(text: &str) -> Result<Secret, String> {
    let (name, file) = text.split_once("=@").ok_or("write it as NAME=@FILE")?;
    claim::names::check_id(name).map_err(|error| error.to_string())?;
    Ok(Secret { name: name.to_owned(), file: file.into() })
}

fn pin(text: &str) -> Result<String, String> {
    match text {
        "none" => Ok(String::new()),
        pin if pin.starts_with("SHA256:") => Ok(pin.to_owned()),
        _ => Err("write it as SHA256:... , or none".to_owned()),
    }
}

/// What is brought, with its files read: nothing is sent of what could not be.
enum Cargo<'a> {
    Secret { secret: &'a Secret, value: Vec<u8>, key: Box<claim::operator::OperatorKey> },
    Request(&'a Path),
    Chain(Vec<u8>),
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    if !args.url.starts_with("https://") {
        return Err(CliError::Usage("only https:// reaches an enclave past whoever runs it".to_owned()));
    }
    let token = attest::token_in_file(&args.token_file)?;
    let cargo = load(args)?;
    let (verdict, attested) = args.approval.attest(&args.url, None)?;
    attest::print(out, &args.url, &verdict)?;
    let (Some(attested), Some(boot)) = (attested, &verdict.boot) else { return Ok(Exit::Unverified) };
    let done = bring(args, &attested, boot, &cargo, &token)?;
    writeln!(out, "{done}")?;
    Ok(Exit::Verified)
}

fn load(args: &Args) -> Result<Cargo<'_>, CliError> {
    if let (Some(secret), Some(file)) = (&args.secret, &args.operator_key) {
        let mut value = input::read(&secret.file)?;
        for end in [b"\n".as_slice(), b"\r"] {
            value.truncate(value.strip_suffix(end).unwrap_or(&value).len());
        }
        return Ok(Cargo::Secret { secret, value, key: Box::new(key::read(file)?) });
    }
    match (&args.csr, &args.chain) {
        (Some(out), _) => Ok(Cargo::Request(out)),
        (None, Some(chain)) => input::read(chain).map(Cargo::Chain),
        (None, None) => Err(CliError::Usage("--secret, --csr or --chain is missing".to_owned())),
    }
}

/// Brings it; what to say of it.
fn bring(
    args: &Args,
    attested: &Attested,
    boot: &Boot,
    cargo: &Cargo<'_>,
    token: &crate::connect::Token,
) -> Result<String, CliError> {
    let provision = |what| attested.provision(what, token).map_err(|error| CliError::Input(error.to_string()));
    match cargo {
        Cargo::Secret { secret, value, key } => {
            let order = ProvisionOrder {
                boot_id: boot.binding.boot_id,
                name: secret.name.clone(),
                value_sha256: Digest::of(value),
                server: args.server.clone().unwrap_or_default(),
                pin: args.pin.clone().unwrap_or_default(),
            };
            provision(Provision::Secret { order: &order, value, key })?;
            Ok(format!("provisioned {} for {}, until the gateway restarts", order.name, order.server))
        }
        Cargo::Request(path) => {
            let request = provision(Provision::Request)?;
            let unwritable = |error| CliError::Unwritable { path: path.display().to_string(), error };
            std::fs::write(path, request).map_err(unwritable)?;
            Ok(format!("wrote {}: have a CA sign it, then bring the chain with --chain", path.display()))
        }
        Cargo::Chain(chain) => {
            provision(Provision::Chain(chain))?;
            Ok("provisioned the chain: clients that ask for the public name are shown it".to_owned())
        }
    }
}
