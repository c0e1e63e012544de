//! `image`: see `image::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = image::cli::run(std::env::args_os(), &mut std::io::stdout().lock(), &mut std::io::stderr());
    ExitCode::from(exit.code())
}
