//! The command line: reads and writes files, prints. Everything it says is computed by the library.

mod build;
mod diff;
mod payload;
mod pins;
mod predict;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::checkout::Checkout;
use crate::error::BuildError;

/// How a run ends, as a process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done; or what was compared is the same.
    Done,
    /// What was compared differs.
    Different,
    /// An input could not be read or is none, or an output not written.
    Failed,
    /// The command line is not one of this program.
    Usage,
}

impl Exit {
    /// 0 done or the same, 1 different, 2 failed, 64 usage (`EX_USAGE` of sysexits.h).
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Different => 1,
            Self::Failed => 2,
            Self::Usage => 64,
        }
    }
}

const AFTER_HELP: &str = "\
Exit code: 0 done, or what was compared is the same; 1 what was compared differs; 2 an input could not be read or is none, or \
an output not written; 64 wrong usage.

Examples:
  image build
      Build the three images into target/image. The first time half an hour of a processor, most of it for two kernels; \
then what did not change comes from ~/.cache/cmcp-image ($CMCP_IMAGE_CACHE) and target/image/build.
  image verify downloaded/measurements.json
      Does this checkout build exactly the image that was published? If not, which part is the first that differs?
  image predict target/image/metal
      What will evidence say of this image? Computed from its EFI program alone.
  image predict target/image/metal --ovmf OVMF.fd --vcpus 2 --vcpu-type EPYC-v4
      Also the launch digest of an SNP guest with that firmware and those processors.
  image diff target/image/metal downloaded/metal
      Are they the same? If not, in which part, section, file and byte do they begin to differ?
  image payload --disk disk.vhd --host host --documents deployment
      Put the host and its configuration on a disk of azure-single. Nothing that is measured changes.";

/// Builds the measured image from pinned inputs, says what will be measured of it, and compares two of them.
#[derive(Debug, Parser)]
#[command(name = "image", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build images from the pinned inputs
    Build(build::Args),
    /// Compare two images, and say where they begin to differ
    Diff(diff::Args),
    /// Put the host on a disk of azure-single
    Payload(payload::Args),
    /// Fetch the pinned packages, pin what the archive has now, or record the kernels that the pins make
    Pins(pins::Args),
    /// Compute what evidence will say of an image, as reference values
    Predict(predict::Args),
    /// Rebuild a published image and compare
    Verify(verify::Args),
}

/// Where the sources are.
#[derive(Debug, clap::Args)]
struct In {
    /// The checkout to build [default: the one around the current folder]
    #[arg(long, value_name = "FOLDER", global = true)]
    checkout: Option<PathBuf>,
}

impl In {
    fn checkout(&self) -> Result<Checkout, BuildError> {
        Checkout::around(self.checkout.as_deref().unwrap_or(Path::new(".")))
    }
}

/// Runs the command line given with the program's name in front. Answers go to `out`, everything else to `err`.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, out, err),
    };
    let result = match cli.command {
        Command::Build(args) => build::run(&args, out, err),
        Command::Diff(args) => diff::run(&args, out),
        Command::Payload(args) => payload::run(&args, out),
        Command::Pins(args) => pins::run(&args, out, err),
        Command::Predict(args) => predict::run(&args, out),
        Command::Verify(args) => verify::run(&args, out, err),
    };
    result.unwrap_or_else(|error| {
        // A standard error that is closed leaves nobody to tell.
        let _ = writeln!(err, "image: {error}");
        Exit::Failed
    })
}

/// `--help` and `--version` are answers; anything else that clap does not accept is wrong usage.
fn refuse(error: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let text = error.render();
    let (written, exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (write!(out, "{text}"), Exit::Done),
        _ => (write!(err, "{text}"), Exit::Usage),
    };
    if written.is_ok() { exit } else { Exit::Failed }
}

/// Why a run could not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path}: {why}")]
    Input { path: PathBuf, why: String },
    #[error(transparent)]
    Documents(#[from] crate::tar::TarError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

/// Names the file in an error about its bytes.
fn in_file(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> CliError + '_ {
    move |error| CliError::Input { path: path.to_owned(), why: error.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|error| CliError::Read { path: path.to_owned(), error })
}
