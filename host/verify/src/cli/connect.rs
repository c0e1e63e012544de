//! `cmcp-verify connect`.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::attest::{self, Approval};
use super::{CliError, Exit, input};
use crate::attestation::Verdict;
use crate::connect::{Attested, Gateway, Identity, Refusal, Token, relay, serve};

/// Where the token is, if no file is named. No option takes the token itself: others on the machine see command lines.
const TOKEN_VARIABLE: &str = "CMCP_BEARER_TOKEN";

const HELP: &str = "\
https:// URLs: connects over TLS 1.3, sends a challenge, and checks that the evidence is fresh, that it is of an \
image, a configuration, a policy bundle and a catalog that you approved, and that it names the TLS key of this \
very connection. What is refused has been told the challenge and nothing else: no request, no token, no client \
certificate. Then either prints the verdict, or with --stdio or --listen lets MCP clients talk to this gateway. \
A connection that ends at another key than was verified (a restarted gateway has new ones) is not used: it is \
refused as NEW_BOOT; start again to verify anew.

Evidence by hardware must be genuine (a vendor's key signed it), current (up to date, nothing revoked) and ours. Give \
the certificates and statements that this takes with --collateral: they are believed for their signatures, so \
whoever runs the gateway may fetch them. What cannot be judged is refused (EVIDENCE_NOT_JUDGED).

The file of approved values is yours: take the hashes from `host check` of a configuration that you have read, \
and the image's digest from your own build. A gateway is not asked what to approve.

  {\"version\": 1, \"images\": [{\"type\": \"software\", \"artifact\": \"sha256:...\"}],
   \"config_hashes\": [\"sha256:...\"], \"bundle_hashes\": [\"sha256:...\"],
   \"catalog_hashes\": [\"sha256:...\"]}

http:// URLs: a bridge on standard input and output to a gateway in dev mode on this machine. It proves nothing.

Exit code: 0 verified (or the bridge's client is done), 3 nothing is wrong but only software vouches for it, 1 \
refused (the reason is printed), 2 not judged (no connection, an unreadable file), 64 wrong usage.

Examples:
  cmcp-verify connect https://gateway.example:8443 --reference approved.json
  cmcp-verify connect https://gateway.example:8443 --reference approved.json \\
      --token-file agent.token --listen 127.0.0.1:8080
      Any MCP client on this machine then takes http://127.0.0.1:8080/mcp. Whoever can connect
      there has the token's rights.
  {\"command\": \"cmcp-verify\", \"args\": [\"connect\", \"https://gateway.example:8443\",
      \"--reference\", \"approved.json\", \"--stdio\"]}
      In the configuration of an MCP client that spawns programs.";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Where the gateway listens, such as https://gateway.example:8443
    url: String,
    #[command(flatten)]
    approval: Approval,
    /// File with the agent's bearer token, for a gateway that asks for one; else the variable CMCP_BEARER_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the agent's certificate chain and private key, for a gateway with auth.mode mtls; read once
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    client_certificate: Option<PathBuf>,
    /// Then serve the MCP client that spawned this: JSON-RPC on standard input and output; the verdict goes to standard error
    #[arg(long, conflicts_with = "listen")]
    stdio: bool,
    /// Then serve MCP clients over http on this address of this machine, such as 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// Print the verdict as JSON, on one line
    #[arg(long)]
    json: bool,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write it as 127.0.0.1:8080")?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("only an address of this machine, such as 127.0.0.1:8080: what it serves is not protected any more".into())
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    let token = match &args.token_file {
        Some(file) => Some(attest::token_in_file(file)?),
        None => attest::token_in_environment(TOKEN_VARIABLE)?,
    };
    if !args.url.starts_with("https://") {
        return plain(args, token, out);
    }
    let identity = args.client_certificate.as_deref().map(identity_in_file).transpose()?;
    let (verdict, attested) = args.approval.attest(&args.url, identity.as_ref())?;
    let Some(attested) = attested else {
        announce(args, &verdict, None, if args.stdio { err } else { out })?;
        return Ok(Exit::Unverified);
    };
    if args.stdio {
        announce(args, &verdict, None, err)?;
        serve(&Gateway::attested(&attested, token), BufReader::new(io::stdin()), out)?;
        return attested.refusal().map_or(Ok(Exit::Verified), |refusal| stopped(refusal, err));
    }
    match args.listen {
        Some(address) => listen(args, &verdict, &attested, (address, token), (out, err)),
        None => announce(args, &verdict, None, out).map(|()| verdict.status.into()),
    }
}

fn identity_in_file(file: &Path) -> Result<Identity, CliError> {
    Identity::parse(&input::read(file)?).map_err(|error| CliError::Input(format!("{}: {error}", file.display())))
}

/// A gateway in dev mode on this machine, of which nothing is proved.
fn plain(args: &Args, token: Option<Token>, out: &mut dyn Write) -> Result<Exit, CliError> {
    let gateway = Gateway::new(&args.url, token).map_err(|error| CliError::Input(error.to_string()))?;
    let verifying = args.approval.reference.is_some() || args.approval.dangerous_accept_software;
    if verifying || args.listen.is_some() || args.json || args.client_certificate.is_some() {
        let text = "--reference, --dangerous-accept-software, --client-certificate, --listen, --json: over http:// nothing can be \
                    verified; use https://";
        return Err(CliError::Usage(text.to_owned()));
    }
    serve(&gateway, BufReader::new(io::stdin()), out)?;
    Ok(Exit::Verified)
}

fn listen(
    args: &Args,
    verdict: &Verdict,
    attested: &Attested,
    (address, token): (SocketAddr, Option<Token>),
    (out, err): (&mut dyn Write, &mut dyn Write),
) -> Result<Exit, CliError> {
    let unusable = |error: io::Error| CliError::Input(format!("--listen {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    announce(args, verdict, Some(address), out)?;
    let refusal = relay(attested, listener, token)?;
    stopped(&refusal, err)
}

/// The verdict, and where clients find the gateway.
fn announce(args: &Args, verdict: &Verdict, address: Option<SocketAddr>, out: &mut dyn Write) -> Result<(), CliError> {
    if args.json {
        let mut json = attest::json(verdict);
        if let (Some(address), Some(members)) = (address, json.as_object_mut()) {
            members.insert("listening".to_owned(), format!("http://{address}").into());
        }
        writeln!(out, "{json}")?;
    } else {
        attest::print(out, &args.url, verdict)?;
        if let Some(address) = address {
            writeln!(out, "MCP clients on this machine: http://{address}/mcp (until Ctrl-C)")?;
        }
    }
    Ok(out.flush()?)
}

fn stopped(refusal: &Refusal, err: &mut dyn Write) -> Result<Exit, CliError> {
    writeln!(err, "cmcp-verify: {refusal}")?;
    Ok(Exit::Unverified)
}
