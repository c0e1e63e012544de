//! `image payload`.

use std::io::Write;
use std::path::PathBuf;

use super::{CliError, Exit, in_file, read};
use crate::{payload, tar};

/// The configuration, which the host reads first.
const CONFIG: &str = "cmcp-config.yaml";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The disk: disk.raw or disk.vhd of azure-single, which is changed in place
    #[arg(long, value_name = "FILE")]
    disk: PathBuf,
    /// The host's executable, linked statically
    #[arg(long, value_name = "FILE")]
    host: PathBuf,
    /// A folder with cmcp-config.yaml and everything that it names, by paths relative to it
    #[arg(long, value_name = "FOLDER")]
    documents: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    if !args.documents.join(CONFIG).is_file() {
        return Err(in_file(&args.documents)(&format!("no {CONFIG} in it, which the host reads first")));
    }
    let (host, documents) = (read(&args.host)?, tar::of(&args.documents)?);
    let written = payload::write(&args.disk, &host, &documents);
    let partition = written.map_err(|error| match error {
        payload::PayloadError::Executable(_) => in_file(&args.host)(&error),
        _ => in_file(&args.disk)(&error),
    })?;
    writeln!(
        out,
        "{}: host of {} bytes and documents of {} bytes in the payload partition, bytes {} to {}",
        args.disk.display(),
        host.len(),
        documents.len(),
        partition.start,
        partition.end
    )?;
    Ok(Exit::Done)
}
