//! `cmcp-verify connect`.

use std::io::{self, BufReader, Write};

use super::{CliError, Exit};
use crate::connect::{Gateway, serve};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the gateway listens, such as http://127.0.0.1:8443
    url: String,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let gateway = Gateway::new(&args.url).map_err(|error| CliError::Input(error.to_string()))?;
    serve(&gateway, BufReader::new(io::stdin()), out)?;
    Ok(Exit::Verified)
}
