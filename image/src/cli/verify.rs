//! `image verify`.

use std::io::Write;
use std::path::PathBuf;

use super::{CliError, Exit, In};
use crate::progress::Progress;
use crate::verify::verify;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The measurements.json that was published with the image
    measurements: PathBuf,
    #[command(flatten)]
    within: In,
}

/// Rebuilds, says each step to `err`, and the differences to `out`.
pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    let checkout = args.within.checkout()?;
    let progress = Progress::to(err);
    let differences = verify(&checkout, &args.measurements, &progress)?;
    progress.done("rebuilt");
    let Some(first) = differences.first() else {
        writeln!(out, "SAME: this checkout builds exactly the image of {}", args.measurements.display())?;
        return Ok(Exit::Done);
    };
    for difference in &differences {
        writeln!(out, "differs  {difference}")?;
    }
    writeln!(
        out,
        "DIFFERENT: the first part that differs is {}. What was built here: {}",
        first.what,
        checkout.rebuilt().display()
    )?;
    Ok(Exit::Different)
}
