//! `image build`.

use std::io::Write;
use std::path::PathBuf;

use super::{CliError, Exit, In};
use crate::build::{Order, UNRELEASABLE, build};
use crate::flavour::Flavour;
use crate::measurements::FILE;
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Build this flavour alone; may be given again [default: all]
    #[arg(long, value_name = "FLAVOUR", value_enum)]
    flavour: Vec<Flavour>,
    /// Put images there, each into a folder of its flavour's name [default: target/image of the checkout]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Take tools and packages as they are if the pinned ones are gone. For tests alone: the image is marked, and has no measurements.json
    #[arg(long)]
    unpinned: bool,
    #[command(flatten)]
    within: In,
}

/// Builds, says each step to `err` and where the measurements are to `out`.
pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    let checkout = args.within.checkout()?;
    let flavours = Flavour::ALL.into_iter().filter(|flavour| args.flavour.is_empty() || args.flavour.contains(flavour));
    let to = args.out.clone().unwrap_or_else(|| checkout.images());
    let order = Order { flavours: flavours.collect(), to, pinned: !args.unpinned };
    let progress = Progress::to(err);
    let built = build(&checkout, &order, &progress)?;
    progress.done("built");
    for measurements in built {
        let file = if measurements.unreleasable { UNRELEASABLE } else { FILE };
        writeln!(out, "{}", order.to.join(&measurements.flavour).join(file).display())?;
    }
    Ok(Exit::Done)
}
