//! `cmcp-verify connect`.

use std::env::{self, VarError};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{CliError, Exit};
use crate::connect::{Gateway, Token, serve};

/// Where the token is, if no file is named. No option takes the token itself: others on the machine see command lines.
const TOKEN_VARIABLE: &str = "CMCP_BEARER_TOKEN";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the gateway listens, such as http://127.0.0.1:8443
    url: String,
    /// File with the agent's bearer token, for a gateway that asks for one; else the variable CMCP_BEARER_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let token = match &args.token_file {
        Some(file) => Some(in_file(file)?),
        None => in_environment()?,
    };
    let gateway = Gateway::new(&args.url, token).map_err(|error| CliError::Input(error.to_string()))?;
    serve(&gateway, BufReader::new(io::stdin()), out)?;
    Ok(Exit::Verified)
}

fn in_file(file: &Path) -> Result<Token, CliError> {
    let path = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| CliError::Read { path: path.clone(), error })?;
    Token::parse(text.trim_end()).map_err(|error| CliError::Input(format!("{path}: {error}")))
}

fn in_environment() -> Result<Option<Token>, CliError> {
    let refuse = |error: String| CliError::Input(format!("{TOKEN_VARIABLE}: {error}"));
    match env::var(TOKEN_VARIABLE) {
        Err(VarError::NotPresent) => Ok(None),
        Ok(text) => Token::parse(&text).map(Some).map_err(|error| refuse(error.to_string())),
        Err(VarError::NotUnicode(_)) => Err(refuse("not text".to_owned())),
    }
}
