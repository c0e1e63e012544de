//! `cmcp-verify reference`: what was built and what was approved, in one file of reference values.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::json::{Json, parse};

use crate::references::References;

use super::input::read;
use super::{CliError, Exit};

const AFTER_HELP: &str = "\
Reference values are yours: take the measurements from your own build of the image, and the hashes from documents that \
you have read.

  image/build
  host check --config cmcp-config.yaml --json > documents.json
  cmcp-verify reference --measurements target/image/azure/measurements.json \\
      --documents documents.json > approved.json

Several of each approve any of them, as while one image or policy replaces another. What else can be asked of the \
hardware is in docs/reference-values.schema.json; add it to the file.";

/// Lists of the reference values, and what `host check --json` calls their members.
const DOCUMENTS: [(&str, &str); 3] = [
    ("config_hashes", "config_hash"),
    ("bundle_hashes", "policy_bundle_hash"),
    ("catalog_hashes", "tool_catalog_hash"),
];

/// What is approved.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// measurements.json of an image, as image/build wrote it
    #[arg(long, required = true, value_name = "FILE")]
    measurements: Vec<PathBuf>,
    /// What `host check --json` said of a configuration with its policy bundle and catalog
    #[arg(long, required = true, value_name = "FILE")]
    documents: Vec<PathBuf>,
    /// Also accept an enclave that shares its kernel with the host, as in the image's flavour azure-single
    #[arg(long)]
    accept_process_isolation: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let mut images = Vec::new();
    for path in &args.measurements {
        let of_image = document(path)?;
        if of_image.get("unreleasable").is_some_and(|unreleasable| *unreleasable != Json::Bool(false)) {
            return Err(wrong(path, "built from inputs that are not the pinned ones, so nobody else can rebuild it"));
        }
        let of_image = of_image.get("images").and_then(Json::as_array);
        let of_image = of_image.ok_or_else(|| wrong(path, "no `images`: expected measurements.json of image/build"))?;
        images.extend(of_image.iter().filter(|image| !images.contains(*image)).cloned().collect::<Vec<_>>());
    }
    let mut references = Json::from([("version", Json::Int(1)), ("images", Json::Array(images))]);
    let documents =
        args.documents.iter().map(|path| Ok((path, document(path)?))).collect::<Result<Vec<_>, CliError>>()?;
    for (list, member) in DOCUMENTS {
        let mut hashes = Vec::new();
        for (path, checked) in &documents {
            let hash = checked.get(member).filter(|hash| hash.as_str().is_some());
            let hash =
                hash.ok_or_else(|| wrong(path, &format!("no `{member}`: expected what host check --json prints")))?;
            if !hashes.contains(hash) {
                hashes.push(hash.clone());
            }
        }
        references = references.with(list, Json::Array(hashes));
    }
    if args.accept_process_isolation {
        references = references.with("isolation", Json::Array(vec!["vm".into(), "process".into()]));
    }
    let text = references.sorted_ascii();
    References::parse(text.as_bytes()).map_err(|error| CliError::Input(error.to_string()))?;
    writeln!(out, "{text}")?;
    Ok(Exit::Verified)
}

fn document(path: &Path) -> Result<Json, CliError> {
    parse(&read(path)?).map_err(|error| wrong(path, &error.to_string()))
}

fn wrong(path: &Path, why: &str) -> CliError {
    CliError::Input(format!("{}: {why}", path.display()))
}
