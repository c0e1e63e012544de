//! `image pins`.

use std::io::Write;

use clap::Subcommand;

use super::{CliError, Exit, In};
use crate::apt::Archive;
use crate::build::record_kernels;
use crate::fetch::{Cache, fetch};
use crate::pins::{Pins, update};
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    within: In,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch every package, check it, and print its name, version, hash and where it is: to keep, or to mirror
    Fetch {
        /// Those for tests instead
        #[arg(long)]
        test: bool,
    },
    /// Write into image/pins.toml what the archive has now, and print what changed: for review
    Update,
    /// Write into image/pins.toml what each kernel is that the pins make: one that is not there yet is built twice, in two folders
    Kernels,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    let checkout = args.within.checkout()?;
    match args.command {
        Command::Fetch { test } => {
            let (pins, cache) = (Pins::read(&checkout.pins())?, Cache::of_user()?);
            for package in if test { pins.test } else { pins.data } {
                let fetched = fetch(&package, &cache)?;
                writeln!(out, "{} {} {} {}", package.name, package.version, fetched.sha256, fetched.path.display())?;
            }
        }
        Command::Update => {
            let changes = update(&checkout.pins(), &Archive::at(Cache::of_user()?.root()))?;
            for change in &changes {
                writeln!(out, "{change}")?;
            }
            let what = if changes.is_empty() {
                "the archive has nothing newer"
            } else {
                "review the change, run image/build pins kernels, build, and commit all"
            };
            writeln!(out, "{}: {what}", checkout.pins().display())?;
        }
        Command::Kernels => {
            for kernel in record_kernels(&checkout, &Progress::to(err))? {
                writeln!(out, "{} {}", kernel.name, kernel.sha256)?;
            }
        }
    }
    Ok(Exit::Done)
}
